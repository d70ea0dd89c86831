"""How many records there may be: a flood of connections must not cost a fortune, nor push other
clients' records out. Pure.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address


@dataclass(frozen=True)
class Rate:
    """Records a second in the long run, and how many may come at once."""

    rate: float
    burst: float


CLIENT = Rate(50, 5_000)
"""Of one client: a browser opens some hundred connections with a page, a port scan 65,535."""
GATEWAY = Rate(200, 20_000)
"""Of all: at 350 bytes a record 6 GB a day, about 3.50 US dollars at most (docs/audit.md)."""

MOST_BUCKETS = 4096
"""Buckets after which full ones, which say nothing, are thrown away."""

LIMIT, KERNEL, QUEUE, REFUSED = "limit", "kernel", "queue", "refused"
"""Why a record was left out: too many; the kernel had more events than could be read; the queue on
disk is full or cannot be written; CloudWatch Logs does not take it."""
REASONS = (LIMIT, KERNEL, QUEUE, REFUSED)


class Bucket:
    """A token bucket, full at first."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate, self._tokens, self._at = rate, rate.burst, now

    def fill(self, now: float) -> float:
        """What is in it at `now` (monotonic seconds)."""
        grown = self._tokens + (now - self._at) * self._rate.rate
        self._tokens, self._at = min(self._rate.burst, grown), now
        return self._tokens

    def take(self) -> None:
        """One out of it."""
        self._tokens -= 1

    def full(self, now: float) -> bool:
        """Whether it is as good as new."""
        return self.fill(now) >= self._rate.burst


class Limits:
    """Whether one more record may be written."""

    def __init__(self, now: float, client: Rate = CLIENT, gateway: Rate = GATEWAY) -> None:
        self._client, self._all = client, Bucket(gateway, now)
        self._clients: dict[IPv4Address, Bucket] = {}

    def allow(self, client: IPv4Address, now: float) -> bool:
        """Takes one if there is one; a client over its own limit takes nothing from the others."""
        bucket = self._clients.get(client)
        if bucket is None:
            if len(self._clients) >= MOST_BUCKETS:
                self._clients = {
                    who: other for who, other in self._clients.items() if not other.full(now)
                }
            bucket = self._clients[client] = Bucket(self._client, now)
        if bucket.fill(now) < 1 or self._all.fill(now) < 1:
            return False
        bucket.take()
        self._all.take()
        return True


class LeftOut:
    """Connections without a record, until that is said. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: Counter[tuple[IPv4Address | None, str]] = Counter()
        self._totals = Counter(dict.fromkeys(REASONS, 0))

    def add(self, why: str, count: int = 1, client: IPv4Address | None = None) -> None:
        """Note some."""
        if count:
            with self._lock:
                self._since[client, why] += count
                self._totals[why] += count

    def owe(self, why: str, count: int, client: IPv4Address | None) -> None:
        """What was taken could not be said."""
        with self._lock:
            self._since[client, why] += count

    def take(self) -> list[tuple[IPv4Address | None, str, int]]:
        """What has not been said yet: client, reason, how many."""
        with self._lock:
            found = [(client, why, count) for (client, why), count in self._since.items()]
            self._since.clear()
        return found

    @property
    def totals(self) -> dict[str, int]:
        """By reason, since the start."""
        with self._lock:
            return dict(self._totals)
