"""The place of the gateways' private keys. The keys themselves are made by the gateways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pulumi
import pulumi_random as random
from pulumi_aws import secretsmanager

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECOVERY_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class GatewayKeyArgs:
    """Inputs of `GatewayKey`."""

    protect: bool = False
    """Refuse to delete the secret, and keep it recoverable if it is deleted all the same."""
    tags: Mapping[str, str] = field(default_factory=dict)


class GatewayKey(pulumi.ComponentResource):
    """An empty secret and a random UUID.

    The UUID is not secret: with a generation's number it gives the version id under which gateways
    put that generation's key, so that of two that make one at once, one wins and the other reads
    it. No key is ever in Pulumi's state.
    """

    secret_arn: pulumi.Output[str]
    seed: pulumi.Output[str]

    def __init__(
        self, name: str, args: GatewayKeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:gateway_key:GatewayKey", name, {}, opts)
        kept = pulumi.ResourceOptions(parent=self, protect=args.protect)

        secret = secretsmanager.Secret(
            f"{name}-secret",
            description="Private WireGuard keys of the gateways, one version a generation",
            recovery_window_in_days=_RECOVERY_DAYS if args.protect else 0,
            tags={**args.tags, "Name": f"{name}-secret"},
            opts=kept,
        )
        seed = random.RandomUuid(f"{name}-seed", opts=kept)

        self.secret_arn = secret.arn
        self.seed = seed.result
        self.register_outputs({"secret_arn": self.secret_arn, "seed": self.seed})
