"""The documents of a stack's three roles: whom they trust, and what they may. Pure.

`preview` runs code that nobody has read, so it opens the stack's state and nothing else. `watch`
reads what the stack has. `deploy` changes it, bound to the stack's tags where AWS knows them and to
the program's names elsewhere. None of them reads a secret's value.

Not bound, because AWS cannot: what is in a policy that `deploy` gives to the gateways' role. Who
decides what is merged and approved decides over the account's gatepair, which is why the role
trusts the protected environment alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.statements import tagged
from pipeline import managing
from pipeline.permissions import READ, READ_EVERYWHERE, READ_TAGGED
from pipeline.targets import KEY_ALIAS, PROJECT, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.targets import Target

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"

LIMIT = 6144
"""Characters of a managed policy, white space not counted (IAM user guide, "IAM and STS quotas").
All that `deploy` needs is more than the 10,240 of a role's inline policies."""

PATH = "/gatepair-pipeline/"
"""Of roles' policies in IAM: not the stacks' own path, which `deploy` may write to."""


@dataclass(frozen=True)
class Trust:
    """Whose workflows may take the roles."""

    repository: str
    """OWNER/NAME, or OWNER@ID/NAME@ID, as GitHub writes it in a token's `sub`."""
    branch: str = "main"

    def conditions(self, target: Target, role: Role) -> dict[str, dict[str, str]]:
        """What a token must say. `ref` is known to AWS since January 2026, in its own partition.

        Sources: GitHub, "OpenID Connect reference"; AWS, "STS supports validation of identity
        provider specific claims" (what's new, January 2026).
        """
        ref = f"refs/heads/{self.branch}"
        where = {
            Role.PREVIEW: "pull_request",
            Role.WATCH: f"ref:{ref}",
            Role.DEPLOY: f"environment:{target.stack}",
        }[role]
        said = {
            f"{ISSUER}:aud": AUDIENCE,
            f"{ISSUER}:sub": f"repo:{self.repository}:{where}",
        }
        if role is Role.DEPLOY and target.partition == "aws":
            said[f"{ISSUER}:ref"] = ref
        return {"StringEquals": said}


def trust_policy(target: Target, trust: Trust, role: Role) -> dict[str, Any]:
    """Who may take a role."""
    provider = f"arn:{target.partition}:iam::{target.account}:oidc-provider/{ISSUER}"
    return _document(
        {
            "Sid": "GitHub",
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": trust.conditions(target, role),
        }
    )


def role_policies(
    target: Target, role: Role, *, vpc_id: str | None = None
) -> dict[str, dict[str, Any]]:
    """A role's policies by their last word. `vpc_id` is an adopted VPC's, which others tag."""
    found = {"state": _document(*reading_state(target)), "never": _document(*denied(target, role))}
    if role is not Role.PREVIEW:
        found["read"] = _document(*reading(target))
    if role is Role.DEPLOY:
        found["state"] = _document(*reading_state(target), writing_state(target))
        parts = managing.parts(target, vpc_id)
        found |= {part: _document(*statements) for part, statements in parts.items()}
    return dict(sorted(found.items()))


def size(document: Mapping[str, Any]) -> int:
    """Of a policy, as IAM counts."""
    return len(json.dumps(document, separators=(",", ":")).replace(" ", ""))


# ------------------------------------------------------------------ the state


def reading_state(target: Target) -> list[dict[str, Any]]:
    """What `pulumi preview` asks of the state's bucket and key; seen with Pulumi 3.260.

    The whole bucket may be listed: without that S3 says "denied" of what is not there, and Pulumi
    takes that for a failure. The names of other stacks can be seen with it, their states cannot.
    """
    bucket = _bucket(target)
    return [
        {"Sid": "SeeStates", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
        {
            "Sid": "ReadState",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [
                f"{bucket}/.pulumi/meta.yaml",
                f"{bucket}/.pulumi/stacks/{PROJECT}/{target.stack}.*",
            ],
        },
        {
            "Sid": "OpenState",
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": f"arn:{target.partition}:kms:{target.region}:{target.account}:key/*",
            "Condition": {
                "ForAnyValue:StringEquals": {"kms:ResourceAliases": [KEY_ALIAS]},
                # the stack's own data key: with `targets.secrets_provider`
                "StringEquals": {"kms:EncryptionContext:stack": target.stack},
            },
        },
    ]


def writing_state(target: Target) -> dict[str, Any]:
    """What `pulumi up` asks besides: a lock, the state, a copy of it, its history."""
    bucket, stack = _bucket(target), target.stack
    return {
        "Sid": "WriteState",
        "Effect": "Allow",
        "Action": ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
        "Resource": [
            f"{bucket}/.pulumi/backups/{PROJECT}/{stack}/*",
            f"{bucket}/.pulumi/history/{PROJECT}/{stack}/*",
            f"{bucket}/.pulumi/locks/organization/{PROJECT}/{stack}/*",
            f"{bucket}/.pulumi/stacks/{PROJECT}/{stack}.*",
        ],
    }


# ------------------------------------------------------------------ never


def denied(target: Target, role: Role) -> list[dict[str, Any]]:
    """What no policy may give: secrets' values, other keys, and the ground these roles stand on."""
    found: list[dict[str, Any]] = [
        {
            "Sid": "NoSecretValue",
            "Effect": "Deny",
            "Action": [
                "secretsmanager:BatchGetSecretValue",
                "secretsmanager:GetSecretValue",
                "secretsmanager:PutSecretValue",
            ],
            "Resource": "*",
        },
        {
            "Sid": "NoOtherKey",
            "Effect": "Deny",
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": {
                # true also of a key without any alias
                "ForAllValues:StringNotEquals": {"kms:ResourceAliases": [KEY_ALIAS]},
                # DynamoDB opens the registry with AWS's own key, in the name of whoever reads it
                # (developer guide, "How DynamoDB uses AWS KMS"); true also of a call without it
                "StringNotEquals": {"kms:ViaService": f"dynamodb.{target.region}.amazonaws.com"},
            },
        },
    ]
    if role is Role.DEPLOY:
        account = f"arn:{target.partition}:iam::{target.account}"
        found += [
            {
                "Sid": "NoOtherIdentity",
                "Effect": "Deny",
                "Action": "iam:*",
                "Resource": [
                    f"{account}:oidc-provider/*",
                    f"{account}:policy{PATH}*",
                    f"{account}:role/{PROJECT}-*",
                ],
            },
            {
                "Sid": "NoOtherUseOfTheStatesKey",
                "Effect": "Deny",
                "NotAction": ["kms:Decrypt", "kms:DescribeKey"],
                "Resource": f"arn:{target.partition}:kms:{target.region}:{target.account}:key/*",
                "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": [KEY_ALIAS]}},
            },
        ]
    return found


# ------------------------------------------------------------------ what the stack has


def reading(target: Target) -> list[dict[str, Any]]:
    """For a refresh, for `scripts/keys status` and for `scripts/gateways wait`."""
    here = {"StringEquals": {"aws:RequestedRegion": target.region}}
    keys = f"arn:{target.partition}:kms:{target.region}:{target.account}:key/*"
    return [
        {
            "Sid": "See",
            "Effect": "Allow",
            "Action": list(READ_EVERYWHERE),
            "Resource": "*",
            "Condition": here,
        },
        {
            "Sid": "SeeKeys",
            "Effect": "Allow",
            "Action": list(READ_TAGGED),
            "Resource": keys,
            "Condition": tagged(target.tags),
        },
        *(
            {
                "Sid": f"Read{number}",
                "Effect": "Allow",
                "Action": list(actions),
                "Resource": target.arns(names),
            }
            for number, (names, actions) in enumerate(READ.items())
        ),
    ]


def _bucket(target: Target) -> str:
    return f"arn:{target.partition}:s3:::{target.bucket}"


def _document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
