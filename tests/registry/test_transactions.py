"""A change is written once and whole, whatever AWS answers on the way."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from effects import Refusal
from registry import transactions
from registry.items import Audit, Head
from registry.records import Record
from registry.transactions import Contended, Damaged, Unconfirmed, Writes

HEAD = Head(4, "epoch", None)
LOST = ReadTimeoutError(endpoint_url="https://dynamodb")


def writes() -> Writes:
    """A change that has just been planned."""
    audit = Audit(5, "2026-01-01T00:00:00Z", "add", "alice", "arn")
    return Writes(Record(audit, token=str(uuid.uuid4())), HEAD, ({"Put": {}},))


def commit(client: Any, plan: Any, ahead: Any = lambda _: None) -> Any:
    return transactions.commit(client, plan, ahead)


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "TransactWriteItems")


def cancelled(*reasons: str) -> ClientError:
    error = refused("TransactionCanceledException")
    response: Any = error.response
    response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return error


class Scripted:
    """A DynamoDB client that gives the answers of a script, then succeeds."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []

    def transact_write_items(self, *, TransactItems: Any, ClientRequestToken: str) -> None:  # noqa: N803 - boto3's names
        assert TransactItems == [{"Put": {}}]
        self.tokens.append(ClientRequestToken)
        if self.answers:
            raise self.answers.pop(0)


class Plans:
    """A plan that notes what it was told."""

    def __init__(self) -> None:
        self.unsure: list[bool] = []

    def __call__(self, unsure: bool) -> tuple[str, Writes | None]:
        self.unsure.append(unsure)
        return f"plan {len(self.unsure)}", writes()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time stands still but for the pauses."""
    now = [0.0]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += max(seconds, 0.01)

    monkeypatch.setattr(transactions.time, "sleep", sleep)
    monkeypatch.setattr(transactions.time, "monotonic", lambda: now[0])
    return pauses


@pytest.mark.parametrize(
    "answer",
    [
        cancelled("ConditionalCheckFailed", "None", "None"),
        cancelled("None", "None", "None", "ConditionalCheckFailed"),
        cancelled("None", "TransactionConflict", "None"),
        cancelled("ThrottlingError", "None"),
        refused("ThrottlingException"),
        refused("TransactionConflictException"),
    ],
)
def test_whoever_loses_a_race_plans_again_and_is_sure_nothing_was_written(
    answer: ClientError,
) -> None:
    client, plan = Scripted(answer, answer), Plans()
    assert commit(client, plan) == "plan 3"
    assert plan.unsure == [False, False, False]
    assert len(set(client.tokens)) == 3


@pytest.mark.parametrize(
    "answer", [LOST, refused("InternalServerError"), refused("TransactionInProgressException")]
)
def test_after_a_lost_answer_the_next_plan_is_told_to_look_for_itself(answer: Exception) -> None:
    plan = Plans()
    commit(Scripted(answer, cancelled("ConditionalCheckFailed")), plan)
    assert plan.unsure == [False, True, True]


def test_a_plan_that_finds_nothing_left_to_do_writes_nothing() -> None:
    client = Scripted()
    assert commit(client, lambda _: ("there", None)) == "there"
    assert client.tokens == []


def test_a_refusal_by_a_later_plan_ends_the_tries() -> None:
    client = Scripted(cancelled("ConditionalCheckFailed"))
    answers = iter([("x", writes())])

    def plan(unsure: bool) -> tuple[str, Writes | None]:
        del unsure
        try:
            return next(answers)
        except StopIteration:
            raise Refusal("peer x", "there is one") from None

    with pytest.raises(Refusal):
        commit(client, plan)
    assert len(client.tokens) == 1


@pytest.mark.parametrize(
    "answer", [cancelled("ValidationError"), refused("AccessDeniedException"), cancelled("None")]
)
def test_what_cannot_get_better_is_not_tried_again(answer: ClientError) -> None:
    client = Scripted(answer, answer)
    with pytest.raises(ClientError):
        commit(client, Plans())
    assert len(client.tokens) == 1


def test_a_change_beyond_the_counter_is_damage_and_said_so() -> None:
    client = Scripted(cancelled("None", "ConditionalCheckFailed", "None"))
    with pytest.raises(Damaged, match="counter stands at 4"):
        commit(client, Plans())


def test_time_runs_out_with_the_word_that_nothing_was_written(no_waiting: list[float]) -> None:
    client = Scripted(*[cancelled("TransactionConflict")] * 10_000)
    with pytest.raises(Contended, match="nothing was written"):
        commit(client, Plans())
    assert sum(no_waiting) <= transactions.PATIENCE + transactions.LONGEST_PAUSE
    assert max(no_waiting) <= transactions.LONGEST_PAUSE
    assert len({round(pause, 6) for pause in no_waiting}) > len(no_waiting) / 2, "no jitter"


def test_when_the_outcome_stays_unknown_the_error_says_that_it_is() -> None:
    with pytest.raises(Unconfirmed):
        commit(Scripted(*[LOST] * 10_000), Plans())

    def plan(unsure: bool) -> tuple[str, Writes | None]:
        if unsure:
            raise LOST
        return "x", writes()

    with pytest.raises(Unconfirmed):
        commit(Scripted(LOST), plan)


def test_an_interrupt_or_a_full_disk_after_a_lost_answer_leaves_the_outcome_open() -> None:
    for cause in (KeyboardInterrupt(), OSError(28, "full")):

        def plan(unsure: bool, cause: BaseException = cause) -> tuple[str, Writes | None]:
            if unsure:
                raise cause
            return "x", writes()

        with pytest.raises(Unconfirmed):
            commit(Scripted(LOST), plan)


def test_a_read_that_fails_before_anything_was_sent_is_just_that_error() -> None:
    def plan(unsure: bool) -> tuple[str, Writes | None]:
        del unsure
        raise LOST

    with pytest.raises(ReadTimeoutError):
        commit(Scripted(), plan)
