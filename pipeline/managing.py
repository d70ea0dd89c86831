"""What the deploying role may change of a stack, made of pipeline/permissions.py. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.statements import tagged, writes
from pipeline.permissions import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.targets import Target


def parts(target: Target, vpc_id: str | None) -> dict[str, list[dict[str, Any]]]:
    """For `pulumi up`, in parts that IAM takes: statements by what they are about."""
    named, make, change = _Bound(target), _Bound(target), _Bound(target)
    for kind in KINDS.values():
        if not kind.tagged:
            named.add(kind.names, (*kind.make, *kind.change))
            continue
        make.add(kind.names, kind.make)
        # what is made is made in something: a subnet in a VPC, which has the tags already
        change.add(kind.names, (*kind.make, *kind.change))
    tags = target.tags
    return {
        "change": [*change.statements("Change", tagged(tags))],
        "make": [*make.statements("Make", tagged(tags, "RequestTag")), *_tagging(target)],
        "named": [
            *named.statements("Named"),
            *_passing(target),
            *_adopting(target, vpc_id),
        ],
    }


class _Bound:
    """Actions, each on the resources of its own service."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._found: dict[str, tuple[set[str], set[str]]] = {}

    def add(self, names: Iterable[str], actions: Iterable[str]) -> None:
        """Allow these on resources of these names."""
        names = tuple(names)
        for action in actions:
            service = action.partition(":")[0]
            arns, granted = self._found.setdefault(service, (set(), set()))
            arns.update(self._target.arns(names, service))
            granted.add(action)

    def statements(
        self, what: str, condition: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """One for each service."""
        for service, (arns, actions) in sorted(self._found.items()):
            yield {
                "Sid": f"{what}{service.capitalize()}",
                "Effect": "Allow",
                "Action": sorted(actions),
                "Resource": sorted(arns),
                **({"Condition": condition} if condition else {}),
            }


def _tagging(target: Target) -> list[dict[str, Any]]:
    """Tags are given to what is being made, or to what has the stack's tags: to nothing else."""
    found = []
    for service, action in (("ec2", "CreateTags"), ("elasticloadbalancing", "AddTags")):
        everything = f"arn:{target.partition}:{service}:{target.region}:{target.account}:*"
        creating = sorted(
            made.partition(":")[2]
            for kind in KINDS.values()
            for made in kind.make
            if made.startswith(f"{service}:")
        )
        if service == "ec2":
            creating += ["AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress"]
        given = tagged(target.tags, "RequestTag")["StringEquals"]
        condition = {"StringEquals": {**given, f"{service}:CreateAction": creating}}
        base = {"Effect": "Allow", "Action": f"{service}:{action}", "Resource": everything}
        name = "Ec2" if service == "ec2" else "Elb"
        found += [
            {"Sid": f"{name}TagNew", **base, "Condition": condition},
            {"Sid": f"{name}TagOwn", **base, "Condition": tagged(target.tags)},
        ]
    rules = f"arn:{target.partition}:ec2:{target.region}:{target.account}:security-group-rule/*"
    found += [
        {
            "Sid": "Ec2Untag",
            "Effect": "Allow",
            "Action": "ec2:DeleteTags",
            "Resource": f"arn:{target.partition}:ec2:{target.region}:{target.account}:*",
            "Condition": tagged(target.tags),
        },
        {
            # a rule is a resource of its own, which has no tags before it is there
            "Sid": "NewRules",
            "Effect": "Allow",
            "Action": ["ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress"],
            "Resource": rules,
            "Condition": tagged(target.tags, "RequestTag"),
        },
        {
            # KMS asks for it when a key is made with tags, and cannot tell that from later
            "Sid": "KmsTagNew",
            "Effect": "Allow",
            "Action": "kms:TagResource",
            "Resource": f"arn:{target.partition}:kms:{target.region}:{target.account}:key/*",
            "Condition": tagged(target.tags, "RequestTag"),
        },
    ]
    return found


def _passing(target: Target) -> list[dict[str, Any]]:
    """Roles that are handed to services, instances that Auto Scaling starts, the control item."""
    roles = f"arn:{target.partition}:iam::{target.account}:role"
    ec2 = f"arn:{target.partition}:ec2:{target.region}:{target.account}"
    services = (("gateway", "ec2"), ("http-api", "lambda"), ("network-flows", "vpc-flow-logs"))
    return [
        *(
            {
                "Sid": f"Pass{service.title().replace('-', '')}",
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": f"{roles}/{name}-role-*",
                "Condition": {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}},
            }
            for name, service in services
        ),
        {
            # Auto Scaling asks whether whoever makes a group may start what its template says
            "Sid": "StartFromTemplate",
            "Effect": "Allow",
            "Action": "ec2:RunInstances",
            "Resource": "*",
            "Condition": {"ArnLike": {"ec2:LaunchTemplate": f"{ec2}:launch-template/*"}},
        },
        {
            "Sid": "FirstInTheAccount",
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": f"{roles}/aws-service-role/*",
            "Condition": {
                "StringEquals": {
                    "iam:AWSServiceName": [
                        "autoscaling.amazonaws.com",
                        "elasticloadbalancing.amazonaws.com",
                    ]
                }
            },
        },
        writes(
            "WriteControl",
            ["dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
            f"arn:{target.partition}:dynamodb:{target.region}:{target.account}"
            ":table/peer-registry-table-*",
            ["control"],
        ),
    ]


def _adopting(target: Target, vpc_id: str | None) -> list[dict[str, Any]]:
    """Security groups in a VPC that others have made."""
    if vpc_id is None:
        return []
    vpc = f"arn:{target.partition}:ec2:{target.region}:{target.account}:vpc/{vpc_id}"
    return [
        {
            "Sid": "InAdoptedVpc",
            "Effect": "Allow",
            "Action": "ec2:CreateSecurityGroup",
            "Resource": vpc,
        }
    ]
