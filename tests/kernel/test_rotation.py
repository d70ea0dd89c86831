"""A rotation by stack config, there and back, on the kernel's WireGuard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab_driver import eventually

from bench.stack_file import varied

if TYPE_CHECKING:
    from pathlib import Path

    from lab_driver import LabDriver


def served(lab: LabDriver) -> list[set[str]]:
    """The generations that each gateway says it serves."""
    return list(map(set, lab.public_keys()))


@pytest.mark.timeout(1800)
def test_both_gateways_serve_both_keys_and_the_second_goes_again(
    lab: LabDriver, tmp_path: Path
) -> None:
    gateways = lab.both_healthy()
    file = varied(tmp_path, {"keyGenerations": [1, 2]})
    assert "1 updated" in lab.lab("up", "--stack-file", str(file), timeout=300).stderr
    both = {"1", "2"}
    eventually("both keys are served", lambda: served(lab) == [both, both], within=60)
    for gateway in gateways:
        lab.on(gateway, "ip", "link", "show", "wg1", "type", "wireguard")
    lab.lab("client", "dave", timeout=120)
    lab.answered("dave")  # a new config, the new key
    lab.answered("alice")  # an old one, the old key
    lab.lab("up", timeout=300)
    eventually("one key is served", lambda: served(lab) == [{"1"}, {"1"}], within=60)
    lab.answered("alice")
    assert lab.gateways() == gateways, "no machine was replaced"
