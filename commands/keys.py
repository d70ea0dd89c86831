"""The server's key: which generations are served, and who still uses the old one."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from commands import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

STATUS = """\
Show the generations of the server's key: which are to be served, by which gateways they are, and,
while there are two, which peers still use the old one.

A peer uses the key that it shook hands with last, on whichever gateway. What a gateway has seen is
gone with it: a peer that was not here since may be one that nothing is known of.
"""

WAIT = """\
Wait until the old key may be retired: every gateway serves every generation, and nobody uses the
old one who was here within the last DAYS; with --all, every peer has used the new one.

With one generation, wait until every gateway serves that one and no other.
"""

BURN = """\
Forbid a generation of the server's key for good: its private key may be known to others.

Retire it first, by the stack file; then no gateway takes it back, whatever the stack file says.
Waits until no gateway serves it any more, and names those that still do.
"""

DAYS = 7.0
"""A laptop that was not opened for a week asks for a new config anyway."""


def main(argv: Sequence[str], began: float | None = None) -> int:
    """Run one command and return its exit status; `began` is its start, in monotonic seconds."""
    began = time.monotonic() if began is None else began
    return terminal.run("keys", lambda words: parse(words, began), argv)


def parse(argv: Sequence[str], began: float = 0.0) -> argparse.Namespace:
    """The arguments; `module` and `function` are what to call. Leaves by SystemExit as argparse."""
    shape: dict[str, Any] = {
        "epilog": terminal.EPILOG,
        "parents": [terminal.common_arguments()],
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = argparse.ArgumentParser(prog="keys", description=__doc__, **shape)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, function, text in (("status", "status", STATUS), ("wait", "wait", WAIT)):
        brief = text.partition(".")[0].partition(":")[0].lower()
        made[name] = commands.add_parser(name, help=brief, description=text, **shape)
        made[name].set_defaults(module="commands.rotation", function=function)
        made[name].add_argument(
            "--days",
            metavar="DAYS",
            type=days,
            default=DAYS,
            help=f"who was last here longer ago does not count; default {DAYS:.0f}",
        )
    brief = BURN.partition(":")[0].lower()
    made["burn"] = commands.add_parser("burn", help=brief, description=BURN, **shape)
    made["burn"].set_defaults(module="commands.burning", function="burn")
    made["burn"].add_argument("generation", metavar="N", type=generation, help="such as 7")
    made["wait"].add_argument(
        "--all", action="store_true", help="also those who have not been here at all"
    )
    for name, limit in (("wait", 600.0), ("burn", 30.0)):
        made[name].add_argument(
            "--timeout",
            metavar="SECONDS",
            type=terminal.time_limit,
            default=limit,
            help=f"how long to wait; default {limit:.0f}",
        )
    return terminal.parsed(parser, argv, began)


def generation(text: str) -> int:
    """The number of a key generation. Raises `argparse.ArgumentTypeError`."""
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a key generation")
    return int(text)


def days(text: str) -> float:
    """A number of days. Raises `argparse.ArgumentTypeError`."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number <= 3650:  # noqa: PLR2004 - ten years
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days up to 3650")
    return number
