"""Cases, figures and the page that is made of them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from bench import fault_table, faults
from bench.answers import healthy_in
from bench.fault_cases import CASES
from bench.harm import has_let_go, holds
from bench.outcomes import Check, Outcome, Seen
from bench.stranger import from_elsewhere, made_up, payload_of
from effects import Refusal

DOCS = Path(__file__).resolve().parents[3] / "docs"
RUN = {"date": "2027-01-31", "processors": 2, "clients": 6, "secret": "not told"}


def sample(name: str = "killed", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "there": Seen(3, 10.42, 205, 900),
        "others": Seen(3, 0.06, 0, 900),
        "detection": 10.2,
        "resumed": 0.21,
        "back": 55.0,
    }
    return faults.sample_of(Outcome(name=name, **{**found, **more}))


# ------------------------------------------------------------------ cases and figures


def test_without_a_word_all_cases_are_tried_and_quick_ones_are_some_of_them() -> None:
    every = faults.chosen([], quick=False)
    assert [case.name for case in every] == list(CASES)
    quick = faults.chosen([], quick=True)
    assert 0 < len(quick) < len(every)
    assert all(case.quick for case in quick)


def test_chosen_cases_come_in_their_own_order() -> None:
    found = faults.chosen(["killed", "agent_crashed"], quick=False)
    assert [case.name for case in found] == ["agent_crashed", "killed"]


def test_a_case_that_is_none_is_refused_before_anything_is_done() -> None:
    with pytest.raises(Refusal, match="no such case: flood"):
        faults.chosen(["flood", "killed"], quick=False)


def test_what_ends_a_gateway_comes_after_everything_else() -> None:
    assert list(CASES)[-2:] == ["killed", "boot_without_aws"]
    assert not any(CASES[name].quick for name in ("killed", "boot_without_aws", "both_rebooted"))


def test_figures_are_numbers_by_case_and_what_is_not_there_is_left_out() -> None:
    figures = faults.figures_of(
        [
            sample(),
            sample("cut_both", others=Seen(3, 2.0, 4, 900)),
            sample("both_rebooted", others=None, resumed=None),
            sample("drained", there=None, others=None, error="it went wrong"),
        ]
    )
    assert figures["killed_silence"] == 10.42
    assert (figures["killed_lost"], figures["killed_others_lost"]) == (205, 0)
    assert (figures["killed_resumed"], figures["killed_back"]) == (0.21, 55.0)
    assert "both_rebooted_resumed" not in figures
    assert (figures["broken"], figures["untried"]) == (1, 1)


# ------------------------------------------------------------------ the page


def test_a_run_of_some_cases_replaces_their_rows_only() -> None:
    first = fault_table.merged({}, [sample(), sample("cut_both")], RUN)
    second = fault_table.merged(first, [sample(back=44.0)], {**RUN, "date": "2027-02-01"})
    assert list(second) == ["cut_both", "killed"], "in the order of the cases"
    assert second["cut_both"] == first["cut_both"]
    assert second["killed"]["sample"]["back"] == 44.0
    assert second["killed"]["run"] == {"date": "2027-02-01", "processors": 2, "clients": 6}


def test_a_case_that_was_not_tried_leaves_the_row_there_was() -> None:
    before = fault_table.merged({}, [sample()], RUN)
    assert fault_table.merged(before, [sample(error="no answer")], RUN) == before
    assert fault_table.merged({}, [sample(error="no answer")], RUN) == {}


def test_a_case_that_is_none_any_more_has_no_row() -> None:
    gone = {"flood": {"sample": {}, "run": {}}}
    assert fault_table.merged(gone, [sample()], RUN).keys() == {"killed"}


def row(text: str, title: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_tells_what_was_seen_what_was_promised_and_whether_that_was_so() -> None:
    data = fault_table.merged({}, [sample()], RUN)
    cells = row(fault_table.page(data), "gateway killed")
    assert cells == [
        "gateway killed (1)",
        "10.42 s, 205 of 900 lost",
        "10.2 s",
        "0.21 s",
        "0.06 s, 0 of 900 lost",
        "55.0 s",
        CASES["killed"].promise.words(),
        "yes",
    ]


def test_a_row_that_breaks_its_promise_says_so() -> None:
    found = sample(resumed=3.0, checks=(Check("it is there", so=False),))
    cells = row(fault_table.page(fault_table.merged({}, [found], RUN)), "gateway killed")
    assert cells[-1].startswith("**no**: not answered again for 3.00 s")
    assert "not so: it is there" in cells[-1]


def test_rows_name_the_run_they_are_from_and_each_run_is_told_once() -> None:
    data = fault_table.merged({}, [sample(), sample("cut_both")], RUN)
    data = fault_table.merged(data, [sample("drained")], {**RUN, "date": "2027-02-01"})
    text = fault_table.page(data)
    assert row(text, CASES["cut_both"].title)[0].endswith("(1)")
    assert row(text, CASES["drained"].title)[0].endswith("(2)")
    assert row(text, CASES["killed"].title)[0].endswith("(1)")
    assert text.count("date 2027-01-31, processors 2, clients 6") == 1
    assert "not told" not in text


def test_a_gateway_that_was_never_missed_is_not_back_after_no_time() -> None:
    data = fault_table.merged({}, [sample("aws_gone", back=0.0, detection=None)], RUN)
    cells = row(fault_table.page(data), CASES["aws_gone"].title)
    assert (cells[2], cells[5]) == ("-", "never fewer")


def test_the_page_and_its_data_are_written_side_by_side(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    faults.write(page, [sample()], RUN)
    faults.write(page, [sample("cut_both")], RUN)
    data = json.loads((tmp_path / "faults.json").read_text())
    assert list(data) == ["cut_both", "killed"]
    assert page.read_text() == fault_table.page(data)


def test_a_page_is_made_anew_from_its_data_without_a_lab(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "faults.md"
    faults.write(page, [sample()], RUN)
    made = page.read_text()
    page.write_text("edited by hand")
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert faults.main(["--again", "--write", str(page)]) == 0
        assert faults.main(["--again"]) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert page.read_text() == made
    assert "no page is named" in capsys.readouterr().err


def test_the_page_in_the_documentation_is_what_its_data_gives() -> None:
    data = json.loads((DOCS / "faults.json").read_text())
    assert list(data) == list(CASES), "each fault has its row"
    assert (DOCS / "faults.md").read_text() == fault_table.page(data)


# ------------------------------------------------------------------ what is seen, what is sent


def test_a_gateway_is_healthy_if_every_target_group_says_so() -> None:
    well, ill = {"state": "healthy"}, {"state": "unhealthy"}
    assert healthy_in(
        {"0": {"i-a": well, "i-b": well}, "1": {"i-a": well, "i-b": ill}}.values()
    ) == {"i-a"}
    assert healthy_in({"0": {"i-a": well}, "1": {}}.values()) == frozenset()
    assert healthy_in({}.values()) == frozenset()


def listed(key: str, endpoint: str, handshake: str) -> str:
    return f"{key}\t{endpoint}\nwg0\t{key}\t{handshake}\n"  # as wg 1.0.20210914 lists it


def test_a_peer_is_let_go_when_it_is_there_without_session_and_place() -> None:
    found = listed("k1", "(none)", "0") + listed("k2", "192.0.2.7:40000", "1800000000")
    assert has_let_go(found, "k1")
    assert not has_let_go(found, "k2")
    assert not has_let_go(found, "k3"), "who is not admitted is another matter"
    assert not has_let_go(listed("k1", "192.0.2.7:40000", "0"), "k1")
    assert not has_let_go(listed("k1", "(none)", "1800000000"), "k1")
    assert not has_let_go(listed("k1", "(none)", "0") + "wg1\tk1\t1800000000\n", "k1")


def test_a_session_is_there_once_a_handshake_is_completed() -> None:
    found = listed("k1", "192.0.2.7:40000", "0") + listed("k2", "192.0.2.7:40000", "1800000000")
    assert holds(found, ["k1", "k2", "k3"]) == {"k2"}
    assert holds(found, ["k1"]) == frozenset()


def test_a_packet_that_says_it_is_from_elsewhere_is_a_whole_one() -> None:
    packet = from_elsewhere(("198.51.100.7", 40000), ("203.0.113.1", 51820), b"hello")
    assert payload_of(packet, 51820) == b"hello"
    assert payload_of(packet, 51821) is None
    assert (packet[12:16], packet[16:20]) == (bytes([198, 51, 100, 7]), bytes([203, 0, 113, 1]))
    assert payload_of(packet[:9] + b"\x06" + packet[10:], 51820) is None, "TCP"
    assert payload_of(packet[:24], 51820) is None
    assert payload_of(b"", 51820) is None


def test_a_made_up_packet_is_wireguards_but_for_its_content() -> None:
    packet = made_up(b"\1\2\3\4")
    assert packet[:8] == b"\x04\0\0\0\1\2\3\4"
    assert len(packet) == 32, "the smallest there is: header and authentication tag"
    assert made_up(b"\1\2\3\4") != packet
