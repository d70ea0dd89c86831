"""Where flows go and when that changed, by conntrack's words."""

from __future__ import annotations

from ipaddress import IPv4Address

from bench.flows import Change, Entry, Log, Source, change_of, entry_of

FLOW = (
    "src=198.51.100.10 dst=203.0.113.4 sport=20003 dport=51820 [UNREPLIED] "
    "src=10.20.0.141 dst=198.51.100.10 sport=51820 dport=20003"
)
SOURCE = Source(IPv4Address("198.51.100.10"), 20003)
A, B = IPv4Address("10.20.0.141"), IPv4Address("10.20.0.157")


def test_a_flow_is_who_sends_and_who_answers() -> None:
    line = f"udp      17 29 {FLOW} mark=0 use=1"
    assert entry_of(line) == Entry(SOURCE, A)
    assert entry_of("conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.") is None


def test_a_beginning_and_an_end_are_read_with_their_times() -> None:
    new = f"[1795410609.416212]\t    [NEW] udp      17 30 {FLOW}"
    end = f"[1795410610.000001]\t[DESTROY] udp      17 29 {FLOW} [USERSPACE] portid=3272632402"
    assert change_of(new) == Change(1795410609.416212, new=True, entry=Entry(SOURCE, A))
    assert change_of(end) == Change(1795410610.000001, new=False, entry=Entry(SOURCE, A))


def test_what_is_no_change_of_a_flow_is_passed_over() -> None:
    assert change_of(f"[1795410609.4]\t [UPDATE] udp      17 30 {FLOW}") is None
    assert change_of("[1795410609.4]\t    [NEW] icmp     1 30 src=1.2.3.4 dst=1.2.3.5") is None


def test_a_flow_has_left_when_its_entry_first_ended_after_the_event() -> None:
    log = Log()
    for at, gateway in ((5.0, A), (11.0, B), (12.0, A), (13.0, A)):
        log.note(Change(at, new=False, entry=Entry(SOURCE, gateway)))
    log.note(Change(10.0, new=True, entry=Entry(SOURCE, A)))
    assert log.left(SOURCE, A, 6.0) == 12.0
    assert log.left(SOURCE, A, 14.0) is None
    assert log.left(Source(SOURCE.address, 1), A, 0.0) is None


def test_a_flow_has_come_when_an_entry_of_its_own_began() -> None:
    log = Log()
    log.note(Change(9.0, new=True, entry=Entry(SOURCE, B)))
    log.note(Change(10.0, new=False, entry=Entry(SOURCE, B)))
    assert log.came(SOURCE, B, 8.0) == 9.0
    assert log.came(SOURCE, B, 9.5) is None
    assert log.came(SOURCE, A, 8.0) is None


def test_times_are_put_into_the_logs_clock() -> None:
    log = Log()
    log.note(Change(1000.5, new=True, entry=Entry(SOURCE, A)), ahead=900.0)
    assert log.came(SOURCE, A, 0.0) == 100.5
