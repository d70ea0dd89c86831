"""A rule has one spelling, lies within the stack's networks, and is refused with the cure."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from effects import Refusal
from registry import allow
from registry.allow import Allow

REACH = (IPv4Network("10.20.0.0/16"), IPv4Network("10.99.0.0/24"))


@pytest.mark.parametrize(
    ("text", "rule", "stored"),
    [
        ("10.20.3.0/24", Allow(IPv4Network("10.20.3.0/24")), "10.20.3.0/24"),
        ("10.20.3.7", Allow(IPv4Network("10.20.3.7/32")), "10.20.3.7/32"),
        (" 10.20.3.0/24:tcp ", Allow(IPv4Network("10.20.3.0/24"), "tcp"), "10.20.3.0/24:tcp"),
        (
            "10.20.3.0/255.255.255.0:tcp/05432",
            Allow(IPv4Network("10.20.3.0/24"), "tcp", 5432),
            "10.20.3.0/24:tcp/5432",
        ),
        ("10.20.0.2:udp/53", Allow(IPv4Network("10.20.0.2"), "udp", 53), "10.20.0.2/32:udp/53"),
        ("10.20.3.0/24:icmp", Allow(IPv4Network("10.20.3.0/24"), "icmp"), "10.20.3.0/24:icmp"),
    ],
)
def test_a_rule_is_read_and_stored_in_one_spelling(text: str, rule: Allow, stored: str) -> None:
    assert allow.parse(text) == rule
    assert allow.canonical(text) == stored == allow.canonical(stored)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no IPv4 network"),
        ("10.20.0.0/33", "no IPv4 network"),
        ("2001:db8::/32", "no IPv4 network"),
        ("10.20.3.5/24", "write 10.20.3.0/24 or 10.20.3.5/32"),
        ("10.20.3.0/24:", "no protocol ''"),
        ("10.20.3.0/24:sctp", "no protocol 'sctp'"),
        ("10.20.3.0/24:tcp/", "from 1 to 65535"),
        ("10.20.3.0/24:tcp/0", "from 1 to 65535"),
        ("10.20.3.0/24:tcp/65536", "from 1 to 65535"),
        ("10.20.3.0/24:tcp/80-90", "from 1 to 65535"),
        ("10.20.3.0/24:tcp/²", "from 1 to 65535"),
        ("10.20.3.0/24:icmp/8", "write 10.20.3.0/24:icmp"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_cure(text: str, said: str) -> None:
    with pytest.raises(Refusal) as refused:
        allow.parse(text)
    assert said in str(refused.value)
    assert repr(text) in str(refused.value)


def test_rules_are_sorted_each_once_and_within_the_stacks_networks() -> None:
    texts = [
        "10.99.0.0/24",
        "10.20.3.0/24:udp/53",
        "10.20.3.0/24",
        "10.20.3.0/24:tcp/53",
        "10.99.0.0/24",
    ]
    assert allow.rules(texts, REACH) == (
        "10.20.3.0/24",
        "10.20.3.0/24:tcp/53",
        "10.20.3.0/24:udp/53",
        "10.99.0.0/24",
    )


@pytest.mark.parametrize("text", ["10.20.0.0/15", "10.98.0.0/24", "0.0.0.0/0", "169.254.169.254"])
def test_a_network_that_the_stack_does_not_open_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"stay within 10\.20\.0\.0/16, 10\.99\.0\.0/24"):
        allow.rules([text], REACH)


def test_more_rules_than_a_peer_may_have_are_refused() -> None:
    texts = [f"10.20.3.0/24:tcp/{port}" for port in range(1, allow.MOST + 2)]
    assert len(allow.rules(texts[1:], REACH)) == allow.MOST
    with pytest.raises(Refusal, match="at most 50"):
        allow.rules(texts, REACH)


@pytest.mark.parametrize(
    ("wider", "narrower", "covered"),
    [
        ("10.20.0.0/16", "10.20.3.0/24:tcp/5432", True),
        ("10.20.0.0/16:udp", "10.20.0.2:udp/53", True),
        ("10.20.0.0/16:tcp", "10.20.0.2:udp/53", False),
        ("10.20.0.0/16:udp/53", "10.20.0.2:udp", False),
        ("10.20.0.2:udp/53", "10.20.0.0/16:udp/53", False),
    ],
)
def test_a_rule_covers_what_it_lets_through(wider: str, narrower: str, covered: bool) -> None:
    assert allow.parse(wider).covers(allow.parse(narrower)) is covered
