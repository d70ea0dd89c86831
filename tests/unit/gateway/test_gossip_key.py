"""The gateways' own key: one for all, whoever made it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from unit.gateway.samples import stands_in

from gateway.custody import Custody, KeyPending, decode
from gateway.gossip_key import COMPARE_EVERY, GossipKey, generate

if TYPE_CHECKING:
    from pathlib import Path


class Store:
    """One version, which the first writer makes."""

    def __init__(self, text: str | None = None) -> None:
        self.text, self.stages = text, []

    def get(self, version: str) -> str | None:
        assert version == "v"
        return self.text

    def put(self, version: str, value: str, stage: str) -> bool:
        assert version == "v"
        self.stages.append(stage)
        if self.text is None:
            self.text = value
        return self.text == value


class Link:
    key: bytes | None = None


def keeper(store: Any, path: Path, make: str) -> tuple[GossipKey, Link]:
    link = Link()
    custody = Custody(store, lambda _: None)
    return GossipKey(custody, "v", path, stands_in(link), lambda: make), link


ONE, TWO = (base64.b64encode(letter * 32).decode() for letter in (b"1", b"2"))


def test_the_first_gateway_makes_it_and_the_second_reads_it(tmp_path: Path) -> None:
    store = Store()
    first, link = keeper(store, tmp_path / "a", ONE)
    second, other = keeper(store, tmp_path / "b", TWO)
    assert first.step() == COMPARE_EVERY
    assert second.step() == COMPARE_EVERY
    assert link.key == other.key == b"1" * 32
    assert store.stages == ["gossip"]
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_the_loser_of_a_race_takes_the_winners(tmp_path: Path) -> None:
    class Late(Store):
        def get(self, version: str) -> str | None:
            return super().get(version) if self.stages else None

    late, link = keeper(Late(ONE), tmp_path / "a", TWO)
    late.step()
    assert link.key == b"1" * 32


def test_a_winner_that_cannot_be_read_yet_is_waited_for(tmp_path: Path) -> None:
    class Blind(Store):
        def get(self, version: str) -> str | None:
            assert version == "v"
            return None

    blind, link = keeper(Blind(ONE), tmp_path / "a", TWO)
    with pytest.raises(OSError, match="another gateway"):
        blind.step()
    assert link.key is None
    with pytest.raises(KeyPending):
        Custody(Blind(ONE), lambda _: None).make("v", TWO, "gossip")


def test_a_restart_without_aws_goes_on_talking(tmp_path: Path) -> None:
    made, _link = keeper(Store(), tmp_path / "a", ONE)
    made.step()
    again, link = keeper(Store(), tmp_path / "a", TWO)
    again.recall()
    assert link.key == b"1" * 32
    none, link = keeper(Store(), tmp_path / "b", TWO)
    none.recall()
    assert link.key is None


def test_another_key_in_the_secret_replaces_the_one_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(ONE)
    fresh, link = keeper(Store(TWO), tmp_path / "a", ONE)
    fresh.recall()
    fresh.step()
    assert link.key == b"2" * 32
    assert (tmp_path / "a").read_text().strip() == TWO


@pytest.mark.parametrize("text", ["", "short", "x" * 44, base64.b64encode(b"1" * 31).decode()])
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes") as caught:
        decode(text)
    assert not text or text not in str(caught.value)


def test_a_new_key_is_random_and_whole() -> None:
    assert len(decode(generate())) == 32
    assert generate() != generate()
