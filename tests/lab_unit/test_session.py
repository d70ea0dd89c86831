"""What begins and ends a run of the lab, without one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from effects import Refusal, run
from lab import edge, host, kinds, paths, proofs, session

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab directory of the test's own."""
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path / "lab"))
    return tmp_path / "lab"


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the lab could run."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(session.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(session, "TUN", Path("/dev/null"))
    monkeypatch.setattr(session, "FREE_DISK", 0)
    monkeypatch.setattr(type(kinds.CONTAINER), "preflight", lambda _: None)


@pytest.mark.usefixtures("able")
def test_a_machine_that_has_everything_is_not_refused(elsewhere: Path) -> None:
    """And nothing is made by looking."""
    session.preflight()
    assert not elsewhere.exists()


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("root", "needs root .*sudo"),
        ("program", "dnsmasq: not installed; run scripts/install"),
        ("tun", "net/tun: missing.*mknod"),
        ("disk", "3.0 GiB free, 4 GiB are needed.*GATEPAIR_LAB"),
    ],
)
def test_what_is_missing_is_refused_with_its_cure_before_anything_is_made(
    missing: str, told: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line each."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil has it
    match missing:
        case "root":
            monkeypatch.setattr(os, "geteuid", lambda: 1000)
        case "program":
            monkeypatch.setattr(session.shutil, "which", lambda name: name != "dnsmasq" or None)
        case "tun":
            monkeypatch.setattr(session, "TUN", Path("/dev/net/tun-of-nobody"))
            told = "tun-of-nobody: missing.*mknod"
        case "disk":
            monkeypatch.setattr(session, "FREE_DISK", 4 << 30)
            monkeypatch.setattr(session.shutil, "disk_usage", lambda _: usage(0, 0, 3 << 30))
    with pytest.raises(Refusal, match=told) as refused:
        session.preflight()
    assert "\n" not in str(refused.value)
    assert not elsewhere.exists()


@pytest.mark.usefixtures("able")
def test_a_stack_file_that_is_not_there_is_refused_before_anything_is_made(elsewhere: Path) -> None:
    """And so is one that is not YAML, or has a value of another type."""
    with pytest.raises(Refusal, match="nowhere"):
        session.preflight(Path("/nowhere/Pulumi.lab.yaml"))
    assert not elsewhere.exists()


def test_two_commands_at_once_are_refused_and_the_first_is_named() -> None:
    """By its pid, so that its owner can be found; and the lock goes when the holder dies."""
    code = "from lab import session\nwith session.alone('up'):\n print('in', flush=True); input()"
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as other:  # noqa: S603
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        with (
            pytest.raises(Refusal, match=rf"scripts/lab up \(pid {other.pid}\)"),
            session.alone("down"),
        ):
            pass
        other.kill()
    with session.alone("down"):
        pass


def test_who_is_at_work_is_named_also_when_it_is_not_a_lab_command() -> None:
    with (
        session.alone("bench/x.py", program=""),
        pytest.raises(Refusal, match=r"lab: bench/x.py \(pid \d+\) is at work"),
        session.alone("down"),
    ):
        pass


def test_a_run_that_never_was_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`down` on a clean machine is no error."""
    monkeypatch.setattr(session.netns, "names", list)
    monkeypatch.setattr(session, "_NETNS_FILES", tmp_path / "netns")
    assert session.leftovers() == []


def test_what_is_left_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing, with what it is."""
    monkeypatch.setattr(session.netns, "names", lambda: ["gp-lb"])
    monkeypatch.setattr(session, "_NETNS_FILES", tmp_path / "netns")
    (tmp_path / "netns" / "gp-c-alice").mkdir(parents=True)
    paths.prepare()
    left = session.leftovers()
    assert "namespace gp-lb" in left
    assert str(tmp_path / "netns" / "gp-c-alice") in left
    assert str(paths.run()) in left


def test_the_command_tells_usage_from_refusal() -> None:
    """Exit 2 for both, and no traceback."""
    command = [sys.executable, "scripts/lab"]
    unknown = run([*command, "fly"], check=False, cwd=ROOT)
    assert unknown.status == 2
    assert "usage" in unknown.stderr
    down = run([*command, "status"], check=False, cwd=ROOT)
    assert down.status == 2
    assert down.stderr.count("\n") == 1
    assert "make up" in down.stderr or "root" in down.stderr


@pytest.mark.parametrize(
    ("cidr", "taken", "subnet", "address"),
    [
        ("10.20.0.0/16", ["10.20.0.0/28"], "10.20.32.0/24", "10.20.32.10"),
        ("10.20.0.0/16", ["10.20.32.0/28"], "10.20.255.240/28", "10.20.255.250"),
        ("10.20.0.0/24", ["10.20.0.0/25", "10.20.0.240/28"], "10.20.0.224/28", "10.20.0.234"),
    ],
)
def test_the_host_stands_where_no_subnet_is(
    cidr: str, taken: list[str], subnet: str, address: str
) -> None:
    """Always in the VPC."""
    found = host.place(IPv4Network(cidr), map(IPv4Network, taken))
    assert found == host.Place(IPv4Network(subnet), IPv4Address(address))


def test_a_full_vpc_is_refused() -> None:
    """With what to do about it."""
    with pytest.raises(Refusal, match="wider"):
        host.place(IPv4Network("10.20.0.0/24"), [IPv4Network("10.20.0.0/24")])


@pytest.mark.parametrize("name", ["alice", "a", "dev-laptop-0001"])
def test_a_clients_name_can_name_an_interface(name: str) -> None:
    """15 characters at most."""
    assert edge.client_name(name) == name


@pytest.mark.parametrize("name", ["", "Alice", "1st", "a/b", "a b", "sixteen-letters-", "../x"])
def test_another_name_is_refused(name: str) -> None:
    """wg-quick names the interface for the file."""
    with pytest.raises(Refusal, match="a letter first"):
        edge.client_name(name)


def test_each_client_has_one_public_address_of_its_own() -> None:
    """Not the shared one."""
    clients = [edge.Client(f"c{n}", edge.CLIENTS[n]) for n in range(10, 250)]
    own = {client.own_public_address for client in clients}
    assert len(own) == len(clients)
    assert edge.SHARED_ADDRESS not in own
    assert len({client.link for client in clients}) == len(clients)


def test_the_table_shows_what_failed_and_why() -> None:
    """For people, and whole for programs."""
    rows = [proofs.Row("short", True, "fine", 0.1), proofs.Row("longer one", False, "no answer", 2)]
    assert proofs.table(rows) == [
        "ok   short         0.10 s  fine",
        "FAIL longer one    2.00 s  no answer",
    ]
    assert proofs.as_json(rows)[1] == {
        "what": "longer one",
        "passed": False,
        "result": "no answer",
        "seconds": 2,
    }
