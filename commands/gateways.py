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
key slot, which change of the registry it has applied, whether that is the latest, and, in a routed
stack, the route tables whose route to the clients it holds.
"""

FENCE = """\
Cut a gateway off, for good: when it does not confirm, it may still let revoked peers in.

Moves it to a security group without rules, so that no packet reaches it, then terminates it; Auto
Scaling launches another one. Waits until it is terminated. Without another healthy gateway this
would end every tunnel, and is refused without --force.
"""

DRAIN = """\
Have a gateway hand its clients over: it fails its health checks, waits until the clients that are
on it have gone to others, and takes its interfaces down.

Returns when it has. It stays so for an hour, or until --withdraw. The last healthy gateway is not
drained. Ctrl-C takes the order back.
"""

REPLACE = """\
Replace a gateway, or all of them in turn: a new one is launched first, then the old one drains,
then it is terminated.

All of them is an instance refresh of the Auto Scaling group, by the group's own policy; Ctrl-C
cancels it, and what is replaced stays replaced. With --plan nothing is changed; it exits 3.
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
        ("drain", "draining", "drain", DRAIN),
        ("replace", "replacing", "replace", REPLACE),
        ("fence", "fencing", "fence", FENCE),
    ):
        brief = text.partition(".")[0].partition(":")[0].lower()
        made[name] = commands.add_parser(name, help=brief, description=text, **shape)
        made[name].set_defaults(module=f"commands.{module}", function=function)
    for name, number in (("fence", None), ("drain", None), ("replace", "?")):
        made[name].add_argument(
            "id", metavar="ID", nargs=number, help="such as i-0123456789abcdef0"
        )
    made["drain"].add_argument(
        "--withdraw", action="store_true", help="take the order back: it serves again"
    )
    made["replace"].add_argument(
        "--plan", action="store_true", help="say what would be done, and do nothing"
    )
    made["fence"].add_argument(
        "--force", action="store_true", help="also when no other gateway is healthy"
    )
    made["fence"].add_argument(
        "--no-wait", action="store_true", help="do not wait until it is terminated"
    )
    for name, limit in (
        ("wait", 600.0),
        ("fence", 180.0),
        ("drain", 240.0),
        ("replace", 1800.0),
    ):
        made[name].add_argument(
            "--timeout",
            metavar="SECONDS",
            type=terminal.time_limit,
            default=limit,
            help=f"how long to wait; default {limit:.0f}",
        )
    return terminal.parsed(parser, argv, began)
