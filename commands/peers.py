"""Who may enter: let peers in, cut them off, look at them, print their tunnel configs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = terminal.EPILOG

ADD = """\
Let a peer in.

A key pair is made here, and the private key goes into the config and nowhere else: to FILE with
--out (mode 0600), to the screen with --qr, to a picture with --png; with none of them the config is
printed on stdout. With --public-key the private key never leaves its owner's machine, and the
config has a placeholder for it. No file is ever overwritten.

With --preshared-key a secret of the peer and the gateways joins every handshake; it is made here
too, goes into the config, and is registered encrypted, for gateways alone to read.
"""

REVOKE = """\
Cut a peer off on every gateway, and wait for the proof.

Its key never comes back, its open connections are cut. Prints each gateway's confirmation and the
seconds since the command began. A gateway that does not confirm is named, and the exit status is 1;
the peer is revoked all the same. Called again, it waits again.
"""

EXTEND = """\
Set when a peer's access ends: later, earlier, or never. Its tunnel goes on undisturbed.
"""

ROTATE = """\
Give a peer a new key, under the same name, address and rules.

What its user notices: the tunnel falls silent within seconds, without an error, until the new
config is in its place (wg-quick: down, replace the file, up; in an app: delete the tunnel, scan the
new code). The tunnel address stays, so connections that bear a pause go on. The old key is revoked
and never comes back; the command waits until every gateway refuses it, as `revoke` does. A peer
with a pre-shared key gets a new one.
"""

CONFIG = """\
Print a peer's config as it should be now, with the newest server key.

The private key is its owner's alone, and a placeholder stands for it; with --private-key the config
is complete. A pre-shared key can be read again by gateways only, so it has to come from the old
config. What its user notices: one reconnect, when the new config takes the old one's place
(wg-quick: down, replace the file, up; in an app: edit the tunnel, or scan the code as a new one).
"""

AUDIT = """\
Print who changed what and who reached what, oldest first.

Of one peer, also a revoked one, or of all.

Changes are the registry's, all of them unless --since is given. Connections are what the gateways
recorded (docs/audit.md), of the last day unless --since is given; it goes by a connection's end. To
read them takes the policy gatepair-STACK-auditor; with --changes-only they are not asked for.
"""

APPLY = """\
Make the registry what a file says: peers as code.

The file names every peer that may enter; whoever is not in it is cut off. With --plan nothing is
changed, and the exit status is 3 when there is something to do. Applies removals first, then
changes, then additions, one by one; after Ctrl-C or a failure call it again. Private keys never
come near it:

  peers:
    alice-laptop:
      public_key: (what `wg pubkey` printed)
      owner: alice@example.com         # optional, as all that follows
      expires: 2027-01-31              # the last day, in UTC
      allow: ["10.20.3.0/24:tcp/5432"]
      preshared_key: true              # made here; its config goes to the directory of --out
"""

RESTORE = """\
Make the registry what it was at a past moment, less what was taken away since.

Restores the table by point-in-time recovery into another one beside it (on AWS that takes many
minutes), compares, and copies what differs into the live table, under a new epoch that makes every
gateway read it anew. Sessions of peers that stay go on. Nothing that was taken away since comes
back: revoked peers stay out, old keys stay refused, access that was shortened or narrowed stays so.
Peers that were let in since are removed. With --plan nothing is changed, and the exit status is 3
when there is something to do.

What has happened since is read from the live table; with --from-archive from the copy outside it,
for a table that was emptied or is damaged. After Ctrl-C or a failure call it again: until it has
finished, gateways keep the peers they have, and no peer can be changed.
"""

APPLY_EPILOG = EPILOG.replace(
    "2 usage or refused input (nothing was changed)",
    "2 usage or refused\ninput (nothing was changed), 3 a plan that has changes",
)


def main(argv: Sequence[str], began: float | None = None) -> int:
    """Run one command and return its exit status; `began` is its start, in monotonic seconds."""
    began = time.monotonic() if began is None else began
    return terminal.run("peers", lambda words: parse(words, began), argv)


def parse(argv: Sequence[str], began: float = 0.0) -> argparse.Namespace:
    """The arguments; `module` and `function` are what to call. Leaves by SystemExit as argparse."""
    shape: dict[str, Any] = {
        "parents": [terminal.common_arguments()],
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = argparse.ArgumentParser(prog="peers", description=__doc__, epilog=EPILOG, **shape)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, module, function, text in (
        ("add", "access", "add", ADD),
        ("revoke", "revocation", "revoke", REVOKE),
        ("extend", "revocation", "extend", EXTEND),
        ("rotate", "access", "rotate", ROTATE),
        ("list", "views", "list_peers", "List the peers, those too whose access has expired."),
        ("show", "views", "show", "Show one peer."),
        ("config", "renewal", "show_config", CONFIG),
        ("audit", "auditing", "audit", AUDIT),
        ("apply", "application", "apply", APPLY),
        ("restore", "restoring", "restore", RESTORE),
    ):
        brief = text.partition(".")[0].partition(":")[0].lower()
        epilog = APPLY_EPILOG if name in ("apply", "restore") else EPILOG
        made[name] = commands.add_parser(name, help=brief, description=text, epilog=epilog, **shape)
        made[name].set_defaults(module=f"commands.{module}", function=function)
    for name in ("add", "revoke", "extend", "rotate", "show", "config"):
        made[name].add_argument("name", metavar="NAME", help="such as alice-laptop")
    made["audit"].add_argument("name", metavar="NAME", nargs="?", help="default all")
    made["audit"].add_argument(
        "--since", metavar="WHEN", help="12h, 30d, 2w, a day in UTC, or a moment with its zone"
    )
    made["audit"].add_argument(
        "--changes-only", action="store_true", help="leave the connections out"
    )
    for name in ("add", "rotate"):
        made[name].add_argument(
            "--public-key", metavar="KEY", help="what `wg pubkey` printed for its owner"
        )
    made["config"].add_argument(
        "--private-key",
        metavar="FILE",
        type=Path,
        help="its owner's private key, or an old config with it",
    )
    for name in ("add", "rotate", "config"):
        _output_arguments(made[name])
    for name in ("revoke", "rotate", "apply", "restore"):
        _waiting_arguments(made[name])
    _add_arguments(made["add"])
    made["rotate"].add_argument(
        "--preshared-key",
        action=argparse.BooleanOptionalAction,
        help="give it one, or take it away; default as it is",
    )
    made["extend"].add_argument(
        "--expires", metavar="WHEN", required=True, help="12h, 30d, 2w, a date in UTC, or never"
    )
    _apply_arguments(made["apply"])
    _restore_arguments(made["restore"])
    return terminal.parsed(parser, argv, began)


def _output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the config, mode 0600")
    parser.add_argument("--qr", action="store_true", help="print the config as a QR code")
    parser.add_argument("--png", metavar="FILE", type=Path, help="write the QR code, mode 0600")


def _waiting_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait until every gateway has confirmed"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=terminal.time_limit,
        default=30.0,
        help="how long to wait for that; default 30",
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preshared-key",
        action="store_true",
        help="make a pre-shared key too, if the stack has gatepair:presharedKeys",
    )
    parser.add_argument("--owner", default="", help="who answers for it, such as an e-mail address")
    parser.add_argument(
        "--expires",
        metavar="WHEN",
        help="12h, 30d, 2w, or the last day as a date in UTC (2027-01-31); default never",
    )
    parser.add_argument(
        "--allow",
        metavar="CIDR[:PROTO[/PORT]]",
        action="append",
        default=[],
        help="reach only this, such as 10.20.3.0/24:tcp/5432; may be given several times; "
        "default all that the stack lets peers reach",
    )


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="such as peers.yaml")
    parser.add_argument(
        "--plan", action="store_true", help="print what would be done; exit status 3 if anything"
    )
    parser.add_argument(
        "--allow-mass-removal",
        action="store_true",
        help="remove also when that is more than 3 peers and more than a fifth of them",
    )
    parser.add_argument(
        "--largest-removal",
        metavar="PERCENT",
        type=percent,
        default=20,
        help="how much of all peers a file may remove without that; default 20",
    )
    parser.add_argument(
        "--out",
        metavar="DIRECTORY",
        type=Path,
        help="write NAME.conf, mode 0600, for each peer that gets a pre-shared key",
    )


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", metavar="TIME", required=True, help="to the second, such as 2027-01-31T12:00:00Z"
    )
    parser.add_argument(
        "--plan", action="store_true", help="print what would be done; exit status 3 if anything"
    )
    parser.add_argument(
        "--from-archive",
        action="store_true",
        help="read what has happened since from the archive, not from the live table",
    )


def percent(text: str) -> int:
    """A share. Raises `argparse.ArgumentTypeError`."""
    if not text.isdecimal() or int(text) > 100:  # noqa: PLR2004 - that is what a percentage is
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 100")
    return int(text)
