"""Nobody may do everything to everything. Pure.

Of an identity's policy (a role's, an inline one, a managed one) is refused, in what it allows:

* an action with a wildcard, on all resources or on all of a kind;
* any other action on all of them without a condition, unless it only lists or describes: for most
  of those AWS knows no narrower resource;
* `NotAction` and `NotResource`, which are wildcards that do not look like it;
* AWS's own policies for administrators, whose text no preview shows.

Of a resource's policy (a bucket's, a key's, who may assume a role), where `*` means the resource
itself: a wildcard for what may be done to it, and anybody as principal without a condition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from policy.model import find, items, shown, violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy.model import Resource, Violation

OF_IDENTITIES = {
    "aws:iam/groupPolicy:GroupPolicy": "policy",
    "aws:iam/policy:Policy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
}
"""Where the policy of an identity stands, by type."""
OF_RESOURCES = {
    "aws:dynamodb/resourcePolicy:ResourcePolicy": "policy",
    "aws:iam/role:Role": "assumeRolePolicy",
    "aws:kms/key:Key": "policy",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:secretsmanager/secret:Secret": "policy",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "policy",
    "aws:sns/topic:Topic": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
}
"""Where the policy of a resource stands, by type; having none is fine."""
ROLE = "aws:iam/role:Role"
ATTACHED = re.compile(
    r"arn:[\w-]+:iam::aws:policy/(.*/)?(AdministratorAccess.*|PowerUserAccess|.*FullAccess.*)"
)
"""AWS's managed policies that allow all of AWS or all of a service."""

_LOOKS = re.compile(r"[\w-]+:(Describe|List)\w*")
_ALL = re.compile(
    r"\*|arn:[^:]*:[^:]*:[^:]*:[^:]*:[*:/]*\*"
    r"|arn:[^:]*:[^:]*:(?!::)[^:]*:[^:]*:[\w-]+[:/][*:/]*\*"
)
"""Everything, or everything of a kind: `*`, `arn:aws:s3:::*`, `arn:aws:ec2:*:*:instance/*`. With
neither region nor account it is no kind but a bucket: `arn:aws:s3:::bucket/*`."""
_NARROW = "name the actions one by one"


def judge(resource: Resource) -> Iterator[Violation]:
    """What its policies allow, wherever they stand."""
    if place := OF_IDENTITIES.get(resource.type):
        for statement in _allowed(find(resource.props, place)):
            yield from _of_identity(resource, place, statement)
    if place := OF_RESOURCES.get(resource.type):
        for statement in _allowed(find(resource.props, place)):
            yield from _of_resource(resource, place, statement)
    if resource.type == ROLE:
        for number, inline in enumerate(items(resource.props, "inlinePolicies")):
            place = f"inlinePolicies.{number}.policy"
            for statement in _allowed(find(inline, "policy")):
                yield from _of_identity(resource, place, statement)
    yield from _attached(resource)


def _allowed(given: Any) -> Iterator[Mapping[str, Any]]:
    """The statements of a policy that allow something; none while the policy is not known.

    A text that is no JSON is not judged: AWS refuses it before it allows anything.
    """
    document = given
    if isinstance(given, str):
        try:
            document = json.loads(given)
        except ValueError:
            return
    statements = document.get("Statement", []) if isinstance(document, Mapping) else []
    for statement in statements if isinstance(statements, list) else [statements]:
        if isinstance(statement, Mapping) and statement.get("Effect") != "Deny":
            yield statement


def _of_identity(
    resource: Resource, place: str, statement: Mapping[str, Any]
) -> Iterator[Violation]:
    yield from _inverted(resource, place, statement)
    everything = [text for text in _texts(statement, "Resource") if _ALL.fullmatch(text)]
    if not everything:
        return
    for action in _texts(statement, "Action"):
        allowed = f"{action} on {everything[0]}"
        if "*" in action:
            why = "is a wildcard for actions on a wildcard for resources"
            yield violation(resource, _path(place, statement), why, _NARROW, value=allowed)
        elif not _LOOKS.fullmatch(action) and not statement.get("Condition"):
            why = "reaches every resource there is, other stacks' too"
            cure = "name the resource, or the condition that tells it from others"
            yield violation(resource, _path(place, statement), why, cure, value=allowed)


def _of_resource(
    resource: Resource, place: str, statement: Mapping[str, Any]
) -> Iterator[Violation]:
    yield from _inverted(resource, place, statement)
    for action in _texts(statement, "Action"):
        if "*" in action:
            why = "allows what AWS adds to the service one day, and the policy's own change"
            yield violation(resource, _path(place, statement), why, _NARROW, value=action)
    principal = statement.get("Principal")
    named = principal.values() if isinstance(principal, Mapping) else [principal]
    anybody = any("*" in (who if isinstance(who, list) else [who]) for who in named)
    if anybody and not statement.get("Condition"):
        why = "is anybody in any account"
        cure = "name who may, or add a condition"
        yield violation(resource, _path(place, statement), why, cure, value=principal)


def _inverted(resource: Resource, place: str, statement: Mapping[str, Any]) -> Iterator[Violation]:
    for name in ("NotAction", "NotResource", "NotPrincipal"):
        if name in statement:
            why = f"{name} allows everything but what it names"
            cure = f"name what is allowed, as {name.removeprefix('Not')}"
            yield violation(
                resource, _path(place, statement), why, cure, value=shown(statement[name])
            )


def _attached(resource: Resource) -> Iterator[Violation]:
    for path in ("policyArn", "managedPolicyArns"):
        given = find(resource.props, path)
        for arn in given if isinstance(given, list) else [given]:
            if isinstance(arn, str) and ATTACHED.fullmatch(arn):
                why = "allows all of a service, or all of AWS"
                cure = "write a policy with the actions that are needed"
                yield violation(resource, path, why, cure, value=arn)


def _texts(statement: Mapping[str, Any], name: str) -> Sequence[str]:
    given = statement.get(name, [])
    return [str(text) for text in (given if isinstance(given, list) else [given])]


def _path(place: str, statement: Mapping[str, Any]) -> str:
    return f"{place} {statement.get('Sid', 'without Sid')}"
