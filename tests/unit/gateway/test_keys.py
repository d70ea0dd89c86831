"""Custody of the private keys: one key for ever, whoever comes first, whatever fails."""

from __future__ import annotations

import base64
import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.custody import KeyPending
from gateway.keys import KeyFiles, KeyKeeper, KeyRefused, Step, judge, public_key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def private_key(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def derive(private: str) -> str:
    return base64.b64encode(hashlib.sha256(private.strip().encode()).digest()).decode()


class Secrets:
    """Secrets Manager's one secret: the first writer of a version wins."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.stages: dict[str, str] = {}
        self.writes = 0
        self.unseen = 0
        """How many reads still do not see what has been written."""
        self.lock = threading.Lock()

    def get(self, version: str) -> str | None:
        with self.lock:
            if self.unseen > 0:
                self.unseen -= 1
                return None
            return self.versions.get(version)

    def put(self, version: str, value: str, stage: str) -> bool:
        with self.lock:
            if self.versions.get(version, value) != value:
                return False
            self.versions[version] = value
            self.stages[stage] = version
            self.writes += 1
            return True


class Published:
    """The registry's server-key items: the first writer wins."""

    def __init__(self) -> None:
        self.keys: dict[int, str] = {}
        self.lock = threading.Lock()

    def server_key(self, generation: int) -> str | None:
        return self.keys.get(generation)

    def publish_server_key(self, generation: int, public_key: str, by: str) -> str:
        assert by
        with self.lock:
            return self.keys.setdefault(generation, public_key)


def keeper(
    directory: Path,
    secrets: Secrets,
    published: Published,
    *,
    name: str = "i-1",
    generate: Callable[[], str] | None = None,
) -> KeyKeeper:
    return KeyKeeper(
        store=secrets,
        published=published,
        files=KeyFiles(directory / name, derive),
        version_of=lambda generation: f"version-{generation}",
        name=lambda: name,
        generate=generate or (lambda: private_key(name)),
        derive=derive,
        pause=lambda _seconds: None,
    )


@pytest.mark.parametrize(
    ("published", "held", "step"),
    [
        (None, None, Step.GENERATE),
        (None, "A", Step.PUBLISH),
        ("A", "A", Step.SERVE),
        ("A", None, Step.REFUSE),
        ("A", "B", Step.REFUSE),
    ],
)
def test_what_follows_from_the_two_places(
    published: str | None, held: str | None, step: Step
) -> None:
    judgement = judge(published, held)
    assert judgement.step is step
    assert bool(judgement.why) == (step is Step.REFUSE)


def test_the_first_gateway_makes_the_key_with_a_label_and_publishes_it(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    public = keeper(tmp_path, secrets, published).obtain(7)
    assert published.keys == {7: public}
    assert secrets.stages == {"generation-7": "version-7"}
    path = tmp_path / "i-1" / "7"
    assert derive(path.read_text()) == public
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_replaced_gateway_takes_the_key_that_is_there(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    first = keeper(tmp_path, secrets, published, name="i-1").obtain(7)
    assert keeper(tmp_path, secrets, published, name="i-2").obtain(7) == first
    assert secrets.writes == 1


def test_a_key_whose_publication_was_lost_is_published(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    secrets.put("version-7", private_key("old"), "generation-7")
    assert keeper(tmp_path, secrets, published).obtain(7) == derive(private_key("old"))
    assert published.keys[7] == derive(private_key("old"))
    assert secrets.writes == 1


def test_a_lost_version_is_refused_and_no_key_is_made(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    published.keys[7] = derive(private_key("lost"))
    with pytest.raises(KeyRefused, match="no such version"):
        keeper(tmp_path, secrets, published).obtain(7)
    assert not secrets.versions
    assert not (tmp_path / "i-1" / "7").exists()


def test_another_key_in_the_secret_is_refused(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    published.keys[7] = derive(private_key("trusted"))
    secrets.put("version-7", private_key("another"), "generation-7")
    with pytest.raises(KeyRefused, match="holds the key of"):
        keeper(tmp_path, secrets, published).obtain(7)
    assert published.keys[7] == derive(private_key("trusted"))


def test_a_cached_key_that_the_registry_does_not_name_is_not_served(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    one = keeper(tmp_path, secrets, published)
    one.files.keep(7, private_key("stale"))
    published.keys[7] = derive(private_key("trusted"))
    secrets.put("version-7", private_key("trusted"), "generation-7")
    assert one.obtain(7) == derive(private_key("trusted"))
    assert one.files.public_key(7) == derive(private_key("trusted"))


def test_a_cached_key_that_the_registry_names_needs_no_secret(tmp_path: Path) -> None:
    published = Published()
    one = keeper(tmp_path, Secrets(), published)
    one.files.keep(7, private_key("kept"))
    published.keys[7] = derive(private_key("kept"))
    assert one.obtain(7) == derive(private_key("kept"))


def test_a_version_that_is_not_seen_yet_is_waited_for(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    secrets.put("version-7", private_key("there"), "generation-7")
    published.keys[7] = derive(private_key("there"))
    secrets.unseen = 3
    assert keeper(tmp_path, secrets, published).obtain(7) == published.keys[7]


def test_the_loser_of_a_race_reads_the_winner_though_it_is_not_seen_at_once(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    secrets.put("version-7", private_key("winner"), "generation-7")
    secrets.unseen = 3  # the first read, and two after losing
    assert keeper(tmp_path, secrets, published).obtain(7) == derive(private_key("winner"))


def test_a_winner_that_stays_unseen_is_no_alarm(tmp_path: Path) -> None:
    secrets, published = Secrets(), Published()
    secrets.put("version-7", private_key("winner"), "generation-7")
    secrets.unseen = 1000
    with pytest.raises(KeyPending):
        keeper(tmp_path, secrets, published).obtain(7)


def test_a_publication_that_another_key_has_won_is_refused(tmp_path: Path) -> None:
    secrets = Secrets()

    class Late(Published):
        def server_key(self, generation: int) -> str | None:  # noqa: ARG002
            return None

    published = Late()
    published.keys[7] = "another"
    with pytest.raises(KeyRefused):
        keeper(tmp_path, secrets, published).obtain(7)
    assert not (tmp_path / "i-1" / "7").exists()


@pytest.mark.parametrize("attempt", range(20))
def test_gateways_that_start_at_the_same_instant_end_with_one_key(
    tmp_path: Path, attempt: int
) -> None:
    secrets, published = Secrets(), Published()
    start = threading.Barrier(8)
    results: list[str] = []

    def gateway(number: int) -> None:
        name = f"i-{attempt}-{number}"
        start.wait(timeout=10)
        results.append(keeper(tmp_path, secrets, published, name=name).obtain(7))

    threads = [threading.Thread(target=gateway, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(results) == 8
    assert set(results) == {published.keys[7]}
    assert derive(secrets.versions["version-7"]) == published.keys[7]
    assert secrets.writes == 1


def test_keys_of_retired_generations_are_deleted(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path / "keys", derive)
    for generation in (6, 7, 8):
        files.keep(generation, private_key(str(generation)))
    files.forget_others((7, 8))
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["7", "8"]


def test_a_damaged_key_file_counts_as_none(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path, public_key_of)
    assert files.public_key(7) is None
    files.path(7).write_text("nonsense")
    assert files.public_key(7) is None
    files.path(7).write_bytes(b"\xff\xfe")
    assert files.public_key(7) is None


@pytest.mark.parametrize("text", ["", "nonsense!", base64.b64encode(b"short").decode(), "A" * 100])
def test_what_is_no_private_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        public_key_of(text)
    assert not text or text not in str(refused.value)
