"""Deployments killed at random moments: the next ones finish the work and leave nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab import aws, cloud, paths, process

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

ATTEMPTS = 60


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    cloud.start(alone=True)
    yield
    cloud.stop()


def resources() -> list[dict[str, Any]]:
    try:
        return json.loads(paths.state().read_text())["resources"]
    except FileNotFoundError:
        return []


def deploy_and_kill(dice: random.Random) -> bool:
    """Start a deployment and kill it after a few more resources; whether it was killed in time."""
    goal = len(resources()) + dice.randint(4, 10)
    command = process.daemon("deploy")
    with subprocess.Popen(  # noqa: S603
        command, cwd=paths.CHECKOUT, stdout=subprocess.DEVNULL
    ) as deployment:
        while deployment.poll() is None and len(resources()) < goal:
            time.sleep(0.0005)
        time.sleep(dice.random() * 0.02)
        deployment.send_signal(signal.SIGKILL)
    return deployment.returncode == -signal.SIGKILL


def counts() -> dict[str, int]:
    ec2, elb, scaling = (aws.client(name) for name in ("ec2", "elbv2", "autoscaling"))
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    vpcs = [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]]
    inside = [{"Name": "vpc-id", "Values": vpcs}]
    return {
        "vpcs": len(vpcs),
        "subnets": len(ec2.describe_subnets(Filters=inside)["Subnets"]),
        "addresses": len(ec2.describe_addresses()["Addresses"]),
        "gateways": len(ec2.describe_internet_gateways()["InternetGateways"]),
        "security groups": len(ec2.describe_security_groups(Filters=inside)["SecurityGroups"]),
        "rules": len(ec2.describe_security_group_rules()["SecurityGroupRules"]),
        "route tables": len(ec2.describe_route_tables(Filters=inside)["RouteTables"]),
        "templates": len(ec2.describe_launch_templates()["LaunchTemplates"]),
        "instances": len(ec2.describe_instances(Filters=running)["Reservations"]),
        "groups": len(scaling.describe_auto_scaling_groups()["AutoScalingGroups"]),
        "load balancers": len(elb.describe_load_balancers()["LoadBalancers"]),
        "target groups": len(elb.describe_target_groups()["TargetGroups"]),
        "roles": len(aws.client("iam").list_roles()["Roles"]),
        "profiles": len(aws.client("iam").list_instance_profiles()["InstanceProfiles"]),
        "buckets": len(aws.client("s3").list_buckets()["Buckets"]),
        "tables": len(aws.client("dynamodb").list_tables()["TableNames"]),
        "secrets": len(aws.client("secretsmanager").list_secrets()["SecretList"]),
        "parameters": len(aws.client("ssm").describe_parameters()["Parameters"]),
    }


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("lab")
def test_runs_killed_at_random_moments_end_in_what_one_run_would_have_made() -> None:
    dice = random.Random(7)  # noqa: S311 - the same moments each time
    kills = 0
    while deploy_and_kill(dice):
        kills += 1
        assert kills < ATTEMPTS
    assert kills > 3
    assert {resource["phase"] for resource in resources()} == {"live"}
    after_kills = counts()

    cloud.stop()
    cloud.start(alone=True)
    subprocess.run(  # noqa: S603
        process.daemon("deploy"), cwd=paths.CHECKOUT, check=True, stdout=subprocess.DEVNULL
    )
    assert after_kills == counts()
