"""A mock monitor that remembers what the program asked the engine for.

Pulumi's own mocks forget the parent, the options and a repeated URN, and they lose
`additionalSecretOutputs`. Everything those hide is asserted from here.
"""

from __future__ import annotations

import asyncio
import atexit
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pulumi
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.rpc import (
    _special_secret_sig,
    _special_sig_key,
    deserialize_properties,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


SECRET_MARK = _special_secret_sig
"""Stands in a request wherever the program made something secret."""
UUID = "5e6ab1d8-0000-4000-8000-00000000feed"


@dataclass(frozen=True)
class Declared:
    """One registration, as the engine would have received it."""

    urn: str
    typ: str
    name: str
    parent: str
    provider: str
    inputs: dict[str, Any]
    request: Any = field(repr=False)

    @property
    def is_component(self) -> bool:
        return not self.request.custom

    @property
    def is_provider(self) -> bool:
        return self.typ.startswith("pulumi:providers:")


def public_address(name: str) -> str:
    """The address that a made-up Elastic IP of that name has: readers parse it."""
    return f"203.0.113.{crc32(name.encode()) % 254 + 1}"


class AwsMocks(Mocks):
    """Answers every creation with its own inputs, an id and what AWS would add; no lookup."""

    def __init__(self) -> None:
        self.extra: dict[str, dict[str, Any]] = {
            "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 3},
            "random:index/randomUuid:RandomUuid": {"result": UUID},
            "aws:lambda/functionUrl:FunctionUrl": {"functionUrl": "https://http-api-url.example/"},
        }
        """Computed outputs, by type token."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        outputs = {
            "arn": f"arn:aws:mock:::{args.name}",
            "name": f"{args.name}-name",
            "dnsName": f"{args.name}.example",
            "allocationId": f"{args.name}-allocation",
            "publicIp": public_address(args.name),
            **self.extra.get(args.typ, {}),
            **args.inputs,
        }
        return f"{args.name}-id", outputs

    def call(self, args: MockCallArgs) -> tuple[dict, list[tuple[str, str]] | None]:
        raise AssertionError(f"the program looked up {args.token}: a plan must not depend on it")


def _make_secret(fields: Any, key: str) -> None:
    """Mark one output secret, as the engine does and Pulumi's mocks do not."""
    if key in fields:
        plain = type(fields[key])()
        plain.CopyFrom(fields[key])
        wrapped = fields[key].struct_value
        wrapped.fields[_special_sig_key].string_value = _special_secret_sig
        wrapped.fields["value"].CopyFrom(plain)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The thread's default loop, as the SDK wants it.

    One and the same: an asyncio.run() of another test takes it away, and a loop that is lost
    without being closed is somebody else's warning when it is collected.
    """
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def install(recorder: Recorder, *, project: str, stack: str, preview: bool = False) -> None:
    """Let Pulumi's SDK in this process register with `recorder`."""
    asyncio.set_event_loop(_loop())
    pulumi.runtime.set_mocks(
        recorder.mocks, project=project, stack=stack, preview=preview, monitor=recorder
    )


class Recorder(MockMonitor):
    """Keeps each request and refuses what the real engine refuses."""

    def __init__(self) -> None:
        self.aws = AwsMocks()
        super().__init__(self.aws)
        self.declared: dict[str, Declared] = {}
        self._urns: set[str] = set()
        self._lock = Lock()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC method name
        urn = self.make_urn(request.parent, request.type, request.name)
        with self._lock:  # the SDK registers from several threads
            if urn in self._urns:
                raise AssertionError(f"duplicate resource URN {urn}")
            self._urns.add(urn)
        answer = super().RegisterResource(request)
        for key in request.additionalSecretOutputs:
            _make_secret(answer.object.fields, key)
        if request.type != "pulumi:pulumi:Stack":
            self.declared[urn] = Declared(
                urn=urn,
                typ=request.type,
                name=request.name,
                parent=request.parent,
                provider=request.provider,
                inputs=deserialize_properties(request.object),
                request=request,
            )
        return answer

    def of(self, typ: str) -> list[Declared]:
        """All resources whose type token ends like `typ`, for example `lb/listener:Listener`."""
        return [declared for declared in self.declared.values() if declared.typ.endswith(typ)]

    def one(self, typ: str) -> Declared:
        found = self.of(typ)
        assert len(found) == 1, f"want exactly one {typ}, found {[d.name for d in found]}"
        return found[0]

    def named(self, name: str) -> Declared:
        found = [declared for declared in self.declared.values() if declared.name == name]
        assert len(found) == 1, f"want exactly one {name}, found {[d.urn for d in found]}"
        return found[0]

    def children(self) -> Iterator[tuple[Declared, Declared]]:
        for child in self.declared.values():
            if child.parent in self.declared:
                yield self.declared[child.parent], child
