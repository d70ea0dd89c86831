"""The instance-metadata service, asked without sockets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.imds import Answer, Facts, Service, target_state
from lab.inventory import Instance

ADDRESS, NEIGHBOUR = "10.20.0.4", "10.20.0.5"
TTL, TOKEN = "x-aws-ec2-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token"
INSTANCE = Instance(
    id="i-0123456789abcdef0",
    state="running",
    address=IPv4Address(ADDRESS),
    mac="02:00:00:00:00:01",
    interface_id="eni-1",
    subnet_id="subnet-1",
    vpc_id="vpc-1",
    zone="eu-west-1a",
    groups=("sg-1",),
    group_names=("gateways",),
    image="ami-1",
    type="t4g.small",
)
FACTS = Facts(
    instance=INSTANCE,
    subnet=IPv4Network("10.20.0.0/28"),
    vpc_cidrs=(IPv4Network("10.20.0.0/16"), IPv4Network("10.30.0.0/16")),
    user_data=b"#cloud-config\n\xff\x00 as it is",
    role="gateway-role",
    profile="arn:aws:iam::123456789012:instance-profile/gateway",
    lifecycle="InService",
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Known:
    """Facts of two neighbours."""

    def __init__(self, facts: Facts = FACTS) -> None:
        other = replace(facts.instance, id="i-1", address=IPv4Address(NEIGHBOUR))
        self.by_address = {ADDRESS: facts, NEIGHBOUR: replace(facts, instance=other)}

    def facts(self, address: str) -> Facts | None:
        return self.by_address.get(address)


class Instance4:
    """A client of the service, as software on an instance is one."""

    def __init__(self, facts: Facts = FACTS, address: str = ADDRESS) -> None:
        self.clock = Clock()
        self.service = Service(Known(facts), self.clock)
        self.address = address
        self.token = self.new_token("60").body.decode()

    def new_token(self, ttl: str) -> Answer:
        return self.service.answer("PUT", "/latest/api/token", {TTL: ttl}, self.address)

    def ask(self, path: str, **headers: str) -> Answer:
        return self.service.answer("GET", path, {TOKEN: self.token, **headers}, self.address)

    def text(self, key: str) -> str:
        answer = self.ask(f"/latest/meta-data/{key}")
        assert answer.status == 200, key
        return answer.body.decode()


@pytest.fixture
def here() -> Instance4:
    return Instance4()


def test_nothing_is_told_without_a_token(here: Instance4) -> None:
    for path in ("/latest/meta-data/", "/latest/user-data", "/", "/latest/nothing"):
        assert here.service.answer("GET", path, {}, ADDRESS).status == 401
        assert here.service.answer("GET", path, {TOKEN: "made-up"}, ADDRESS).status == 401


def test_a_token_says_how_long_it_lives_and_then_dies(here: Instance4) -> None:
    assert here.new_token("60").headers == {TTL: "60"}
    assert here.ask("/latest/meta-data/instance-id").status == 200
    here.clock.now += 61
    assert here.ask("/latest/meta-data/instance-id").status == 401


def test_a_token_is_of_no_use_to_a_neighbour(here: Instance4) -> None:
    answer = here.service.answer("GET", "/latest/user-data", {TOKEN: here.token}, NEIGHBOUR)
    assert answer.status == 401


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "ten", "1.5"])
def test_a_life_out_of_range_is_refused(here: Instance4, ttl: str) -> None:
    assert here.new_token(ttl).status == 400


def test_a_token_request_without_a_life_is_refused(here: Instance4) -> None:
    assert here.service.answer("PUT", "/latest/api/token", {}, ADDRESS).status == 400


def test_what_was_forwarded_is_refused_with_and_without_a_token(here: Instance4) -> None:
    forwarded = {TTL: "60", "x-forwarded-for": "192.0.2.1"}
    assert here.service.answer("PUT", "/latest/api/token", forwarded, ADDRESS).status == 403
    assert here.ask("/latest/meta-data/", **{"x-forwarded-for": "192.0.2.1"}).status == 403


def test_nothing_can_be_written(here: Instance4) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = here.service.answer(method, "/latest/user-data", {TOKEN: here.token}, ADDRESS)
        assert answer.status == 405


def test_user_data_comes_unmodified_in_every_version(here: Instance4) -> None:
    for version in ("latest", "2021-03-23", "2009-04-04"):
        assert here.ask(f"/{version}/user-data").body == FACTS.user_data


def test_an_instance_without_user_data_has_no_such_key() -> None:
    here = Instance4(replace(FACTS, user_data=b""))
    assert here.ask("/latest/user-data").status == 404
    assert b"user-data" not in here.ask("/latest").body


def test_each_instance_sees_itself(here: Instance4) -> None:
    assert here.text("instance-id") == INSTANCE.id
    assert Instance4(address=NEIGHBOUR).text("instance-id") == "i-1"


def test_who_is_no_instance_learns_nothing() -> None:
    stranger = Instance4(address="10.20.32.10")
    assert stranger.ask("/latest/meta-data/instance-id").status == 404


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("local-ipv4", ADDRESS),
        ("local-hostname", "ip-10-20-0-4.eu-west-1.compute.internal"),
        ("mac", INSTANCE.mac),
        ("ami-id", "ami-1"),
        ("instance-type", "t4g.small"),
        ("security-groups", "gateways"),
        ("placement/availability-zone", "eu-west-1a"),
        ("placement/region", "eu-west-1"),
        ("services/domain", "amazonaws.com"),
        ("autoscaling/target-lifecycle-state", "InService"),
        (f"network/interfaces/macs/{INSTANCE.mac}/subnet-id", "subnet-1"),
        (
            f"network/interfaces/macs/{INSTANCE.mac}/vpc-ipv4-cidr-blocks",
            "10.20.0.0/16\n10.30.0.0/16",
        ),
        ("iam/security-credentials/", "gateway-role"),
    ],
)
def test_the_tree_has_the_keys_that_software_asks_for(
    here: Instance4, key: str, value: str
) -> None:
    assert here.text(key) == value


def test_a_directory_lists_what_is_below_with_a_slash_for_more(here: Instance4) -> None:
    names = here.text("").splitlines()
    assert {"instance-id", "network/", "iam/", "placement/"} <= set(names)
    assert "public-keys/" not in names
    assert here.text("network/interfaces/macs/") == f"{INSTANCE.mac}/"
    # with and without the slash at the end
    assert here.text("placement") == here.text("placement/")
    assert here.ask("/latest/meta-data/no-such").status == 404
    assert here.ask("/no-version/meta-data/").status == 404


def test_credentials_have_the_shape_that_sdks_read_and_do_not_expire_soon(here: Instance4) -> None:
    found = json.loads(here.text("iam/security-credentials/gateway-role"))
    assert found["Code"] == "Success"
    assert {"AccessKeyId", "SecretAccessKey", "Token"} <= set(found)
    expires = datetime.strptime(found["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    # botocore refreshes credentials that have less than fifteen minutes left
    assert expires.timestamp() - here.clock.now > 3600


def test_an_instance_without_a_role_has_no_credentials() -> None:
    here = Instance4(replace(FACTS, role=None, lifecycle=None))
    assert here.ask("/latest/meta-data/iam/").status == 404
    assert here.ask("/latest/meta-data/autoscaling/target-lifecycle-state").status == 404


def test_the_identity_document_names_the_instance(here: Instance4) -> None:
    found = json.loads(here.ask("/latest/dynamic/instance-identity/document").body)
    assert found["instanceId"] == INSTANCE.id
    assert found["region"] == "eu-west-1"
    assert found["privateIp"] == ADDRESS


@pytest.mark.parametrize(
    ("state", "target"),
    [
        ("Pending", "InService"),
        ("Pending:Wait", "InService"),
        ("InService", "InService"),
        ("Terminating:Wait", "Terminated"),
        ("Terminating:Proceed", "Terminated"),
        ("EnteringStandby", "Standby"),
        ("Detaching", "Detached"),
    ],
)
def test_a_lifecycle_state_leads_to_its_target(state: str, target: str) -> None:
    assert target_state(state) == target
