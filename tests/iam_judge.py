"""IAM's evaluation of identity policies, as far as ours need it.

After "Policy evaluation logic" and "IAM JSON policy elements: Condition operators" of the IAM user
guide. A policy that uses anything else is refused, so that nothing is allowed by accident.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Asked:
    """One permission that a request needs: an action on a resource, and what else is known."""

    action: str
    resource: str = "*"
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def leading_keys(self) -> tuple[str, ...]:
        """The partition keys of the items it is about."""
        return tuple(self.context.get("dynamodb:LeadingKeys", ()))


def allowing(document: Mapping[str, Any], asked: Asked) -> list[str]:
    """The names of the statements that allow it; none: it is denied."""
    return [s["Sid"] for s in document["Statement"] if _allows(s, asked)]


def permitted(documents: Iterable[Mapping[str, Any]], asked: Asked) -> bool:
    """Whether these policies together allow it: one statement does, and none denies it."""
    statements = [one for document in documents for one in document["Statement"]]
    fitting = [one for one in statements if _fits(one, asked)]
    assert {one["Effect"] for one in fitting} <= {"Allow", "Deny"}
    return bool(fitting) and all(one["Effect"] == "Allow" for one in fitting)


def _fits(statement: Mapping[str, Any], asked: Asked) -> bool:
    known = {"Sid", "Effect", "Action", "NotAction", "Resource", "Condition"}
    assert statement.keys() <= known

    def among(actions: Any) -> bool:
        return any(fnmatchcase(asked.action, pattern) for pattern in _list(actions))

    acts = among(statement["Action"]) if "Action" in statement else None
    if acts is None:
        acts = not among(statement["NotAction"])
    return (
        acts
        and any(fnmatchcase(asked.resource, pattern) for pattern in _list(statement["Resource"]))
        and _conditions_hold(statement, asked)
    )


def _allows(statement: Mapping[str, Any], asked: Asked) -> bool:
    assert statement["Effect"] == "Allow"
    assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    return (
        asked.action in _list(statement["Action"])
        and any(fnmatchcase(asked.resource, pattern) for pattern in _list(statement["Resource"]))
        and _conditions_hold(statement, asked)
    )


def _conditions_hold(statement: Mapping[str, Any], asked: Asked) -> bool:
    return all(
        _holds(operator, key, _filled(_list(wanted), asked), asked.context.get(key, ()))
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )


def _filled(wanted: Sequence[str], asked: Asked) -> list[str]:
    """With the request's own values for the policy variables; one without a value fits nothing.

    A variable is left as it stands where the request's values name it too: some tests ask for the
    policy's own text.
    """
    return [
        _VARIABLE.sub(lambda named: _value(named, asked), text) if "${" in text else text
        for text in wanted
    ]


_VARIABLE = re.compile(r"\$\{([\w:-]+)\}")


def _value(named: re.Match[str], asked: Asked) -> str:
    values = asked.context.get(named[1], ())
    assert len(values) <= 1, f"{named[1]} has one value"
    return values[0] if values else named[0]


def _holds(  # noqa: PLR0911 - one line each
    operator: str, key: str, wanted: Sequence[str], given: Sequence[str]
) -> bool:
    match operator:
        case "StringEquals":
            assert len(given) <= 1, f"{key} has one value"
            return bool(given) and given[0] in wanted
        case "StringNotEquals":
            assert len(given) <= 1, f"{key} has one value"
            return not given or given[0] not in wanted
        case "ForAllValues:StringEquals":
            return all(value in wanted for value in given)
        case "ForAllValues:StringNotEquals":
            return all(value not in wanted for value in given)
        case "ForAnyValue:StringEquals":
            return any(value in wanted for value in given)
        case "ArnLike":
            return any(fnmatchcase(value, like) for value in given for like in wanted)
        case "Null":
            return (not given) == (wanted == ["true"])
    raise AssertionError(f"condition operator {operator} is not known here")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
