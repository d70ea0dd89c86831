"""The KMS key that clients' pre-shared keys are encrypted under: optional, off by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import iam, kms

from components.statements import sealing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.gateway_role import GatewayRole

RECOVERY_DAYS, RECOVERY_DAYS_AT_LEAST = 30, 7
"""How long a deleted key can be brought back: KMS's longest and shortest time."""

_KEEPING = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
"""What it takes to keep the key. No use of it, and no grant, which would be a way to use it."""


@dataclass(frozen=True, kw_only=True)
class PresharedKeysArgs:
    """Inputs of `PresharedKeys`."""

    role: GatewayRole
    """Who decrypts."""
    protect: bool = False
    """Refuse to delete the key, and keep it recoverable longer if it is deleted all the same."""
    tags: Mapping[str, str] = field(default_factory=dict)


def key_policy(role_arn: str, stack: str) -> dict[str, Any]:
    """Who may do what with the key, whatever else IAM allows them.

    The account's identities are named by the account: each still needs a policy of its own (KMS
    developer guide, "Default key policy"). Decrypting is the gateways' role's alone, so an
    administrator has to change this policy first, which CloudTrail shows.
    """
    _, partition, _, _, account, *_ = role_arn.split(":")
    of_the_account = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Resource": "*",
    }
    bound = {"kms:EncryptionContext:stack": stack}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Keep", **of_the_account, "Action": list(_KEEPING)},
            {
                "Sid": "Encrypt",
                **of_the_account,
                "Action": "kms:Encrypt",
                "Condition": {"StringEquals": bound},
            },
            {
                "Sid": "Decrypt",
                **of_the_account,
                "Action": "kms:Decrypt",
                "Condition": {
                    "StringEquals": bound,
                    "ArnEquals": {"aws:PrincipalArn": role_arn},
                },
            },
        ],
    }


class PresharedKeys(pulumi.ComponentResource):
    """A KMS key with an alias, rotated every year, that gateways alone may decrypt with.

    Creates the key, its alias `alias/gatepair/STACK`, and a policy of the gateways' role. A
    ciphertext names the key it is under, so gateways are not told which: they may use one only.
    """

    key_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: PresharedKeysArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:preshared_keys:PresharedKeys", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        stack = pulumi.get_stack()

        key = kms.Key(
            f"{name}-key",
            description="Encrypts the pre-shared keys of gatepair's clients",
            enable_key_rotation=True,
            deletion_window_in_days=RECOVERY_DAYS if args.protect else RECOVERY_DAYS_AT_LEAST,
            policy=pulumi.Output.json_dumps(
                args.role.arn.apply(lambda arn: key_policy(arn, stack))
            ),
            tags={**args.tags, "Name": f"{name}-key"},
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=args.protect)),
        )
        kms.Alias(
            f"{name}-alias",
            # fixed: for people, who find the key by it
            name=f"alias/gatepair/{stack}",
            target_key_id=key.id,
            opts=child,
        )
        iam.RolePolicy(
            f"{name}-decrypt",
            role=args.role.name,
            policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [sealing("OpenPresharedKeys", "kms:Decrypt", key.arn, stack)],
                }
            ),
            opts=child,
        )

        self.key_arn = key.arn
        self.register_outputs({"key_arn": self.key_arn})
