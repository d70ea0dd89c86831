"""Measure a deployed stack as its clients feel it, and print what the benches print in the lab.

failover  a gateway is terminated without an operating system's shutdown, again and again
drain     a gateway is drained, as before a planned replacement
roaming   every client's port changes, so that the load balancer sends it wherever it likes

Clients are made on this machine, as peers live-check-N that may ping --target and nothing else and
expire by themselves after two hours; they are revoked at the end. This machine has to be outside of
the VPC, as a laptop is, with `ip` and `wg`, and with WireGuard in its kernel or wireguard-go.
Without --yes it asks first. docs/live-check.md says what is measured, and who may.
"""

# ruff: noqa: PLC0415 - boto3 and the benches only once the arguments are good

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from functools import partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import CHANGES, DONE, FAILED, Interrupted, check, print_utf8
from effects import Refusal
from registry import local_cloud, validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.stack import Stack

MEASUREMENTS = ("failover", "drain", "roaming")

EPILOG = f"""\
With --plan it says what it would do, and exits 3.

{terminal.EPILOG}"""

MOST_CLIENTS = 100
MOST_ROUNDS = 50
CLIENTS, ROUNDS = 20, 6
"""Twenty clients, six times, are the hundred samples and more that a p99 needs."""

tell = partial(terminal.tell, "live-check")


# ------------------------------------------------------------------ arguments


def main(argv: Sequence[str], began: float | None = None) -> int:
    """Run the command and return its exit status; `began` is its start, in monotonic seconds."""
    began = time.monotonic() if began is None else began
    return terminal.run("live-check", lambda words: parse(words, began), argv)


def parse(argv: Sequence[str], began: float = 0.0) -> argparse.Namespace:
    """The arguments; `module` and `function` are what to call. Leaves by SystemExit as argparse."""
    parser = argparse.ArgumentParser(
        prog="live-check",
        description=__doc__,
        epilog=EPILOG,
        parents=[terminal.common_arguments()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(module="commands.live_check", function="live_check")
    parser.add_argument("measurement", choices=MEASUREMENTS, help="what is done to the gateways")
    parser.add_argument(
        "--target",
        metavar="ADDRESS",
        help="host behind the gateways that answers pings; for the lab it is known",
    )
    parser.add_argument(
        "--clients",
        type=partial(_whole, most=MOST_CLIENTS),
        default=CLIENTS,
        help=f"that ping every 0.1 s; default {CLIENTS}",
    )
    parser.add_argument(
        "--rounds",
        type=partial(_whole, most=MOST_ROUNDS),
        default=ROUNDS,
        help=f"how often; default {ROUNDS}",
    )
    parser.add_argument(
        "--plan", action="store_true", help="say what would be done, and do nothing"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--although-protected",
        action="store_true",
        help="also on a stack with `protect: true`, which is somebody's production",
    )
    return terminal.parsed(parser, argv, began)


def _whole(text: str, most: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
    return int(text)


# ------------------------------------------------------------------ the command


def live_check(args: argparse.Namespace) -> int:
    """Say what would be done, or do it and print the report."""
    check(lambda: validation.stack_name(args.stack), lambda: _target(args))
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        stack = connect(args.stack)
        check(lambda: _reachable(args, stack), lambda: _unprotected(args, stack))
        gateways = _gateways(args, stack)
    lines = plan(args, gateways)
    if args.plan:
        print_utf8("".join(f"{line}\n" for line in lines))
        return CHANGES
    check(_able)
    tell(*lines)
    _confirm(args)
    from bench import live_rounds
    from bench.command import NotMeasured, progress

    try:
        report = live_rounds.measure(stack, args, progress("live-check"))
    except NotMeasured as err:
        tell(f"not measured: {err}")
        return FAILED
    except KeyboardInterrupt as err:
        raise Interrupted("interrupted: what it had begun is taken back as far as said") from err
    print_utf8((report.as_json() if args.json else "\n".join(report.table())) + "\n")
    return DONE


def plan(args: argparse.Namespace, gateways: Sequence[str]) -> list[str]:
    """What it would do, one step a line. Pure."""
    names = ", ".join(gateways)
    times = "once" if args.rounds == 1 else f"{args.rounds} times in turn"
    alone = "drains all gateways but one, takes that back, and"
    done, felt = {
        "failover": (
            f"{alone} TERMINATES the one that everybody is on; Auto Scaling launches another",
            "all are silent until the load balancer has moved them",
        ),
        "drain": (f"{alone} drains the one that everybody is on", "all go to and fro"),
        "roaming": ("changes the port of each of its own clients", "nobody feels anything"),
    }[args.measurement]
    return [
        f"adds {args.clients} peers to stack {args.stack}, which may ping {args.target}",
        f"{times}: {done} (now there are {names})",
        f"of the people who work through this stack {felt}",
        "revokes those peers",
    ]


# ------------------------------------------------------------------ refusals


def _target(args: argparse.Namespace) -> None:
    if args.target is None and args.stack == local_cloud.STACK:
        from bench.live_clients import LAB_TARGET

        args.target = LAB_TARGET
    try:
        args.target = IPv4Address(args.target or "")
    except ValueError as err:
        raise Refusal(
            f"--target {args.target}",
            "not the IPv4 address of a host that clients can ping",
            "name one in the VPC whose security group lets ICMP in from the gateways",
        ) from err


def _reachable(args: argparse.Namespace, stack: Stack) -> None:
    reach = stack.environment.reach
    if not any(args.target in network for network in reach):
        raise Refusal(
            f"--target {args.target}",
            "clients of this stack cannot reach it",
            f"name a host in {', '.join(map(str, reach))}",
        )


def _unprotected(args: argparse.Namespace, stack: Stack) -> None:
    """`protect: true` is what the program gives the table its deletion protection by."""
    table = stack.environment.table
    answer = stack.cloud.client("dynamodb").describe_table(TableName=table)
    if answer["Table"].get("DeletionProtectionEnabled") and not args.although_protected:
        raise Refusal(
            f"stack {args.stack}",
            "it is protected: people work through it",
            "measure another one, or add --although-protected",
        )


def _gateways(args: argparse.Namespace, stack: Stack) -> list[str]:
    """Ids of those that are healthy. Raises `Refusal` unless all is well, with two of them."""
    from registry.situation import look

    situation = look(stack)
    if not situation.well or len(situation.gateways) < 2:  # noqa: PLR2004 - one has to survive
        raise Refusal(
            f"stack {args.stack}",
            "not all of its gateways are healthy and up to date, or there are fewer than two",
            f"see `scripts/gateways --stack {args.stack} list`, and wait until they are",
        )
    return [one.member.instance_id for one in situation.gateways]


def _able() -> None:
    """Whether this machine can be the clients' side."""
    missing = [name for name in ("ip", "wg", "nsenter") if shutil.which(name) is None]
    if missing:
        raise Refusal(
            "this machine", f"{', '.join(missing)} missing", "install iproute2 and wireguard-tools"
        )
    if os.geteuid() != 0:
        raise Refusal(
            "this machine", "clients' network namespaces need root", "run it with sudo -E"
        )


def _confirm(args: argparse.Namespace) -> None:
    """Have the stack's name typed, unless --yes."""
    if args.yes:
        return
    cure = "add --yes once you have read the plan"
    if not sys.stdin.isatty():
        raise Refusal("confirmation", "nobody is there to give it", cure)
    sys.stderr.write(f"live-check: type {args.stack} to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != args.stack:
        raise Refusal("confirmation", "another word was typed", cure)
