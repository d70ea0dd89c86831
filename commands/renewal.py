"""`peers config`: the config of a peer that is registered, as it should be now.

With the owner's private key in hand it is complete: what a plain client needs to come over to the
newest server key, at the price of one reconnect.
"""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

import base64
import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING

from client.delivery import StagedFile, Unplaced, Unsettled, refuse_unusable
from commands import terminal
from commands.terminal import check
from effects import Refusal
from registry import validation
from registry.preshared import KEY_BYTES

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from client.config import Secrets, Tunnel
    from registry.items import Peer

LARGEST = 65536
"""Bytes of a file with a private key, or of an old config."""

_PRIVATE, _PRESHARED = (
    re.compile(rf"^\s*{name}\s*=\s*(\S+)\s*$", re.MULTILINE | re.IGNORECASE)
    for name in ("PrivateKey", "PresharedKey")
)

tell = partial(terminal.tell, "peers")


def show_config(args: argparse.Namespace) -> None:
    """Print one peer's config, or write it."""
    from commands.access import outputs_of

    *_, found = check(
        lambda: validation.stack_name(args.stack),
        lambda: validation.peer_name(args.name),
        lambda: _check_outputs(args),
        *(lambda path=path: refuse_unusable(path) for path in outputs_of(args)),
        lambda: None if args.private_key is None else secrets_in(args.private_key),
    )
    from client import config
    from commands.access import print_config
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        stack = connect(args.stack)
        peer = stack.wanted(args.name)
        secrets = config.NO_SECRETS if found is None else _of(args, peer, found)
        generation, public_key = stack.server_key()
    tunnel = config.tunnel(
        stack.environment, peer, key_generation=generation, server_public_key=public_key
    )
    _write(args, tunnel, secrets)
    print_config(args, peer, tunnel, secrets)
    if secrets:
        tell(*(f"{path} holds the private key" for path in outputs_of(args)))


def secrets_in(path: Path) -> Secrets:
    """The private key that a file holds, alone or as a config's `PrivateKey`, and `PresharedKey`.

    Raises `Refusal`, which never repeats what is in the file.
    """
    what = f"--private-key {path}"
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode()
    except UnicodeDecodeError as err:
        raise Refusal(what, "is not text", "name the key's file, or the old config") from err
    except OSError as err:
        raise Refusal(what, str(err.strerror).lower(), "name the key's file") from err
    from client.config import Secrets

    named, preshared = _PRIVATE.findall(text), _PRESHARED.findall(text)
    private = named[0] if len(named) == 1 else text.strip()
    try:
        validation.public_key(private)  # of the same form: 32 bytes in base64
        return Secrets(private, _preshared(preshared[0]) if len(preshared) == 1 else None)
    except Refusal:
        raise Refusal(
            what, "holds no WireGuard private key", "name the key's file, or the old config"
        ) from None


def _preshared(text: str) -> str | None:
    """The key in a config's line; None for a placeholder, or anything else that is none."""
    with contextlib.suppress(ValueError):
        if len(base64.b64decode(text, validate=True)) == KEY_BYTES:
            return text
    return None


def _check_outputs(args: argparse.Namespace) -> None:
    if args.private_key is None and (args.qr or args.png):
        raise Refusal(
            "--qr or --png without --private-key",
            "a code without the private key is of no use",
            f"name its owner's key file or old config, or give the app a new key: "
            f"`peers rotate {args.name} --qr`",
        )
    if args.json and args.qr:
        raise Refusal("--json with --qr", "both print on stdout", "take --png or --out")
    if args.out and args.png and args.out.absolute() == args.png.absolute():
        raise Refusal(f"output {args.png}", "is named twice", "name two files")


def _of(args: argparse.Namespace, peer: Peer, found: Secrets) -> Secrets:
    """Those of the file's secrets that are the peer's. Raises `Refusal` if they do not suffice."""
    from client import keys

    if keys.pair_of(found.private or "").public != peer.public_key:
        raise Refusal(
            f"--private-key {args.private_key}",
            f"is not the key that {peer.name} is registered with",
            f"name that one, or give {peer.name} a new key with `peers rotate {peer.name}`",
        )
    if peer.preshared and found.preshared is None:
        raise Refusal(
            f"--private-key {args.private_key}",
            f"has no PresharedKey, which {peer.name} needs, and only gateways can read it again",
            f"name the old config, or give {peer.name} new keys with `peers rotate {peer.name}`",
        )
    return found


def _write(args: argparse.Namespace, tunnel: Tunnel, secrets: Secrets) -> None:
    """Write the files that are wanted, all of them or none."""
    from client import config, qr

    contents = {}
    if args.out:
        contents[args.out] = config.render(tunnel, secrets).encode()
    if args.png:
        contents[args.png] = qr.png(config.render(tunnel, secrets, comments=False))
    files = {StagedFile(path): content for path, content in contents.items()}
    try:
        for file, content in files.items():
            file.write(content)
        for file in files:
            file.keep()
    except Unplaced as err:
        raise Unsettled([str(err)]) from err
    except BaseException:
        for file in files:
            file.discard()
        raise
