#!/usr/bin/env python3
"""gatepair's client helper: keeps a tunnel on the server's newest key, at an address that answers.

It runs as root beside a `wg-quick` tunnel, on Linux and macOS; one file, Python 3.9 or newer,
nothing to install. Through the tunnel it asks the gateway which keys are served. When there is a
newer one, it shakes hands with that beside the present one, then moves the tunnel over in one step,
proves that it works, and writes it into the config file. When the tunnel falls silent, it dials the
load balancer's next address.

What it trusts: an answer counts because it came through the tunnel, under the server key that is in
use. It never takes networks, routes or resolvers from it, and never prints a private key.

exit status: 0 done, 1 failed (with --once: not on the newest key), 2 refused
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import ipaddress
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Union

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SERVICE_PORT, SERVICE_PATH, SERVICE_VERSION = 9587, "/v1/server", 1
HTTP_OK = 200
LARGEST_ANSWER = 16384
"""Bytes; a gateway's has under 1000."""

INTERVAL = 60.0
"""Seconds between questions while all is well, drawn between half and one and a half of it: all
clients together must not be a burden."""
LOOK = 2.0
"""Seconds between looks at the tunnel."""
SOON, AT_ONCE = 1.0, 0.2
"""Seconds between looks while the tunnel is in doubt, and while a handshake is awaited."""

DOUBT = 3.0
"""Seconds: sent and heard nothing for so long, the tunnel is probed. A load balancer takes some ten
to leave a dead gateway; from then on the other one waits for the client's first word."""
ASK_LIMIT = 2.0
"""Seconds a question may take; it is said at once and after a second."""
NUDGE_EVERY, NUDGE_PORT = 0.25, 9
"""Seconds; the port of the discard service (RFC 863)."""
FAILURES = 2
"""Unanswered questions in a row, nothing else heard either: the tunnel is silent."""
PATIENCE, KEPT = 12.0, 4.0
"""Seconds an address is given to answer before the next one is dialled: with a new session, or with
the one there was."""
PROOF_FAILURES = 3
"""Unanswered questions after a move: it is taken back."""
AVOID = 600.0
"""Seconds before a key that did not work is tried again."""

KEEPALIVE = 25
"""Seconds, as in the configs that gatepair writes."""
KEEPALIVE_BYTES = 32
"""What WireGuard counts as sent for one."""
FRESH = 150
"""Seconds: a handshake that young is a session both sides still use (WireGuard rejects at 180)."""

LIMITS = (0.1, 86400.0)
"""Seconds an option may name."""

KEY_BYTES = 32
PORTS = range(1, 65536)


class Refused(Exception):
    """What is wrong, and what to do about it."""


class Silent(Exception):
    """The gateway gave no answer."""


# ---------------------------------------------------------------- the tunnel, as wg shows it


@dataclass(frozen=True)
class Peer:
    """One peer of the interface."""

    public_key: str
    endpoint: str
    """HOST:PORT, or empty."""
    allowed_ips: tuple[str, ...]
    handshake: int
    """Of the last one; epoch seconds, 0 is never."""
    received: int
    sent: int
    """Bytes."""
    keepalive: int
    """Seconds; 0 is off."""
    preshared: bool = False
    """Whether it has a pre-shared key; which one is asked only where it goes to another peer."""


@dataclass(frozen=True)
class Tunnel:
    """The interface. The keys that wg prints with it are dropped where it is parsed."""

    public_key: str
    peers: dict[str, Peer]

    def peer_of(self, address: str) -> Peer | None:
        """The peer that packets for `address` go to."""
        wanted = ipaddress.ip_address(address)
        found = [
            (network.prefixlen, peer)
            for peer in self.peers.values()
            for network in map(ipaddress.ip_network, peer.allowed_ips)
            if wanted in network
        ]
        return max(found, key=lambda one: one[0])[1] if found else None


def parse_dump(text: str) -> Tunnel:
    """From `wg show INTERFACE dump` (wg(8)): tab separated, the interface's own line first."""
    head, *lines = text.splitlines() or [""]
    _, own_key, *rest = *head.split("\t"), ""
    if len(rest) != len(("listen port", "mark", "")):
        raise Refused("wg show: a line of another form; is wireguard-tools older than 1.0?")
    peers = {}
    for line in lines:
        key, preshared, endpoint, allowed, handshake, received, sent, keepalive = line.split("\t")
        peers[key] = Peer(
            public_key=key,
            endpoint="" if endpoint == "(none)" else endpoint,
            allowed_ips=() if allowed == "(none)" else tuple(allowed.split(",")),
            handshake=int(handshake),
            received=int(received),
            sent=int(sent),
            keepalive=0 if keepalive == "off" else int(keepalive),
            preshared=preshared != "(none)",
        )
    return Tunnel(own_key, peers)


def at(host: str, port: int) -> str:
    """HOST:PORT as wg takes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(endpoint: str) -> str:
    """The host in HOST:PORT."""
    return endpoint.rpartition(":")[0].strip("[]")


def port_of(endpoint: str) -> int:
    """The port in HOST:PORT."""
    return int(endpoint.rpartition(":")[2])


# ---------------------------------------------------------------- what the gateway says


@dataclass(frozen=True)
class Key:
    """One generation of the server's key."""

    generation: int
    public_key: str
    port: int


@dataclass(frozen=True)
class Announcement:
    """The gateway's answer."""

    keys: tuple[Key, ...]
    newest: Key
    """The one to use."""
    addresses: tuple[str, ...]
    """The load balancer's."""

    def of(self, public_key: str) -> Key | None:
        """The generation of a key."""
        return next((key for key in self.keys if key.public_key == public_key), None)


def parse_announcement(body: bytes) -> Announcement:
    """The answer's JSON. Raises `Refused` for anything but one or two neighbouring generations."""
    try:
        says = json.loads(body)
        if says["version"] != SERVICE_VERSION:
            raise Refused(f"the gateway speaks version {says['version']}: update this helper")
        keys = tuple(
            Key(_number(one["generation"]), valid_key(one["public_key"]), _port(one["port"]))
            for one in says["generations"]
        )
        newest = [key for key in keys if key.generation == says["newest"]]
        addresses = tuple(str(_unicast(text)) for text in says["addresses"][:16])
    except (ValueError, KeyError, TypeError) as err:
        raise Refused(f"the gateway's answer is not readable: {type(err).__name__}") from err
    numbers = sorted(key.generation for key in keys)
    if numbers not in ([numbers[0]], [numbers[0], numbers[0] + 1]) if numbers else True:
        raise Refused(f"the gateway names generations {numbers}: not one or two neighbours")
    if len({key.public_key for key in keys}) != len(keys) or len(newest) != 1:
        raise Refused("the gateway's answer contradicts itself")
    return Announcement(keys, newest[0], addresses)


def valid_key(text: str) -> str:
    """A public key in base64. Raises `ValueError`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as err:
        raise ValueError("not base64") from err
    if len(raw) != KEY_BYTES or not any(raw) or base64.b64encode(raw).decode() != text:
        raise ValueError("not a public key")
    return text


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("not a generation")
    return value


def _port(value: object) -> int:
    if _number(value) not in PORTS:
        raise ValueError("not a port")
    return _number(value)


def _unicast(text: str) -> ipaddress.IPv4Address:
    address = ipaddress.IPv4Address(text)
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        raise ValueError("not an address to dial")
    return address


# ---------------------------------------------------------------- deciding; pure


@dataclass(frozen=True)
class Greet:
    """Put the key beside the present one, with nothing to carry: it shakes hands."""

    key: Key
    endpoint: str


@dataclass(frozen=True)
class Move:
    """Give what `old` carries to `new`, in one step."""

    new: str
    old: str
    allowed_ips: tuple[str, ...]
    back: bool = False


@dataclass(frozen=True)
class Drop:
    """Take a key off the interface."""

    public_key: str


@dataclass(frozen=True)
class Redial:
    """Go on with the present key at another address."""

    peer: Peer
    endpoint: str
    anew: bool
    """Without the session; the handshake starts at once. A gateway behind the other address takes
    a session over in less time; and if that address leads nowhere yet, WireGuard tries a handshake
    again only after 5 s."""


@dataclass(frozen=True)
class Keep:
    """Have the config file say this."""

    key: Key
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Say:
    """Tell the user."""

    event: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)


Action = Union[Greet, Move, Drop, Redial, Keep, Say]


@dataclass(frozen=True)
class Memory:
    """What is known from one look to the next. Times are monotonic seconds."""

    ask_at: float = 0.0
    answer: Announcement | None = None
    """The last one that counted."""
    generations: dict[int, str] = field(default_factory=dict)
    """Which key each generation had; it never changes."""
    addresses: tuple[str, ...] = ()
    greeted: Key | None = None
    greeted_at: float = 0.0
    complained: bool = False
    moved_from: str = ""
    """The former key, until the new one has proved to work."""
    written: str = ""
    """The key that the config file named at the start."""
    avoid: str = ""
    avoid_until: float = 0.0
    received: int = 0
    sent: int = 0
    unanswered_since: float | None = None
    failures: int = 0
    asked_at: float = 0.0
    hurry: bool = False
    """The last question took all its time: the next one has waited long enough."""
    redial_at: float = 0.0
    redialled: bool = False
    """The tunnel has been silent at another address, too."""
    refused: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing is under way."""
        return self.answer is not None and self.greeted is None and not self.moved_from

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        if (self.greeted is not None and not self.complained) or self.moved_from or self.hurry:
            return AT_ONCE
        doubtful = self.unanswered_since is not None or self.failures or self.greeted is not None
        return SOON if doubtful else LOOK


@dataclass(frozen=True)
class Look:
    """The tunnel at one moment."""

    now: float
    wall: float
    """Epoch seconds."""
    tunnel: Tunnel
    main: Peer
    """The one that carries the tunnel."""


Asked = Union[Announcement, Refused, Silent, None]
"""What came of asking, or None: it was not due."""

Decision = tuple[Memory, tuple[Action, ...]]


def note(memory: Memory, look: Look) -> Memory:
    """What the counters say since the last look: whether anybody is heard on the other side."""
    heard = look.main.received != memory.received
    spoke = look.main.sent - memory.sent > 2 * KEEPALIVE_BYTES
    since = memory.unanswered_since
    if heard:
        since = None
    elif spoke and since is None:
        since = look.now
    return replace(
        memory,
        received=look.main.received,
        sent=look.main.sent,
        unanswered_since=since,
        failures=0 if heard else memory.failures,
        redialled=memory.redialled and not heard,
        hurry=False,
    )


def due(memory: Memory, now: float) -> bool:
    """Whether to ask the gateway now."""
    since = memory.unanswered_since
    doubt = since is not None and now - since >= DOUBT and memory.failures == 0
    return now >= memory.ask_at or doubt


def decide(
    memory: Memory, look: Look, asked: Asked, interval: float = INTERVAL, *, follow: bool = True
) -> Decision:
    """What to do now. `memory` has been through `note()`; `interval` is in seconds."""
    if isinstance(asked, Announcement):
        return _answered(memory, look, asked, interval, follow=follow)
    if isinstance(asked, Refused):
        busy = memory.greeted is not None or memory.moved_from
        again = look.now + (SOON if busy else interval)
        return _once(replace(memory, failures=0, unanswered_since=None, ask_at=again), str(asked))
    if isinstance(asked, Silent):
        return _unanswered(memory, look)
    return _awaiting(memory, look)


def _once(memory: Memory, refused: str) -> Decision:
    """Say it when it is new."""
    said = () if refused == memory.refused else (Say("refused", refused),)
    return replace(memory, refused=refused), said


def distrust(memory: Memory, look: Look, said: Announcement) -> str:
    """Why this answer does not count; empty if it does.

    It came under the key in use, so its author has that key. It still has to name that key (else
    it is not about this server), and a generation never changes its key.
    """
    if said.of(look.main.public_key) is None:
        return "the gateway's answer does not name the key that it came under"
    if said.of(look.tunnel.public_key) is not None:
        return "the gateway's answer names this client's own key as the server's"
    for key in said.keys:
        if memory.generations.get(key.generation, key.public_key) != key.public_key:
            return (
                f"the gateway names another key for generation {key.generation} than before: "
                "ask your operators before you go on"
            )
    return ""


def _answered(
    memory: Memory, look: Look, said: Announcement, interval: float, *, follow: bool
) -> Decision:
    memory = replace(memory, failures=0, unanswered_since=None, ask_at=look.now + interval)
    why = distrust(memory, look, said)
    if why:
        return _once(memory, why)
    memory = replace(
        memory,
        answer=said,
        refused="",
        addresses=said.addresses or memory.addresses,
        generations={**memory.generations, **{k.generation: k.public_key for k in said.keys}},
    )
    present = said.of(look.main.public_key)
    if present is None:  # distrust() has seen to it
        return memory, ()
    if present == said.newest or not follow:
        return _settle(memory, look, present)
    if memory.avoid == said.newest.public_key and look.now < memory.avoid_until:
        return memory, ()
    return _greet(memory, look, said.newest)


def _settle(memory: Memory, look: Look, present: Key) -> Decision:
    """It answers under the key it should: keep that, and let the others go."""
    actions: list[Action] = []
    if memory.moved_from:
        actions.append(
            Say(
                "proved",
                f"the tunnel works under server key {present.generation}",
                {"generation": present.generation},
            )
        )
    ours = {memory.moved_from, memory.written, *memory.generations.values()}
    left = [
        peer.public_key
        for peer in look.tunnel.peers.values()
        if not peer.allowed_ips and peer.public_key in ours
    ]
    memory = replace(memory, moved_from="", greeted=None, complained=False)
    return memory, (*actions, Keep(present, memory.addresses), *map(Drop, left))


def _greet(memory: Memory, look: Look, key: Key) -> Decision:
    there = look.tunnel.peers.get(key.public_key)
    if memory.greeted == key and there is not None:
        return _awaiting(memory, look)
    memory = replace(memory, greeted=key, greeted_at=look.now, complained=False)
    said = Say(
        "announced",
        f"the gateway serves server key {key.generation} too: shaking hands with it",
        {"generation": key.generation},
    )
    host = host_of(look.main.endpoint) or next(iter(memory.addresses), "")
    if not host:
        return replace(memory, greeted=None), ()
    return memory, (said, Greet(key, at(host, key.port)))


def _awaiting(memory: Memory, look: Look) -> Decision:
    """Between questions: whether the handshake is there that is waited for."""
    key = memory.greeted
    if key is None:
        return memory, ()
    new = look.tunnel.peers.get(key.public_key)
    if new is not None and new.handshake and look.wall - new.handshake < FRESH:
        memory = replace(
            memory,
            greeted=None,
            moved_from=look.main.public_key,
            ask_at=look.now,
            received=new.received,
            sent=new.sent,
            failures=0,
            unanswered_since=None,
        )
        move = Move(key.public_key, look.main.public_key, look.main.allowed_ips)
        facts = {"generation": key.generation}
        text = f"moved to server key {key.generation}"
        return memory, (move, Say("moved", text, facts))
    if look.now - memory.greeted_at > PATIENCE and not memory.complained:
        text = f"server key {key.generation} does not answer on UDP port {key.port}; trying on"
        facts = {"generation": key.generation, "port": key.port}
        return replace(memory, complained=True), (Say("waiting", text, facts),)
    return memory, ()


def _unanswered(memory: Memory, look: Look) -> Decision:
    failures = memory.failures + 1
    hurry = look.now - memory.asked_at >= ASK_LIMIT
    ask_at = look.now if hurry else look.now + SOON
    memory = replace(memory, failures=failures, ask_at=ask_at, hurry=hurry)
    if memory.moved_from:
        return _take_back(memory, look) if failures >= PROOF_FAILURES else (memory, ())
    if failures < FAILURES or look.now < memory.redial_at:
        return memory, ()
    anew = memory.redialled or look.wall - look.main.handshake >= FRESH
    if anew:
        memory = replace(memory, received=0, sent=0)
    redial_at = look.now + (PATIENCE if anew else KEPT)
    memory = replace(memory, redial_at=redial_at, redialled=True, unanswered_since=None)
    endpoint = next_endpoint(look.main.endpoint, memory.addresses)
    if not endpoint:
        return memory, ()
    text = f"the tunnel is silent: dialling {endpoint}"
    return memory, (Say("silent", text, {"endpoint": endpoint}), Redial(look.main, endpoint, anew))


def _take_back(memory: Memory, look: Look) -> Decision:
    """The new key shook hands and carries nothing: back to the one that did, seconds ago."""
    old = memory.moved_from
    generation = next((g for g, k in memory.generations.items() if k == look.main.public_key), 0)
    memory = replace(
        memory,
        moved_from="",
        avoid=look.main.public_key,
        avoid_until=look.now + AVOID,
        failures=0,
        received=0,
        sent=0,
        unanswered_since=None,
        ask_at=look.now + SOON,
    )
    facts = {"generation": generation}
    text = f"nothing came through under server key {generation}: back to the former one"
    move = Move(old, look.main.public_key, look.main.allowed_ips, back=True)
    return memory, (move, Drop(look.main.public_key), Say("taken back", text, facts))


def next_endpoint(present: str, addresses: Sequence[str]) -> str:
    """The address after the present one, on the present port; the same one if there is no other."""
    if not present:
        return ""
    host = host_of(present)
    others = list(addresses)
    following = others[others.index(host) + 1 :] + others if host in others else others
    chosen = next((address for address in following if address != host), host)
    return at(chosen, port_of(present))


# ---------------------------------------------------------------- the config file's text; pure

ADDRESSES = "# gatepair: addresses "
_LINE = re.compile(r"^(\s*)([A-Za-z]+)(\s*=\s*)(.*?)(\s*(?:#.*)?)$")
_NAMED = re.compile(r"^(# .*\bserver key )\d+(.*)$")


@dataclass(frozen=True)
class Written:
    """What the helper has to know of the config file. The private key is not part of it."""

    public_key: str
    endpoint: str
    service: str
    """The gateway's own tunnel address: the last one in AllowedIPs."""
    addresses: tuple[str, ...]


def read_config(text: str) -> Written:
    """Raises `Refused` for a file that is not like one that gatepair writes."""
    values: dict[str, str] = {}
    addresses: tuple[str, ...] = ()
    sections = list(_sections(text))
    peers = [lines for name, lines in sections if name == "peer"]
    if len(peers) != 1:
        raise Refused(f"{len(peers)} peers where one is due; this helper moves one tunnel only")
    for line in peers[0]:
        found = _LINE.match(line)
        if found and not line.lstrip().startswith("#"):
            values[found[2].lower()] = found[4]
        if line.startswith(ADDRESSES):
            addresses = tuple(line[len(ADDRESSES) :].split())
    for name in ("publickey", "endpoint", "allowedips"):
        if name not in values:
            raise Refused(f"the peer has no {name}")
    last = values["allowedips"].split(",")[-1].strip()
    with contextlib.suppress(ValueError):
        network = ipaddress.IPv4Network(last)
        if network.prefixlen == network.max_prefixlen:
            key, service = valid_key(values["publickey"]), str(network.network_address)
            return Written(key, values["endpoint"], service, addresses)
    raise Refused(
        "AllowedIPs does not end with the gateway's tunnel address, such as 100.96.0.1/32"
    )


def rewrite(text: str, key: Key, addresses: Sequence[str]) -> str:
    """The file with another server key: its peer's key and port, and comments; nothing else."""
    out, section = [], ""
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        end = line[len(bare) :]
        name = _section(bare)
        section = name or section
        found = _LINE.match(bare) if not bare.lstrip().startswith("#") else None
        if section == "peer" and found and found[2].lower() == "publickey":
            bare = f"{found[1]}{found[2]}{found[3]}{key.public_key}{found[5]}"
        elif section == "peer" and found and found[2].lower() == "endpoint":
            there = at(host_of(found[4]), key.port)
            bare = f"{found[1]}{found[2]}{found[3]}{there}{found[5]}"
        elif not section and _NAMED.match(bare):
            bare = _NAMED.sub(rf"\g<1>{key.generation}\g<2>", bare)
        if bare.startswith(ADDRESSES):
            continue
        out.append(bare + end)
        if name == "peer" and addresses:
            out.append(f"{ADDRESSES}{' '.join(addresses)}{end or chr(10)}")
    return "".join(out)


def _section(line: str) -> str:
    found = re.match(r"^\s*\[\s*([A-Za-z]+)\s*\]", line)
    return found[1].lower() if found else ""


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", []
    for line in text.splitlines():
        if _section(line):
            yield name, lines
            name, lines = _section(line), []
        lines.append(line)
    yield name, lines


# ---------------------------------------------------------------- a pause in the traffic; pure


UNSEEN = (-1, -1)


@dataclass(frozen=True)
class Pause:
    """Finds the moment to move: WireGuard drops what is on its way back under the former key.

    Fed with the counters, it says yes when something was heard, and then nothing moved for `still`
    seconds: the answers to all that was sent are here.
    """

    still: float
    seen: tuple[int, int] = UNSEEN
    changed_at: float = 0.0
    moved: bool = False
    """Whether the counters have changed since the first look."""

    def feed(self, now: float, received: int, sent: int) -> Pause:
        """After another look."""
        if (received, sent) == self.seen:
            return self
        first = self.seen == UNSEEN
        return replace(self, seen=(received, sent), changed_at=now, moved=self.moved or not first)

    def over(self, now: float) -> bool:
        """Whether this is the moment; a tunnel that nobody uses need not be waited for."""
        return now - self.changed_at >= (self.still if self.moved else IDLE)


IDLE = 0.5
"""Seconds without any traffic, after which none is under way."""
STILL, STILL_AT_MOST = 0.02, 0.3
"""Seconds without traffic that are enough, and at most what a long round trip makes of them."""
PAUSE_LIMIT = 3.0
"""Seconds; a tunnel that is never still is moved all the same, and loses one round trip."""


# ---------------------------------------------------------------- effects


def run(*command: str, stdin: str = "") -> str:
    """Output of a program. Raises `Refused`; the output is in no message: it may hold a key."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=10, check=False
        )
    except FileNotFoundError as err:
        raise Refused(f"{command[0]} is not installed: install wireguard-tools") from err
    except subprocess.TimeoutExpired as err:
        raise Refused(f"{' '.join(command[:3])}: no answer within 10 s") from err
    if done.returncode != 0:
        raise Refused(f"{' '.join(command[:3])}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def device_of(name: str) -> str:
    """The system's name of a tunnel: on macOS wg-quick leaves it in a file."""
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):
            return Path(f"/var/run/wireguard/{name}.name").read_text().strip()
    return name


class Machine:
    """The tunnel of one interface, and its config file."""

    def __init__(self, name: str, config: Path, service: str) -> None:
        self.name, self.config, self.service = name, config, service
        self.round_trip = 0.0
        """Seconds the last answer took."""

    @property
    def device(self) -> str:
        """The interface's name now."""
        return device_of(self.name)

    def look(self) -> Look:
        """The tunnel now. Raises `Refused` when it is not there, or carries nothing."""
        tunnel = parse_dump(run("wg", "show", self.device, "dump"))
        main = tunnel.peer_of(self.service)
        if main is None:
            raise Refused(f"{self.name}: no peer has {self.service} in its AllowedIPs")
        return Look(time.monotonic(), time.time(), tunnel, main)

    def ask(self) -> Announcement:
        """The gateway's answer. Raises `Silent` or `Refused`."""
        began = time.monotonic()
        status, body = self._get(began + ASK_LIMIT)
        self.round_trip = time.monotonic() - began
        if status != HTTP_OK:
            raise Refused(f"the gateway answers with HTTP status {status}")
        return parse_announcement(body)

    def _get(self, deadline: float) -> tuple[int, bytes]:
        request = f"GET {SERVICE_PATH} HTTP/1.1\r\nHost: {self.service}\r\n\r\n"
        got, nudged = b"", (self.service, NUDGE_PORT)
        try:
            with socket.socket() as link, socket.socket(type=socket.SOCK_DGRAM) as aside:
                for one in (link, aside):
                    bind_to(one, self.device)
                    one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    link.connect((self.service, SERVICE_PORT))
                await_link(link, aside, nudged, deadline, writing=True)
                link.sendall(request.encode())
                while len(got) <= LARGEST_ANSWER:
                    await_link(link, aside, nudged, deadline)
                    part = link.recv(4096)
                    if not part:
                        break
                    got += part
        except OSError as err:
            raise Silent(str(err)) from err
        return parse_http(got)

    def do(self, action: Action) -> None:
        """Carry out one action. Raises `Refused`."""
        device = self.device
        if isinstance(action, Greet):
            options = ("endpoint", action.endpoint, "persistent-keepalive", str(KEEPALIVE))
            # the pre-shared key is the client's own, whichever key the server has
            words, secret = self._preshared(self.look().main)
            run("wg", "set", device, "peer", action.key.public_key, *words, *options, stdin=secret)
        elif isinstance(action, Move):
            if not action.back:
                self._await_pause(action.old)
            carried = ("allowed-ips", ",".join(action.allowed_ips))
            alive = ("persistent-keepalive", str(KEEPALIVE))
            idle = ("peer", action.old, "persistent-keepalive", "0")
            run("wg", "set", device, "peer", action.new, *alive, *carried, *idle)
        elif isinstance(action, Drop):
            run("wg", "set", device, "peer", action.public_key, "remove")
        elif isinstance(action, Redial):
            peer = action.peer
            again = ("peer", peer.public_key, "endpoint", action.endpoint)
            if not action.anew:
                run("wg", "set", device, *again)
                return
            carried = ("allowed-ips", ",".join(peer.allowed_ips))
            alive = ("persistent-keepalive", str(peer.keepalive or KEEPALIVE))
            words, secret = self._preshared(peer)
            anew = ("peer", peer.public_key, "remove", *again, *words)
            run("wg", "set", device, *anew, *carried, *alive, stdin=secret)
        elif isinstance(action, Keep) and self.stale(action):
            path = self.config.resolve()
            replace_file(path, self._text(action))

    def _preshared(self, peer: Peer) -> tuple[tuple[str, ...], str]:
        """Words for `wg set` that give a peer the pre-shared key of `peer`, and their stdin."""
        if not peer.preshared:
            return (), ""
        for line in run("wg", "show", self.device, "preshared-keys").splitlines():
            key, _, secret = line.partition("\t")
            if key == peer.public_key:
                return ("preshared-key", "/dev/stdin"), secret + "\n"
        raise Refused(f"{self.name}: its pre-shared key is gone")

    def _await_pause(self, public_key: str) -> None:
        still = min(STILL_AT_MOST, max(STILL, self.round_trip))
        began = time.monotonic()
        pause, deadline = Pause(still, changed_at=began), began + PAUSE_LIMIT
        while time.monotonic() < deadline and not pause.over(time.monotonic()):
            for line in run("wg", "show", self.device, "transfer").splitlines():
                key, received, sent = line.split("\t")
                if key == public_key:
                    pause = pause.feed(time.monotonic(), int(received), int(sent))

    def stale(self, wanted: Keep) -> bool:
        """Whether the config file has to be changed."""
        return self._text(wanted) != self.config.read_text()

    def _text(self, wanted: Keep) -> str:
        text = rewrite(self.config.read_text(), wanted.key, wanted.addresses)
        read_config(text)  # never leave a file that could not be read again
        return text


def await_link(
    link: socket.socket,
    aside: socket.socket,
    to: tuple[str, int],
    deadline: float,
    *,
    writing: bool = False,
) -> None:
    """Wait until `link` can be read, or written, and say something `aside` meanwhile.

    TCP itself says nothing for a second, and any packet is enough for another gateway to take the
    session over. No gateway answers on that port. Raises `TimeoutError` at the deadline.
    """
    reading, written = ([], [link]) if writing else ([link], [])
    while time.monotonic() < deadline:
        pause = max(0.0, min(NUDGE_EVERY, deadline - time.monotonic()))
        if any(select.select(reading, written, [], pause)):
            return
        with contextlib.suppress(OSError):
            aside.sendto(b"", to)
    raise TimeoutError("no answer in time")


def bind_to(link: socket.socket, device: str) -> None:
    """Have all packets of a socket go through one interface, and none come from elsewhere.

    Without it the question would leave unprotected where the tunnel has no route, and anybody on
    the way could answer it.
    """
    if sys.platform == "darwin":
        ip_bound_if = 25  # netinet/in.h
        link.setsockopt(socket.IPPROTO_IP, ip_bound_if, socket.if_nametoindex(device))
    else:
        so_bindtodevice = 25  # asm-generic/socket.h
        link.setsockopt(socket.SOL_SOCKET, so_bindtodevice, device.encode() + b"\0")


def parse_http(answer: bytes) -> tuple[int, bytes]:
    """Status and body. Raises `Silent` for an answer that was cut off, `Refused` for another."""
    head, mark, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    found = re.match(r"HTTP/1\.[01] (\d{3})", lines[0])
    if not mark:
        raise Silent("the answer was cut off")
    if not found or len(answer) > LARGEST_ANSWER:
        raise Refused("the gateway's answer is not HTTP, or too long")
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip() != str(len(body)):
            raise Silent("the answer was cut off")
    return int(found[1]), body


def replace_file(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone; whole also after a crash."""
    owner = path.stat()
    handle, name = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as out:
            os.fchmod(out.fileno(), 0o600)
            with contextlib.suppress(PermissionError):
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    directory = os.open(str(path.parent), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def resolve(host: str, limit: float = 3.0) -> tuple[str, ...]:
    """The IPv4 addresses of a name. The resolver may be behind the tunnel: it has a limit."""
    found: list[str] = []

    def look_up() -> None:
        with contextlib.suppress(OSError):
            for *_, where in socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_DGRAM):
                found.append(str(where[0]))

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(limit)
    return tuple(dict.fromkeys(found))


# ---------------------------------------------------------------- the loop


class Helper:
    """Looks, asks, decides and acts, again and again."""

    def __init__(self, machine: Machine, options: argparse.Namespace) -> None:
        self.machine, self.options = machine, options
        written = read_config(machine.config.read_text())
        self.memory = Memory(
            addresses=written.addresses or resolve(host_of(written.endpoint)),
            written=written.public_key,
        )
        self._absent = ""

    def step(self) -> None:
        """One look and what follows from it. Raises `Refused` when there is no tunnel."""
        look = self.machine.look()
        self.memory = note(self.memory, look)
        asked: Asked = None
        if due(self.memory, look.now):
            self.memory = replace(self.memory, asked_at=look.now)
            try:
                asked = self.machine.ask()
            except (Refused, Silent) as err:
                asked = err
            under, look = look.main.public_key, self.machine.look()
            if look.main.public_key != under:
                asked = None  # somebody has moved the tunnel meanwhile: ask again
        interval = self.options.interval * random.uniform(0.5, 1.5)  # noqa: S311 - spread, no secret
        follow = not self.options.no_follow
        self.memory, actions = decide(self.memory, look, asked, interval, follow=follow)
        self._act(actions)

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Keep) and not self.machine.stale(action):
                continue
            if isinstance(action, Say) or self.options.dry_run:
                self.say(action if isinstance(action, Say) else Say("would", describe(action)))
            else:
                self.machine.do(action)
            if isinstance(action, Keep) and not self.options.dry_run:
                facts = {"generation": action.key.generation}
                self.say(Say("kept", f"the config names server key {action.key.generation}", facts))

    def say(self, said: Say) -> None:
        """One line, on stdout as JSON with --json, else on stderr as text."""
        if self.options.json:
            print(json.dumps({"event": said.event, "text": said.text, **said.facts}), flush=True)
        else:
            print(f"gatepair-helper: {self.machine.name}: {said.text}", file=sys.stderr, flush=True)

    def run(self, ended: threading.Event) -> int:
        """Until `ended`. While there is no tunnel, it waits for one."""
        while not ended.is_set():
            try:
                self.step()
                absent, pause = "", self.memory.pause
            except (Refused, OSError) as err:
                absent, pause = str(err), LOOK
                self.memory = replace(self.memory, received=0, sent=0, greeted=None)
            if absent and absent != self._absent:
                self.say(Say("waiting", absent))
            self._absent = absent
            ended.wait(pause)
        return 0

    def once(self, ended: threading.Event) -> int:
        """Until the tunnel is on the newest key, or time is up."""
        deadline = time.monotonic() + self.options.timeout
        while not ended.is_set():
            self.step()
            memory = self.memory
            if memory.refused:
                return 2
            if self.options.dry_run or (memory.settled and not self._behind()):
                return 0 if memory.answer is not None else self._give_up("the gateway is silent")
            if time.monotonic() > deadline:
                break
            ended.wait(min(memory.pause, SOON))
        return self._give_up(f"not done within {self.options.timeout:.0f} s")

    def _behind(self) -> bool:
        """Whether there is a newer key that is to be used."""
        answer = self.memory.answer
        main = self.machine.look().main.public_key
        behind = answer is not None and answer.newest.public_key != main
        return behind and not self.options.no_follow

    def _give_up(self, why: str) -> int:
        self.say(Say("failed", why))
        return 1


def describe(action: Action) -> str:
    """An action in words, for --dry-run."""
    if isinstance(action, Greet):
        return f"would shake hands with server key {action.key.generation} at {action.endpoint}"
    if isinstance(action, Keep):
        return f"would have the config name server key {action.key.generation}"
    if isinstance(action, Redial):
        return f"would dial {action.endpoint}"
    return f"would {type(action).__name__.lower()}"


# ---------------------------------------------------------------- the command


def config_of(name: str) -> Path:
    """Where wg-quick has the config of that name."""
    places = ("/etc/wireguard", "/usr/local/etc/wireguard", "/opt/homebrew/etc/wireguard")
    for place in places:
        path = Path(place) / f"{name}.conf"
        if path.exists():
            return path
    raise Refused(f"{name}: no {name}.conf in {', '.join(places)}; name it with --config")


def seconds(text: str) -> float:
    """Raises `argparse.ArgumentTypeError`."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not LIMITS[0] <= number <= LIMITS[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return number


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="gatepair-helper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add: Callable[..., Any] = parser.add_argument
    add("interface", metavar="TUNNEL", help="as `wg-quick up` was given it, such as wg0")
    add("--config", metavar="FILE", type=Path, help="default TUNNEL.conf where wg-quick has it")
    add("--service", metavar="ADDRESS", help="the gateway's tunnel address; default: the config's")
    add("--interval", metavar="SECONDS", type=seconds, default=INTERVAL, help="default 60")
    add("--once", action="store_true", help="end when the tunnel is on the newest key")
    add("--timeout", metavar="SECONDS", type=seconds, default=60.0, help="of --once; default 60")
    add("--dry-run", action="store_true", help="ask, say what would be done, change nothing")
    add("--no-follow", action="store_true", help="never move to another key; only fail over")
    add("--json", action="store_true", help="events as JSON on stdout, one a line")
    return parser.parse_args(argv)


def prepare(options: argparse.Namespace) -> Machine:
    """Refuse what cannot work, before anything is done."""
    if not sys.platform.startswith(("linux", "darwin")):
        raise Refused(f"{sys.platform}: only Linux and macOS; elsewhere import a new config")
    if not re.fullmatch(r"[A-Za-z0-9_=+.-]{1,15}", options.interface):
        raise Refused(f"{options.interface!r} is not a tunnel's name")
    if os.geteuid() != 0:
        raise Refused("needs root, as wg-quick does: run it with sudo")
    config = options.config or config_of(options.interface)
    try:
        written = read_config(config.read_text())
        service = str(ipaddress.IPv4Address(options.service or written.service))
    except Refused as err:
        raise Refused(f"{config}: {err}") from err
    except (OSError, ValueError) as err:
        raise Refused(f"{config}: {err}") from err
    return Machine(options.interface, config, service)


def main(argv: Sequence[str]) -> int:
    """Run, and return the exit status."""
    options = parse(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        helper = Helper(prepare(options), options)
        return (helper.once if options.once or options.dry_run else helper.run)(ended)
    except (Refused, OSError) as err:
        print(f"gatepair-helper: {err}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
