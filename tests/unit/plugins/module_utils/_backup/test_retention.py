# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import calendar
import importlib.util
import json
import time
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils._backup import retention
from ansible_collections.inflight.jobs.plugins.module_utils._backup.retention import (
    NUMBERS,
    Moment,
    RuleError,
    Rules,
    Span,
    keep,
    parse_rules,
    parse_span,
)

ORACLE = Path(__file__).parents[4] / "oracle"

NOW = 1_800_000_000.0
DAY = 86400.0


def at(text: str) -> Moment:
    """A backup that was begun then, and has the moment as its id."""
    return text, float(calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S")))


def noons(*days: str) -> list[Moment]:
    return [at(f"{day} 12:00:00") for day in days]


def kept_days(moments: list[Moment], rules: Rules) -> list[str]:
    return [backup_id[:10] for backup_id in keep(moments, rules, NOW)]


# restic


def make_retention() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_retention", ORACLE / "make_retention.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_kept_is_what_restic_keeps_and_for_the_same_reasons() -> None:
    oracle = json.loads((ORACLE / "retention.json").read_text(encoding="utf-8"))
    assert oracle["restic"].startswith("0.14.")
    assert len(oracle["cases"]) >= 300
    assert make_retention().differences(oracle, retention) == []


# The calendar


def test_of_each_day_the_newest_is_kept_and_days_without_a_backup_do_not_count() -> None:
    moments = [
        at("2026-11-20 00:00:00"),
        at("2026-11-19 23:59:59"),
        at("2026-11-19 00:00:00"),
        at("2026-11-01 08:00:00"),
        at("2026-10-30 08:00:00"),
    ]
    assert keep(moments, Rules(daily=3), NOW) == {
        "2026-11-20 00:00:00": ["daily"],
        "2026-11-19 23:59:59": ["daily"],
        "2026-11-01 08:00:00": ["daily"],
    }


def test_a_week_is_from_monday_to_sunday_also_where_a_year_ends() -> None:
    # The 1st of January 2027 is a Friday, of the last week of 2026.
    moments = noons("2027-01-04", "2027-01-03", "2027-01-01", "2026-12-31", "2026-12-28", "2026-12-27", "2026-12-21")
    assert kept_days(moments, Rules(weekly=9)) == ["2027-01-04", "2027-01-03", "2026-12-27"]
    assert kept_days(moments, Rules(yearly=9)) == ["2027-01-04", "2026-12-31"]


def test_a_backup_that_one_rule_keeps_is_kept_and_tells_them_all() -> None:
    moments = noons("2026-11-21", "2026-11-20", "2026-11-15", "2026-10-31", "2026-10-30", "2025-12-31", "2025-01-01")
    assert keep(moments, Rules(1, 2, 2, 2, 2, parse_span("2d")), NOW) == {
        "2026-11-21 12:00:00": ["within", "last", "daily", "weekly", "monthly", "yearly"],
        "2026-11-20 12:00:00": ["within", "daily"],
        "2026-11-15 12:00:00": ["weekly"],
        "2026-10-31 12:00:00": ["monthly"],
        "2025-12-31 12:00:00": ["yearly"],
    }


def test_of_backups_of_one_second_the_one_with_the_last_id_is_the_newest() -> None:
    moments = [("b", NOW - 1), ("c", NOW - 1), ("a", NOW - 1)]
    assert list(keep(moments, Rules(last=2), NOW)) == ["c", "b"]
    assert list(keep(moments, Rules(yearly=2), NOW)) == ["c"]


def test_a_part_of_a_second_does_not_make_the_next_day() -> None:
    midnight = NOW - NOW % DAY
    moments = [("late", midnight - 1e-6), ("early", midnight - DAY)]
    assert list(keep(moments, Rules(daily=9), NOW)) == ["late"]


@pytest.mark.parametrize(
    ("span", "newest", "too_old"),
    [
        ("1d", "2026-11-21 12:00:00", "2026-11-20 12:00:00"),
        ("36h", "2026-11-21 12:00:00", "2026-11-20 00:00:00"),
        ("1m", "2026-03-31 12:00:00", "2026-03-03 12:00:00"),
        ("1m", "2024-03-31 12:00:00", "2024-03-02 12:00:00"),
        ("1y", "2024-02-29 12:00:00", "2023-03-01 12:00:00"),
        ("1m1d", "2026-03-31 12:00:00", "2026-03-02 12:00:00"),
        ("1y6m", "2026-01-31 00:00:00", "2024-07-31 00:00:00"),
        ("40d", "2026-01-09 12:00:00", "2025-11-30 12:00:00"),
        ("12h1y", "2026-01-01 06:00:00", "2024-12-31 18:00:00"),
    ],
)
def test_a_length_of_time_is_counted_back_from_the_newest_by_the_calendar(span: str, newest: str, too_old: str) -> None:
    moments = [at(newest), at(too_old), ("just in time", at(too_old)[1] + 1)]
    assert list(keep(moments, Rules(within=parse_span(span)), NOW)) == [newest, "just in time"]


def test_a_length_of_time_is_not_counted_back_from_the_future() -> None:
    moments = [("future", NOW + 9 * DAY), ("new", NOW - DAY), ("old", NOW - 2.5 * DAY)]
    assert list(keep(moments, Rules(within=Span(days=1)), NOW)) == ["future", "new"]
    assert list(keep(moments[:1], Rules(within=Span(days=1)), NOW)) == ["future"]


def test_a_length_of_time_may_be_longer_than_the_calendar() -> None:
    moments = [("new", NOW - DAY), ("old", 0.0)]
    for within in (Span(years=999999), Span(days=999999), Span(months=24000)):
        assert list(keep(moments, Rules(within=within), NOW)) == ["new", "old"]


# What people write


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("", Span()),
        ("  ", Span()),
        ("0d", Span()),
        ("14d", Span(days=14)),
        ("1y6m", Span(years=1, months=6)),
        (" 2d12h ", Span(days=2, hours=12)),
        ("5h4d3m2y", Span(2, 3, 4, 5)),
    ],
)
def test_a_length_of_time_is_written_as_for_restic(text: str, span: Span) -> None:
    assert parse_span(text) == span
    assert Rules(within=span).empty == (span == Span())


@pytest.mark.parametrize("text", ["14", "d", "2w", "-1d", "1D", "1d 2h", "1.5d", "1d2d", "1d\n2h", "٣d", "9999999d"])
def test_what_is_no_length_of_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RuleError, match=r"^keep_within is .*such as 14d") as caught:
        parse_span(text)
    assert repr(text) in str(caught.value)


def test_rules_are_numbers_of_backups() -> None:
    numbers = dict(zip(NUMBERS, range(5), strict=True))
    assert parse_rules(numbers, "1y") == Rules(0, 1, 2, 3, 4, Span(years=1))
    with pytest.raises(RuleError, match=r"^keep_weekly is -1: "):
        parse_rules({**numbers, "weekly": -1}, "")


def test_without_a_rule_there_is_no_reason_to_keep_anything() -> None:
    assert Rules().empty
    assert keep([("x", NOW)], Rules(), NOW) == {}
    assert not Rules(yearly=1).empty


# Whatever the rules and the dates


SECONDS = st.one_of(
    st.integers(-3, 3).map(lambda off: NOW + off),
    st.integers(0, 30).map(lambda days: NOW - NOW % DAY - days * DAY),
    st.integers(0, 5 * 366 * 24).map(lambda hours: NOW - hours * 3600 + 30 * DAY),
)
MOMENTS = st.lists(SECONDS, max_size=25).map(lambda found: [(f"{n:02}", one) for n, one in enumerate(found)])
NUMBER = st.sampled_from([0, 0, 1, 2, 3, 7, 100])
SPAN = st.just(Span()) | st.builds(Span, *(st.integers(0, highest) for highest in (2, 14, 40, 50)))
RULES = st.builds(Rules, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, SPAN)


@given(moments=MOMENTS, rules=RULES)
def test_the_newest_is_always_kept(moments: list[Moment], rules: Rules) -> None:
    if moments and not rules.empty:
        newest = max(moments, key=lambda one: (one[1], one[0]))
        assert next(iter(keep(moments, rules, NOW))) == newest[0]


@given(moments=MOMENTS, rules=RULES)
def test_of_what_was_kept_everything_is_kept_again(moments: list[Moment], rules: Rules) -> None:
    kept = keep(moments, rules, NOW)
    assert keep([one for one in moments if one[0] in kept], rules, NOW) == kept


@given(data=st.data(), moments=MOMENTS, rules=RULES)
def test_the_order_of_the_backups_does_not_matter(data: st.DataObject, moments: list[Moment], rules: Rules) -> None:
    shuffled = data.draw(st.permutations(moments))
    assert list(keep(shuffled, rules, NOW).items()) == list(keep(moments, rules, NOW).items())


@given(moments=MOMENTS, rules=RULES, name=st.sampled_from(NUMBERS))
def test_a_higher_number_never_keeps_less(moments: list[Moment], rules: Rules, name: str) -> None:
    more = rules._replace(**{name: getattr(rules, name) + 1})
    assert keep(moments, rules, NOW).keys() <= keep(moments, more, NOW).keys()
