"""The recorder tells what the engine would tell."""

from __future__ import annotations

import pulumi
import pulumi_random as random
import pytest
from pulumi_aws import ec2, get_region

from recorder import Recorder, install


@pytest.fixture
def recorder() -> Recorder:
    fresh = Recorder()
    install(fresh, project="p", stack="t")
    return fresh


def test_a_generated_key_is_secret(recorder: Recorder) -> None:
    seen: list[bool] = []

    async def look() -> None:
        recorder.aws.extra["random:index/randomBytes:RandomBytes"] = {"base64": "a2V5", "hex": "00"}
        key = random.RandomBytes("key", length=32)
        seen.append(await key.base64.is_secret())
        seen.append(await pulumi.Output.concat("x", key.base64).is_secret())
        seen.append(await key.length.is_secret())

    pulumi.runtime.test(lambda: pulumi.Output.from_input(look()))()
    assert seen == [True, True, False]


def test_one_urn_twice_is_refused(recorder: Recorder) -> None:
    def twice() -> None:
        ec2.Vpc("same", cidr_block="10.0.0.0/16")
        ec2.Vpc("same", cidr_block="10.1.0.0/16")

    with pytest.raises(AssertionError, match="duplicate resource URN"):
        pulumi.runtime.test(twice)()
    assert recorder.one("ec2/vpc:Vpc").name == "same"


def test_a_lookup_is_refused(recorder: Recorder) -> None:
    with pytest.raises(Exception, match="looked up aws:index/getRegion:getRegion"):
        pulumi.runtime.test(lambda: get_region() and None)()
    assert not recorder.declared
