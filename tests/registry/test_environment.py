"""An environment is found by its stack's name, or the reason is said with the cure."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pytest
from fake_registry import PARAMETER, Fake

from effects import Refusal
from registry import environment
from registry.environment import AwsFailed, Environment

if TYPE_CHECKING:
    from pathlib import Path


def test_the_parameter_is_read_into_typed_values(fake: Fake) -> None:
    del fake
    found = environment.find("dev")
    assert (found.table, found.endpoint, found.port) == ("registry", "vpn.example.com", 51820)
    assert found.client_pool == IPv4Network("100.96.0.0/16")
    assert found.addresses == (IPv4Address("203.0.113.10"), IPv4Address("203.0.113.11"))
    assert found.dns.search_domains == ("corp.example",)


def test_a_stack_without_dns_leaves_the_clients_resolver(fake: Fake) -> None:
    del fake
    assert Environment.from_json(json.dumps({**PARAMETER, "dns": None})).dns.servers == ()
    assert Environment.from_json(json.dumps({**PARAMETER, "dns": {}})).dns.servers == ()


def test_an_unknown_stack_is_refused_with_the_region_that_was_asked(fake: Fake) -> None:
    del fake
    with pytest.raises(Refusal, match="stack prod: no environment of that name in eu-west-1"):
        environment.find("prod")


@pytest.mark.parametrize("value", ["{", "[]", '{"stack": "dev"}', '"text"'])
def test_a_parameter_of_another_make_is_refused(fake: Fake, value: str) -> None:
    del fake
    cloud = environment.session("dev")
    cloud.client("ssm").put_parameter(
        Name="/gatepair/dev", Type="String", Value=value, Overwrite=True
    )
    with pytest.raises(Refusal, match="SSM parameter /gatepair/dev"):
        environment.find("dev", cloud)


def test_the_caller_is_the_identity_that_signs(fake: Fake) -> None:
    del fake
    assert environment.session("dev").caller().startswith("arn:aws:sts::123456789012:")


def test_the_region_is_asked_for_when_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with pytest.raises(Refusal, match="set AWS_REGION"):
        environment.session("dev")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert environment.session("dev").region == "eu-north-1"
    monkeypatch.delenv("AWS_REGION")
    assert environment.session("dev").region == "eu-west-1"


def test_missing_credentials_are_said_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)
    with pytest.raises(Refusal, match="no AWS credentials"):
        environment.session("dev")


def lab_address(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a lab in `directory` writes how it is reached."""
    monkeypatch.setenv("GATEPAIR_LAB", str(directory))
    (directory / "run").mkdir()
    return directory / "run" / "cloud.json"


def test_the_lab_is_reached_where_it_says_with_credentials_of_no_worth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    address = lab_address(tmp_path, monkeypatch)
    address.write_text('{"endpoint": "http://127.0.0.1:4599"}')
    cloud = environment.session("lab")
    client: Any = cloud.client("dynamodb")
    assert client.meta.endpoint_url == "http://127.0.0.1:4599"
    assert client.meta.region_name == cloud.region == "eu-west-1"
    credentials = cloud.session.get_credentials()
    assert (credentials.access_key, credentials.token) == ("testing", None)


@pytest.mark.parametrize("content", [None, "", "{}", "[1]"])
def test_a_lab_that_is_not_up_is_said_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    address = lab_address(tmp_path, monkeypatch)
    if content is not None:
        address.write_text(content)
    with pytest.raises(Refusal, match="the lab is not up; start it with `make up`"):
        environment.session("lab")


def test_botocores_errors_become_ours_with_the_cure(fake: Fake) -> None:
    del fake
    from botocore.exceptions import ClientError, EndpointConnectionError  # noqa: PLC0415

    for code, cure in (
        ("ExpiredTokenException", "log in again"),
        ("AccessDeniedException", "ask for the role"),
        ("Other", "Other"),
    ):
        with pytest.raises(AwsFailed, match=cure), environment.explained():
            raise ClientError({"Error": {"Code": code, "Message": "m"}}, "GetParameter")
    with pytest.raises(AwsFailed, match="connect"), environment.explained():
        raise EndpointConnectionError(endpoint_url="https://ssm")
