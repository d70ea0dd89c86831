"""A stream of pings beside which something is done, and its longest gap."""

from __future__ import annotations

import itertools
import re
import threading
from typing import TYPE_CHECKING, Self

from lab_driver import HOST, eventually

if TYPE_CHECKING:
    from lab_driver import LabDriver

EVERY = 0.1
"""Seconds."""

LONGEST_GAP = 1.0
"""Seconds that a planned replacement may cost a client."""


class Pings:
    """Pings of one client through its tunnel, from `with` to its end."""

    def __init__(self, lab: LabDriver, client: str, *, at_most: int) -> None:
        self._lab, self._client, self._at_most = lab, client, at_most
        self._stop = f"/tmp/stop-pings-{client}"
        self._out = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers: list[float] = []
        """Epoch seconds."""

    def _run(self) -> None:
        # ended by signal, so that it prints nothing half
        script = (
            f"rm -f {self._stop}; ping -D -O -i {EVERY} -w {self._at_most} {HOST} & p=$!; "
            f"while kill -0 $p 2>/dev/null && [ ! -e {self._stop} ]; do sleep 0.2; done; "
            f"kill -INT $p 2>/dev/null; wait $p; rm -f {self._stop}"
        )
        ran = self._lab.on(
            self._client, "sh", "-c", script, timeout=self._at_most + 60, check=False
        )
        self._out = ran.stdout

    def __enter__(self) -> Self:
        self._lab.answered(self._client)
        self._thread.start()
        self._lab.on(self._client, "ping", "-c", "3", HOST)  # two seconds of the stream
        return self

    def __exit__(self, *_: object) -> None:
        self._lab.on(self._client, "touch", self._stop)
        self._thread.join(timeout=30)
        found = re.findall(r"^\[([\d.]+)\] \d+ bytes from", self._out, re.MULTILINE)
        self.answers = [float(at) for at in found]

    @property
    def longest_gap(self) -> float:
        """Seconds between two answers."""
        assert len(self.answers) > 10, "or there was nothing to cut off"
        return max(later - at for at, later in itertools.pairwise(self.answers))

    @property
    def lost(self) -> int:
        """Pings without an answer, the ones under way at the end among them."""
        return self._out.count("no answer yet")


def served_by(lab: LabDriver, client: str) -> str:
    """The gateway that a client's packets go through now: its counters rise."""
    key = lab.on(client, "wg", "show", client, "public-key").stdout.strip()

    def received() -> dict[str, int]:
        found = {}
        for gateway in lab.healthy():
            lines = lab.on(gateway, "wg", "show", "wg0", "transfer").stdout.splitlines()
            counts = {peer: int(number) for peer, number, _ in map(str.split, lines)}
            found[gateway] = counts.get(key, 0)
        return found

    def rising() -> str:
        before = received()
        lab.on(client, "ping", "-c", "10", "-i", "0.05", HOST, check=False)
        after = received()
        return next((name for name in after if after[name] - before.get(name, 0) > 1000), "")

    return eventually(f"a gateway that serves {client}", rising, within=60)
