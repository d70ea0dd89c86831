"""The registry's operations over HTTP, for callers whom IAM lets: optional, off by default."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import cloudwatch, iam, lambda_, s3

from components import api_artifact, artifact
from components.statements import archiving, partition, sealing, writes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from components.artifact_store import ArtifactStore
    from components.peer_registry import PeerRegistry
    from components.preshared_keys import PresharedKeys

RUNTIME = "python3.13"
ARCHITECTURE = "arm64"
MEMORY = 512
"""MB. Lambda gives processor time in proportion; importing boto3 is most of a cold start."""
TIMEOUT = 60
"""Seconds: a change may take 30 (registry.transactions), a confirmation is awaited for 25."""
RETENTION = 90
"""Days of the log, which says who called what and never what was in it."""
ENTRY = "api.handler.handle"

_TRANSACTION = "TransactWriteItems"
_ASSUME = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "lambda.amazonaws.com"},
        }
    ],
}


@dataclass(frozen=True, kw_only=True)
class HttpApiArgs:
    """Inputs of `HttpApi`."""

    root: Path
    """The repository, whose code is shipped."""
    registry: PeerRegistry
    store: ArtifactStore
    region: str
    preshared: PresharedKeys | None = None
    """None where the stack's peers have no pre-shared keys."""
    tags: Mapping[str, str] = field(default_factory=dict)


def policy(args: HttpApiArgs, log_arn: pulumi.Input[str]) -> dict[str, Any]:
    """What the function may do: what `scripts/peers` needs to change peers, and write its log.

    Not the gateways' secret, not the control item, not a gateway's own item.
    """
    table = args.registry.table_arn
    here = f"arn:{partition(args.region)}:ssm:{args.region}:*:parameter"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "FindEnvironment",
                "Effect": "Allow",
                "Action": "ssm:GetParameter",
                "Resource": f"{here}/gatepair/{pulumi.get_stack()}",
            },
            {
                "Sid": "ReadRegistry",
                "Effect": "Allow",
                "Action": ["dynamodb:BatchGetItem", "dynamodb:Query"],
                "Resource": table,
            },
            writes(
                "RecordChange",
                ["dynamodb:PutItem"],
                table,
                ["address", "audit", "change", "generation", "key", "peer", "request"],
                within=_TRANSACTION,
            ),
            writes(
                "RaiseCounter", ["dynamodb:UpdateItem"], table, ["generation"], within=_TRANSACTION
            ),
            writes("RemovePeer", ["dynamodb:DeleteItem"], table, ["peer"], within=_TRANSACTION),
            # once every gateway has confirmed, on its own
            writes("FreeAddress", ["dynamodb:DeleteItem"], table, ["address"]),
            *archiving(args.registry.archive.bucket_arn, args.registry.archive.records_arn),
            *(
                [
                    sealing(
                        "MakePresharedKeys",
                        "kms:Encrypt",
                        args.preshared.key_arn,
                        pulumi.get_stack(),
                    )
                ]
                if args.preshared
                else []
            ),
            {
                "Sid": "SeeGateways",
                "Effect": "Allow",
                "Action": [
                    "autoscaling:DescribeAutoScalingGroups",
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetHealth",
                ],
                # AWS knows no narrower resource for these
                "Resource": "*",
            },
            {
                "Sid": "WriteLog",
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": pulumi.Output.concat(log_arn, ":*"),
            },
        ],
    }


class HttpApi(pulumi.ComponentResource):
    """A Lambda function behind a function URL that only signed requests pass.

    The function has no resource policy, so nobody outside the account reaches it, and within the
    account only who has `lambda:InvokeFunctionUrl` and `lambda:InvokeFunction` by a policy of their
    own (Lambda developer guide, "Control access to Lambda function URLs"). The latter must have the
    condition `lambda:InvokedViaFunctionUrl`: who invokes the function itself writes the event, and
    could name another caller in it. No concurrency is reserved: AWS refuses that in an account
    whose limit is still a new account's.

    Creates the code's object, a log group, a role with its policy, the function and its URL.
    """

    url: pulumi.Output[str]
    """With https:// and a / at the end."""
    function_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: HttpApiArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:http_api:HttpApi", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        made = api_artifact.build(args.root)
        code = s3.BucketObjectv2(
            f"{name}-code",
            bucket=args.store.bucket,
            key=made.key,
            source=pulumi.FileAsset(str(artifact.write(made, args.root))),
            tags=args.tags,
            opts=child,
        )
        log = cloudwatch.LogGroup(
            f"{name}-log",
            retention_in_days=RETENTION,
            tags={**args.tags, "Name": f"{name}-log"},
            opts=child,
        )
        role = iam.Role(
            f"{name}-role",
            description="gatepair's HTTP API",
            assume_role_policy=json.dumps(_ASSUME),
            tags={**args.tags, "Name": f"{name}-role"},
            opts=child,
        )
        allowed = iam.RolePolicy(
            f"{name}-policy",
            role=role.id,
            policy=pulumi.Output.json_dumps(policy(args, log.arn)),
            opts=child,
        )
        function = lambda_.Function(
            f"{name}-function",
            description="Who may enter: gatepair's registry over HTTP",
            runtime=RUNTIME,
            architectures=[ARCHITECTURE],
            handler=ENTRY,
            s3_bucket=code.bucket,
            s3_key=code.key,
            memory_size=MEMORY,
            timeout=TIMEOUT,
            environment={"variables": {"GATEPAIR_STACK": pulumi.get_stack()}},
            logging_config={"log_format": "Text", "log_group": log.name},
            role=role.arn,
            tags={**args.tags, "Name": f"{name}-function"},
            # the first request must not come before the role may do anything
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[allowed])),
        )
        url = lambda_.FunctionUrl(
            f"{name}-url",
            function_name=function.name,
            authorization_type="AWS_IAM",
            invoke_mode="BUFFERED",
            opts=child,
        )

        self.function_name = function.name
        self.url = url.function_url
        self.register_outputs({"url": self.url})
