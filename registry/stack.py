"""A stack as its operators have it: where it is, its registry, its gateways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from effects import Refusal
from registry.archive import Archive
from registry.confirmation import reached
from registry.errors import RegistryError
from registry.membership import Fleet
from registry.operators import OperatorRegistry
from registry.orders import Orders
from registry.preshared import Sealer
from registry.refusals import Absent
from registry.route_holds import RouteHolds
from registry.store import now

if TYPE_CHECKING:
    from registry.environment import Cloud, Environment
    from registry.items import Peer
    from registry.requests import Once

NO_CONTROL = (
    "it has no control item",
    "was the table emptied (docs/runbooks/registry-lost.md)? `pulumi up --refresh` writes it",
)
"""What is wrong and the cure, where the one item is missing that the Pulumi program writes."""


@dataclass(frozen=True)
class Stack:
    """A stack that has been found, and the operator who works on it."""

    cloud: Cloud
    environment: Environment
    registry: OperatorRegistry

    @property
    def name(self) -> str:
        """The stack's."""
        return self.environment.stack

    @cached_property
    def caller(self) -> str:
        """The ARN of the operator's identity, for the audit."""
        return self.cloud.caller()

    @cached_property
    def orders(self) -> Orders:
        """What its gateways are told."""
        return Orders(self.cloud.client("dynamodb"), self.environment.table)

    @cached_property
    def route_holds(self) -> RouteHolds:
        """Which of its gateways holds which route table's route."""
        return RouteHolds(self.cloud.client("dynamodb"), self.environment.table, now)

    @cached_property
    def sealer(self) -> Sealer:
        """What makes pre-shared keys for its peers."""
        environment = self.environment
        return Sealer(
            lambda: self.cloud.client("kms"), environment.stack, environment.preshared_key_arn
        )

    @cached_property
    def fleet(self) -> Fleet:
        """Its gateways."""
        return Fleet(self.cloud, self.environment, self.registry)

    def confirmed(self) -> int:
        """The generation that every gateway says it has applied."""
        members = self.fleet.group().members
        epoch = self.registry.head().epoch
        return reached(members, epoch, self.fleet.records(members))

    def server_key(self) -> tuple[int, str]:
        """The key generation that new configs name, and its public key."""
        head = self.registry.head()
        if head.control_fault:
            raise RegistryError(
                f"registry item control/control: {head.control_fault}; deploy the stack again"
            )
        if head.control is None:
            raise Refusal(f"stack {self.name}", *NO_CONTROL)
        public_key = self.registry.server_key(head.control.newest)
        if public_key is None:
            raise Refusal(
                f"stack {self.name}",
                f"no gateway has published its key of generation {head.control.newest} yet",
                "wait until one is healthy, then call again",
            )
        return head.control.newest, public_key

    def wanted(self, name: str) -> Peer:
        """The peer of that name."""
        peer = self.registry.peer(name)
        if peer is None:
            raise Absent(f"peer {name}", "there is none of that name", "see `peers list`")
        return peer


def opened(cloud: Cloud, environment: Environment, once: Once | None = None) -> Stack:
    """The stack of this environment; `once` is the request that its changes are made for."""
    archive = Archive(lambda: cloud.client("s3"), environment.archive)
    client = cloud.client("dynamodb")
    return Stack(cloud, environment, OperatorRegistry(client, environment.table, archive, once))
