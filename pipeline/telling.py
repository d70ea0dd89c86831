"""`pipeline target`: where a stack is deployed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commands.terminal import check, print_json, print_utf8
from pipeline import targets
from registry import validation

if TYPE_CHECKING:
    import argparse


def target(args: argparse.Namespace) -> None:
    """Print it."""
    check(lambda: validation.stack_name(args.stack))
    where = targets.of(args.stack, args.root)
    lines = list(targets.settings(where, targets.Role(args.role), args.root))
    if args.json:
        print_json({"stack": args.stack, **dict(line.split("=", 1) for line in lines)})
    else:
        print_utf8("\n".join(lines) + "\n")
