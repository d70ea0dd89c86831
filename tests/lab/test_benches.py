"""The benches measure what they say in a lab that runs, and leave it as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import ROOT, LabDriver, eventually

from lab import netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.long


def bench(name: str, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "bench" / f"{name}.py"), "--json", *words]


def traces(lab: LabDriver) -> dict[str, Any]:
    """What a bench must not leave behind."""
    return {
        "clients": {one["name"]: one["up"] for one in lab.status()["clients"]},
        "peers": sorted(one.name for one in lab.registry.peers()[0]),
        "senders": [one.pid for one in process.strays() if one.name.startswith("bench-")],
        # gateways come and go
        "namespaces": [name for name in netns.names() if not name.startswith("gp-i-")],
        "configs": sorted(path.name for path in (paths.run() / "clients").glob("*.conf")),
    }


@contextmanager
def as_it_was(lab: LabDriver) -> Generator[None]:
    lab.both_healthy()
    before = traces(lab)
    yield
    assert traces(lab) == before
    lab.both_healthy()
    lab.answered("alice")


def measured(name: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603
        bench(name, *words), capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report.keys() == {"bench", "figures", "conditions", "samples"}
    assert report["bench"] == name
    return report


@pytest.mark.timeout(600)
def test_revocation_measures_both_gateways_and_expiry_without_the_cloud(lab: LabDriver) -> None:
    with as_it_was(lab):
        report = measured("revocation", "--samples", "5", "--peers", "200", "--rounds", "1")
    figures, samples = report["figures"], report["samples"]
    assert {"p50_10", "p50_10000", "others_lost", "expiry_late_max"} <= figures.keys()
    assert "p99_10" not in figures, "five samples have none"
    revoked = [sample for sample in samples if sample["kind"] == "revocation"]
    assert {sample["ping_gateway"] for sample in revoked} == {
        sample["knock_gateway"] for sample in revoked
    }
    assert all(sample["confirmed"] and sample["seconds"] > 0 for sample in revoked)
    assert figures["others_lost"] == 0
    assert figures["others_sent"] > 1000
    assert {one["cloud"] for one in samples if one["kind"] == "expiry"} == {True, False}
    assert figures["passed_after_confirmation_10"] == 0


@pytest.mark.timeout(600)
def test_scale_measures_a_boot_an_addition_and_an_idle_agent(lab: LabDriver) -> None:
    with as_it_was(lab):
        report = measured(
            *("scale", "--peers", "1500", "--boots", "1", "--adds", "2", "--idle", "10")
        )
    figures = report["figures"]
    wanted = {"boot_to_applied", "add_to_usable", "agent_rss_mb", "agent_idle_cpu_percent"}
    assert {*wanted, "idle_read_units_per_second"} <= figures.keys()
    assert figures["agent_rss_mb"] > 5
    assert figures["add_to_usable"] > figures["add_command_p50"] / 2
    idle = [sample for sample in report["samples"] if sample["kind"] == "idle"]
    assert len(idle) == 2, "each gateway"
    assert all(sample["calls"]["BatchGetItem"] >= 5 for sample in idle)


@pytest.mark.timeout(600)
def test_failover_measures_deaths_roaming_and_failback(lab: LabDriver) -> None:
    few = ("--clients", "4", "--idle", "1", "--rounds", "1", "--delays", "0", "--kills", "0")
    with as_it_was(lab):
        takeover = lab.registry.head().control
        report = measured("failover", *few, "--stock-rounds", "0", "--watch", "3")
        assert lab.registry.head().control == takeover
    figures, samples = report["figures"], report["samples"]
    assert not [name for name in figures if "_p99" in name], "so few samples have none"
    kinds = [(one["kind"], one.get("forced")) for one in samples]
    for kind in (("death", None), ("death", 0), ("roaming", None), ("failback", None)):
        assert kinds.count(kind) == 4
    assert figures["not_resumed_takeover"] == 0
    assert 5 < figures["detection_p50_checks"] < 15, "two checks in a row, 5 s apart"
    assert figures["detection_p50_d0"] < 1
    assert 0 < figures["takeover_minus_detection_max"] < 5, "stock would be 7 and more"
    assert {one["by"] for one in samples if one["kind"] == "roaming"} == {"port", "address"}
    assert all(one["watched"] >= 3 for one in samples if one["kind"] == "failback")


@pytest.mark.timeout(200)
def test_throughput_measures_a_gateway_and_two_bare_wireguards(lab: LabDriver) -> None:
    with as_it_was(lab):
        report = measured("throughput", "--rounds", "2", "--seconds", "1")
    figures = report["figures"]
    assert {"ratio_median", "control_ratio_median", "ratio_over_control"} <= figures.keys()
    assert "ratio_low95" not in figures, "two rounds have none"
    assert figures["void_rounds"] == 0
    assert all(0.2 < one["ratio"] < 5 for one in report["samples"])
    assert all(
        one[f"{path}_{way}"] > 1e6
        for one in report["samples"]
        for path in ("gateway", "narrow", "bare", "control")
        for way in ("up", "down")
    )


@pytest.mark.timeout(300)
def test_rotation_measures_helpers_plain_clients_and_stragglers(lab: LabDriver) -> None:
    machines, generations = lab.gateways(), lab.status()["key_generations"]
    with as_it_was(lab):
        report = measured("rotation", "--helpers", "3", "--reconnects", "1", "--interval", "4")
    figures = report["figures"]
    assert figures["helper_sent"] > 300
    assert figures["helper_lost"] == 0
    assert figures["plain_gap_max"] <= 1.0
    assert figures["old_key_refused_after_retire"] == 1
    assert (figures["resources_touched"], figures["resources_touched_but_control"]) == (2, 0)
    deployed = [one for one in report["samples"] if one["kind"] == "deployment"]
    (old,) = generations
    assert [one["generations"] for one in deployed] == [[old, old + 1], [old + 1]]
    assert lab.status()["key_generations"] == generations
    assert lab.gateways() == machines


@pytest.mark.timeout(400)
def test_connections_measures_what_translation_breaks(lab: LabDriver) -> None:
    generations = lab.status()["key_generations"]
    few = ("--clients", "2", "--rounds", "1", "--kills", "0", "--plain", "0", "--rotations", "1")
    with as_it_was(lab):
        report = measured("connections", "--modes", "snat", *few, "--replacements", "0")
    figures, samples = report["figures"], report["samples"]
    assert not [name for name in figures if "_p99" in name], "so few samples have none"
    found = [(one["event"], one["stream"]) for one in samples]
    for event in ("failover", "rotation"):
        assert found.count((event, "lines")) == found.count((event, "bulk")) == 2
    assert figures["snat_tcp_broken_failover"] == 4, "the survivor translates to its own address"
    assert figures["snat_tcp_wrong_bytes"] == 0
    assert 5 < figures["snat_detection_p50"] < 15, "two checks in a row, 5 s apart"
    assert lab.status()["key_generations"] == generations


@pytest.mark.timeout(300)
def test_drain_measures_the_clients_that_were_moved(lab: LabDriver) -> None:
    machines = lab.gateways()
    left_out = [f"--{name}=0" for name in ("replacements", "terminations", "stock")]
    with as_it_was(lab):
        report = measured("drain", "--clients", "4", "--drains", "1", *left_out)
    figures, samples = report["figures"], report["samples"]
    assert figures["longest_gap"] <= 1.0
    assert "packets_lost_per_client_p99" not in figures, "four samples have none"
    moved = [sample["moved"] for sample in samples]
    assert sorted(moved) == [False, False, True, True]
    assert figures["others_lost"] == 0
    assert lab.gateways() == machines


@pytest.mark.timeout(200)
def test_the_old_key_is_back_after_a_rotation_that_was_interrupted(lab: LabDriver) -> None:
    generations = lab.status()["key_generations"]
    with (
        as_it_was(lab),
        subprocess.Popen(  # noqa: S603
            bench("rotation", "--helpers", "1"), stderr=subprocess.PIPE, text=True
        ) as running,
    ):
        assert running.stderr is not None
        lines = iter(running.stderr.readline, "")
        assert any("deployed keyGenerations" in line for line in lines)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=120) == 130
    assert lab.status()["key_generations"] == generations


@pytest.mark.timeout(200)
def test_a_bench_that_is_interrupted_leaves_nothing_behind(lab: LabDriver) -> None:
    with (
        as_it_was(lab),
        subprocess.Popen(bench("revocation"), stderr=subprocess.PIPE, text=True) as running,  # noqa: S603
    ):
        assert running.stderr is not None
        lines = iter(running.stderr.readline, "")
        assert any("are live" in line for line in lines), "or there would be nothing to undo"
        refused = subprocess.run(  # noqa: S603
            bench("scale"), capture_output=True, text=True, timeout=60, check=False
        )
        assert refused.returncode == 2
        assert f"bench/revocation.py (pid {running.pid}) is at work" in refused.stderr
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=90) == 130


@pytest.mark.timeout(200)
def test_the_cloud_goes_on_after_a_bench_that_was_interrupted_while_it_was_stopped(
    lab: LabDriver,
) -> None:
    words = ("--samples", "1", "--rounds", "1")
    with (
        as_it_was(lab),
        subprocess.Popen(  # noqa: S603
            bench("revocation", *words), stderr=subprocess.PIPE, text=True
        ) as running,
    ):
        cloud = process.find("cloud")
        assert cloud is not None

        def stopped() -> bool:
            state = Path("/proc", str(cloud.pid), "stat").read_text()
            return state.rpartition(")")[2].split()[0] == "T"

        eventually("the bench has stopped the cloud", stopped, within=120, every=0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=90) == 130
