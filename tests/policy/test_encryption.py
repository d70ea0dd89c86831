"""Disks, tables and keys."""

from __future__ import annotations

from typing import Any

import pytest

from judging import resource, violations
from policy.encryption import judge
from policy.model import Gap

TEMPLATE = "ec2/launchTemplate:LaunchTemplate"
INSTANCE = "ec2/instance:Instance"
ROOT = {"rootBlockDevice": {"encrypted": True}}


def disk(encrypted: Any) -> dict[str, Any]:
    return {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": encrypted}}]}


def test_no_stack_breaks_it(stack: str) -> None:
    assert violations(stack, "encryption") == []


@pytest.mark.parametrize(
    ("typ", "props"),
    [
        (TEMPLATE, disk("true")),
        (TEMPLATE, disk(encrypted=True)),
        (TEMPLATE, disk(Gap.UNKNOWN)),
        (TEMPLATE, {"blockDeviceMappings": Gap.UNKNOWN}),
        (TEMPLATE, {"blockDeviceMappings": [{"deviceName": "/dev/sdb", "noDevice": "true"}]}),
        (INSTANCE, ROOT),
        (INSTANCE, {**ROOT, "ebsBlockDevices": [{"encrypted": True}]}),
        ("ebs/volume:Volume", {"encrypted": True}),
        ("dynamodb/table:Table", {"serverSideEncryption": {"enabled": True}}),
        ("kms/key:Key", {"enableKeyRotation": True}),
        ("sns/topic:Topic", {}),
    ],
)
def test_what_is_encrypted_passes(typ: str, props: dict[str, Any]) -> None:
    assert list(judge(resource(typ, props=props))) == []


@pytest.mark.parametrize(
    ("typ", "props", "path"),
    [
        (TEMPLATE, {}, "blockDeviceMappings"),
        (TEMPLATE, {"blockDeviceMappings": []}, "blockDeviceMappings"),
        (TEMPLATE, disk("false"), "blockDeviceMappings.0.ebs.encrypted"),
        (TEMPLATE, disk(None), "blockDeviceMappings.0.ebs.encrypted"),
        (INSTANCE, {}, "rootBlockDevice.encrypted"),
        (
            INSTANCE,
            {**ROOT, "ebsBlockDevices": [{"encrypted": True}, {}]},
            "ebsBlockDevices.1.encrypted",
        ),
        ("ebs/volume:Volume", {"encrypted": False}, "encrypted"),
        ("dynamodb/table:Table", {}, "serverSideEncryption.enabled"),
        ("kms/key:Key", {"enableKeyRotation": False}, "enableKeyRotation"),
    ],
)
def test_what_is_not_encrypted_is_refused(typ: str, props: dict[str, Any], path: str) -> None:
    (wrong,) = judge(resource(typ, props=props))
    assert wrong.what == f"it {path}"
    assert wrong.value in ("not set", "false", "[]")


def test_every_disk_of_a_template_counts() -> None:
    mappings = [*disk("true")["blockDeviceMappings"], *disk("false")["blockDeviceMappings"]]
    (wrong,) = judge(resource(TEMPLATE, props={"blockDeviceMappings": mappings}))
    assert wrong.what == "it blockDeviceMappings.1.ebs.encrypted"
