"""What is refused at the door, with the cure, and what is taken in one spelling only."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from effects import Refusal
from registry import validation

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
P = 2**255 - 19


def text_of(point: int) -> str:
    return base64.b64encode(point.to_bytes(32, "little")).decode()


@pytest.mark.parametrize("name", ["a", "alice-laptop", "7", "bob.smith_2", "x" * 63])
def test_usable_names_pass_unchanged(name: str) -> None:
    assert validation.peer_name(name) == name


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("", "use 1 to 63"),
        ("Alice", "such as alice"),
        ("-a", "such as a"),
        ("a.", "such as a"),
        ("alice laptop", "such as alice-laptop"),
        ("a\n", "such as a"),
        ("älter", "such as lter"),
        ("../../etc/passwd", "such as etc-passwd"),
        ("x" * 64, f"such as {'x' * 63}"),
    ],
)
def test_unusable_names_are_refused_with_one_that_would_do(name: str, cure: str) -> None:
    with pytest.raises(Refusal) as refusal:
        validation.peer_name(name)
    assert repr(name) in str(refusal.value)
    assert cure in refusal.value.cure


def test_a_public_key_passes_unchanged() -> None:
    key = text_of(9)
    assert validation.public_key(key) == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "0 bytes"),
        ("not a key", "not base64"),
        ("a" * 43, "not base64"),
        (base64.b64encode(bytes(31)).decode(), "31 bytes"),
        (base64.b64encode(b"x" * 33).decode(), "33 bytes"),
        (text_of(9).rstrip("="), "not base64"),
        (text_of(9) + "\n", "not base64"),
        ("é" * 44, "not base64"),
        (text_of(9)[:-2] + "B=", "not in canonical base64"),
        (text_of(0), "all zero"),
    ],
)
def test_what_is_not_a_key_is_refused(key: str, why: str) -> None:
    with pytest.raises(Refusal, match="public key") as refusal:
        validation.public_key(key)
    assert why in refusal.value.why
    assert "wg pubkey" in refusal.value.cure


@pytest.mark.parametrize("point", [1, P - 1, P, P + 9, 9 + 2**255, 2**256 - 1])
def test_a_key_in_a_second_spelling_or_of_small_order_is_refused(point: int) -> None:
    with pytest.raises(Refusal, match="not a point"):
        validation.public_key(text_of(point))


def test_the_points_of_order_eight_are_refused() -> None:
    for spelling in (
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ):
        with pytest.raises(Refusal, match="not a point"):
            validation.public_key(base64.b64encode(bytes.fromhex(spelling)).decode())


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("12h", datetime(2026, 11, 23, 0, 0, tzinfo=UTC)),
        ("30d", datetime(2026, 12, 22, 12, 0, tzinfo=UTC)),
        ("2w", datetime(2026, 12, 6, 12, 0, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 23, 0, 0, tzinfo=UTC)),
        ("2027-01-31", datetime(2027, 2, 1, 0, 0, tzinfo=UTC)),
        ("2027-01-31T08:00+01:00", datetime(2027, 1, 31, 7, 0, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_length_or_a_date_which_includes_its_day(text: str, end: datetime) -> None:
    assert validation.expiry(text, NOW) == int(end.timestamp())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither"),
        ("soon", "neither"),
        ("30", "neither"),
        ("-5d", "neither"),
        ("2027-02-30", "neither"),
        ("0d", "not in the future"),
        ("2026-11-21", "not in the future"),
        ("2026-11-22T11:59:59Z", "not in the future"),
        ("2027-01-31T08:00", "no time zone"),
        ("999999d", "ten years"),
        ("9999-12-31", "neither"),
        ("3038-01-01", "ten years"),
    ],
)
def test_an_expiry_that_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(Refusal) as refusal:
        validation.expiry(text, NOW)
    assert why in refusal.value.why
    assert refusal.value.cure


def test_an_owner_is_one_printable_line() -> None:
    assert validation.owner("  Zoë <zoe@example.com> ") == "Zoë <zoe@example.com>"
    with pytest.raises(Refusal, match="cannot be printed"):
        validation.owner("two\nlines")
    with pytest.raises(Refusal, match="at most 200"):
        validation.owner("x" * 201)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 101])
def test_a_stack_is_named_as_pulumi_names_them(name: str) -> None:
    assert validation.stack_name("prod.eu-1_x") == "prod.eu-1_x"
    with pytest.raises(Refusal, match="not a stack's name"):
        validation.stack_name(name)
