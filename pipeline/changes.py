"""What a preview says, read from the engine's own events; and what of it cannot be undone. Pure.

The events are those of `--event-log`, one JSON object a line (pulumi/pulumi,
sdk/go/common/apitype/events.go); Pulumi's Automation API reads the same file. `pulumi preview
--json` is not enough: it leaves out what the policy pack says.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LOSSES: Mapping[str, str] = {
    "aws:cloudwatch/logGroup:LogGroup": "what it has recorded would be gone, of whoever did it",
    "aws:dynamodb/table:Table": "the registry of who may enter would be gone",
    "aws:ec2/eip:Eip": "clients that know this address would find nobody there",
    "aws:ec2/vpc:Vpc": "everything in the network would be made anew",
    "aws:kms/key:Key": "what is encrypted under it could not be read any more",
    "aws:lb/loadBalancer:LoadBalancer": "clients would be cut off, and its name be another one",
    "aws:s3/bucket:Bucket": "what is in it would be gone, older audit records or code among it",
    "aws:secretsmanager/secret:Secret": "the gateways' private keys would be gone: every client "
    "would need a new config",
    "random:index/randomUuid:RandomUuid": "gateways would not find the private keys that they have",
}
"""What cannot be made again -> what its replacement or deletion would mean."""

LOSING = frozenset({"delete", "replace"})
QUIET = frozenset({"same", "read", "refresh"})
"""Operations that change nothing."""

_COLOUR = re.compile(r"<\{%[^%]*%\}>")
"""How the engine marks colours in its messages."""


@dataclass(frozen=True, order=True)
class Change:
    """One resource that would be changed."""

    urn: str
    operation: str
    """create, update, replace, delete or import."""
    properties: tuple[str, ...] = ()
    """That differ; of a replacement, also those that ask for it."""

    @property
    def name(self) -> str:
        """As the program calls it."""
        return self.urn.rpartition("::")[2]

    @property
    def kind(self) -> str:
        """Its type, such as `aws:ec2/eip:Eip`."""
        return self.urn.split("::")[-2].rpartition("$")[2]

    @property
    def loss(self) -> str:
        """What would be lost for good; empty if nothing would."""
        return LOSSES.get(self.kind, "") if self.operation in LOSING else ""


@dataclass(frozen=True)
class Preview:
    """All that one preview says."""

    changes: tuple[Change, ...]
    unchanged: int
    violations: tuple[str, ...]
    """Of the policy pack, those that forbid the deployment."""
    advice: tuple[str, ...]
    """Of the policy pack, the rest."""
    errors: tuple[str, ...]
    complete: bool
    """Whether the engine came to its end without an error."""

    @property
    def good(self) -> bool:
        """Whether it could be deployed, as far as a preview can tell."""
        return self.complete and not self.violations and not self.errors

    @property
    def losses(self) -> tuple[Change, ...]:
        """The changes that cannot be undone."""
        return tuple(change for change in self.changes if change.loss)

    @property
    def digest(self) -> str:
        """The same for the same changes: who approves them can hold a later preview to it."""
        said = [[change.urn, change.operation, *change.properties] for change in self.changes]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def counts(self) -> dict[str, int]:
        """How many would be created, updated and so on."""
        found: dict[str, int] = {}
        for change in self.changes:
            found[change.operation] = found.get(change.operation, 0) + 1
        return dict(sorted(found.items()))


def read(lines: Iterable[str]) -> Preview:
    """A preview by its event log. A log that breaks off is one of a preview that did not end."""
    events = list(_events(lines))
    summaries = [event["summaryEvent"] for event in events if "summaryEvent" in event]
    counts = summaries[-1].get("resourceChanges") or {} if summaries else {}
    policies = [event["policyEvent"] for event in events if "policyEvent" in event]
    said = [event["diagnosticEvent"] for event in events if "diagnosticEvent" in event]
    changes = {
        _change(event["resourcePreEvent"]["metadata"])
        for event in events
        if "resourcePreEvent" in event and _counts(event["resourcePreEvent"]["metadata"])
    }
    return Preview(
        changes=tuple(sorted(changes)),
        unchanged=int(counts.get("same", 0)),
        violations=tuple(_policy(one) for one in policies if _forbids(one)),
        advice=tuple(_policy(one) for one in policies if not _forbids(one)),
        errors=tuple(_plain(one["message"]) for one in said if one.get("severity") == "error"),
        complete=bool(summaries) and summaries[-1].get("result", "succeeded") == "succeeded",
    )


def _events(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            return  # the engine died in the middle of a line; there is no summary then
        if isinstance(event, dict):
            yield event


def _counts(metadata: Mapping[str, Any]) -> bool:
    """Whether it is a change: a replacement's own steps (`logical` is false) are not more ones."""
    return bool(metadata.get("logical")) and metadata["op"] not in QUIET


def _change(metadata: Mapping[str, Any]) -> Change:
    properties = {*(metadata.get("diffs") or ()), *(metadata.get("keys") or ())}
    return Change(metadata["urn"], metadata["op"], tuple(sorted(properties)))


def _forbids(policy: Mapping[str, Any]) -> bool:
    # Anything that is not known to be harmless forbids: the engine may learn new levels
    return policy.get("enforcementLevel") not in ("advisory", "remediate", "disabled")


def _policy(policy: Mapping[str, Any]) -> str:
    where = str(policy.get("resourceUrn") or "the stack").rpartition("::")[2]
    return f"{policy.get('policyName')}: {where}: {_plain(str(policy.get('message', '')))}"


def _plain(text: str) -> str:
    """Without colours, on one line."""
    return " ".join(_COLOUR.sub("", text).split())
