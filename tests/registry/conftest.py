"""A registry on an in-process fake of AWS: no socket is opened.

moto's own transactions copy the table and lose concurrent writes; the lab's replacement
(lab/dynamodb.py) answers as AWS documents, so these tests use it too.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fake_fleet import GROUP, FakeFleet, build, of_stack
from fake_registry import BUCKET, CONNECTION_LOG, CONTROL, PARAMETER, SERVER_KEY, STACK, TABLE, Fake
from fake_scaling import World
from moto import mock_aws

from commands import draining, replacing
from commands import fleet as fleet_command
from lab import dynamodb as lab_dynamodb
from lab.overrides import autoscaling, interfaces
from registry import environment as environments
from registry.archive import Archive
from registry.membership import Fleet
from registry.operators import OperatorRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = ("dynamodb", "ssm", "sts", "autoscaling", "ec2", "elbv2", "s3", "kms", "logs")


@pytest.fixture(scope="module")
def cloud() -> Iterator[environments.Cloud]:
    """The fake AWS; clients take long to make, so one module's tests share it."""
    lab_dynamodb.install()
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        interfaces.install(patch.setattr)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "eu-west-1")
        found = environments.session(STACK)
        clients = {name: found.client(name) for name in SERVICES}
        make = environments.Cloud.client

        def client(self: environments.Cloud, service: str) -> Any:
            return make(self, service) if self.endpoint else clients[service]

        patch.setattr(environments.Cloud, "client", client)
        yield found


@pytest.fixture
def fake(cloud: environments.Cloud) -> Iterator[Fake]:
    """A stack with a registry that holds a control item and one published server key."""
    client = cloud.client("dynamodb")
    client.create_table(
        TableName=TABLE,
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client.put_item(TableName=TABLE, Item=CONTROL.to_item())
    cloud.client("ssm").put_parameter(
        Name=f"/gatepair/{STACK}", Type="String", Value=json.dumps(PARAMETER), Overwrite=True
    )
    s3 = cloud.client("s3")
    s3.create_bucket(
        Bucket=BUCKET,
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
        ObjectLockEnabledForBucket=True,
    )
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName=CONNECTION_LOG)
    registry = OperatorRegistry(client, TABLE, Archive(lambda: s3, BUCKET))
    registry.publish_server_key(1, SERVER_KEY, "i-1")
    yield Fake(client, registry, s3)
    client.delete_table(TableName=TABLE)
    logs.delete_log_group(logGroupName=CONNECTION_LOG)
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            s3.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])
    s3.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def sealing_key(cloud: environments.Cloud, fake: Fake) -> str:
    """The ARN of the KMS key that the stack has now for pre-shared keys."""
    del fake
    arn = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    ssm, name = cloud.client("ssm"), f"/gatepair/{STACK}"
    said = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    value = json.dumps({**said, "preshared_key_arn": arn})
    ssm.put_parameter(Name=name, Type="String", Value=value, Overwrite=True)
    return arn


@pytest.fixture(scope="module")
def group(cloud: environments.Cloud) -> list[str]:
    """An Auto Scaling group with two members, and its target groups' ARNs."""
    return build(cloud)


@pytest.fixture
def fleet(cloud: environments.Cloud, fake: Fake, group: list[str]) -> FakeFleet:
    """The stack's two gateways, of which none has said anything yet."""
    return of_stack(cloud, fake, group)


@pytest.fixture
def world(fleet: FakeFleet, cloud: environments.Cloud, monkeypatch: pytest.MonkeyPatch) -> World:
    """Gateways that obey, and are healthy unless told; no command sleeps."""
    autoscaling.install(partial(monkeypatch.setattr, raising=False))
    scaling = cloud.client("autoscaling")
    policy = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150}
    scaling.update_auto_scaling_group(
        AutoScalingGroupName=GROUP,
        DesiredCapacity=2,
        InstanceMaintenancePolicy=policy,
        DefaultInstanceWarmup=60,
    )
    made = World(fleet)
    made.step()

    def health(of: Fleet) -> dict[str, tuple[str, ...]]:
        return {
            member.instance_id: ("unhealthy" if member.instance_id in made.ill else "healthy",) * 2
            for member in of.group().members
        }

    monkeypatch.setattr(Fleet, "health", health)
    for module in (draining, replacing, fleet_command):
        monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(draining.time, "sleep", made.step)
    return made
