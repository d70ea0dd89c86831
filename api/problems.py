"""What went wrong, as problem details (RFC 9457): one answer with every fault in it. Pure.

`type` is left out, which means `about:blank`: the status says what kind of problem it is. The
member `errors` is ours: for each fault what is meant (`field`), what was got (`value`), why it was
refused and the cure.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from effects import Refusal
from registry.errors import RegistryError
from registry.refusals import Absent, RefusedInput
from registry.requests import Reused
from registry.transactions import Contended, Unconfirmed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KIND = "application/problem+json"

RETRY_AFTER = "5"
"""Seconds."""

LOST = "ask for the peer to see, or send the request again with its Idempotency-Key"

LONGEST_VALUE = 200
"""Characters of a wrong value that are said back."""


@dataclass(frozen=True)
class Fault:
    """One thing that was refused."""

    field: str
    """Its name in the body or the query; `allow[1]` is the second of a list."""
    value: Any
    """What was got; None where that is not to be said, or nothing was."""
    why: str
    cure: str

    def as_json(self) -> dict[str, Any]:
        """Its entry in `errors`."""
        shown = {} if self.value is None else {"value": _short(self.value)}
        return {"field": self.field, **shown, "why": self.why, "cure": self.cure}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request that is not answered with what was asked for."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        cure: str = "",
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{detail}; {cure}" if cure else detail)
        self.status, self.faults = status, tuple(faults)
        self.headers = dict(headers or {})

    def as_json(self) -> dict[str, Any]:
        """The body."""
        errors = [fault.as_json() for fault in self.faults]
        return {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self),
            **({"errors": errors} if errors else {}),
        }


def refused(faults: Iterable[Fault]) -> Problem:
    """Of input that was refused, nothing was changed."""
    found = tuple(faults)
    count = "1 value was" if len(found) == 1 else f"{len(found)} values were"
    return Problem(400, f"{count} refused, nothing was changed", faults=found)


STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (Absent, 404),
    (Reused, 422),
    (Refusal, 409),
    (Contended, 503),
    (RegistryError, 502),
)
"""What an exception means to a caller: the first that fits. All others are nobody's fault but ours,
and are not described to anybody."""


def problem(err: Exception) -> Problem:
    """An exception as it is answered."""
    if isinstance(err, Problem):
        return err
    if isinstance(err, RefusedInput):
        return refused(fault("", None, each) for each in err.faults)
    status = next((number for kind, number in STATUSES if isinstance(err, kind)), 500)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return Problem(status, "an unforeseen error", cure="the function's log group has it")
    again = {"retry-after": RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    cure = LOST if isinstance(err, Unconfirmed) else ""
    return Problem(status, str(err), cure=cure, headers=again)


def fault(field: str, value: Any, err: Refusal) -> Fault:
    """A refusal of the shared rules, about one field."""
    return Fault(field or err.what, value, err.why, err.cure)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return value[:LONGEST_VALUE] + "..."
    if isinstance(value, (dict, list)):
        return _short(str(value))
    return value
