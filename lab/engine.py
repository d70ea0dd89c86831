"""The part of Pulumi's engine the lab needs: what the program declares, compared, made, deleted.

The program runs in this process under the SDK's monitor hook. Each registration is compared with
the state, carried out by the type's handler, and written down before the program goes on. It stands
in for the engine in the lab only; `pulumi up` does this everywhere else.
"""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from pulumi.runtime.mocks import MockMonitor, Mocks
from pulumi.runtime.proto import resource_pb2

from effects import Refusal
from lab import resources, values
from lab.state import Phase, Resource, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.resources.base import Context, Handler, Properties

_STACK = "pulumi:pulumi:Stack"
_SUFFIX_DIGITS = 7
"""Hex digits, as Pulumi's default autonaming has them."""


@dataclass
class Changes:
    """What a run did, or a plan would do: URNs, in order."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    details: dict[str, list[str]] = field(default_factory=dict)
    """URN of an updated or replaced resource -> the inputs that changed."""
    outputs: Properties = field(default_factory=dict)
    """The stack's outputs."""

    @property
    def any(self) -> bool:
        """Whether anything changes."""
        return bool(self.created or self.updated or self.replaced or self.deleted)


class Engine(MockMonitor):
    """The monitor a program talks to. One instance serves one run."""

    def __init__(
        self,
        state: State,
        context: Context,
        *,
        plan: bool = False,
        no_default_providers: Sequence[str] = (),
    ) -> None:
        """With `plan` nothing is done or written.

        A resource of a package in `no_default_providers` must name its provider.
        """
        super().__init__(_Unused())
        self.changes = Changes()
        self._state = state
        self._context = context
        self._plan = plan
        self._no_default_providers = no_default_providers
        self._declared: list[str] = []
        self._failed = False
        self._lock = Lock()
        self._providers: dict[str, Properties] = {}

    # What the SDK calls

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Like the real engine's: the stack is nobody's parent (the SDK's mock differs there)."""
        return super().make_urn("" if parent.split("::")[2:3] == [_STACK] else parent, type_, name)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC method name
        """Make one declared resource so; the SDK calls this from several threads."""
        urn = self.make_urn(request.parent, request.type, request.name)
        answer = resource_pb2.RegisterResourceResponse
        if request.type == _STACK:
            return answer(urn=urn)
        with self._lock:
            if self._failed:
                raise Refusal(urn, "another resource failed before", "mend that one first")
            try:
                self._declare(urn, request)
                if not request.custom:
                    return answer(urn=urn, object=request.object)
                id_, properties = self._make(urn, request)
            except BaseException:
                self._failed = True
                raise
        return answer(urn=urn, id=id_, object=values.struct(properties))

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - gRPC method name
        """Keep the stack's outputs."""
        if request.urn.split("::")[2] == _STACK:
            outputs = {
                key: value
                for key, value in values.plain(request.outputs, "output").items()
                if not values.unknown(value)
            }
            self.changes.outputs.update(outputs)
        return super().RegisterResourceOutputs(request)

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 - gRPC method name
        """Refuse: the program declares all it uses."""
        raise Refusal(
            f"{request.type} {request.name}", "`get` of a resource", "pass its id instead"
        )

    def Invoke(self, request: Any) -> Any:  # noqa: N802 - gRPC method name
        """Refuse: what is deployed must not depend on the state of the world."""
        raise Refusal(request.tok, "a lookup", "pass the value by configuration")

    def RegisterStackTransform(self, request: Any) -> Any:  # noqa: ARG002, N802 - gRPC method name
        """Refuse what would silently not happen."""
        raise Refusal("a stack transform", "the lab does not run them", "make it an argument")

    # After the program

    def finish(self) -> Changes:
        """Delete what the program no longer declares, and what was replaced, in reverse order."""
        state = self._state
        if not self._plan:
            state.reorder(self._declared)
        for old in reversed(list(state.resources)):
            vanished = old.urn not in self._declared
            if not vanished and old.phase is Phase.LIVE:
                continue
            if old.protect and vanished:
                raise Refusal(old.urn, "protected", "unprotect it in the program first")
            self._delete(old)
            if vanished and old.phase is Phase.LIVE:
                self.changes.deleted.append(old.urn)
        if not self._plan:
            state.outputs = self.changes.outputs
            state.save()
        return self.changes

    # The steps

    def _declare(self, urn: str, request: Any) -> None:
        if urn in self._declared:
            raise Refusal(urn, "declared twice", "give one of them another name")
        if request.importId:
            raise Refusal(urn, "`import` of a resource", "the lab has nothing to import")
        self._declared.append(urn)

    def _check_provider(self, urn: str, request: Any) -> None:
        package = request.type.split(":")[0]
        disabled = {package, "*"}.intersection(self._no_default_providers)
        if disabled and package != "pulumi" and not request.provider:
            raise Refusal(urn, f"the default provider of {package} is disabled", "pass a provider")

    def _make(self, urn: str, request: Any) -> tuple[str, Properties]:
        self._check_provider(urn, request)
        handler = resources.handler(request.type)
        where = f"{request.type} {request.name}"
        given = values.properties(request.object, where, handler.marked)
        handler.check(request.type, given)
        old = self._state.live(urn)
        inputs = self._inputs(urn, request, handler, given, old)
        if request.type.startswith("pulumi:providers:"):
            self._providers[urn] = inputs
        self._clear_leftovers(urn, handler)
        if old is None:
            self.changes.created.append(urn)
            return self._create(urn, request, handler, inputs)
        differing = _differing(old.inputs, inputs)
        if not differing:
            self.changes.unchanged.append(urn)
            return self._keep(old, request)
        self.changes.details[urn] = differing
        if handler.update is None or handler.replaces.intersection(differing):
            self.changes.replaced.append(urn)
            return self._replace(old, request, handler, inputs)
        self.changes.updated.append(urn)
        return self._update(old, request, handler, inputs)

    def _inputs(
        self, urn: str, request: Any, handler: Handler, given: Properties, old: Resource | None
    ) -> Properties:
        """The inputs as the provider sees them: with a name, default tags, and what is ignored."""
        inputs = dict(given)
        for path in request.ignoreChanges:
            if old is not None and path in old.inputs:
                inputs[path] = old.inputs[path]
        if handler.tagged:
            tags = {**self._default_tags(request.provider), **inputs.get("tags", {})}
            if tags:
                inputs["tagsAll"] = tags
        if handler.name and handler.name.property not in inputs:
            before = old.inputs if old else self._begun(urn)
            former = before.get(handler.name.property) if before else None
            inputs[handler.name.property] = former or _auto_name(handler, request.name, inputs)
        return inputs

    def _begun(self, urn: str) -> Properties | None:
        """The inputs of a create that was cut short."""
        found = (r for r in self._state.resources if r.urn == urn and r.phase is Phase.CREATING)
        return next((resource.inputs for resource in found), None)

    def _default_tags(self, provider: str) -> dict[str, str]:
        inputs = self._providers.get(provider.rpartition("::")[0], {})
        # A provider's inputs are text: objects as JSON
        return json.loads(inputs.get("defaultTags", "{}")).get("tags", {})

    def _create(
        self, urn: str, request: Any, handler: Handler, inputs: Properties
    ) -> tuple[str, Properties]:
        if self._plan:
            return "", inputs
        resource = Resource(urn, request.type, "", inputs, phase=Phase.CREATING)
        _options(resource, request)
        # Written before it happens: if this run is killed now, the next one looks for what is left
        self._state.add(resource)
        resource.id, resource.outputs = handler.create(self._context, inputs)
        resource.phase = Phase.LIVE
        self._state.save()
        return resource.id, resource.properties

    def _keep(self, old: Resource, request: Any) -> tuple[str, Properties]:
        if not self._plan and _options(old, request):
            self._state.save()
        return old.id, old.properties

    def _update(
        self, old: Resource, request: Any, handler: Handler, inputs: Properties
    ) -> tuple[str, Properties]:
        if self._plan:
            known = {
                name: value
                for name, value in old.outputs.items()
                if name not in handler.unknown_after_update
            }
            return old.id, {**known, **inputs}
        if handler.update is None:
            raise AssertionError(old.type)
        outputs = handler.update(self._context, old.id, old.properties, inputs)
        old.id = outputs.pop("id", old.id)
        old.inputs, old.outputs = inputs, {**old.outputs, **outputs}
        _options(old, request)
        self._state.save()
        return old.id, old.properties

    def _replace(
        self, old: Resource, request: Any, handler: Handler, inputs: Properties
    ) -> tuple[str, Properties]:
        if old.protect:
            raise Refusal(old.urn, "protected, and it must be replaced", "unprotect it first")
        if self._plan:
            return "", inputs
        name = handler.name.property if handler.name else None
        given = set(request.object.fields)
        # With a name of the program's own choice both cannot exist at once
        same_name = name is not None and name in given and inputs[name] == old.inputs[name]
        if request.deleteBeforeReplace or same_name:
            self._delete(old)
        else:
            old.phase = Phase.OUTDATED
            if name is not None and name not in given:
                inputs[name] = _auto_name(handler, request.name, inputs)
            self._state.save()
        return self._create(old.urn, request, handler, inputs)

    def _clear_leftovers(self, urn: str, handler: Handler) -> None:
        for resource in list(self._state.resources):
            if resource.urn == urn and resource.phase is Phase.CREATING and not self._plan:
                self._delete_leftovers(resource, handler)
                self._state.remove(resource)

    def _delete_leftovers(self, resource: Resource, handler: Handler) -> None:
        if handler.leftovers is None:
            return
        known = self._state.ids(resource.type)
        for id_ in handler.leftovers(self._context, resource.inputs):
            if id_ not in known:
                handler.delete(self._context, id_, resource.inputs)

    def _delete(self, old: Resource) -> None:
        if self._plan:
            return
        handler = resources.handler(old.type)
        if old.phase is Phase.CREATING:
            self._delete_leftovers(old, handler)
        elif not old.retain:
            handler.delete(self._context, old.id, old.properties)
        self._state.remove(old)


class _Unused(Mocks):
    """The SDK wants mocks; the engine answers before they would be asked."""

    def call(self, args: Any) -> Any:
        raise AssertionError(args.token)

    def new_resource(self, args: Any) -> Any:
        raise AssertionError(args.typ)


def _differing(old: Properties, new: Properties) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def _options(resource: Resource, request: Any) -> bool:
    """Take over the options that matter later; whether they changed."""
    before = resource.protect, resource.retain
    resource.protect, resource.retain = request.protect or False, request.retainOnDelete or False
    return before != (resource.protect, resource.retain)


def _auto_name(handler: Handler, logical: str, inputs: Properties) -> str:
    if handler.name is None:
        raise AssertionError(logical)
    prefix = inputs.get(f"{handler.name.property}Prefix") or f"{logical}-"
    name = prefix + secrets.token_hex(4)[:_SUFFIX_DIGITS]
    if len(name) > handler.name.limit:
        why = f"{len(name)} characters with its suffix, at most {handler.name.limit} are allowed"
        raise Refusal(f"{handler.name.property} {name}", why, "shorten the resource's name")
    return name


def report(changes: Changes, *, plan: bool, out: Any = None) -> None:
    """Print what was or would be done, a line each, and the sums."""
    stream = out or sys.stdout
    rows = (
        ("+", "create", changes.created),
        ("~", "update", changes.updated),
        ("+-", "replace", changes.replaced),
        ("-", "delete", changes.deleted),
    )
    for sign, _, urns in rows:
        for urn in urns:
            type_, name = urn.split("::")[2].split("$")[-1], urn.split("::")[-1]
            detail = f" [{', '.join(changes.details[urn])}]" if urn in changes.details else ""
            stream.write(f"{sign:>2} {type_} {name}{detail}\n")
    sums = [f"{len(urns)} to {word}" if plan else f"{len(urns)} {word}d" for _, word, urns in rows]
    stream.write(f"{', '.join(sums)}, {len(changes.unchanged)} unchanged\n")
