"""A link between gateways whose datagrams stay here, and the clock by which it goes."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from gateway.gossip import Frame, seal
from gateway.gossip_link import Link

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = b"k" * 32
OTHER = IPv4Address("10.20.0.11")


class Clock:
    """Both clocks, moved by hand."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Quiet(Link):
    """The link of the gateway `i-1`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(9588, "boot-1", lambda: "i-1", clock, clock)
        self.clock, self.key, self.up = clock, KEY, True
        self.out: list[tuple[int, bytes, IPv4Address]] = []
        self.number = 0
        """Of the last datagram that was heard."""

    @property
    def ready(self) -> bool:
        return self.up

    def send(self, kind: int, body: bytes, to: Iterable[IPv4Address]) -> None:
        self.out += [(kind, body, address) for address in to]

    def sent(self) -> list[tuple[int, bytes, IPv4Address]]:
        """What was said since it was asked last: kind, body, to whom."""
        out, self.out = self.out, []
        return out

    def hear(
        self,
        kind: int,
        body: bytes,
        sender: str = "i-2",
        at: IPv4Address = OTHER,
        *,
        number: int = 0,
        boot: str = "boot-2",
    ) -> None:
        """A datagram of another gateway comes in, sealed with the stack's key.

        Without a number it has the next one.
        """
        self.number = number or self.number + 1
        sent = int(self.clock.now * 1000)
        frame = Frame(kind=kind, sender=sender, boot=boot, number=self.number, sent=sent, body=body)
        self.receive(seal(KEY, frame), at)
