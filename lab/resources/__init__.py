"""How the lab makes each resource type on moto: one module per service, one `Handler` per type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effects import Refusal
from lab.resources import (
    autoscaling,
    cloudwatch,
    dynamodb,
    ec2,
    iam,
    kms,
    lambda_,
    lb,
    logs,
    misc,
    s3,
    security_groups,
    sns,
)

if TYPE_CHECKING:
    from lab.resources.base import Handler

HANDLERS: dict[str, Handler] = {
    **autoscaling.HANDLERS,
    **cloudwatch.HANDLERS,
    **dynamodb.HANDLERS,
    **ec2.HANDLERS,
    **iam.HANDLERS,
    **kms.HANDLERS,
    **lambda_.HANDLERS,
    **lb.HANDLERS,
    **logs.HANDLERS,
    **misc.HANDLERS,
    **s3.HANDLERS,
    **security_groups.HANDLERS,
    **sns.HANDLERS,
}


def handler(type_: str) -> Handler:
    """The handler of a type token; a type without one is refused by name, never skipped."""
    found = HANDLERS.get(type_)
    if found is None:
        raise Refusal(type_, "the lab has no handler for this type", "add one in lab/resources/")
    return found
