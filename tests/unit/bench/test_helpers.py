"""What the client helpers of a bench have said."""

from __future__ import annotations

from bench import helpers


def test_a_half_written_event_is_not_there_yet() -> None:
    text = '{"event": "kept", "generation": 1}\nnot json\n{"event": "proved", "gen'
    said = helpers.events(text)
    assert said == [{"event": "kept", "generation": 1}]
    assert helpers.happened(said, "kept")
    assert helpers.happened(said, "kept", 1)
    assert not helpers.happened(said, "kept", 2)
    assert not helpers.happened(said, "proved")
