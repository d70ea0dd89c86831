"""A resource's tags follow the program's, by the calls that the service has for it."""

from __future__ import annotations

from typing import Any

from lab.resources.base import retag

OLD = {"tagsAll": {"stays": "1", "changes": "1", "goes": "1"}}
NEW = {"tagsAll": {"stays": "1", "changes": "2", "comes": "2"}}


def calls(old: dict[str, Any], new: dict[str, Any], **how: Any) -> list[tuple[str, dict[str, Any]]]:
    """What the service is asked, in turn."""
    asked: list[tuple[str, dict[str, Any]]] = []
    retag(
        old,
        new,
        lambda **words: asked.append(("tag", words)),
        lambda **words: asked.append(("untag", words)),
        **how,
    )
    return asked


def test_only_what_differs_is_told() -> None:
    told = [{"Key": "changes", "Value": "2"}, {"Key": "comes", "Value": "2"}]
    assert calls(OLD, NEW, RoleName="r") == [
        ("tag", {"RoleName": "r", "Tags": told}),
        ("untag", {"RoleName": "r", "TagKeys": ["goes"]}),
    ]
    assert calls(NEW, NEW, RoleName="r") == []


def test_a_service_has_its_own_form_of_tags() -> None:
    assert calls({}, OLD, form=dict, Resource="f") == [
        ("tag", {"Resource": "f", "Tags": OLD["tagsAll"]})
    ]
    assert calls(OLD, {}, form=dict, Resource="f") == [
        ("untag", {"Resource": "f", "TagKeys": ["stays", "changes", "goes"]})
    ]
