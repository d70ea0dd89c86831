"""The packet filter's text. What it does with packets, tests/gateway_lab shows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from gateway.access import OPEN, SETS, SetChanges
from gateway.firewall import NEVER, Filter, intersection, render, render_anew
from gateway.routed import Routed


def networks(*texts: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, texts))


FILTER = Filter(
    port=51820,
    health_port=9585,
    metrics_port=9586,
    gossip_port=9588,
    client_pool=IPv4Network("100.96.0.0/16"),
    reach=networks("10.20.0.0/16", "10.30.0.0/16"),
    gateways=frozenset({IPv4Address("10.20.0.11"), IPv4Address("10.20.0.10")}),
    peer_to_peer=False,
)


def rules(text: str, chain: str) -> list[str]:
    start = f"add rule inet gatepair {chain} "
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


def test_a_client_is_judged_default_deny_in_this_order() -> None:
    assert rules(render(FILTER), "from_client") == [
        "ip daddr { 10.20.0.10, 10.20.0.11 } drop",
        'oifname "wg*" drop',
        "ct state { new, invalid } jump strays",
        "ip saddr @open ip daddr { 10.20.0.0/16, 10.30.0.0/16 } accept",
        "ip daddr != { 10.20.0.0/16, 10.30.0.0/16 } drop",
        "ip saddr . ip daddr . meta l4proto . th dport @allowed_ports accept",
        "ip saddr . ip daddr . meta l4proto @allowed_protocols accept",
        "ip saddr . ip daddr @allowed accept",
        "drop",
    ]
    assert rules(render(FILTER), "strays") == [
        "ct state new tcp flags & syn == 0x0 goto stray",
        "ct state invalid tcp flags & fin == fin goto stray",
    ]


@pytest.mark.parametrize(
    ("reach", "refused"),
    [
        (["0.0.0.0/0"], "{ 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 }"),
        (["10.20.0.0/16", "169.254.7.0/24"], "{ 169.254.0.0/16 }"),
        (["10.0.0.0/8", "168.0.0.0/5"], "{ 169.254.0.0/16 }"),
        (["10.0.0.0/8", "172.16.0.0/12"], ""),
        ([], ""),
    ],
)
def test_where_nobody_may_go_is_refused_first_of_all_if_the_reach_has_any_of_it(
    reach: list[str], refused: str
) -> None:
    first, *others = rules(render(replace(FILTER, reach=networks(*reach))), "from_client")
    known = "ip daddr { 10.20.0.10, 10.20.0.11 } drop"
    assert first == (f"ip daddr {refused} drop" if refused else known)
    assert (known in others) is bool(refused)
    linked = replace(FILTER, client_pool=IPv4Network("169.254.64.0/18"))
    assert rules(render(linked), "from_client")[0] == "ip daddr { 169.254.0.0/16 } drop"
    assert set(NEVER) >= {"127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"}


def test_what_comes_from_a_client_is_never_accepted_for_being_established() -> None:
    through = rules(render(FILTER), "through")
    judged = through.index('iifname "wg*" goto from_client')
    established = [number for number, rule in enumerate(through) if "established" in rule]
    assert established
    assert all(number > judged for number in established)
    assert all(through[number].startswith("oifname") for number in established)
    assert all("ip saddr { 10.20.0.0/16, 10.30.0.0/16 }" in through[n] for n in established)


def test_a_client_reaches_one_port_of_one_address_of_the_gateway_and_nothing_else() -> None:
    text = render(FILTER)
    inward = rules(text, "to_gateway")
    assert inward[:3] == [
        "meta iiftype ether udp dport 51820-51821 goto to_wireguard",
        'iifname "lo" accept',
        'iifname "wg*" goto ask_gateway',
    ]
    asks = "ip saddr 100.96.0.0/16 ip daddr 100.96.0.1 tcp dport 9587"
    assert rules(text, "ask_gateway") == [
        f"{asks} ct state new "
        "add @asking { ip saddr limit rate over 1/second burst 20 packets } drop",
        f"{asks} accept",
        "drop",
    ]
    assert not [rule for rule in inward if "9587" in rule], "not from the VPC either"


def test_one_network_is_compared_and_not_looked_up() -> None:
    text = render(replace(FILTER, reach=networks("10.20.0.0/16")))
    assert "ip saddr @open ip daddr 10.20.0.0/16 accept" in rules(text, "from_client")
    assert "ip daddr != 10.20.0.0/16 drop" in rules(text, "from_client")


def test_a_way_back_is_looked_up_for_addresses_of_clients_only() -> None:
    for chain in ("mark_forwarded", "mark_own"):
        assert rules(render(FILTER), chain)[1:] == [
            "ip daddr != 100.96.0.0/16 accept",
            "ip daddr @via_wg0 meta mark set 0x00006700 accept",
            "ip daddr @via_wg1 meta mark set 0x00006701 accept",
        ]


def test_a_way_back_is_learnt_of_every_client_and_of_nobody_else() -> None:
    text = render(FILTER)
    # not `goto`: a client's packet may be to another client
    assert rules(text, "mark_forwarded")[0] == "ip saddr 100.96.0.0/16 jump learn_way"
    assert rules(text, "learn_way") == [
        'iifname "wg0" update @via_wg0 { ip saddr } delete @via_wg1 { ip saddr }',
        'iifname "wg1" update @via_wg1 { ip saddr } delete @via_wg0 { ip saddr }',
    ]


def test_peers_reach_each_other_only_when_the_stack_says_so() -> None:
    allowed = rules(render(replace(FILTER, peer_to_peer=True)), "from_client")
    assert 'ip saddr @open ip daddr 100.96.0.0/16 oifname "wg*" accept' in allowed
    # gateways and link-local are refused before that
    assert allowed.index("ip daddr { 10.20.0.10, 10.20.0.11 } drop") < 2


def test_without_a_reach_nothing_passes_and_the_text_is_whole() -> None:
    text = render(replace(FILTER, reach=(), gateways=frozenset()))
    assert "{  }" not in text
    assert [rule for rule in rules(text, "from_client") if "accept" in rule] == []
    assert [rule for rule in rules(text, "through") if "accept" in rule] == []


def test_every_base_chain_of_what_may_pass_drops_by_default() -> None:
    text = render(FILTER)
    for chain in ("to_gateway", "through"):
        (line,) = [
            x for x in text.splitlines() if x.startswith(f"add chain inet gatepair {chain} ")
        ]
        assert "policy drop" in line


def test_wireguard_speaks_only_in_answer() -> None:
    text = render(FILTER)
    assert rules(text, "mark_own")[0] == "udp sport 51820-51821 goto from_wireguard"
    assert rules(text, "from_wireguard") == ["ct direction reply goto in_answer", "drop"]


def test_takeover_looks_at_what_comes_in_before_it_is_accepted_and_only_if_it_is_on() -> None:
    report, accept = rules(render(FILTER), "to_wireguard")
    assert "@watched" in report
    assert report.startswith("@th,64,32 0x04000000 ")
    assert accept == "accept"
    off = render(replace(FILTER, takeover=False))
    assert rules(off, "to_wireguard") == ["accept"]
    inward = rules(render(FILTER), "to_gateway")
    assert rules(off, "to_gateway") == inward
    (way,) = [rule for rule in inward if "51820" in rule]
    assert inward.index(way) < inward.index("ct state established,related accept")


def test_who_replays_a_session_has_a_budget_of_his_own_and_all_together_have_a_limit() -> None:
    (report,) = [rule for rule in rules(render(FILTER), "to_wireguard") if "@watched" in rule]
    each = (
        "add @reported_from { udp dport . @th,96,32 . ip saddr "
        "limit rate 1/second burst 1 packets }"
    )
    together = "add @reported { udp dport . @th,96,32 limit rate 16/second burst 16 packets }"
    watched, from_each, in_all, log = (
        report.index(part) for part in ("@watched", each, together, "log group")
    )
    assert watched < from_each < in_all < log, "what one may not say takes nothing from the others"


def test_indices_that_were_handed_out_are_noted_whether_or_not_takeover_is_on() -> None:
    off = rules(render(replace(FILTER, takeover=False)), "in_answer")
    assert off == rules(render(FILTER), "in_answer")
    data, note = off
    assert data == "@th,64,32 0x04000000 accept"
    assert note.startswith("@th,64,32 { 0x01000000, 0x02000000 } add @handed_out {")


def test_loading_again_keeps_the_return_paths_and_loading_anew_does_not() -> None:
    assert "flush set" not in render(FILTER)
    assert "delete table" not in render(FILTER)
    assert render_anew(FILTER).startswith("add table inet gatepair\ndelete table inet gatepair\n")


def test_every_chain_is_emptied_before_it_is_filled() -> None:
    lines = render(FILTER).splitlines()
    first_rule = next(n for n, line in enumerate(lines) if line.startswith("add rule"))
    chains = {line.split()[4] for line in lines if line.startswith("add chain")}
    flushed = {line.split()[4] for line in lines[:first_rule] if line.startswith("flush chain")}
    assert chains == flushed
    assert {line.split()[4] for line in lines if line.startswith("add rule")} <= chains


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (["10.0.0.0/8"], ["10.20.0.0/16"], ["10.20.0.0/16"]),
        (["10.20.0.0/16"], ["10.0.0.0/8"], ["10.20.0.0/16"]),
        (["10.20.0.0/16"], ["10.30.0.0/16"], []),
        (["10.20.0.0/16", "10.30.0.0/16"], ["10.30.0.0/16"], ["10.30.0.0/16"]),
        (["10.20.0.0/16"], [], []),
        (["10.20.0.0/17", "10.20.128.0/17"], ["10.20.0.0/16"], ["10.20.0.0/16"]),
    ],
)
def test_control_can_narrow_what_the_launch_template_allows_and_never_widen_it(
    one: list[str], other: list[str], both: list[str]
) -> None:
    assert intersection(networks(*one), networks(*other)) == networks(*both)


def test_gossip_is_heard_from_known_gateways_only_even_when_it_is_established() -> None:
    inward = rules(render(FILTER), "to_gateway")
    heard = inward.index("ip saddr { 10.20.0.10, 10.20.0.11 } udp dport 9588 accept")
    assert inward[heard + 1] == "udp dport 9588 drop"
    assert inward.index("ct state established,related accept") > heard + 1
    alone = rules(render(replace(FILTER, gateways=frozenset())), "to_gateway")
    assert [rule for rule in alone if "9588" in rule] == ["udp dport 9588 drop"]


def test_who_may_go_where_is_kept_when_rules_are_loaded_again() -> None:
    lines = render(FILTER).splitlines()
    for name in SETS:
        assert [line for line in lines if f" {name} " in line and "add set" in line]
    touching = ("delete set", "delete element", "delete table", "flush set", "add element")
    assert not [line for line in lines if line.startswith(touching)]


def test_changes_of_the_sets_are_part_of_the_same_text() -> None:
    changes = SetChanges(add=((OPEN, "100.96.0.5"),))
    text = render(FILTER, changes)
    assert text.startswith(render(FILTER))
    assert text.endswith("add element inet gatepair open { 100.96.0.5 }\n")


def test_no_rule_lets_a_client_pass_for_what_it_is_not_in() -> None:
    for rule in rules(render(replace(FILTER, peer_to_peer=True)), "from_client"):
        assert "!= @" not in rule, "what cannot be read would end the rule and pass"
        if "accept" in rule:
            assert "@" in rule, "only who is in a set goes anywhere"


# ------------------------------------------------------------------ routed mode

ROUTED = replace(
    FILTER,
    reach=networks("10.20.0.0/16"),
    routed=Routed(vpc=networks("10.20.0.0/16"), monitoring=networks("10.20.9.0/24")),
)


def test_in_routed_mode_nothing_is_translated_and_in_snat_mode_nothing_goes_round() -> None:
    routed, snat = render(ROUTED), render(FILTER)
    assert "masquerade" not in routed
    assert "reset" not in routed
    assert "delete chain inet gatepair translate" in routed
    assert "goto stray" not in routed
    for chain in ("strays", "stray"):
        assert f"delete chain inet gatepair {chain}\n" in routed
    for chain in ("first", "last", "to_client", "answers", "let_through"):
        assert f"delete chain inet gatepair {chain}" in snat
        assert rules(snat, chain) == []
    assert "gpfwd" not in snat
    assert "log group 26370" not in snat


def test_what_has_crossed_once_is_neither_looked_up_nor_passed_on_again() -> None:
    marking = [rule for rule in rules(render(ROUTED), "first") if "meta mark set 0x" in rule]
    assert len(marking) == 1
    assert marking[0].startswith('iifname != { "lo", "gpfwd", "wg0", "wg1" } ')
    through = rules(render(ROUTED), "through")
    stop = through.index('iifname "gpfwd" oifname != "wg*" counter name "forward_loops" drop')
    assert all(through.index(rule) > stop for rule in through if 'oifname "gpfwd"' in rule)
    inward = rules(render(ROUTED), "to_gateway")
    assert inward[0] == 'iifname "gpfwd" counter name "forward_loops" drop'


def test_what_goes_on_is_marked_and_not_tracked_and_keeps_its_mark_until_it_is_routed() -> None:
    both = "{ 10.20.0.10, 10.20.0.11 }"
    capsules = f"ip saddr {both} ip daddr {both} udp dport 4789 notrack accept"
    assert rules(render(ROUTED), "first") == [
        capsules,
        'iifname != { "lo", "gpfwd", "wg0", "wg1" } ip daddr 100.96.0.0/16 '
        "meta mark set 0x00006702",
        'meta mark 0x00006702 fib daddr . mark oifname != "gpfwd" meta mark set 0',
        "meta mark 0x00006702 notrack",
    ]
    assert rules(render(ROUTED), "last") == [
        capsules,
        "meta l4proto tcp ip saddr 100.96.0.0/16 fib saddr type != local notrack",
        "meta l4proto tcp ip daddr 100.96.0.0/16 fib saddr type != local notrack",
    ]
    learn, others, before, *slots = rules(render(ROUTED), "mark_forwarded")
    assert before == "meta mark 0x00006702 accept"
    assert [learn, others, *slots] == rules(render(FILTER), "mark_forwarded")


def test_clients_are_clamped_and_judged_before_anything_of_the_mode() -> None:
    assert rules(render(ROUTED), "through")[:2] == rules(render(FILTER), "through")[:2]
    assert 'oifname { "wg0", "wg1", "gpfwd" } drop' in rules(render(ROUTED), "from_client")
    judged = rules(render(ROUTED), "from_client")[-5:]
    assert judged == rules(render(replace(FILTER, reach=ROUTED.reach)), "from_client")[-5:]


def test_answers_are_judged_by_the_same_sets_the_other_way_round() -> None:
    out, back = (rules(render(ROUTED), chain) for chain in ("from_client", "answers"))
    turned = [
        rule.replace("saddr", "*").replace("daddr", "saddr").replace("*", "daddr")
        for rule in out
        if "@" in rule
    ]
    assert back == [*(rule.replace("dport", "sport") for rule in turned), "drop"]


def test_only_with_connections_to_clients_is_anything_new_let_through_to_one() -> None:
    closed = rules(render(ROUTED), "to_client")
    assert closed == [
        "ip saddr 10.20.0.0/16 ct state established,related accept",
        "meta l4proto icmp ct state related accept",
        "ip saddr != 10.20.0.0/16 drop",
        "tcp flags & (syn | ack) != syn goto answers",
        "drop",
    ]
    called = replace(
        ROUTED,
        routed=Routed(vpc=ROUTED.reach, monitoring=(), connections_to_clients=True),
    )
    added = [rule for rule in rules(render(called), "to_client") if rule not in closed]
    assert added == [
        "ip daddr @open ip saddr 10.20.0.0/16 accept",
        "ip daddr . ip saddr . meta l4proto @allowed_protocols accept",
        "ip daddr . ip saddr @allowed accept",
    ]


def test_in_routed_mode_the_gateways_own_ports_are_narrow_although_the_group_is_wide() -> None:
    inward = rules(render(ROUTED), "to_gateway")
    assert "ip saddr { 10.20.0.0/16 } tcp dport 9585 accept" in inward
    assert "ip saddr { 10.20.9.0/24 } tcp dport 9586 accept" in inward
    capsules = inward.index("ip saddr { 10.20.0.10, 10.20.0.11 } udp dport 4789 accept")
    assert inward[capsules + 1] == "udp dport 4789 drop"
    assert inward.index("ct state established,related accept") > capsules + 1
    unwatched = replace(ROUTED, routed=Routed(vpc=ROUTED.reach, monitoring=()))
    assert not [rule for rule in rules(render(unwatched), "to_gateway") if "9586" in rule]


def test_two_segments_a_second_of_who_has_just_come_are_shown_when_it_has_been_let_through() -> (
    None
):
    text = render(ROUTED)
    assert (
        "add chain inet gatepair let_through "
        "{ type filter hook postrouting priority filter; policy accept; }\n"
    ) in text
    shown = (
        "tcp flags & (syn | rst | ack) == ack add @kicked "
        "{ ip saddr . ip daddr . tcp sport . tcp dport limit rate 2/second burst 1 packets } "
        "limit rate 500/second burst 500 packets log group 26370 snaplen 80 queue-threshold 1"
    )
    wg, inward = '"wg*"', '{ "wg0", "wg1", "gpfwd" }'
    assert rules(text, "let_through") == [
        'oifname != "gpfwd" ct state untracked accept',
        f"oifname {inward} ip daddr @resumed {shown}",
        f"iifname {wg} oifname != {inward} ip saddr @resumed {shown}",
    ]
    assert "add set inet gatepair resumed { type ipv4_addr; size 262144; flags timeout; " in text


def test_without_gateways_or_a_reach_the_text_is_whole_in_routed_mode_too() -> None:
    text = render(replace(ROUTED, reach=(), gateways=frozenset()))
    assert "{  }" not in text
    assert "ip saddr  " not in text
    assert not [rule for rule in rules(text, "through") if "accept" in rule or "goto to_" in rule]
