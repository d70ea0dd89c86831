"""The other threads' single steps, with the outside replaced."""

from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from unit.gateway.samples import stands_in

from gateway.aws import reason
from gateway.custody import KeyPending
from gateway.drain import Drain
from gateway.environment import LifecycleHooks
from gateway.heartbeat import Heartbeat
from gateway.key_watch import LOOK_AGAIN, KeyWatch
from gateway.keys import KeyRefused
from gateway.membership import (
    INTERVAL,
    SOON,
    Membership,
    MembershipWatch,
    MetadataWatch,
    hook_to_complete,
    look_up,
    serving,
)
from gateway.messages import (
    GatewaysSeen,
    IdentityFound,
    KeyDated,
    KeyFault,
    KeyReady,
    LifecycleSeen,
    Message,
    Trouble,
)
from gateway.metadata import Identity
from gateway.poller import Poller
from gateway.state import State
from gateway.status import Board, Status
from registry.items import DRAINED, SERVING, UNWELL, Ack, GatewayRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

IDENTITY = Identity("i-1", "123456789012", "eu-west-1", "eu-west-1a", "10.20.0.10")


def board(**changes: Any) -> Board:
    made = Board()
    made.publish(Status(state=State(identity=IDENTITY, served=(7, 8)), **changes))
    return made


def client_error(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetSecretValue")


# ------------------------------------------------------------------ keys


class Keeper:
    def __init__(self, answers: dict[int, object]) -> None:
        self.answers, self.asked = answers, []

    def obtain(self, generation: int) -> str:
        self.asked.append(generation)
        answer = self.answers[generation]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


def watch_of(
    keeper: Keeper,
    on: Board,
    post: Callable[[Message], None],
    now: Callable[[], float],
    published_at: Callable[[int], int] = lambda _generation: 1,
) -> KeyWatch:
    return KeyWatch(stands_in(keeper), on, post, now, published_at=published_at)


def test_each_generation_that_is_wanted_is_obtained_and_reported() -> None:
    posted: list[Message] = []
    keeper = Keeper({7: "K7", 8: KeyRefused("lost")})
    watch_of(keeper, board(), posted.append, lambda: 100.0).step()
    assert posted == [KeyReady(7, "K7"), KeyFault(8, "lost", refused=True)]


@pytest.mark.parametrize(
    "error", [KeyPending("soon"), client_error("AccessDenied"), OSError("no route")]
)
def test_what_may_pass_is_no_refusal(error: Exception) -> None:
    posted: list[Message] = []
    keeper = Keeper({7: "K7", 8: error})
    watch_of(keeper, board(), posted.append, lambda: 1.0).step()
    fault = posted[1]
    assert isinstance(fault, KeyFault)
    assert not fault.refused
    assert fault.why


def test_a_refused_key_is_looked_at_again_half_a_minute_later() -> None:
    now = 100.0
    keeper = Keeper({7: "K7", 8: KeyRefused("lost")})
    watch = watch_of(keeper, board(), lambda _message: None, lambda: now)
    watch.step()
    now += LOOK_AGAIN - 1
    watch.step()
    assert keeper.asked.count(8) == 1
    now += 2
    watch.step()
    assert keeper.asked.count(8) == 2


def test_a_key_that_is_verified_is_dated_and_without_an_answer_again_half_a_minute_later() -> None:
    now, asked, posted = 100.0, [], list[Message]()
    on = Board()
    state = State(served=(7, 8), verified=frozenset({7, 8}), key_dates={8: 5})
    on.publish(Status(state=state))

    def published_at(generation: int) -> int:
        asked.append(generation)
        if len(asked) == 1:
            raise client_error("AccessDenied")
        return 1_700_000_000

    watch = watch_of(Keeper({}), on, posted.append, lambda: now, published_at)
    watch.step()
    now += LOOK_AGAIN - 1
    watch.step()
    assert (asked, posted) == ([7], [])
    now += 2
    watch.step()
    assert (asked, posted) == ([7, 7], [KeyDated(7, 1_700_000_000)])


# ------------------------------------------------------------------ membership


class AutoScaling:
    def __init__(self, state: str = "InService", *, member: bool = True) -> None:
        self.state, self.member, self.completed = state, member, []
        self.members = {"i-1": state, "i-2": "InService"}

    def describe_auto_scaling_instances(self, InstanceIds: list[str]) -> dict:  # noqa: N803
        found = {"InstanceId": InstanceIds[0], "AutoScalingGroupName": "g"}
        return {"AutoScalingInstances": [{**found, "LifecycleState": self.state}] * self.member}

    def describe_auto_scaling_groups(self, AutoScalingGroupNames: list[str]) -> dict:  # noqa: N803
        assert AutoScalingGroupNames == ["g"]
        return {
            "AutoScalingGroups": [
                {
                    "Instances": [
                        {"InstanceId": name, "LifecycleState": state}
                        for name, state in self.members.items()
                    ],
                    "TargetGroupARNs": ["arn:slot-0", "arn:slot-1"],
                }
            ]
        }

    def complete_lifecycle_action(self, **request: str) -> None:
        self.completed.append(request)


class Records:
    def __init__(self, *addresses: str) -> None:
        self.addresses, self.written = addresses, []

    def gateways(self, arns: Iterable[str]) -> list[GatewayRecord]:
        self.arns = list(arns)
        return [GatewayRecord("arn", "i", "z", a, "b", 0, "e") for a in self.addresses]

    def put_gateway(self, record: GatewayRecord) -> None:
        self.written.append(record)


HOOKS = LifecycleHooks("launch", "terminate")


def watch(
    autoscaling: AutoScaling, records: Records, on: Board, posted: list[Message]
) -> MembershipWatch:
    return MembershipWatch(autoscaling, stands_in(records), HOOKS, on, posted.append)


def test_the_members_come_from_auto_scaling_and_their_addresses_from_their_items() -> None:
    posted: list[Message] = []
    records = Records("10.20.0.10", "10.20.0.11", "nonsense")
    assert watch(AutoScaling(), records, board(), posted).step() == INTERVAL
    assert posted == [
        GatewaysSeen(
            frozenset({IPv4Address("10.20.0.10"), IPv4Address("10.20.0.11")}),
            members={"i-1": "InService", "i-2": "InService"},
            target_groups=("arn:slot-0", "arn:slot-1"),
        )
    ]
    assert records.arns == [
        f"arn:aws:ec2:eu-west-1:123456789012:instance/{name}" for name in ("i-1", "i-2")
    ]


def said(name: str, state: str = SERVING) -> GatewayRecord:
    return GatewayRecord("arn", name, "z", "10.20.0.11", "b", 0, "e", updated=7, state=state)


def test_clients_can_be_left_to_others_that_are_in_service_and_well() -> None:
    members = {
        "own": "InService",
        "well": "InService",
        "new": "Pending:Wait",
        "ill": "InService",
        "old": "Terminating:Wait",
        "mute": "InService",
        "drained": "InService",
    }
    records = [
        *(said(name) for name in ("own", "well", "new", "old", "stranger")),
        *(said("ill", UNWELL), said("mute", ""), said("drained", DRAINED)),
    ]
    assert serving(Membership("g", "InService", members), records, "own") == {"well": 7}


def test_who_serves_is_told_to_the_agent() -> None:
    posted: list[Message] = []
    records = Records()
    records.gateways = lambda arns: [said("i-1"), said("i-2")][: len(list(arns))]
    watch(AutoScaling(), records, board(), posted).step()
    assert [message.serving for message in posted if isinstance(message, GatewaysSeen)] == [
        {"i-2": 7}
    ]


def test_a_gateway_that_is_told_to_drain_looks_more_often() -> None:
    held_up = board(drain=Drain("because", held_up=True))
    assert watch(AutoScaling(), Records(), held_up, []).step() == SOON


def test_an_instance_outside_of_a_group_has_no_members() -> None:
    assert look_up(AutoScaling(member=False), "i-1") == Membership()


def test_before_the_instance_knows_itself_nothing_is_asked() -> None:
    posted: list[Message] = []
    assert watch(AutoScaling(), Records(), Board(), posted).step() < 1
    assert posted == []


@pytest.mark.parametrize(
    ("state", "healthy", "drained", "hook"),
    [
        ("Pending:Wait", True, False, "launch"),
        ("Pending:Wait", False, False, ""),
        ("Terminating:Wait", False, True, "terminate"),
        ("Terminating:Wait", True, False, ""),
        ("InService", True, True, ""),
        ("Pending", True, False, ""),
    ],
)
def test_a_hook_is_completed_when_there_is_nothing_to_wait_for(
    state: str, healthy: bool, drained: bool, hook: str
) -> None:
    assert hook_to_complete(state, HOOKS, healthy=healthy, drained=drained) == hook
    assert hook_to_complete(state, LifecycleHooks(), healthy=healthy, drained=drained) == ""


def test_a_drained_instance_lets_auto_scaling_go_on() -> None:
    autoscaling = AutoScaling("Terminating:Wait")
    assert watch(autoscaling, Records(), board(drained=True), []).step() == SOON
    (request,) = autoscaling.completed
    assert request == {
        "LifecycleHookName": "terminate",
        "AutoScalingGroupName": "g",
        "InstanceId": "i-1",
        "LifecycleActionResult": "CONTINUE",
    }


# ------------------------------------------------------------------ metadata


class Service:
    def __init__(self, target: str) -> None:
        self.target = target

    def identity(self) -> Identity:
        return IDENTITY

    def target_lifecycle_state(self) -> str:
        return self.target


@pytest.mark.parametrize(
    ("target", "ending"),
    [("InService", False), ("", False), ("Terminated", True), ("Standby", False)],
)
def test_the_target_state_says_whether_to_drain(target: str, ending: bool) -> None:
    posted: list[Message] = []
    MetadataWatch(stands_in(Service(target)), Board(), posted.append).step()
    assert posted == [IdentityFound(IDENTITY), LifecycleSeen(ending)]


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_an_arn_names_its_partition(region: str, partition: str) -> None:
    arn = replace(IDENTITY, region=region).arn
    assert arn == f"arn:{partition}:ec2:{region}:123456789012:instance/i-1"


# ------------------------------------------------------------------ heartbeat, poller


RECORD = GatewayRecord("arn", "i-1", "z", "10.20.0.10", "boot", 5, "e", {7: "K7"})


def test_a_change_is_written_at_once_and_then_only_refreshed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.heartbeat.REFRESH", 0.01)
    records, on = Records(), board(record=RECORD)
    beat = Heartbeat(stands_in(records), on, wall=lambda: 1234.5)
    beat.step()
    assert records.written == [replace(RECORD, updated=1234)]
    beat.step()
    assert len(records.written) == 2, "an unchanged item is refreshed"


def test_a_new_record_wakes_the_heartbeat() -> None:
    records, on = Records(), board(record=RECORD)
    beat = Heartbeat(stands_in(records), on, wall=lambda: 1.0)
    beat.step()
    thread = threading.Thread(target=beat.step, daemon=True)
    thread.start()
    on.publish(replace(on.status, record=replace(RECORD, applied=6)))
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert records.written[-1].applied == 6


def test_acknowledgements_of_others_are_relayed_and_only_news_is_written_at_once() -> None:
    records, on = Records(), board(record=RECORD)
    acks = {"i-2": Ack("boot", 5, "e", 100)}
    beat = Heartbeat(stands_in(records), on, lambda: acks, wall=lambda: 1.0)
    beat.step()
    assert records.written[-1].acks == acks
    acks["i-2"] = Ack("boot", 5, "e", 101)
    assert not beat._news(on.status), "the same, heard again"
    acks["i-2"] = Ack("boot", 6, "e", 102)
    assert beat._news(on.status)
    beat.step()
    assert records.written[-1].acks == acks


def test_an_instance_that_does_not_know_itself_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.heartbeat.REFRESH", 0.01)
    records = Records()
    Heartbeat(stands_in(records), Board()).step()
    assert records.written == []


def test_trouble_is_told_once_and_taken_back() -> None:
    answers: list[object] = [
        OSError("away"),
        OSError("away"),
        1.0,
        RuntimeError("a fault of ours"),
        1.0,
    ]
    posted: list[Message] = []

    def step() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return 1.0

    poller = Poller("part", step, posted.append, retry=2.0)
    assert [poller._once() for _ in range(5)] == [2.0, 2.0, 1.0, 2.0, 1.0]
    assert posted == [
        Trouble("part", "OSError: away"),
        Trouble("part", ""),
        Trouble("part", "internal error: RuntimeError"),
        Trouble("part", ""),
    ]


def test_a_poller_ends_when_it_is_asked_to() -> None:
    went = threading.Event()

    def step() -> float:
        went.set()
        return 60.0

    poller = Poller("part", step, lambda _message: None)
    poller.start()
    assert went.wait(5)
    poller.stop()
    poller.join(timeout=5)
    assert not poller.is_alive()


def test_an_aws_error_reads_the_same_each_time() -> None:
    assert (
        reason(client_error("AccessDenied", "not you")) == "GetSecretValue: AccessDenied: not you"
    )
    gone = EndpointConnectionError(endpoint_url="http://x")
    assert reason(gone).startswith("EndpointConnectionError: Could not connect")
