#!/usr/bin/env python3
"""Who may enter for a few more days only: one line each, and exit status 1 if there is somebody.

Run by .venv/bin/python, with AWS credentials that have the stack's policy `viewer`. It reads the
registry by the same functions as scripts/peers.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from commands.stacks import connect
from effects import Refusal
from registry.environment import explained
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.items import Peer

DAY = 86400


def expiring(peers: Iterable[Peer], now: float, days: int) -> list[tuple[Peer, int]]:
    """Peers whose access ends within so many days, the soonest first, with the days left. Pure.

    Who has expired already is not among them: there is nothing to be in time for.
    """
    found = [
        (peer, int((peer.expires - now) // DAY))
        for peer in peers
        if peer.expires is not None and now < peer.expires <= now + days * DAY
    ]
    return sorted(found, key=lambda one: (one[1], one[0].name))


def main(argv: Sequence[str]) -> int:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--days", type=int, default=14)
    args = parser.parse_args(argv)
    try:
        with explained():
            peers, _ = connect(args.stack).registry.peers()
    except (Refusal, RegistryError) as err:
        print(f"expiring: {err}", file=sys.stderr)
        return 2
    found = expiring(peers, time.time(), args.days)
    for peer, days in found:
        print(f"{peer.name}\t{peer.owner or '-'}\tin {days} days")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
