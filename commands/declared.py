"""Peers as code: a YAML file that names every peer, and what makes the registry say the same. Pure.

The file is read node by node: a name that is there twice would be lost in a dictionary, and every
fault is told with its line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import yaml

from effects import Refusal
from registry import allow, validation
from registry.refusals import RefusedInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Network

    from registry.items import Peer

T = TypeVar("T")

FIELDS = ("public_key", "owner", "expires", "allow", "preshared_key")

FEW = 3
"""Removals that need no leave, however small the registry is."""

SHAPE = "the file is `peers:` with a name per peer and its public_key below"


@dataclass(frozen=True)
class Declared:
    """A peer as the file has it."""

    name: str
    line: int
    public_key: str
    owner: str = ""
    expires: int | None = None
    allow: tuple[str, ...] = ()
    preshared: bool = False
    """Whether it has a pre-shared key, whichever that is."""

    def matches(self, peer: Peer) -> bool:
        """Whether the registry says the same."""
        return (self.public_key, self.owner, self.expires, self.allow, self.preshared) == (
            peer.public_key,
            peer.owner,
            peer.expires,
            peer.allow,
            bool(peer.preshared),
        )


@dataclass(frozen=True)
class Step:
    """One change of the plan."""

    action: str
    """`remove`, `change` or `add`."""
    name: str
    what: tuple[str, ...] = ()
    """For people: what will be different."""
    declared: Declared | None = None
    seals: bool = False
    """Whether the peer gets a pre-shared key with it, which is handed out once."""


@dataclass(frozen=True)
class Plan:
    """What makes the registry say what the file says, in the order in which it is done."""

    steps: tuple[Step, ...]
    registered: int
    """Peers in the registry before."""

    def named(self, action: str) -> tuple[Step, ...]:
        """The steps of one kind."""
        return tuple(step for step in self.steps if step.action == action)

    def mass_removal(self, percent: int) -> bool:
        """Whether it removes so many that it is more likely a mistake."""
        removed = len(self.named("remove"))
        return removed > FEW and removed * 100 > self.registered * percent


# ------------------------------------------------------------------ reading


@dataclass
class _Faults:
    """What is wrong with one file, line by line."""

    path: str
    found: list[Refusal] = field(default_factory=list)

    def at(self, line: int, what: str, why: str, cure: str = "") -> None:
        where = f"{self.path}:{line}" + (f": {what}" if what else "")
        self.found.append(Refusal(where, why, cure))

    def judge(self, line: int, what: str, check: Callable[[], T]) -> T | None:
        """The check's value, or None and its refusal noted."""
        try:
            return check()
        except Refusal as err:
            self.at(line, what, f"{err.what}: {err.why}", err.cure)
        return None


def read(text: str, path: str, reach: Iterable[IPv4Network]) -> dict[str, Declared]:
    """The peers of a file, by name. Raises `RefusedInput` with all that is wrong with it.

    `reach` is what the stack lets peers reach. An end in the past is no fault here: time goes by in
    a file that nobody has changed (see `plan`).
    """
    faults = _Faults(path)
    networks = tuple(reach)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as err:
        raise RefusedInput([_malformed(path, err)]) from err
    found: dict[str, Declared] = {}
    for key, node in _entries(_peers_node(root, faults), faults, "peer"):
        peer = _declared(key, node, networks, faults)
        if peer is not None:
            found[peer.name] = peer
    _refuse_shared_keys(found.values(), faults)
    if faults.found:
        raise RefusedInput(faults.found)
    return found


def _malformed(path: str, err: yaml.YAMLError) -> Refusal:
    mark = getattr(err, "problem_mark", None)
    where = f"{path}:{mark.line + 1}" if mark else path
    return Refusal(where, f"not YAML: {getattr(err, 'problem', None) or err}", SHAPE)


def _peers_node(root: yaml.Node | None, faults: _Faults) -> yaml.Node | None:
    peers = None
    if root is None:
        faults.at(1, "", "the file is empty", f"{SHAPE}; `peers: {{}}` is nobody")
        return None
    for key, node in _entries(root, faults, "key"):
        if _text(key) == "peers":
            peers = node
        else:
            faults.at(_line(key), _text(key), "unknown key", SHAPE)
    if peers is None and not faults.found:
        faults.at(1, "", "no `peers:`", SHAPE)
    return peers


def _entries(
    node: yaml.Node | None, faults: _Faults, kind: str
) -> Iterable[tuple[yaml.Node, yaml.Node]]:
    """The pairs of a mapping, without those whose key was there before."""
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        faults.at(_line(node), "", f"not a mapping of {kind}s", SHAPE)
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name = _text(key)
        if name in seen:
            first = seen[name]
            faults.at(_line(key), f"{kind} {name}", f"is on line {first} too", "remove one")
            continue
        seen[name] = _line(key)
        yield key, value


def _declared(
    key: yaml.Node, node: yaml.Node, reach: tuple[IPv4Network, ...], faults: _Faults
) -> Declared | None:
    name, before = _text(key), len(faults.found)
    what = f"peer {name}"
    faults.judge(_line(key), "", lambda: validation.peer_name(name))
    values: dict[str, yaml.Node] = {}
    for attribute, value in _entries(node, faults, "key"):
        if _text(attribute) in FIELDS:
            values[_text(attribute)] = value
        else:
            known = f"a peer has {', '.join(FIELDS)}"
            faults.at(_line(attribute), what, f"unknown key {_text(attribute)!r}", known)
    if "public_key" not in values and isinstance(node, yaml.MappingNode):
        faults.at(_line(key), what, "no public_key", "give the one line that `wg pubkey` prints")
    judged = _Attributes(values, what, faults)
    peer = Declared(
        name=name,
        line=_line(key),
        public_key=judged.get("public_key", validation.public_key, ""),
        owner=judged.get("owner", validation.owner, ""),
        expires=judged.get("expires", validation.end_of, None),
        allow=judged.rules(reach),
        preshared=judged.get("preshared_key", _flag, default=False),
    )
    return peer if len(faults.found) == before else None


@dataclass(frozen=True)
class _Attributes:
    """The attributes of one peer in the file."""

    nodes: Mapping[str, yaml.Node]
    what: str
    faults: _Faults

    def get(self, name: str, judge: Callable[[str], T], default: T) -> T:
        """A value as `judge` reads it; `default` where there is none or it is at fault."""
        node = self.nodes.get(name)
        if node is None:
            return default
        if not isinstance(node, yaml.ScalarNode):
            self.faults.at(_line(node), self.what, f"{name} is not one value", "write it as one")
            return default
        value = self.faults.judge(_line(node), self.what, lambda: judge(_text(node)))
        return default if value is None else value

    def rules(self, reach: tuple[IPv4Network, ...]) -> tuple[str, ...]:
        """The rules of `allow`, each judged by itself, then together."""
        node, before = self.nodes.get("allow"), len(self.faults.found)
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.faults.at(
                _line(node), self.what, "allow is not a list", 'write allow: ["10.20.3.0/24:tcp"]'
            )
            return ()
        texts = [_text(part) for part in node.value]
        for part, text in zip(node.value, texts, strict=True):
            self.faults.judge(_line(part), self.what, lambda text=text: allow.rules((text,), reach))
        if len(self.faults.found) > before:
            return ()
        if not texts:
            self.faults.at(
                _line(node),
                self.what,
                "allow is an empty list",
                "leave allow out for all that the stack lets peers reach",
            )
        return self.faults.judge(_line(node), self.what, lambda: allow.rules(texts, reach)) or ()


def _refuse_shared_keys(peers: Iterable[Declared], faults: _Faults) -> None:
    first: dict[str, Declared] = {}
    for peer in peers:
        if peer.public_key in first:
            other = first[peer.public_key]
            faults.at(
                peer.line,
                f"peer {peer.name}",
                f"has the public key of {other.name}, line {other.line}",
                "each peer has a key of its own",
            )
        first.setdefault(peer.public_key, peer)


def _flag(text: str) -> bool:
    """YAML's true or false. Raises `Refusal`, without the text: it may be somebody's key."""
    if text.lower() not in ("true", "false"):
        cure = "write true or false; the key itself is made when the file is applied"
        raise Refusal("preshared_key", "neither true nor false", cure)
    return text.lower() == "true"


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _text(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


# ------------------------------------------------------------------ planning


def plan(declared: Mapping[str, Declared], registered: Iterable[Peer]) -> Plan:
    """Removals first, then changes, then additions, each by name."""
    there = {peer.name: peer for peer in registered}
    removals = [Step("remove", name) for name in sorted(there.keys() - declared.keys())]
    changes = [
        Step("change", name, _differences(there[name], wanted), wanted, _seals(there[name], wanted))
        for name, wanted in sorted(declared.items())
        if name in there and not wanted.matches(there[name])
    ]
    additions = [
        Step("add", name, _described(wanted), wanted, wanted.preshared)
        for name, wanted in sorted(declared.items())
        if name not in there
    ]
    return Plan((*removals, *changes, *additions), len(there))


def _seals(peer: Peer, wanted: Declared) -> bool:
    """A pre-shared key belongs to one public key: with another one comes another one."""
    return wanted.preshared and not (peer.preshared and peer.public_key == wanted.public_key)


def refuse_unusable(
    planned: Plan,
    registered: Iterable[Peer],
    used: Mapping[str, str],
    path: str,
    now: datetime,
) -> None:
    """Refuse a plan that gives a used key to somebody, or an end that is past. All at once.

    `used` is key -> whose it is or was. A peer whose end has passed and did not change is no fault.
    """
    faults = _Faults(path)
    there = {peer.name: peer for peer in registered}
    for step in planned.steps:
        wanted, before = step.declared, there.get(step.name)
        if wanted is None:
            continue
        rekeyed = before is None or before.public_key != wanted.public_key
        if rekeyed and wanted.public_key in used:
            faults.at(
                wanted.line,
                f"peer {step.name}",
                f"public key {wanted.public_key!r} is or was the key of {used[wanted.public_key]}",
                "make a new pair with `wg genkey`: a key is never used twice",
            )
        ends = wanted.expires if before is None or before.expires != wanted.expires else None
        if ends is not None:
            faults.judge(
                wanted.line,
                f"peer {step.name}",
                lambda ends=ends: validation.refuse_past(_instant(ends), ends, now),
            )
    if faults.found:
        raise RefusedInput(faults.found)


def _described(peer: Declared) -> tuple[str, ...]:
    said = [f"public_key {peer.public_key}"]
    said += [f"owner {peer.owner}"] if peer.owner else []
    said += [f"expires {_instant(peer.expires)}"] if peer.expires is not None else []
    said += [f"allow {', '.join(peer.allow)}"] if peer.allow else []
    said += ["preshared_key, a new one"] if peer.preshared else []
    return tuple(said)


def _differences(peer: Peer, wanted: Declared) -> tuple[str, ...]:
    pairs = (
        ("public_key", peer.public_key, wanted.public_key),
        ("owner", peer.owner or "none", wanted.owner or "none"),
        ("expires", _instant(peer.expires), _instant(wanted.expires)),
        ("allow", ", ".join(peer.allow) or "all", ", ".join(wanted.allow) or "all"),
        (
            "preshared_key",
            "one" if peer.preshared else "none",
            "a new one" if _seals(peer, wanted) else "one" if wanted.preshared else "none",
        ),
    )
    return tuple(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)


def _instant(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
