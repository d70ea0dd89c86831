"""No key in any property: properties end in Pulumi's state, previews, logs and user data. Pure.

What counts as a key:

* a block `-----BEGIN ... PRIVATE KEY-----`;
* 32 bytes in base64, as WireGuard writes its keys. Nothing tells a private key from a public one
  or from a SHA-256 but what it is called: only a name that ends like `publicKey`, `sha256`,
  `checksum` or `hash` right before it makes it harmless, and text that happens to be 44 characters
  of base64 is text;
* the same 32 bytes in hex, or in base64 without its `=`, where the name says that it is a private
  or a pre-shared key. Without such a name 64 hex digits are a SHA-256;
* an AWS access key id, and 40 characters that have a secret access key's alphabet and look drawn
  by lot;
* any resource whose value is a key or a password: its output would be in the state.

It is looked for in every string, in files that are uploaded, and within what base64 and gzip hide,
one in the other. Compressed archives are not unpacked: the program makes none.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from policy.model import File, violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.model import Resource, Violation

MAKERS = frozenset(
    {
        "aws:iam/accessKey:AccessKey",
        "aws:secretsmanager/secretVersion:SecretVersion",
        "random:index/randomBytes:RandomBytes",
        "random:index/randomPassword:RandomPassword",
        "tls:index/privateKey:PrivateKey",
    }
)
"""Types whose value, made by them or given to them, is a key or a password."""

DEPTH = 6
"""How many layers of base64 and gzip are opened."""
LIMIT = 8 * 1024 * 1024
"""Bytes that a layer may unpack to; what comes after is not looked at."""

_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_KEY = re.compile(
    r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9+/=])"
    r"|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9_=-])"
)
"""32 bytes: 43 characters, the last of which has two bits to spare, and one to fill up."""
_NAMED = re.compile(
    r"""(?ix) (?:private|pre[-_]?shared|secret) [-_\ ]? key ["']? \s* [:=] \s* ["']?
    (?: [0-9a-f]{64} (?![0-9a-f]) | [a-z0-9+/_-]{43} (?![a-z0-9+/_=-]) )"""
)
_HARMLESS = re.compile(
    r"""(?ix) (?:public[-_\ ]?key|sha[-_]?256|checksum|digest|hash|etag|fingerprint)s?
    (?: ["']? \s* [:=] \s* ["']? | - ) $"""
)
"""Ends right before a value that is no secret: `PublicKey = `, `"sourceCodeHash": "`, `sha256-`."""
_ACCESS_KEY = re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])")
"""IAM user guide, "IAM identifiers", section "Understanding unique ID prefixes"."""
_SECRET_KEY = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])")
_DRAWN = 22
"""Different characters that 40 drawn from 64 have, all but twice in 100,000 times (drawn to find
out); words and paths of that length have fewer, hex has 16 at most."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}(?:\s*\n\s*[A-Za-z0-9+/]+)*={0,2}")
"""A run of it, also over several lines."""
_NAME_BEFORE = 40
"""Characters before a value among which its name is looked for."""


def judge(resource: Resource) -> Iterator[Violation]:
    """Every property, and the resource itself. The value is never shown."""
    cure = "let the gateways make their keys; pass the name of the place, never what is in it"
    if resource.type in MAKERS:
        why = "what it makes is a secret in Pulumi's state"
        yield violation(resource, "", why, cure, value=resource.type)
    for path, name, found in _leaves(resource.props, "", ""):
        if isinstance(found, File) and found.data is None:
            why = "cannot be read, so nobody knows what is in it"
            yield violation(resource, path, why, "let it be made first", value=found.path)
            continue
        # a file's own name says nothing about what is in it
        text = _text(found.data or b"") if isinstance(found, File) else f"{name} = {found}"
        for kind, layers in sorted(set(_search(text, ()))):
            why = "would be in Pulumi's state, in previews and wherever this is sent"
            where = f"{path} ({', '.join(layers)})" if layers else path
            yield violation(resource, where, why, cure, value=f"{kind}, not shown here")


def _leaves(value: Any, path: str, name: str) -> Iterator[tuple[str, str, str | File]]:
    """Every string and file, where it is, and what it is called."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}".lstrip("."), str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}.{number}", name)
    elif isinstance(value, str | File):
        yield path, name, value


def _search(text: str, layers: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What kinds of key are in `text`, and through how many layers each was seen."""
    for kind in _kinds(text):
        yield kind, layers
    if len(layers) == DEPTH:
        return
    for run in _BASE64.finditer(text):
        data, how = _opened(_decoded(run[0]))
        yield from _search(_text(data), (*layers, *how))


def _kinds(text: str) -> Iterator[str]:
    if _PEM.search(text):
        yield "a private key in PEM"
    if _ACCESS_KEY.search(text):
        yield "an AWS access key id"
    if any(_is_drawn(found[0]) for found in _SECRET_KEY.finditer(text)):
        yield "an AWS secret access key"
    if _NAMED.search(text) or any(_is_key(found) for found in _KEY.finditer(text)):
        yield "32 bytes that may be a WireGuard key"


def _is_key(found: re.Match[str]) -> bool:
    before = found.string[max(0, found.start() - _NAME_BEFORE) : found.start()]
    return not _HARMLESS.search(before) and not _is_words(found[0])


def _is_drawn(text: str) -> bool:
    kinds = (r"[a-z]", r"[A-Z]", r"[0-9]")
    mixed = all(re.search(kind, text) for kind in kinds)
    return mixed and len(set(text)) >= _DRAWN and not _is_words(text)


def _is_words(text: str) -> bool:
    """Whether base64 stands for plain text, which bytes drawn by lot never do."""
    data = _decoded(text)
    return data.isascii() and data.decode("ascii").replace("\n", " ").isprintable()


def _decoded(run: str) -> bytes:
    """The bytes of a run of base64, either alphabet; what is over at its end is dropped."""
    digits = re.sub(r"[\s=]", "", run).replace("-", "+").replace("_", "/")
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return base64.b64decode(digits + "=" * (-len(digits) % 4))


def _opened(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """What gzip hides, if it is gzip."""
    if not data.startswith(b"\x1f\x8b"):
        return data, ("base64",)
    try:
        return zlib.decompressobj(wbits=31).decompress(data, LIMIT), ("base64", "gzip")
    except zlib.error:
        return data, ("base64",)


def _text(data: bytes) -> str:
    """Bytes as text, whatever they are: keys are written in ASCII."""
    return data.decode("latin-1")
