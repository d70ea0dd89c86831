"""What every command does alike: exit statuses, messages, refusals, output.

stdout is for what was asked for, stderr for messages, one a line. Exit status: 0 done, 1 failed or
not confirmed, 2 usage or refused input (nothing was changed), 3 a plan that has changes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from client.delivery import Unsettled
from effects import Failed, Refusal
from registry.errors import RegistryError
from registry.refusals import RefusedInput, check  # noqa: F401 - every command takes check from here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST_WAIT = 3600
"""Seconds."""

DONE, FAILED, REFUSED, CHANGES, INTERRUPTED = 0, 1, 2, 3, 130

EPILOG = """\
exit status: 0 done, 1 failed or not confirmed, 2 usage or refused input (nothing was changed)

The stack is found by the SSM parameter /gatepair/STACK: AWS credentials and a region suffice.
The stack named lab is the local cloud on this machine.
"""


class Interrupted(Exception):  # noqa: N818 - it is an event: what it left is in the message
    """Ctrl-C after something may have been changed; the message says what to do about it."""


def run(
    program: str,
    parse: Callable[[Sequence[str]], argparse.Namespace],
    argv: Sequence[str],
) -> int:
    """Run one command and return its exit status.

    `parse` returns the arguments; their `module` and `function` are what to call with them. That
    returns an exit status, or None for done.
    """
    status, messages = DONE, []
    try:
        args = parse(argv)
        function = getattr(importlib.import_module(args.module), args.function)
        status = function(args) or DONE
        sys.stdout.flush()
    except SystemExit as leaving:  # argparse has printed help or usage
        status = leaving.code if isinstance(leaving.code, int) else REFUSED
    except RefusedInput as err:
        status, messages = REFUSED, err.faults
    except Refusal as err:
        status, messages = REFUSED, [err]
    except BrokenPipeError:
        silence()
        status, messages = FAILED, ["stdout was closed before everything was printed"]
    except Unsettled as err:
        status, messages = FAILED, err.messages
    except (RegistryError, Failed, OSError) as err:
        status, messages = FAILED, [err]
    except ModuleNotFoundError as err:
        status, messages = FAILED, [f"{err.name} is not installed; run scripts/install"]
    except Interrupted as err:
        status, messages = INTERRUPTED, [err]
    except KeyboardInterrupt:
        status, messages = INTERRUPTED, ["interrupted, nothing was changed"]
    tell(program, *messages)
    return status


def common_arguments() -> argparse.ArgumentParser:
    """What may stand before and behind every command's name."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--stack", default=argparse.SUPPRESS, help="environment to work on (required)"
    )
    common.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON on stdout"
    )
    return common


def parsed(
    parser: argparse.ArgumentParser, argv: Sequence[str], began: float
) -> argparse.Namespace:
    """The arguments, `began` (the command's start, monotonic seconds) among them."""
    args = parser.parse_args(argv)
    args.json = getattr(args, "json", False)
    args.began = began
    if not hasattr(args, "stack"):
        parser.error("--stack is missing: name the environment, such as --stack lab")
    return args


def time_limit(text: str) -> float:
    """Seconds. Raises `argparse.ArgumentTypeError`."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number <= LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 3600")
    return number


def process_start() -> float:
    """When this process started, in monotonic seconds: imports are part of what a command takes.

    Linux says it (proc(5), field 22 of stat); elsewhere it is now.
    """
    now = time.monotonic()
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return now
    return now - max(0.0, age)


def tell(program: str, *messages: object) -> None:
    """Messages to stderr, one a line."""
    for message in messages:
        print(f"{program}: {message}", file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """One JSON value, as people can read it too."""
    print_utf8(json.dumps(value, indent=2) + "\n")


def print_utf8(text: str) -> None:
    """Text with any characters, whatever the locale says stdout takes."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()


def silence() -> None:
    """Send what is left for a closed stdout nowhere: python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
