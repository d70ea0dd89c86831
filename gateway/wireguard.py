"""WireGuard's devices: parsing `wg show all dump`, building `wg set`. Pure.

A private or pre-shared key never stands in a command: `wg set` reads it from a file that only root
can open.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from gateway.preshared import fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address
    from pathlib import Path

    from gateway.preshared import Preshared

Keys: TypeAlias = "Mapping[str, Preshared]"
"""Pre-shared keys by public key."""

NO_KEYS: Keys = {}

DUMP = ("wg", "show", "all", "dump")

BATCH = 250
"""Peers in one `wg set`: about 25 KB of arguments, and the agent's watchdog is fed in between."""

_DEVICE_FIELDS = 5
_PEER_FIELDS = 9


@dataclass(frozen=True, slots=True)
class DevicePeer:
    """A peer as the device has it. There may be thousands: it is kept small."""

    public_key: str
    allowed_ips: tuple[str, ...]
    endpoint: str = ""
    latest_handshake: int = 0
    """Epoch seconds; 0 is never."""
    received: int = 0
    """Bytes."""
    sent: int = 0
    """Bytes."""
    preshared: str = ""
    """Fingerprint of its pre-shared key (gateway.preshared); empty is none."""


@dataclass(frozen=True)
class Device:
    """A WireGuard interface as `wg` shows it, without its private key."""

    name: str
    public_key: str
    """Empty while it has no key."""
    port: int
    peers: Mapping[str, DevicePeer] = field(default_factory=dict)
    holds: Mapping[str, IPv4Address] | None = field(default=None, compare=False)
    """The wanted peers that `peers` was found to agree with: thousands are not compared again."""


def parse_dump(text: str) -> dict[str, Device]:
    """Devices by name from `wg show all dump` (tab separated; the format is wg(8)'s).

    The private and pre-shared keys in it are dropped here. Raises `ValueError` on lines of another
    form.
    """
    heads: dict[str, tuple[str, int]] = {}
    peers: dict[str, dict[str, DevicePeer]] = {}
    for line in text.splitlines():
        name, *words = line.split("\t")
        if len(words) + 1 == _DEVICE_FIELDS:
            heads[name] = ("" if words[1] == "(none)" else words[1], int(words[2]))
            peers[name] = {}
        elif len(words) + 1 == _PEER_FIELDS and name in peers:
            peers[name][words[0]] = _peer(words)
        else:
            raise ValueError(f"wg show all dump: a line with {len(words) + 1} fields")
    return {name: Device(name, key, port, peers[name]) for name, (key, port) in heads.items()}


class DumpReader:
    """Parses dumps; one that is the same as the last one, as on an idle gateway, costs little.

    It remembers a digest and not the text, which has the private keys in it.
    """

    def __init__(self) -> None:
        self._digest, self._devices = b"", dict[str, Device]()

    def read(self, text: str) -> dict[str, Device]:
        """The devices in it. Raises `ValueError`."""
        digest = hashlib.sha256(text.encode()).digest()
        if digest != self._digest:
            self._devices, self._digest = parse_dump(text), digest
        return self._devices


def _peer(words: list[str]) -> DevicePeer:
    public_key, preshared, endpoint, allowed, handshake, received, sent, _keepalive = words
    return DevicePeer(
        public_key=public_key,
        allowed_ips=() if allowed == "(none)" else tuple(sorted(allowed.split(","))),
        endpoint="" if endpoint == "(none)" else endpoint,
        latest_handshake=int(handshake),
        received=int(received),
        sent=int(sent),
        preshared="" if preshared == "(none)" else fingerprint(preshared),
    )


def dump_one(interface: str) -> tuple[str, ...]:
    """Command that lists one device with its peers."""
    return ("wg", "show", interface, "dump")


def pick(text: str, public_keys: Collection[str]) -> dict[str, DevicePeer]:
    """Some peers from `wg show INTERFACE dump`; the others, and the private key, are not parsed."""
    found: dict[str, DevicePeer] = {}
    for line in text.splitlines():
        words = line.split("\t")
        if len(words) + 1 == _PEER_FIELDS and words[0] in public_keys:
            found[words[0]] = _peer(words)
    return found


def forgotten(device: Device, public_keys: Collection[str]) -> Device:
    """The device after these peers were removed and put back, without looking at it."""
    peers = dict(device.peers)
    for key in public_keys:
        if key in peers:
            before = peers[key]
            peers[key] = DevicePeer(key, before.allowed_ips, preshared=before.preshared)
    return replace(device, peers=peers)


HANDSHAKES = ("wg", "show", "all", "latest-handshakes")
"""(`wg show all endpoints` is no such table: it names the interface before the first peer only.)"""


def parse_handshakes(text: str) -> dict[tuple[str, str], int]:
    """(interface, public key) -> epoch seconds of the last handshake, 0 if there was none.

    Raises `ValueError` on lines of another form.
    """
    found: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        interface, public_key, when = line.split("\t")
        found[interface, public_key] = int(when)
    return found


@dataclass(frozen=True)
class PeerChanges:
    """What to do to one device's peers, and to no other peer of it."""

    remove: tuple[str, ...] = ()
    """They come first: whoever is put too is made anew, and no session of before goes on."""
    put: tuple[tuple[str, IPv4Address], ...] = ()
    preshared: Keys = field(default_factory=dict)
    """Of those that are put: public key -> pre-shared key."""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.remove or self.put)


def differences(
    wanted: Mapping[str, IPv4Address], device: Device | None, preshared: Keys = NO_KEYS
) -> PeerChanges:
    """From the peers a device has to the wanted ones (public key -> tunnel address).

    `preshared` are the wanted ones' pre-shared keys. One with another than it should have is made
    anew: WireGuard would go on with the session that it has.
    """
    there = device.peers if device else {}
    if device is not None and device.holds is wanted:
        return PeerChanges()
    stale = {key for key, peer in there.items() if peer.preshared != _fingerprint(preshared, key)}
    put = tuple(
        (key, address)
        for key, address in wanted.items()
        if key not in there or key in stale or there[key].allowed_ips != (f"{address}/32",)
    )
    return PeerChanges(
        remove=tuple(key for key in there if key not in wanted or key in stale),
        put=put,
        preshared=only(preshared, put),
    )


def only(preshared: Keys, put: Iterable[tuple[str, IPv4Address]]) -> Keys:
    """The pre-shared keys of those that are put."""
    return {key: preshared[key] for key, _address in put if key in preshared}


def _fingerprint(preshared: Keys, key: str) -> str:
    return preshared[key].fingerprint if key in preshared else ""


def set_key(interface: str, key_file: Path) -> tuple[str, ...]:
    """Command that gives the device its private key."""
    return ("wg", "set", interface, "private-key", str(key_file))


def set_port(interface: str, port: int) -> tuple[str, ...]:
    """Command that makes the device listen."""
    return ("wg", "set", interface, "listen-port", str(port))


def changed(device: Device, changes: PeerChanges) -> Device:
    """The device after `changes`, without looking at it."""
    peers = {key: peer for key, peer in device.peers.items() if key not in set(changes.remove)}
    for key, address in changes.put:
        allowed = (f"{address}/32",)
        peers[key] = replace(
            peers.get(key) or DevicePeer(key, allowed),
            allowed_ips=allowed,
            preshared=_fingerprint(changes.preshared, key),
        )
    return replace(device, peers=peers)


def remove_peers(interface: str, changes: PeerChanges) -> Iterator[tuple[str, ...]]:
    """Commands for what goes. They come first: an address may go from one key to another."""
    return set_peers(interface, [("peer", key, "remove") for key in changes.remove])


def put_peers(interface: str, changes: PeerChanges) -> Iterator[tuple[str, ...]]:
    """Commands for what comes or gets another address."""
    return set_peers(
        interface,
        [
            ("peer", key, *preshared_words(changes.preshared, key), "allowed-ips", f"{address}/32")
            for key, address in changes.put
        ],
    )


def preshared_words(preshared: Keys, key: str) -> tuple[str, ...]:
    """For `wg set`, of a peer that is made; nothing where it has no pre-shared key."""
    return ("preshared-key", str(preshared[key].file)) if key in preshared else ()


def set_peers(interface: str, steps: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Commands that do these steps in order, many in one request; a step is never cut in two."""
    for batch in _batches(steps):
        yield ("wg", "set", interface, *(word for step in batch for word in step))


def _batches(steps: Sequence[tuple[str, ...]]) -> Iterable[Sequence[tuple[str, ...]]]:
    return (steps[start : start + BATCH] for start in range(0, len(steps), BATCH))
