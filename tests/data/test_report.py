"""The read report: nothing is counted under a name that nobody can read."""

from __future__ import annotations

import json

import pytest

from surestep.data.records.reading_report import NUM_PLACES, ReadReport


def test_an_unknown_reason_is_a_bug_and_raises() -> None:
    with pytest.raises(KeyError):
        ReadReport().count("no_such_reason")


def test_merging_adds_counts_and_keeps_each_note_once() -> None:
    one, two = ReadReport(), ReadReport()
    one.count("records", 3)
    two.count("records", 4)
    two.count("empty_step", where="b, line 2")
    for report in (one, two):
        report.note("terms")
    one.merge(two)
    assert (one["records"], one["empty_step"], one.notes) == (7, 1, ["terms"])
    assert one.places == {"empty_step": ["b, line 2"]}


def test_only_the_first_places_are_kept() -> None:
    report, other = ReadReport(), ReadReport()
    for line in range(10):
        report.count("empty_step", where=f"a, line {line}")
        other.count("empty_step", where=f"b, line {line}")
    report.merge(other)
    assert report.places["empty_step"] == [f"a, line {line}" for line in range(NUM_PLACES)]
    assert report["empty_step"] == 20


def test_a_count_of_zero_is_not_mentioned() -> None:
    report = ReadReport()
    report.count("empty_step", 0, where="nowhere")
    assert report.lines() == []


def test_it_survives_json() -> None:
    report = ReadReport()
    report.count("records", 12)
    report.count("label_past_end", where="x, line 1")
    report.note("a note")
    assert ReadReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
