"""The examples, run as they stand: the Pulumi program by its SDK, the others by their functions.

Against the lab they are run as well (tests/lab/test_documented_commands.py).
"""

from __future__ import annotations

import importlib.util
import json
import runpy
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from botocore.credentials import Credentials
from documented import ROOT

from commands import declared
from registry.items import Peer

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = ROOT / "examples"
NOW = 1_800_000_000
DAY = 86400


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peer(name: str, expires: int | None) -> Peer:
    return Peer(name, f"K{name}", IPv4Address("100.96.0.5"), expires=expires)


def test_who_ends_soon_is_named_and_who_has_ended_or_ends_later_is_not() -> None:
    found = example("expiring").expiring(
        [
            peer("later", NOW + 15 * DAY),
            peer("second", NOW + 3 * DAY),
            peer("first", NOW + DAY - 1),
            peer("over", NOW - 1),
            peer("never", None),
            peer("just", NOW + 14 * DAY),
        ],
        NOW,
        14,
    )
    assert [(one.name, days) for one, days in found] == [("first", 0), ("second", 3), ("just", 14)]


def test_a_request_is_signed_for_function_urls_with_its_body() -> None:
    made = example("add_peer").signed(
        "https://x.lambda-url.eu-west-1.on.aws/peers",
        {"name": "frank"},
        Credentials("AKIA", "secret", "token"),
        "eu-west-1",
    )
    assert "/eu-west-1/lambda/aws4_request" in made.headers["Authorization"]
    assert "secret" not in str(made.headers)
    assert made.headers["X-Amz-Security-Token"] == "token"
    assert json.loads(made.data) == {"name": "frank"}


class Around(pulumi.runtime.Mocks):
    """What the second program finds and makes."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.made[args.name] = args.inputs
        if args.typ == "pulumi:pulumi:StackReference":
            outputs = {
                "addresses": ["203.0.113.10", "203.0.113.11"],
                "operatorPolicies": {"peer-admin": "arn:peer-admin", "viewer": "arn:viewer"},
            }
            return args.name, {"name": args.inputs["name"], "outputs": outputs}
        return f"{args.name}-id", args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"a lookup: {args.token}")


def test_the_second_program_takes_what_the_first_one_exports() -> None:
    mocks = Around()
    pulumi.runtime.set_mocks(mocks, project="around-gatepair", stack="staging", preview=False)
    pulumi.runtime.set_all_config(
        {
            "around-gatepair:gatepairStack": "org/gatepair/staging",
            "around-gatepair:zoneId": "Z1",
            "around-gatepair:name": "vpn.example.com",
            "around-gatepair:peerAdmins": '["helpdesk", "platform"]',
        }
    )
    program = str(EXAMPLES / "around/__main__.py")
    pulumi.runtime.test(lambda: runpy.run_path(program) and None)()
    record = mocks.made["endpoint"]
    assert (record["records"], record["type"]) == (["203.0.113.10", "203.0.113.11"], "A")
    attached = {name: mocks.made[f"peer-admin-{name}"] for name in ("helpdesk", "platform")}
    assert {one["policyArn"] for one in attached.values()} == {"arn:peer-admin"}
    assert {one["role"] for one in attached.values()} == {"helpdesk", "platform"}


@pytest.mark.parametrize("output", ["addresses", "operatorPolicies"])
def test_what_it_takes_is_what_the_first_one_does_export(output: str) -> None:
    text = (ROOT / "__main__.py").read_text() + (ROOT / "components/environment.py").read_text()
    assert f'"{output}"' in text


def test_the_file_of_peers_has_a_person_two_devices_and_a_guest_who_reaches_one_service() -> None:
    text = (EXAMPLES / "peers.yaml").read_text()
    found = declared.read(text, "peers.yaml", [IPv4Network("10.20.0.0/16")])
    assert set(found) == {"dana", "dana-phone", "contractor"}
    assert [one.name for one in found.values() if one.expires is not None] == ["contractor"]
    assert found["contractor"].allow == ("10.20.32.10/32:tcp/80",)
