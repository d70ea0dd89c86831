"""The items of the registry's table, as frozen dataclasses and as DynamoDB's attribute values.

Every kind has `to_item()` and `from_item()`. `from_item` is strict and raises `ItemError`: people
can edit the table, and an item that is half understood must not decide who enters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from effects import Refusal
from registry import preshared, validation
from registry.allow import Allow
from registry.allow import canonical as canonical_rule
from registry.allow import parse as parse_rule
from registry.errors import RegistryError

Value: TypeAlias = Mapping[str, Any]
"""One attribute as DynamoDB's API spells it: {"S": "text"}."""

Item: TypeAlias = Mapping[str, Value]
"""A whole item."""

Key: TypeAlias = dict[str, Value]
"""The table's primary key of one item: pk and sk."""

Kind = Literal["put", "remove"]

LAST_PORT = 65535

SNAT, ROUTED = "snat", "routed"
"""How clients' packets leave a gateway: with its address, or with their own."""

T = TypeVar("T")


class ItemError(RegistryError):
    """An item that does not parse: which one, and why."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"registry item {key}: {why}")
        self.key, self.why = key, why


@dataclass(frozen=True)
class Unreadable:
    """Stands in a result for an item that did not parse; the others are there all the same."""

    key: str
    why: str
    generation: int | None = None
    """For a change: its number, where at least that can be read."""


# ------------------------------------------------------------------ where each item stands


def key(pk: str, sk: str) -> Key:
    """The primary key (`pk`, `sk`)."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def numbered(generation: int) -> str:
    """A generation as a sort key: text that sorts as the numbers do."""
    return f"{generation:012d}"


GENERATION_KEY = key("generation", "generation")
CONTROL_KEY = key("control", "control")
COMMAND_KEY = key("command", "command")


def peer_key(name: str) -> Key:
    """Of the peer itself."""
    return key("peer", name)


def address_key(address: IPv4Address) -> Key:
    """Of the item that says whose a tunnel address is; while it exists, nobody else gets it."""
    return key("address", str(address))


def used_key(public_key: str) -> Key:
    """Of the item that says whose a public key is or was. It stays for ever."""
    return key("key", public_key)


def server_key_key(generation: int) -> Key:
    """Of the published public key of one generation of the server's key."""
    return key("server-key", str(generation))


def gateway_key(arn: str) -> Key:
    """Of the item that the gateway with this instance ARN, and nobody else, may write."""
    return key(f"gateway#{arn}", "gateway")


def sessions_key(arn: str) -> Key:
    """Of the item in which that gateway says who last used which server key."""
    return key(f"gateway#{arn}", "sessions")


ROUTES = "route"
"""The partition of the items that say who holds which route table's route."""


def route_key(table: str) -> Key:
    """Of the item that says who holds the route for the clients in this route table."""
    return key(ROUTES, table)


def label(item: Item) -> str:
    """An item's key for messages, whatever state the item is in."""
    pk, sk = (next(iter(item.get(part, {"": "?"}).values())) for part in ("pk", "sk"))
    return f"{pk}/{sk}"


# ------------------------------------------------------------------ to attributes and back


def attribute(value: object) -> Value:
    """A plain Python value as a DynamoDB attribute value."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, Mapping):
        return {"M": {str(name): attribute(part) for name, part in value.items()}}
    if isinstance(value, (list, tuple)):
        return {"L": [attribute(part) for part in value]}
    return {"S": str(value)}


def plain(value: Value) -> object:
    """A DynamoDB attribute value as a plain Python value."""
    ((kind, content),) = value.items()
    match kind:
        case "M":
            return {name: plain(part) for name, part in content.items()}
        case "L":
            return [plain(part) for part in content]
        case "N":
            number = Decimal(content)
            return int(number) if number == number.to_integral_value() else float(number)
        case _:
            return content


def attributes(values: Mapping[str, object]) -> dict[str, Value]:
    """A mapping of plain values as an item's attributes; None is left out."""
    return {name: attribute(value) for name, value in values.items() if value is not None}


class Reader:
    """Reads the attributes of one item by name and type; every fault is an `ItemError`."""

    def __init__(self, item: Item, key: str | None = None) -> None:
        self.item, self.key = item, label(item) if key is None else key

    def fault(self, why: str) -> ItemError:
        """The error to raise for this item."""
        return ItemError(self.key, why)

    def _get(self, name: str, kind: str) -> Any:
        value = self.item[name]
        if kind not in value:
            raise self.fault(f"{name}: type {'/'.join(value)} where {kind} is due")
        return value[kind]

    def has(self, name: str) -> bool:
        """Whether the attribute is there at all."""
        return name in self.item

    def need(self, name: str) -> None:
        """Refuse an item without this attribute."""
        if name not in self.item:
            raise self.fault(f"{name} is missing")

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        if default is not None and not self.has(name):
            return default
        self.need(name)
        return self._get(name, "S")

    def number(self, name: str) -> int:
        """A whole number, not negative."""
        self.need(name)
        return self._whole(name, self._get(name, "N"))

    def _whole(self, name: str, text: str) -> int:
        try:
            number = Decimal(text)
        except InvalidOperation as err:
            raise self.fault(f"{name}: {text!r} is not a number") from err
        if number != number.to_integral_value() or number < 0:
            raise self.fault(f"{name}: {text} is not a whole number of 0 or more")
        return int(number)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty when the attribute is missing."""
        parts = self._get(name, "L") if self.has(name) else ()
        if any("S" not in part for part in parts):
            raise self.fault(f"{name}: not a list of texts")
        return tuple(part["S"] for part in parts)

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        self.need(name)
        parts = self._get(name, "L")
        if any("N" not in part for part in parts):
            raise self.fault(f"{name}: not a list of numbers")
        return tuple(self._whole(name, part["N"]) for part in parts)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false; `default` when the attribute is missing."""
        return self._get(name, "BOOL") if self.has(name) else default

    def map(self, name: str) -> Item:
        """A map, with attribute values in it."""
        self.need(name)
        return self._get(name, "M")

    def maps(self, name: str) -> Mapping[str, Item]:
        """A map of maps; empty when the attribute is missing."""
        parts = self.map(name) if self.has(name) else {}
        if any("M" not in part for part in parts.values()):
            raise self.fault(f"{name}: not a map of maps")
        return {part: value["M"] for part, value in parts.items()}

    def convert(self, name: str, into: Callable[[str], T]) -> T:
        """A string that `into` understands."""
        return self._convert(name, self.text(name), into)

    def convert_all(self, name: str, into: Callable[[str], T]) -> tuple[T, ...]:
        """A list of strings that `into` understands."""
        return tuple(self._convert(name, text, into) for text in self.texts(name))

    def _convert(self, name: str, text: str, into: Callable[[str], T]) -> T:
        try:
            return into(text)
        except (ValueError, AddressValueError, Refusal) as err:
            raise self.fault(f"{name}: {err}") from err


# ------------------------------------------------------------------ the items


@dataclass(frozen=True, slots=True)
class Peer:
    """One client: the key it proves, and the tunnel address that key may use."""

    name: str
    public_key: str
    address: IPv4Address
    owner: str = ""
    created: str = ""
    """ISO 8601, UTC."""
    expires: int | None = None
    """Epoch seconds; None is never."""
    allow: tuple[str, ...] = ()
    """What it may reach (registry/allow.py); empty is all the stack lets peers reach."""
    generation: int = 0
    """Of its last change."""
    preshared: str = ""
    """Ciphertext of its pre-shared key (registry/preshared.py); empty is none."""

    @property
    def rules(self) -> tuple[Allow, ...]:
        """`allow`, parsed."""
        return tuple(map(parse_rule, self.allow))

    def to_attributes(self) -> dict[str, Value]:
        """Without the key: also what a change carries."""
        return attributes(
            {
                "name": self.name,
                "public_key": self.public_key,
                "address": self.address,
                "owner": self.owner,
                "created": self.created,
                "expires": self.expires,
                "allow": self.allow or None,
                "generation": self.generation,
                "preshared_key": self.preshared or None,
            }
        )

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        return {**peer_key(self.name), **self.to_attributes()}

    @classmethod
    def from_item(cls, item: Item, key: str | None = None) -> Peer:
        """Parse an item, or the `peer` map of a change (`key` then names the change)."""
        read = Reader(item, key)
        peer = cls(
            name=read.convert("name", validation.peer_name),
            public_key=read.convert("public_key", validation.public_key),
            address=read.convert("address", IPv4Address),
            owner=read.text("owner", ""),
            created=read.text("created", ""),
            expires=read.number("expires") if read.has("expires") else None,
            allow=read.convert_all("allow", canonical_rule),
            generation=read.number("generation"),
            preshared=(
                read.convert("preshared_key", preshared.ciphertext)
                if read.has("preshared_key")
                else ""
            ),
        )
        if "sk" in item and item["sk"].get("S") != peer.name:
            raise read.fault(f"its name is {peer.name!r}")
        return peer


@dataclass(frozen=True)
class Control:
    """What the Pulumi program tells every gateway, and a rotation changes."""

    key_generations: tuple[int, ...]
    """One or two adjacent numbers; the last is the one that new client configs name."""
    port: int
    vpc_cidrs: tuple[IPv4Network, ...]
    routed_cidrs: tuple[IPv4Network, ...]
    client_pool: IPv4Network
    takeover: bool = True
    """Whether a gateway takes over sessions of others; also when the item does not say."""
    endpoint: str = ""
    """Host name that clients dial; empty where an older program has written the item."""
    addresses: tuple[IPv4Address, ...] = ()
    """The load balancer's, one in each availability zone."""
    egress: str = SNAT
    """How clients' packets leave a gateway; also what an item without it means."""
    route_tables: tuple[str, ...] = ()
    """Ids of the VPC route tables in which the gateways keep a route to the clients' pool."""
    connections_to_clients: bool = False
    """Whether what a client may reach may begin connections to it."""
    monitoring_cidrs: tuple[IPv4Network, ...] = ()
    """Who may read metrics; said where the security group leaves that to the packet filter."""

    @property
    def routed(self) -> bool:
        """Whether clients' packets keep their own addresses."""
        return self.egress == ROUTED

    @property
    def newest(self) -> int:
        """The key generation that new client configs name."""
        return self.key_generations[-1]

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        values = {
            "key_generations": self.key_generations,
            "port": self.port,
            "vpc_cidrs": self.vpc_cidrs,
            "routed_cidrs": self.routed_cidrs,
            "client_pool": self.client_pool,
            "takeover": self.takeover,
            "endpoint": self.endpoint or None,
            "addresses": self.addresses or None,
            "egress": self.egress if self.routed else None,
            "route_tables": self.route_tables or None,
            "connections_to_clients": self.connections_to_clients or None,
            "monitoring_cidrs": self.monitoring_cidrs or None,
        }
        return {**CONTROL_KEY, **attributes(values)}

    @classmethod
    def from_item(cls, item: Item) -> Control:
        """Parse the control item."""
        read = Reader(item)
        generations = read.numbers("key_generations")
        if not _adjacent(generations):
            raise read.fault(
                f"key_generations: {list(generations)} is not one or two adjacent positive numbers"
            )
        port = read.number("port")
        if not 1 <= port < LAST_PORT:
            raise read.fault(f"port: {port} leaves no room for two UDP ports")
        egress = read.text("egress", SNAT)
        if egress not in (SNAT, ROUTED):
            raise read.fault(f"egress: {egress!r} is neither {SNAT} nor {ROUTED}")
        return cls(
            key_generations=generations,
            port=port,
            vpc_cidrs=read.convert_all("vpc_cidrs", IPv4Network),
            routed_cidrs=read.convert_all("routed_cidrs", IPv4Network),
            client_pool=read.convert("client_pool", IPv4Network),
            takeover=read.flag("takeover", default=True),
            endpoint=read.text("endpoint", ""),
            addresses=read.convert_all("addresses", IPv4Address),
            egress=egress,
            route_tables=read.texts("route_tables"),
            connections_to_clients=read.flag("connections_to_clients", default=False),
            monitoring_cidrs=read.convert_all("monitoring_cidrs", IPv4Network),
        )


def _adjacent(generations: tuple[int, ...]) -> bool:
    """Whether these are one or two positive numbers, and neighbours if two."""
    lowest, *more = sorted(generations) or (0,)
    return lowest >= 1 and more in ([], [lowest + 1])


@dataclass(frozen=True)
class DrainOrder:
    """An operator's order to one gateway: hand your clients over."""

    until: int
    """Epoch seconds; from then on it means nothing, and the gateway serves again."""
    by: str
    """ARN of the operator's identity."""
    at: str
    """ISO 8601, UTC."""

    @classmethod
    def from_item(cls, item: Item, key: str) -> DrainOrder:
        """Parse one entry of the command item's `drain`."""
        read = Reader(item, key)
        return cls(read.number("until"), read.text("by"), read.text("at"))


@dataclass(frozen=True)
class Burnt:
    """A key generation that must never be served again: its private key may be known."""

    at: str
    """ISO 8601, UTC."""
    by: str
    """ARN of the operator's identity."""

    @classmethod
    def from_item(cls, item: Item, key: str) -> Burnt:
        """Parse one entry of the command item's `burnt`."""
        read = Reader(item, key)
        return cls(read.text("at"), read.text("by"))


@dataclass(frozen=True)
class Command:
    """What operators have told the gateways. Written by operators (registry/orders.py) alone."""

    drain: Mapping[str, DrainOrder] = field(default_factory=dict)
    """By instance id; those whose time is up are among them until the next order is given."""
    burnt: Mapping[int, Burnt] = field(default_factory=dict)
    """By key generation. These never expire."""

    def draining(self, now: float) -> Mapping[str, DrainOrder]:
        """The orders to drain that are in force at `now`, epoch seconds."""
        return {name: order for name, order in self.drain.items() if now < order.until}

    def to_attributes(self) -> dict[str, Value]:
        """Both maps, also when they are empty."""
        return attributes(
            {
                "drain": {name: vars(order) for name, order in self.drain.items()},
                "burnt": {number: vars(burnt) for number, burnt in self.burnt.items()},
            }
        )

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        return {**COMMAND_KEY, **self.to_attributes()}

    @classmethod
    def from_item(cls, item: Item) -> Command:
        """Parse the command item."""
        read = Reader(item)
        burnt = read.maps("burnt")
        if not all(number.isdecimal() for number in burnt):
            raise read.fault("burnt: not a map of key generations")
        return cls(
            drain={
                name: DrainOrder.from_item(order, read.key)
                for name, order in read.maps("drain").items()
            },
            burnt={int(number): Burnt.from_item(one, read.key) for number, one in burnt.items()},
        )


@dataclass(frozen=True)
class Restoring:
    """A restore that is under way: while the counter has this, the peers may be half restored.

    Gateways keep what they have, operators change nothing, and every write of the restore is on the
    condition that it is still the one.
    """

    token: str
    """The restore's own, as every change has one."""
    table: str
    """Where the registry of `to` has been put."""
    to: str
    """ISO 8601, UTC: the moment that is restored."""
    generation: int
    """What the counter will be."""
    epoch: str
    """What the epoch will be."""

    def to_attribute(self) -> Value:
        """As the counter has it."""
        return attribute(vars(self))

    @classmethod
    def from_item(cls, item: Item, key: str) -> Restoring:
        """Parse the map; `key` names the counter."""
        read = Reader(item, key)
        return cls(
            token=read.text("token"),
            table=read.text("table"),
            to=read.text("to"),
            generation=read.number("generation"),
            epoch=read.text("epoch"),
        )


@dataclass(frozen=True)
class Head:
    """What a gateway polls: the counter, the control item and the operators' commands."""

    generation: int
    """Of the last change; 0 before the first one."""
    epoch: str
    """Changes when the table has been restored from a backup; empty before the first change."""
    control: Control | None
    """None when there is none, or when `unreadable` says why."""
    unreadable: tuple[Unreadable, ...] = ()
    command: Command | None = field(default_factory=Command)
    """Empty when there is none; None when `unreadable` says why: what was known of it holds."""
    token: str = ""
    """The last change's."""
    restoring: Restoring | None = None
    """A restore that is under way."""

    @property
    def control_fault(self) -> str:
        """Why the control item is not readable; empty when it is, or when there is none."""
        found = (bad.why for bad in self.unreadable if bad.key == label(CONTROL_KEY))
        return next(found, "")

    def to_item(self) -> dict[str, Value]:
        """The counter's item."""
        restoring = {"restoring": self.restoring.to_attribute()} if self.restoring else {}
        values = {"value": self.generation, "epoch": self.epoch, "token": self.token or None}
        return {**GENERATION_KEY, **attributes(values), **restoring}

    @classmethod
    def from_items(
        cls, generation: Item | None, control: Item | None, command: Item | None = None
    ) -> Head:
        """From the items, each of which may be missing.

        Raises `ItemError` for the counter; an unreadable control or command item is reported in
        the result, because peers can be changed and applied without it.
        """
        head = cls(0, "", None)
        if generation is not None:
            read = Reader(generation)
            value, epoch, restoring = read.number("value"), read.text("epoch"), None
            if not epoch:
                raise read.fault("epoch is empty")
            if read.has("restoring"):
                restoring = Restoring.from_item(read.map("restoring"), read.key)
            token = read.text("token", "")
            head = cls(value, epoch, None, token=token, restoring=restoring)
        told, bad_control = _unless_unreadable(Control.from_item, control, None)
        ordered, bad_command = _unless_unreadable(Command.from_item, command, Command())
        bad = (*bad_control, *bad_command)
        return replace(head, control=told, command=ordered, unreadable=bad)


def _unless_unreadable(
    parse: Callable[[Item], T], item: Item | None, missing: T | None
) -> tuple[T | None, tuple[Unreadable, ...]]:
    if item is None:
        return missing, ()
    try:
        return parse(item), ()
    except ItemError as err:
        return None, (Unreadable(err.key, err.why),)


@dataclass(frozen=True)
class Change:
    """One step of the registry: the peer as it is after a `put`, or was before a `remove`."""

    generation: int
    kind: Kind
    peer: Peer
    at: str = ""
    """ISO 8601, UTC."""

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        values = attributes({"generation": self.generation, "kind": self.kind, "at": self.at})
        where = key("change", numbered(self.generation))
        return {**where, **values, "peer": {"M": self.peer.to_attributes()}}

    @classmethod
    def from_item(cls, item: Item) -> Change:
        """Parse a change."""
        read = Reader(item)
        generation = read.number("generation")
        if "sk" in item and item["sk"].get("S") != numbered(generation):
            raise read.fault(f"its generation is {generation}")
        kind = read.text("kind")
        if kind not in get_args(Kind):
            raise read.fault(f"kind: {kind!r} is neither put nor remove")
        peer = Peer.from_item(read.map("peer"), read.key)
        return cls(generation, "put" if kind == "put" else "remove", peer, read.text("at", ""))


@dataclass(frozen=True)
class Ack:
    """One gateway's acknowledgement, as another one heard it by gossip."""

    boot_id: str
    generation: int
    """Applied there, without a gap."""
    epoch: str
    at: int
    """Epoch seconds, by the clock of the gateway that heard it."""

    @classmethod
    def from_item(cls, item: Item, key: str) -> Ack:
        """Parse one entry of a gateway's `acks`; `key` names the gateway's item."""
        read = Reader(item, key)
        return cls(
            boot_id=read.text("boot_id"),
            generation=read.number("generation"),
            epoch=read.text("epoch"),
            at=read.number("at"),
        )


SERVING, UNWELL, DRAINING, DRAINED = "serving", "unwell", "draining", "drained"
"""A gateway's word of itself: healthy; not; handing its clients over; rid of them."""


@dataclass(frozen=True)
class GatewayRecord:
    """What a gateway says of itself; its instance ARN is the key that IAM lets it write."""

    arn: str
    """arn:aws:ec2:REGION:ACCOUNT:instance/ID."""
    instance_id: str
    zone: str
    address: str
    """Its private address."""
    boot_id: str
    applied: int
    """Highest contiguous change that is in force on it."""
    epoch: str
    keys: Mapping[int, str] = field(default_factory=dict)
    """Key generation it serves -> public key."""
    version: str = ""
    """SHA-256 of the artifact it runs."""
    faults: tuple[str, ...] = ()
    updated: int = 0
    """Epoch seconds."""
    acks: Mapping[str, Ack] = field(default_factory=dict)
    """What other gateways have acknowledged, by their instance ids: heard by gossip, relayed."""
    state: str = ""
    """What it does for clients: one of those below; empty from a gateway that does not say."""

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        values = {
            "instance_id": self.instance_id,
            "zone": self.zone,
            "address": self.address,
            "boot_id": self.boot_id,
            "applied": self.applied,
            "epoch": self.epoch,
            "keys": self.keys,
            "version": self.version,
            "faults": self.faults,
            "updated": self.updated,
            "acks": {name: vars(ack) for name, ack in self.acks.items()} or None,
            "state": self.state or None,
        }
        return {**gateway_key(self.arn), **attributes(values)}

    @classmethod
    def from_item(cls, item: Item) -> GatewayRecord:
        """Parse a gateway's item."""
        read = Reader(item)
        keys = read.map("keys")
        if not all(name.isdecimal() and "S" in value for name, value in keys.items()):
            raise read.fault("keys: not a map of key generations to public keys")
        acks = read.map("acks") if read.has("acks") else {}
        if not all("M" in value for value in acks.values()):
            raise read.fault("acks: not a map of instance ids to acknowledgements")
        return cls(
            arn=read.text("pk").removeprefix("gateway#"),
            instance_id=read.text("instance_id"),
            zone=read.text("zone"),
            address=read.text("address"),
            boot_id=read.text("boot_id"),
            applied=read.number("applied"),
            epoch=read.text("epoch"),
            keys={int(name): value["S"] for name, value in keys.items()},
            version=read.text("version", ""),
            faults=read.texts("faults"),
            updated=read.number("updated"),
            acks={name: Ack.from_item(value["M"], read.key) for name, value in acks.items()},
            state=read.text("state", ""),
        )


@dataclass(frozen=True)
class Audit:
    """Who did what: one for each change, never rewritten."""

    generation: int
    at: str
    action: str
    name: str
    caller: str
    """ARN of the AWS identity that made the change."""
    details: Mapping[str, object] = field(default_factory=dict)

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        values = {
            "generation": self.generation,
            "at": self.at,
            "action": self.action,
            "name": self.name,
            "caller": self.caller,
            "details": self.details,
        }
        return {**key("audit", numbered(self.generation)), **attributes(values)}

    @classmethod
    def from_item(cls, item: Item) -> Audit:
        """Parse an audit item."""
        read = Reader(item)
        details = read.map("details") if read.has("details") else {}
        return cls(
            generation=read.number("generation"),
            at=read.text("at"),
            action=read.text("action"),
            name=read.text("name"),
            caller=read.text("caller"),
            details={name: plain(value) for name, value in details.items()},
        )


@dataclass(frozen=True)
class Resting:
    """An address that was a revoked peer's: nobody's until every gateway has confirmed that."""

    address: IPv4Address
    name: str
    """Whose it was."""
    generation: int
    """Of the revocation."""

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        values = {"name": self.name, "resting": self.generation}
        return {**address_key(self.address), **attributes(values)}

    @classmethod
    def from_item(cls, item: Item) -> Resting | None:
        """Parse an address item; None when the address is a peer's."""
        if "resting" not in item:
            return None
        read = Reader(item)
        return cls(read.convert("sk", IPv4Address), read.text("name", ""), read.number("resting"))


@dataclass(frozen=True)
class RouteHold:
    """Who holds one VPC route table's route for the clients, and is alone to write that route.

    Written by gateways alone (registry/route_holds.py), each time on the condition that nobody has
    since it was read: `version` rises by one with every change.
    """

    table: str
    """Id of the route table."""
    holder: str
    """Instance id; empty when its holder has given it up."""
    interface: str
    """Id of the holder's network interface; of the last one's, when it is given up."""
    version: int
    at: str = ""
    """ISO 8601, UTC."""

    def to_attributes(self) -> dict[str, Value]:
        """Without the key."""
        return attributes(
            {
                "holder": self.holder,
                "interface": self.interface,
                "version": self.version,
                "at": self.at,
            }
        )

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        return {**route_key(self.table), **self.to_attributes()}

    @classmethod
    def from_item(cls, item: Item) -> RouteHold:
        """Parse the item of a route table."""
        read = Reader(item)
        return cls(
            table=read.text("sk"),
            holder=read.text("holder"),
            interface=read.text("interface"),
            version=read.number("version"),
            at=read.text("at", ""),
        )
