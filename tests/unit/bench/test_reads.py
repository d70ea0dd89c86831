"""What AWS charges for reading, by its documented rules."""

from __future__ import annotations

import pytest

from bench.reads import Call, Sizes, item_size, units

KEY = {"pk": {"S": "peer"}, "sk": {"S": "a"}}


def item(pk: str, sk: str, size: int) -> dict[str, dict[str, str]]:
    """An item of exactly so many bytes."""
    bare = {"pk": {"S": pk}, "sk": {"S": sk}, "x": {"S": ""}}
    return {**bare, "x": {"S": "y" * (size - item_size(bare))}}


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "süß"}, 5),
        ({"N": "7"}, 2),
        ({"N": "1234"}, 3),
        ({"N": "-12345"}, 4),
        ({"N": "1000"}, 2),
        ({"BOOL": True}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"S": "c"}]}, 8),
        ({"M": {"k": {"S": "ab"}}}, 7),
    ],
)
def test_an_attribute_has_the_size_that_aws_documents(value: dict[str, object], size: int) -> None:
    assert item_size({"name": value}) == 4 + size


def test_a_batch_is_charged_for_each_item_rounded_up() -> None:
    sizes = Sizes.of([item("a", "1", 100), item("a", "2", 4097)])
    keys = [{"pk": {"S": "a"}, "sk": {"S": sk}} for sk in ("1", "2", "missing")]
    body = {"RequestItems": {"t": {"Keys": keys, "ConsistentRead": True}}}
    assert units(Call("BatchGetItem", body), sizes) == 1 + 2 + 1


def test_a_query_is_charged_for_its_page_as_a_whole() -> None:
    sizes = Sizes.of([item("peer", f"{number:02d}", 1000) for number in range(10)])
    body = {"ExpressionAttributeValues": {":pk": {"S": "peer"}}, "ConsistentRead": True}
    assert units(Call("Query", body), sizes) == 3
    assert units(Call("Query", {**body, "Limit": 4}), sizes) == 1
    start = {"ExclusiveStartKey": {"pk": {"S": "peer"}, "sk": {"S": "04"}}}
    assert units(Call("Query", {**body, **start}), sizes) == 2
    after = {":pk": {"S": "peer"}, ":after": {"S": "08"}}
    assert units(Call("Query", {**body, "ExpressionAttributeValues": after}), sizes) == 1


def test_a_page_ends_at_one_megabyte() -> None:
    sizes = Sizes.of([item("peer", f"{number:04d}", 4096) for number in range(300)])
    body = {"ExpressionAttributeValues": {":pk": {"S": "peer"}}, "ConsistentRead": True}
    assert units(Call("Query", body), sizes) == 256


def test_what_is_not_consistent_costs_half() -> None:
    sizes = Sizes.of([item("peer", "a", 5000)])
    assert units(Call("GetItem", {"Key": KEY}), sizes) == 1
    assert units(Call("GetItem", {"Key": KEY, "ConsistentRead": True}), sizes) == 2


def test_an_empty_answer_is_not_free_and_a_write_reads_nothing() -> None:
    body = {"ExpressionAttributeValues": {":pk": {"S": "change"}}, "ConsistentRead": True}
    assert units(Call("Query", body), Sizes()) == 1
    assert units(Call("PutItem", {}), Sizes()) == 0


def test_an_unknown_call_is_not_left_out() -> None:
    with pytest.raises(ValueError, match="Scan"):
        units(Call("Scan", {}), Sizes())


def test_a_query_names_its_partition() -> None:
    values = {"ExpressionAttributeValues": {":pk": {"S": "peer"}}}
    assert Call("Query", values).partition == "peer"
    assert Call("PutItem", values).partition == ""
