"""Keys, wherever they hide, and what only looks like one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
from typing import Any

import pytest

from judging import resource, violations
from policy.key_material import DEPTH, LIMIT, MAKERS, judge
from policy.model import File, Gap

# Made up by a known lot: no test holds anybody's key
LOT = random.Random(7)  # noqa: S311
KEY = base64.b64encode(LOT.randbytes(32)).decode()
URL_SAFE = base64.urlsafe_b64encode(bytes([251, 239]) * 16).decode()
ACCESS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
PEM = "-----BEGIN %s-----\nMC4CAQAwBQYDK2VuBCIEIA\n-----END %s-----"
SHA256 = hashlib.sha256(b"code")


def b64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def kinds(value: Any, name: str = "value") -> list[str]:
    """What a property of this name and value is said to hold."""
    found = [
        wrong.value for wrong in judge(resource("ssm/parameter:Parameter", props={name: value}))
    ]
    return [text.removesuffix(", not shown here") for text in found]


WIREGUARD = ["32 bytes that may be a WireGuard key"]


def test_no_stack_breaks_it(stack: str) -> None:
    assert violations(stack, "key-material") == []


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        URL_SAFE,
        f"[Interface]\nPrivateKey = {KEY}\nAddress = 10.0.0.1/32",
        f"PrivateKey={KEY}",
        f"PresharedKey = {KEY}",
        f'{{"private_key": "{KEY}"}}',
        f"- {KEY}\n",
        f"its sha256 is known, PrivateKey = {KEY}",
        f"PublicKey = {KEY}\nPrivateKey = {KEY}",
        f"private_key={LOT.randbytes(32).hex()}",
        f"preshared_key: {LOT.randbytes(32).hex()}",
        f"private_key: {KEY.rstrip('=')}",
    ],
)
def test_32_bytes_are_a_key(text: str) -> None:
    assert kinds(text) == WIREGUARD


@pytest.mark.parametrize("name", ["privateKey", "preshared_key", "secretKey"])
def test_a_propertys_own_name_counts(name: str) -> None:
    assert kinds(LOT.randbytes(32).hex(), name) == WIREGUARD
    assert kinds(KEY, name) == WIREGUARD


@pytest.mark.parametrize(
    "kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
)
def test_a_pem_block_is_a_key(kind: str) -> None:
    assert kinds(PEM % (kind, kind)) == ["a private key in PEM"]


def test_aws_credentials_are_found() -> None:
    assert kinds(f"aws_access_key_id = {ACCESS_KEY}") == ["an AWS access key id"]
    assert kinds({"AWS_SECRET_ACCESS_KEY": SECRET_KEY}) == ["an AWS secret access key"]


def test_almost_every_secret_access_key_is_recognised() -> None:
    drawn = [b64(LOT.randbytes(30)) for _ in range(2000)]
    missed = [text for text in drawn if not kinds(text)]
    # those without any digit, which nothing tells from a path
    assert len(missed) < 10


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("publicKey", KEY),
        ("sourceCodeHash", b64(SHA256.digest())),
        ("checksumSha256", b64(SHA256.digest())),
        ("config", f"[Peer]\nPublicKey = {KEY}\nAllowedIPs = 10.0.0.0/8"),
        ("integrity", f"sha256-{b64(SHA256.digest())}"),
        ("sha256", SHA256.hexdigest()),
        ("key", f"gateway-{SHA256.hexdigest()}.tar"),
        ("commit", hashlib.sha1(b"code", usedforsecurity=False).hexdigest()),
        ("text", b64("exactly thirty-two characters ok")),
        ("text", b64("thirty characters of plain abc")),
        ("path", "parameter/Gatepair/Production9/Something"),
        ("certificate", PEM % ("CERTIFICATE", "CERTIFICATE")),
        ("publicKey", PEM % ("PUBLIC KEY", "PUBLIC KEY")),
        ("description", "the private key: see the secret"),
        ("longer", b64(LOT.randbytes(33))),
        ("shorter", b64(LOT.randbytes(24))),
        ("value", Gap.UNKNOWN),
        ("value", 5),
    ],
)
def test_what_only_looks_like_a_key_passes(name: str, text: Any) -> None:
    assert kinds(text, name) == []


def test_public_keys_in_a_list_pass() -> None:
    assert kinds([KEY, KEY], "publicKeys") == []
    assert kinds([KEY, KEY], "peers") == WIREGUARD * 2


def lines(text: str) -> str:
    """Base64 as a mail or a YAML block has it, 60 characters a line."""
    coded = b64(text)
    return "".join(f"    {coded[i : i + 60]}\n" for i in range(0, len(coded), 60))


@pytest.mark.parametrize(
    ("hidden", "layers"),
    [
        (b64(f"x: {KEY} and then some"), "base64"),
        (b64(KEY), "base64"),
        (b64(b64(KEY)), "base64, base64"),
        (b64(gzip.compress(f"PrivateKey = {KEY}".encode())), "base64, gzip"),
        (b64(gzip.compress(b64(f"PrivateKey = {KEY}").encode())), "base64, gzip, base64"),
        (f"content:\n{lines(f'[Interface] PrivateKey = {KEY} and more, over lines')}", "base64"),
        (b64(b"\x00\xff\xfe binary " + KEY.encode()), "base64"),
    ],
)
def test_base64_and_gzip_hide_nothing(hidden: str, layers: str) -> None:
    (wrong,) = judge(resource("ec2/instance:Instance", props={"userData": hidden}))
    assert wrong.what == f"it userData ({layers})"
    assert wrong.value.startswith(WIREGUARD[0])


def test_broken_gzip_is_searched_as_it_stands() -> None:
    assert kinds(b64(b"\x1f\x8b nothing " + KEY.encode())) == WIREGUARD


def test_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = f"PrivateKey = {KEY}"
    for _ in range(DEPTH):
        deep = b64(deep)
    assert kinds(deep) == WIREGUARD
    assert kinds(b64(deep)) == []
    monkeypatch.setattr("policy.key_material.LIMIT", 1024)
    assert LIMIT > 1024
    bomb = gzip.compress(b" " * 1024 + f"PrivateKey = {KEY}".encode())
    assert kinds(b64(bomb)) == []


@pytest.mark.parametrize(
    "value",
    [
        {"a": [{"b": f"PrivateKey = {KEY}"}]},
        File("code.tar", b"\x00tar\xff" + f"PrivateKey = {KEY}\n".encode()),
        {"file": File("code.tar", b64(f"PrivateKey = {KEY}").encode())},
    ],
)
def test_every_property_and_every_file_is_searched(value: Any) -> None:
    assert kinds(value) == WIREGUARD


def test_a_files_name_does_not_make_what_is_in_it_harmless() -> None:
    assert kinds(File("hash", KEY.encode()), "hash") == WIREGUARD


def test_a_file_that_cannot_be_read_is_refused() -> None:
    assert kinds(File("/gone", None)) == ["/gone"]


@pytest.mark.parametrize("typ", sorted(MAKERS))
def test_what_makes_secrets_into_the_state_is_refused(typ: str) -> None:
    (wrong,) = judge(resource(typ))
    assert wrong.value == typ


def test_the_empty_secret_and_the_uuid_pass() -> None:
    assert list(judge(resource("secretsmanager/secret:Secret", props={"tags": {"a": "b"}}))) == []
    assert list(judge(resource("random:index/randomUuid:RandomUuid"))) == []


def test_a_violation_never_shows_the_key() -> None:
    given = [KEY, ACCESS_KEY, SECRET_KEY, PEM % ("PRIVATE KEY", "PRIVATE KEY"), b64(KEY + " more")]
    for text in given:
        said = " ".join(map(str, judge(resource("ssm/parameter:Parameter", props={"value": text}))))
        assert "not shown here" in said
        assert text not in said
        assert KEY not in said
