"""What a handler is, and what all of them need."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from botocore.exceptions import ClientError

from effects import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Properties: TypeAlias = dict[str, Any]
"""Properties under the engine's (camelCase) names."""
Made: TypeAlias = tuple[str, Properties]
"""The physical id, and what the provider adds to the inputs."""


class Context:
    """What a handler works with. `client(service)` is a boto3 client of the lab's cloud."""

    def __init__(self, client: Callable[[str], Any], region: str, account: str) -> None:
        self.client = client
        self.region = region
        self.account = account

    def arn(self, service: str, resource: str, *, account: bool = True) -> str:
        """The ARN of a resource of this region."""
        return f"arn:aws:{service}:{self.region}:{self.account if account else ''}:{resource}"


@dataclass(frozen=True)
class Name:
    """How the provider names a resource the program gave no name: `LOGICAL-<7 hex digits>`."""

    property: str = "name"
    limit: int = 255
    """Characters. AWS's limit; a longer one is refused as the provider does."""


@dataclass(frozen=True, kw_only=True)
class Handler:
    """How one resource type is made.

    `create(context, inputs)` returns id and outputs. `update(context, id, old, new)` gets the
    former properties and the new inputs and returns outputs; without it every change replaces.
    `delete(context, id, properties)` does not mind if the thing is gone.
    `leftovers(context, inputs)` are ids of what a create that was cut short may have made: the
    engine deletes those it does not know.
    """

    create: Callable[[Context, Properties], Made]
    delete: Callable[[Context, str, Properties], None]
    update: Callable[[Context, str, Properties, Properties], Properties] | None = None
    properties: frozenset[str]
    """Inputs the handler honours; another one is refused, never skipped."""
    replaces: frozenset[str] = frozenset()
    """Inputs whose change replaces the resource in spite of `update`."""
    marked: frozenset[str] = frozenset()
    """Inputs the SDK always marks secret, here without need: the mark is taken off."""
    name: Name | None = None
    tagged: bool = False
    """Takes `tags`; the engine adds `tagsAll`, which has the provider's default tags too."""
    leftovers: Callable[[Context, Properties], Iterable[str]] | None = None
    unknown_after_update: frozenset[str] = field(default_factory=frozenset)
    """Outputs that an update changes: in a plan they are unknown."""

    refuse: Callable[[Properties], None] | None = None
    """Raises `Refusal` for inputs that must not be deployed, before anything is written."""

    def check(self, type_: str, inputs: Properties) -> None:
        """Refuse inputs this handler would not honour."""
        if self.refuse:
            self.refuse(inputs)
        allowed = self.properties
        if self.name:
            allowed |= {self.name.property, f"{self.name.property}Prefix"}
        if self.tagged:
            allowed |= {"tags", "tagsAll"}
        strange = sorted(set(inputs) - allowed)
        if strange:
            why = "the lab does not know what to do with this property"
            raise Refusal(f"{type_}: {', '.join(strange)}", why, "teach its handler")


@contextlib.contextmanager
def gone_is_fine(*codes: str) -> Generator[None]:
    """Swallow the service's "no such thing": a delete that was cut short is done again."""
    try:
        yield
    except ClientError as err:
        code = err.response.get("Error", {}).get("Code", "")
        if not any(code == known or code.startswith(known) for known in codes):
            raise


def given(inputs: Properties, **names: str) -> dict[str, Any]:
    """The inputs that are there, under the API's names: `given(inputs, CidrBlock="cidrBlock")`."""
    return {api: inputs[name] for api, name in names.items() if name in inputs}


def tag_list(tags: dict[str, str] | None) -> list[dict[str, str]]:
    """Tags in the form most services want."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tags_changed(old: Properties, new: Properties) -> tuple[dict[str, str], list[str]]:
    """Tags to set and tag keys to remove."""
    before, after = old.get("tagsAll", {}), new.get("tagsAll", {})
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return changed, [key for key in before if key not in after]


def retag(
    old: Properties,
    new: Properties,
    tag: Callable[..., object],
    untag: Callable[..., object],
    *,
    form: Callable[[dict[str, str]], object] = tag_list,
    **resource: Any,
) -> None:
    """Bring a resource's tags up to date by the two calls that most services have for it.

    `resource` is how they want it named, `form` how `tag` wants the tags.
    """
    put, dropped = tags_changed(old, new)
    if put:
        tag(**resource, Tags=form(put))
    if dropped:
        untag(**resource, TagKeys=dropped)


def changed(old: Properties, new: Properties, *names: str) -> bool:
    """Whether one of the properties differs."""
    return any(old.get(name) != new.get(name) for name in names)


def flag(value: Any) -> bool:
    """A boolean that the provider takes as text in some places ("true")."""
    return value is True or str(value).lower() == "true"
