"""What the load balancer remembers, with the time handed in."""

from __future__ import annotations

from dataclasses import replace

from lab_unit.balancers import A, B, balancer, group

from lab import flows
from lab.health import TIMEOUT, Outcome, State
from lab.ledger import Ledger

GOOD, BAD = Outcome(), Outcome(TIMEOUT, "Request timed out")
ONE = ("group-0", "i-a", 51820)


def healthy() -> Ledger:
    """A ledger in which everything has become healthy at second 5."""
    ledger, one = Ledger(), balancer()
    ledger.observe(one, 0.0)
    for now in (0.0, 5.0):
        for group_, target in ledger.due(one, now):
            ledger.record(group_, target, GOOD, now)
    return ledger


def test_a_new_registration_is_initial_and_checked_at_once_then_every_interval() -> None:
    """Each target once a group."""
    ledger, one = Ledger(), balancer()
    ledger.observe(one, 0.0)
    assert {h.state for h in ledger.health.values()} == {State.INITIAL}
    assert len(ledger.due(one, 0.0)) == 4
    assert ledger.due(one, 4.9) == []
    assert len(ledger.due(one, 5.0)) == 4


def test_a_change_of_state_is_told_to_the_caller_once() -> None:
    """The log has one line for it."""
    ledger, one = Ledger(), balancer()
    ledger.observe(one, 0.0)
    changes = [ledger.record(one.groups[0], A, GOOD, n) for n in (0.0, 5.0, 10.0)]
    assert changes == [False, True, False]


def test_an_outcome_for_a_target_that_is_gone_is_dropped() -> None:
    """A check may outlive its target."""
    ledger = healthy()
    ledger.observe(balancer(group(0, B), group(1, B)), 6.0)
    assert not ledger.record(group(0, A), A, GOOD, 6.1)
    assert ONE not in ledger.health


def test_a_deregistered_target_drains_for_its_delay_and_its_flows_end_then() -> None:
    """With connection termination."""
    slow = [group(n, A, B, deregistration_delay=30) for n in (0, 1)]
    ledger = Ledger()
    ledger.observe(balancer(*slow), 0.0)
    left = balancer(*[group(n, B, deregistration_delay=30) for n in (0, 1)])
    ledger.observe(left, 10.0)
    assert ledger.health[ONE].state is State.DRAINING
    assert ledger.report()["group-0"]["i-a"]["reason"] == "Target.DeregistrationInProgress"
    ledger.observe(left, 39.9)
    assert ledger.gone() == {}
    ledger.observe(left, 40.0)
    assert ONE not in ledger.health
    assert ledger.gone()[ONE] == (flows.Flows("udp", "10.20.0.130", 51820),)


def test_without_connection_termination_the_flows_of_a_drained_target_go_on() -> None:
    """Until they are idle."""
    ledger = Ledger()
    ledger.observe(balancer(group(0, A, B, connection_termination=False)), 0.0)
    ledger.observe(balancer(group(0, B)), 1.0)
    assert ledger.gone() == {}


def test_a_target_that_is_registered_again_begins_anew_and_keeps_new_flows() -> None:
    """Its health is not what it was, and what was to end no longer is."""
    ledger = healthy()
    ledger.observe(balancer(group(0, B), group(1, B)), 6.0)
    assert ONE in ledger.gone()
    ledger.observe(balancer(), 7.0)
    assert ledger.health[ONE].state is State.INITIAL
    assert ONE not in ledger.gone()
    assert ONE in {flows.key(g, t) for g, t in ledger.due(balancer(), 7.0)}


def test_a_stopped_instance_is_unused_and_no_longer_checked() -> None:
    """`Target.InvalidState`, and its flows leave for the others."""
    ledger = healthy()
    stopped = replace(A, running=False)
    now = balancer(group(0, stopped, B), group(1, stopped, B))
    ledger.observe(now, 6.0)
    assert ledger.report()["group-0"]["i-a"] == {
        "state": "unused",
        "reason": "Target.InvalidState",
    }
    assert {t.id for _, t in ledger.due(now, 20.0)} == {"i-b"}
    states = flows.effective(ledger.health, 0.0, 20.0)
    assert flows.Flows("udp", "10.20.0.130", 51820) in flows.forbidden(now, states, {})


def test_a_healthy_target_that_is_said_to_be_lost_is_reported_unhealthy() -> None:
    """So that who asks AWS hears what the data plane goes by; the checks' own finding stays."""
    ledger = healthy()
    told = ledger.report({"i-a"})["group-0"]
    assert told["i-a"] == {"state": "unhealthy", "reason": "Target.FailedHealthChecks"}
    assert told["i-b"] == {"state": "healthy"}
    assert ledger.report()["group-0"]["i-a"] == {"state": "healthy"}


def test_a_group_without_a_listener_is_not_in_use() -> None:
    """Its targets are not checked either."""
    one = replace(balancer(), listeners=balancer().listeners[:1])
    ledger = Ledger()
    ledger.observe(one, 0.0)
    assert ledger.report()["group-1"]["i-a"]["reason"] == "Target.NotInUse"
    assert {g.arn for g, _ in ledger.due(one, 0.0)} == {"group-0"}


def test_a_balancer_that_starts_again_remembers_who_was_healthy() -> None:
    """Or its restart would look like a fault of every gateway."""
    before = healthy()
    for _ in range(2):
        before.record(group(0, B), B, BAD, 9.0)
    after = Ledger(before.report())
    after.observe(balancer(), 0.0)
    assert after.health[ONE].state is State.HEALTHY
    sick = after.health["group-0", "i-b", 51820]
    assert (sick.state, sick.reason) == (State.UNHEALTHY, TIMEOUT)
    # Once: who is registered again later begins anew
    after.observe(balancer(group(0, B)), 1.0)
    after.observe(balancer(), 2.0)
    assert after.health[ONE].state is State.INITIAL


def test_a_load_balancer_that_is_gone_leaves_nothing() -> None:
    """`report()` is what the cloud answers from."""
    ledger = healthy()
    ledger.observe(None, 6.0)
    assert ledger.report() == {}
