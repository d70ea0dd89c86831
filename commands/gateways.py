"""The gateways of a stack: what they are, what they confirm, and how to cut one off."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from commands import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

LIST = """\
List the gateways: who is a member of the Auto Scaling group, what the load balancer thinks of each
key slot, which change of the registry it has applied, and whether that is the latest.
"""

FENCE = """\
Cut a gateway off, for good: when it does not confirm, it may still let revoked peers in.

Moves it to a security group without rules, so that no packet reaches it, then terminates it; Auto
Scaling launches another one. Waits until it is terminated. Without another healthy gateway this
would end every tunnel, and is refused without --force.
"""

WAIT = """\
Wait until every gateway is in service, healthy and up to date.
"""


def main(argv: Sequence[str], began: float | None = None) -> int:
    """Run one command and return its exit status; `began` is its start, in monotonic seconds."""
    began = time.monotonic() if began is None else began
    return terminal.run("gateways", lambda words: parse(words, began), argv)


def parse(argv: Sequence[str], began: float = 0.0) -> argparse.Namespace:
    """The arguments; `module` and `function` are what to call. Leaves by SystemExit as argparse."""
    shape: dict[str, Any] = {
        "epilog": terminal.EPILOG,
        "parents": [terminal.common_arguments()],
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = argparse.ArgumentParser(prog="gateways", description=__doc__, **shape)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, module, function, text in (
        ("list", "fleet", "list_gateways", LIST),
        ("wait", "fleet", "wait", WAIT),
        ("fence", "fencing", "fence", FENCE),
    ):
        brief = text.partition(".")[0].partition(":")[0].lower()
        made[name] = commands.add_parser(name, help=brief, description=text, **shape)
        made[name].set_defaults(module=f"commands.{module}", function=function)
    made["fence"].add_argument("id", metavar="ID", help="such as i-0123456789abcdef0")
    made["fence"].add_argument(
        "--force", action="store_true", help="also when no other gateway is healthy"
    )
    made["fence"].add_argument(
        "--no-wait", action="store_true", help="do not wait until it is terminated"
    )
    for name, limit in (("wait", 600.0), ("fence", 180.0)):
        made[name].add_argument(
            "--timeout",
            metavar="SECONDS",
            type=terminal.time_limit,
            default=limit,
            help=f"how long to wait; default {limit:.0f}",
        )
    return terminal.parsed(parser, argv, began)
