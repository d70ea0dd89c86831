"""Who may reach what: rules, roles and secrets, exactly and counted."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

import plan as plans
from recorder import SECRET_MARK

if TYPE_CHECKING:
    from recorder import Declared, Recorder

KEY_SHAPED = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9+/=])")
"""Base64 of 32 bytes, as WireGuard writes a key."""


def rule(d: Declared) -> tuple[Any, ...]:
    """group, protocol, ports, the other side."""
    inputs = d.inputs
    other = inputs.get("cidrIpv4", inputs.get("referencedSecurityGroupId"))
    ports = (inputs.get("fromPort"), inputs.get("toPort"))
    return inputs["securityGroupId"], inputs["ipProtocol"], ports, other


def rules(plan: Recorder, direction: str) -> list[tuple[Any, ...]]:
    return sorted(
        (rule(d) for d in plan.of(f"securityGroup{direction}Rule:SecurityGroup{direction}Rule")),
        key=str,
    )


def test_what_may_come_in_is_exactly_this(mine: Recorder) -> None:
    balancer, gateways = "load-balancer-sg-id", "gateways-sg-id"
    assert rules(mine, "Ingress") == sorted(
        [
            (balancer, "udp", (4500, 4501), "198.51.100.0/24"),
            (balancer, "udp", (4500, 4501), "203.0.113.7/32"),
            (balancer, "icmp", (3, 4), "0.0.0.0/0"),
            (gateways, "udp", (4500, 4501), balancer),
            (gateways, "tcp", (8080, 8080), balancer),
            (gateways, "udp", (9600, 9600), gateways),
            (gateways, "tcp", (9586, 9586), "172.20.9.0/24"),
            (gateways, "tcp", (9586, 9586), "10.60.1.0/24"),
        ],
        key=str,
    )


def test_what_may_go_out_is_exactly_this(mine: Recorder) -> None:
    balancer, gateways = "load-balancer-sg-id", "gateways-sg-id"
    assert rules(mine, "Egress") == sorted(
        [
            (balancer, "udp", (4500, 4501), gateways),
            (balancer, "tcp", (8080, 8080), gateways),
            (gateways, "tcp", (443, 443), "0.0.0.0/0"),
            (gateways, "tcp", (80, 80), "0.0.0.0/0"),
            (gateways, "-1", (None, None), "172.20.0.0/20"),
            (gateways, "-1", (None, None), "10.60.0.0/16"),
            (gateways, "-1", (None, None), "10.61.0.0/16"),
        ],
        key=str,
    )


def test_the_internet_reaches_no_gateway_and_gets_no_udp_from_one(
    stack: str, plan: Recorder
) -> None:
    config = plans.config(stack)
    routed = config["gatepair:egress"] == "routed"
    reach = json.loads(config["gatepair:vpc"]).get("cidrs", [])
    answering = [*reach, *json.loads(config["gatepair:routedCidrs"])] if routed else []
    for group, protocol, _, other in rules(plan, "Ingress"):
        assert not (group == "gateways-sg-id" and other == "0.0.0.0/0")
        assert protocol != "-1" or (group == "gateways-sg-id" and other in answering)
    for group, protocol, _, other in rules(plan, "Egress"):
        if group == "gateways-sg-id" and other == "0.0.0.0/0":
            assert protocol == "tcp"


def test_no_rule_stands_inside_a_group(plan: Recorder) -> None:
    for d in plan.of("securityGroup:SecurityGroup"):
        assert not {"ingress", "egress"} & set(d.inputs), d.urn
    assert len(plan.of("securityGroup:SecurityGroup")) == 2


def statement(stack: str, sid: str) -> dict[str, Any]:
    document = json.loads(plans.built(stack).named("gateway-policy").inputs["policy"])
    (found,) = [s for s in document["Statement"] if s["Sid"] == sid]
    return {key: value for key, value in found.items() if key != "Sid"}


def test_a_gateway_may_do_exactly_this() -> None:
    plan = plans.built("mine")
    table, secret = "arn:aws:mock:::peer-registry-table", "arn:aws:mock:::gateway-key-secret"
    not_empty = {"dynamodb:LeadingKeys": "false"}
    inputs = plan.named("gateway-policy").inputs
    assert inputs["role"] == "gateway-role-id"
    document = json.loads(inputs["policy"])
    assert document["Version"] == "2012-10-17"
    allowed = [{k: v for k, v in s.items() if k != "Sid"} for s in document["Statement"]]
    assert allowed == [
        {
            "Effect": "Allow",
            "Action": ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"],
            "Resource": table,
        },
        {
            "Effect": "Allow",
            "Action": ["dynamodb:PutItem", "dynamodb:UpdateItem"],
            "Resource": table,
            "Condition": {
                "ForAllValues:StringEquals": {
                    "dynamodb:LeadingKeys": ["gateway#${ec2:SourceInstanceARN}"]
                },
                "Null": not_empty,
            },
        },
        {
            "Effect": "Allow",
            "Action": ["dynamodb:PutItem"],
            "Resource": table,
            "Condition": {
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["server-key"]},
                "Null": not_empty,
            },
        },
        {
            "Effect": "Allow",
            "Action": [
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetSecretValue",
                "secretsmanager:PutSecretValue",
            ],
            "Resource": secret,
        },
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:mock:::artifact-bucket/gateway-*.tar",
        },
        {
            "Effect": "Allow",
            "Action": [
                "autoscaling:DescribeAutoScalingGroups",
                "autoscaling:DescribeAutoScalingInstances",
            ],
            "Resource": "*",
        },
        {
            "Effect": "Allow",
            "Action": ["autoscaling:CompleteLifecycleAction", "autoscaling:SetInstanceHealth"],
            "Resource": "arn:aws:autoscaling:eu-central-1:*:autoScalingGroup:*:*",
            "Condition": {
                "StringEquals": {
                    "aws:ResourceTag/project": "gatepair",
                    "aws:ResourceTag/stack": "mine",
                }
            },
        },
        # What it takes to give up routes after a switch back: tests/program/test_routed.py
        {
            "Effect": "Allow",
            "Action": ["ec2:DeleteRoute"],
            "Resource": [
                "arn:aws:mock:::network-public-routes",
                "arn:aws:mock:::network-gateway-routes",
            ],
        },
        {
            "Effect": "Allow",
            "Action": ["dynamodb:DeleteItem"],
            "Resource": table,
            "Condition": {
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["route"]},
                "Null": not_empty,
            },
        },
        {
            "Effect": "Allow",
            "Action": ["ec2:DescribeInstances", "ec2:DescribeRouteTables"],
            "Resource": "*",
        },
        {
            "Effect": "Allow",
            "Action": "ec2:ModifyInstanceAttribute",
            "Resource": "arn:aws:ec2:eu-central-1:*:instance/*",
            "Condition": {
                "ArnLike": {
                    "ec2:SourceInstanceARN": (
                        "arn:aws:ec2:eu-central-1:*:instance/${ec2:InstanceID}"
                    )
                },
                "StringEquals": {"ec2:Attribute/SourceDestCheck": "true"},
            },
        },
        {
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": "gatepair"}},
        },
    ]


def test_a_gateway_has_no_other_policy(stack: str, plan: Recorder) -> None:
    role = plan.named("gateway-role").inputs
    assert not {"managedPolicyArns", "inlinePolicies"} & set(role)
    policies = [
        d for d in plan.of("rolePolicy:RolePolicy") if d.inputs["role"] == "gateway-role-id"
    ]
    # test_connection_log.py and test_preshared_keys.py say what is in the others
    optional = ["preshared-keys-decrypt"] if stack == "lab" else []
    assert sorted(d.name for d in policies) == ["audit-policy", "gateway-policy", *optional]
    assert not plan.of("rolePolicyAttachment:RolePolicyAttachment")
    trust = json.loads(role["assumeRolePolicy"])["Statement"]
    assert trust == [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "ec2.amazonaws.com"},
        }
    ]


def test_arns_are_written_for_the_partition_of_the_region() -> None:
    resource = statement("adopting", "ActOnOwnGroup")["Resource"]
    assert resource.startswith("arn:aws-us-gov:autoscaling:us-gov-west-1:")


def test_the_group_carries_the_tags_by_which_its_gateways_may_act_on_it(
    stack: str, plan: Recorder
) -> None:
    condition = statement(stack, "ActOnOwnGroup")["Condition"]["StringEquals"]
    group = plan.one("autoscaling/group:Group").inputs
    tags = {f"aws:ResourceTag/{tag['key']}": tag["value"] for tag in group["tags"]}
    assert tags.items() >= condition.items()


@pytest.mark.parametrize("bucket", ["artifact", "peer-registry-archive"])
def test_every_bucket_is_private_encrypted_and_versioned(plan: Recorder, bucket: str) -> None:
    assert plan.named(f"{bucket}-private").inputs == {
        "bucket": f"{bucket}-bucket-id",
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    }
    assert plan.named(f"{bucket}-encryption").inputs == {
        "bucket": f"{bucket}-bucket-id",
        "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}],
    }
    assert plan.named(f"{bucket}-versioning").inputs == {
        "bucket": f"{bucket}-bucket-id",
        "versioningConfiguration": {"status": "Enabled"},
    }
    assert len(plan.of("s3/bucket:Bucket")) == 2, "one that this does not know"


def test_nobody_overwrites_or_deletes_a_record_of_the_archive(plan: Recorder) -> None:
    said = plan.named("peer-registry-archive-policy").inputs
    assert said["bucket"] == "peer-registry-archive-bucket-id"
    arn = "arn:aws:mock:::peer-registry-archive-bucket"
    assert json.loads(said["policy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "NeverOverwritten",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"{arn}/*",
                "Condition": {
                    "Null": {"s3:if-none-match": "true"},
                    "Bool": {"s3:ObjectCreationOperation": "true"},
                },
            },
            {
                "Sid": "NeverDeleted",
                "Effect": "Deny",
                "Principal": "*",
                "Action": [
                    "s3:BypassGovernanceRetention",
                    "s3:DeleteObject",
                    "s3:DeleteObjectVersion",
                    "s3:PutLifecycleConfiguration",
                    "s3:PutObjectLegalHold",
                    "s3:PutObjectRetention",
                ],
                "Resource": [arn, f"{arn}/*"],
            },
            {
                "Sid": "OnlyEncrypted",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def test_records_are_locked_for_a_year_where_the_stack_is_protected(
    plan: Recorder, stack: str
) -> None:
    assert plan.named("peer-registry-archive-bucket").inputs["objectLockEnabled"] is True
    locks = [d.inputs for d in plan.of(":BucketObjectLockConfiguration")]
    wanted = plans.config(stack)["gatepair:protect"] == "true"
    assert (
        locks
        == [
            {
                "bucket": "peer-registry-archive-bucket-id",
                "rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 365}},
            }
        ]
        * wanted
    )


def test_the_secret_is_made_empty_and_nothing_here_ever_fills_it(plan: Recorder) -> None:
    assert plan.one("secretsmanager/secret:Secret").inputs.keys() == {
        "description",
        "recoveryWindowInDays",
        "tags",
    }
    assert not [d for d in plan.declared.values() if "secretVersion" in d.typ]


def texts(value: Any) -> list[str]:
    """Every string in a resource's inputs, what base64 hides included."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    if isinstance(value, pulumi.FileAsset):
        return []
    if not isinstance(value, str):
        return []
    found = [value]
    for inner in re.findall(r"[A-Za-z0-9+/]{60,}={0,2}", value):
        try:
            found += texts(base64.b64decode(inner, validate=True).decode())
        except ValueError:
            continue
    return found


@pytest.mark.parametrize("between", [" = ", "=", '"'])
def test_the_search_for_keys_finds_one_that_is_hidden(between: str) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    once = base64.b64encode(f"PrivateKey{between}{key} and then some more".encode()).decode()
    twice = base64.b64encode(f"content: {once}".encode()).decode()
    assert any(KEY_SHAPED.search(text) for text in texts({"a": [{"b": twice}]}))


def test_nothing_shaped_like_a_key_is_in_any_input(plan: Recorder) -> None:
    seen = 0
    for d in plan.declared.values():
        for text in texts(d.inputs):
            seen += 1
            assert not KEY_SHAPED.search(text), d.urn
    assert seen > 100


def test_no_input_is_a_secret_that_would_have_to_be_kept(plan: Recorder) -> None:
    for d in plan.declared.values():
        assert SECRET_MARK not in str(d.request.object), d.urn


@pytest.mark.parametrize("setting", ["httpTokens", "httpPutResponseHopLimit", "httpEndpoint"])
def test_the_role_is_handed_out_over_imdsv2_and_not_to_a_forwarded_packet(
    plan: Recorder, setting: str
) -> None:
    options = plan.one("launchTemplate:LaunchTemplate").inputs["metadataOptions"]
    wanted = {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1}
    assert options[setting] == wanted[setting]
    assert set(options) == set(wanted)
