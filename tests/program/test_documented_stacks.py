"""The stack files of the docs build what they say, with an image pinned as scripts/ami does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml
from documented import ROOT, blocks

import plan as plans

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from recorder import Recorder

FIRST = "# stacks/Pulumi.staging.yaml\n"
IMAGE = "  gatepair:amiId: ami-0123456789abcdef0\n"


def yaml_of(page: str, beginning: str) -> str:
    (found,) = (one.body for one in blocks(ROOT / page) if one.body.startswith(beginning))
    return found


def built(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> Recorder:
    (folder / "Pulumi.staging.yaml").write_text(text + IMAGE)
    monkeypatch.setattr(plans, "EXAMPLES", folder)
    return plans.build("staging", preview=False)


def test_the_first_environment_is_at_most_ten_lines_and_the_same_on_every_page() -> None:
    text = yaml_of("README.md", FIRST)
    assert len(text.removeprefix(FIRST).splitlines()) <= 10
    assert yaml_of("docs/first-environment.md", FIRST) == text


def test_the_first_environment_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorder = built(monkeypatch, tmp_path, yaml_of("README.md", FIRST))
    kinds = [one.typ for one in recorder.declared.values()]
    assert kinds.count("aws:ec2/vpc:Vpc") == 1
    assert kinds.count("aws:lb/loadBalancer:LoadBalancer") == 1
    assert kinds.count("aws:autoscaling/group:Group") == 1


def test_an_adopted_vpc_gets_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = yaml_of("README.md", FIRST)
    adopted = yaml_of("docs/adopting-a-vpc.md", "gatepair:vpc:")
    assert yaml.safe_load(adopted)["gatepair:vpc"]["id"].startswith("vpc-")
    indented = re.sub(r"^", "  ", adopted.rstrip(), flags=re.MULTILINE)
    text, replaced = re.subn(r"  gatepair:vpc:\n(    .*\n)+", f"{indented}\n", text)
    assert replaced == 1
    kinds = {one.typ for one in built(monkeypatch, tmp_path, text).declared.values()}
    assert "aws:lb/loadBalancer:LoadBalancer" in kinds
    made = {"vpc:Vpc", "subnet:Subnet", "routeTable:RouteTable", "internetGateway:InternetGateway"}
    assert kinds & {f"aws:ec2/{one}" for one in made} == set()
