"""`peers add | rotate`: a key is registered, and its config handed out once."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from client.delivery import Unsettled, refuse_unusable
from commands import terminal
from commands.terminal import (
    DONE,
    FAILED,
    Interrupted,
    check,
    print_json,
    print_utf8,
    silence,
)
from effects import Refusal
from registry import allow, validation

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from client.config import Secrets, Tunnel
    from registry.items import Peer
    from registry.preshared import Preshared, Sealer
    from registry.stack import Stack

WG_QUICK_NAME = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}\.conf")
"""What wg-quick accepts as a file: the stem becomes the network interface's name."""

tell = partial(terminal.tell, "peers")


@dataclass(frozen=True)
class Pair:
    """The key to register; its private half is here only if it was made here."""

    public: str
    private: str | None
    preshared: Preshared | None = None

    @classmethod
    def of(cls, args: argparse.Namespace) -> Pair:
        """The key that was given, or a new one."""
        from client import keys

        if args.public_key:
            return cls(args.public_key, None)
        made = keys.generate()
        return cls(made.public, made.private)

    def sealed_by(self, sealer: Sealer) -> Pair:
        """The same, with a new pre-shared key."""
        return replace(self, preshared=sealer.make(self.public))

    @property
    def ciphertext(self) -> str:
        """Of the pre-shared key, for the registry; empty where there is none."""
        return self.preshared.ciphertext if self.preshared else ""

    @property
    def secrets(self) -> Secrets:
        """What goes into the config and nowhere else."""
        from client.config import Secrets

        return Secrets(self.private, self.preshared.clear if self.preshared else None)

    def __repr__(self) -> str:
        """Without the private half: a repr ends up in logs and tracebacks."""
        return f"Pair({self.public!r})"


# ------------------------------------------------------------------ arguments


def outputs_of(args: argparse.Namespace) -> list[Path]:
    """The files that a config is wanted in."""
    return [path for path in (args.out, args.png) if path]


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse outputs that contradict each other."""
    if args.public_key and (args.qr or args.png):
        raise Refusal(
            "--public-key with --qr or --png",
            "a code without the private key is of no use",
            "take --out, and fill the key in where it is",
        )
    if args.json and args.qr:
        raise Refusal("--json with --qr", "both print on stdout", "take --png or --out")
    if not args.public_key:
        refuse_lost(args, "private key")
    if args.preshared_key:
        refuse_lost(args, "pre-shared key")
    if args.out and args.png and args.out.absolute() == args.png.absolute():
        raise Refusal(f"output {args.png}", "is named twice", "name two files")


def refuse_lost(args: argparse.Namespace, what: str) -> None:
    """Refuse what would make a secret and print it nowhere."""
    if args.json and not outputs_of(args):
        raise Refusal("--json", f"prints no {what}, which would be lost", "add --out FILE")


def key_checks(args: argparse.Namespace) -> list[Callable[[], object]]:
    """The checks of what `add` and `rotate` have in common."""
    return [
        lambda: validation.stack_name(args.stack),
        lambda: validation.peer_name(args.name),
        lambda: None if args.public_key is None else validation.public_key(args.public_key),
        lambda: check_outputs(args),
        *(lambda path=path: refuse_unusable(path) for path in outputs_of(args)),
    ]


# ------------------------------------------------------------------ commands


def add(args: argparse.Namespace) -> None:
    """Register a peer and hand out its config."""
    now = datetime.now(UTC)
    expires, *_ = check(
        lambda: None if args.expires is None else validation.expiry(args.expires, now),
        lambda: validation.owner(args.owner),
        *(lambda text=text: allow.parse(text) for text in args.allow),
        *key_checks(args),
    )
    from commands.stacks import connect
    from registry.environment import explained
    from registry.operators import NewPeer

    with explained():
        stack = connect(args.stack)
        (rules,) = check(lambda: allow.rules(args.allow, stack.environment.reach))
        pair = Pair.of(args)
        if args.preshared_key:
            pair = pair.sealed_by(stack.sealer)
        new = NewPeer(args.name, pair.public, args.owner, expires, rules, pair.ciphertext)
        caller = stack.caller

        def write(stage: Callable[[Peer], None]) -> Peer:
            return stack.registry.add_peer(
                new,
                pool=stack.environment.client_pool,
                caller=caller,
                stage=stage,
                confirmed=stack.confirmed,
            )

        hand_out(args, stack, pair, write)


def rotate(args: argparse.Namespace) -> int:
    """Give a peer a new key, hand out its config, and wait until the old key is refused."""
    check(*key_checks(args))
    from commands.confirming import complain, confirm
    from commands.stacks import connect
    from registry.confirmation import Awaited
    from registry.environment import explained

    with explained():
        stack = connect(args.stack)
        former = stack.wanted(args.name)
        if former.public_key == args.public_key:
            raise Refusal(
                f"public key {args.public_key!r}",
                f"is the key that {args.name} has",
                "make a new pair with `wg genkey`",
            )
        pair = Pair.of(args)
        if bool(former.preshared) if args.preshared_key is None else args.preshared_key:
            refuse_lost(args, "pre-shared key")
            pair = pair.sealed_by(stack.sealer)
        caller = stack.caller
        epochs: list[str] = []

        def write(stage: Callable[[Peer], None]) -> Peer:
            altered = stack.registry.alter_peer(
                args.name,
                lambda peer: replace(peer, public_key=pair.public, preshared=pair.ciphertext),
                action="rotate",
                caller=caller,
                stage=stage,
            )
            epochs.append(altered.epoch)
            return altered.peer

        peer = hand_out(args, stack, pair, write, rotated=True)
        if args.no_wait:
            return DONE
        try:
            awaited = Awaited(peer.generation, epochs[-1])
            waited = confirm(stack, awaited, began=args.began, timeout=args.timeout, quiet=True)
        except KeyboardInterrupt as err:
            raise Interrupted(
                f"interrupted: {args.name} has its new key, but not every gateway has confirmed "
                "that the old one is refused"
            ) from err
    if waited.complete:
        seconds = max((answer.seconds for answer in waited.answers.values()), default=0.0)
        tell(f"the old key is refused by all {len(waited.answers)} gateways after {seconds:.2f} s")
        return DONE
    complain("peers", stack, waited, f"the old key of {args.name} is refused")
    return FAILED


# ------------------------------------------------------------------ the config


def hand_out(
    args: argparse.Namespace,
    stack: Stack,
    pair: Pair,
    write: Callable[[Callable[[Peer], None]], Peer],
    *,
    rotated: bool = False,
) -> Peer:
    """Register the key by `write`, and put the config where it is wanted."""
    from client.enrolment import Handover, Outputs, enrol
    from client.interrupts import held

    generation, server_public_key = stack.server_key()
    with held() as hold:
        peer, tunnel = enrol(
            write,
            stack.environment,
            Handover(args.name, pair.public, pair.secrets, rotated),
            key_generation=generation,
            server_public_key=server_public_key,
            outputs=Outputs(args.out, args.png),
            hold=hold,
        )
        tell(f"{peer.name} may enter as {peer.address}" + (" with its new key" if rotated else ""))
        try:
            print_config(args, peer, tunnel, pair.secrets)
        except (OSError, KeyboardInterrupt) as err:
            if outputs_of(args) or not pair.secrets:
                raise
            silence()
            cure = "rotate its key again" if rotated else "add another peer in its place"
            which = "private key" if pair.private else "pre-shared key"
            lost = f"the {which} of {peer.name} is lost; {cure}"
            raise Unsettled([f"stdout: {err or 'interrupted'}: {lost}"]) from err
    _remark(args, stack, peer, pair)
    return peer


def print_config(args: argparse.Namespace, peer: Peer, tunnel: Tunnel, secrets: Secrets) -> None:
    """What is due on stdout."""
    from client import config, describe, qr

    files = [str(path) for path in outputs_of(args)]
    if args.json:
        described = describe.peer_json(peer, datetime.now(UTC))
        facts = {"stack": args.stack, "peer": described, "files": files}
        print_json({**facts, **describe.tunnel_json(tunnel)})
    elif args.qr:
        code = config.render(tunnel, secrets, comments=False)
        print_utf8(qr.terminal(code, colour=sys.stdout.isatty()))
    elif not files:
        print_utf8(config.render(tunnel, secrets))


def _remark(args: argparse.Namespace, stack: Stack, peer: Peer, pair: Pair) -> None:
    from client import config

    held = ["private key"] if pair.private else []
    held += ["pre-shared key"] if pair.preshared else []
    if held:
        what = " and the ".join(held)
        tell(*(f"{path} holds the {what}, the only copy" for path in outputs_of(args)))
    if args.out and not WG_QUICK_NAME.fullmatch(args.out.name):
        tell(f"wg-quick wants at most 15 characters and .conf: rename {args.out.name} for it")
    for server in stack.environment.dns.servers:
        if not config.reaches_resolver(stack.environment, peer, server):
            tell(
                f"{peer.name} may not reach the resolver {server}, so its config does not name it; "
                f"--allow {server}:udp/53 lets it"
            )
