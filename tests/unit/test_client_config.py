"""A client's config says what wg-quick needs, and nothing else decides what is in it."""

from __future__ import annotations

import base64
import configparser
import json
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from fake_registry import PARAMETER, SERVER_KEY, key_of

from client import config, describe, keys
from registry.environment import Environment
from registry.items import Peer

PEER = Peer("alice", key_of(1), IPv4Address("100.96.7.8"), "a@example.com", "2026-11-22T12:00:00Z")
PRIVATE = "YDgKCAgIeW91IGRvIG5vdCBuZWVkIHRoaXMga2V5IQA="


def environment(**changes: object) -> Environment:
    return Environment.from_json(json.dumps({**PARAMETER, **changes}))


def tunnel(generation: int = 1, peer: Peer = PEER, **changes: object) -> config.Tunnel:
    return config.tunnel(
        environment(**changes), peer, key_generation=generation, server_public_key=SERVER_KEY
    )


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # ty: ignore[invalid-assignment]  # keep the names' case
    parser.read_string(text)
    return parser


def test_the_whole_config_reads_as_a_person_would_write_it() -> None:
    assert config.render(tunnel(), config.Secrets(PRIVATE)) == (
        "# alice, stack dev, server key 1\n"
        "[Interface]\n"
        f"PrivateKey = {PRIVATE}\n"
        "Address = 100.96.7.8/32\n"
        "DNS = 10.20.0.2, corp.example\n"
        "MTU = 1420\n"
        "\n"
        "[Peer]\n"
        f"PublicKey = {SERVER_KEY}\n"
        "AllowedIPs = 10.20.0.0/16, 10.99.0.0/24, 100.96.0.1/32\n"
        "Endpoint = vpn.example.com:51820\n"
        "PersistentKeepalive = 25\n"
    )


@pytest.mark.parametrize(
    ("generation", "port"), [(1, 51820), (2, 51821), (3, 51820), (7, 51820), (8, 51821)]
)
def test_the_port_is_that_of_the_key_generations_slot(generation: int, port: int) -> None:
    text = config.render(tunnel(generation), config.Secrets(PRIVATE))
    assert parsed(text)["Peer"]["Endpoint"] == f"vpn.example.com:{port}"


def test_the_stacks_port_and_mtu_are_used() -> None:
    text = config.render(tunnel(2, port=443, mtu=1380), config.Secrets(PRIVATE))
    assert parsed(text)["Peer"]["Endpoint"].endswith(":444")
    assert parsed(text)["Interface"]["MTU"] == "1380"


@pytest.mark.parametrize("dns", [None, {}, {"servers": [], "search_domains": ["corp.example"]}])
def test_without_a_resolver_of_the_stack_there_is_no_dns_line(dns: object) -> None:
    assert "DNS" not in config.render(tunnel(dns=dns), config.Secrets(PRIVATE))


def test_a_network_is_named_once_and_the_gateways_address_always() -> None:
    routed = ["10.20.0.0/16", "172.16.0.0/24"]
    text = config.render(
        tunnel(routed_cidrs=routed, client_pool="100.64.0.0/10"), config.Secrets(PRIVATE)
    )
    assert parsed(text)["Peer"]["AllowedIPs"] == "10.20.0.0/16, 172.16.0.0/24, 100.64.0.1/32"


def test_without_the_private_key_there_is_a_placeholder_that_is_no_key() -> None:
    text = config.render(tunnel())
    placeholder = parsed(text)["Interface"]["PrivateKey"]
    assert placeholder == config.PLACEHOLDER
    with pytest.raises(ValueError, match=r".*"):
        keys.pair_of(placeholder)
    assert "only you have it" in text


def test_comments_can_be_left_out_where_room_is_short() -> None:
    text = config.render(tunnel(), config.Secrets(PRIVATE), comments=False)
    assert "#" not in text
    assert text in config.render(tunnel(), config.Secrets(PRIVATE))


def test_an_end_of_access_is_written_where_its_owner_sees_it() -> None:
    ending = Peer("alice", key_of(1), IPv4Address("100.96.7.8"), expires=1_800_000_000)
    assert "# expires 2027-01-15 08:00 UTC\n" in config.render(
        tunnel(peer=ending), config.Secrets(PRIVATE)
    )


def test_json_of_a_tunnel_has_the_placeholder_and_every_part() -> None:
    shown = describe.tunnel_json(tunnel(2))
    assert shown["endpoint"] == "vpn.example.com:51821"
    assert shown["allowed_ips"] == ["10.20.0.0/16", "10.99.0.0/24", "100.96.0.1/32"]
    assert config.PLACEHOLDER in str(shown["config"])


def test_a_made_key_is_clamped_fresh_and_not_in_its_repr() -> None:
    pairs = [keys.generate() for _ in range(20)]
    assert len({pair.private for pair in pairs}) == 20
    for pair in pairs:
        raw = base64.b64decode(pair.private)
        assert (len(raw), raw[0] & 7, raw[31] & 0xC0) == (32, 0, 0x40)
        assert keys.pair_of(pair.private) == pair
        assert pair.private not in repr(pair)


def test_a_public_key_is_the_one_that_wg_derives() -> None:
    """A pair that `wg genkey | wg pubkey` printed, used nowhere else."""
    pair = keys.pair_of("MHVP7hcgcGcN2faVuGW2JNJ0bbo57yUhzuUidnuUlU4=")
    assert pair.public == "Tqo6aWQmLpOpobHKng4lKe48m2kQdWh33eRTLFEo8Qw="


def test_a_preshared_key_stands_with_the_server_it_is_shared_with() -> None:
    sealed = tunnel(peer=replace(PEER, preshared="Y2lwaGVy"))
    lines = config.render(sealed, config.Secrets(PRIVATE, "SECRET")).splitlines()
    at = lines.index(f"PublicKey = {SERVER_KEY}")
    assert lines[at + 1] == "PresharedKey = SECRET"
    assert lines.index("[Peer]") < at
    assert "PresharedKey" not in config.render(tunnel(), config.Secrets(PRIVATE, "SECRET"))


def test_without_the_preshared_key_there_is_a_place_for_it_and_a_word_where_it_is() -> None:
    sealed = tunnel(peer=replace(PEER, preshared="Y2lwaGVy"))
    text = config.render(sealed, config.Secrets(PRIVATE))
    assert f"PresharedKey = {config.PRESHARED_PLACEHOLDER}\n" in text
    assert "# PresharedKey: the one in the config that came with this key\n" in text
    assert "# PresharedKey" not in config.render(sealed, config.Secrets(PRIVATE, "SECRET"))
