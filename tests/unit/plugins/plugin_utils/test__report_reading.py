# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.inflight.jobs.plugins.plugin_utils import _report_reading as reading
from ansible_collections.inflight.jobs.plugins.plugin_utils._report_reading import plain

from .reports import NOW, SAID_WITH_A_PASSWORD, WRONG_NUMBERS


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("a\nb\tc\r\n", "a b c"),
        ("\x1b[31mred\x07", "[31mred"),
        ("right \u202e to \u200b left", "right to left"),
        ("\ud800", ""),
        ("x" * 600, "x" * 497 + "..."),
        (2026, "2026"),
        (["a"], ""),
        (True, ""),
    ],
)
def test_texts_become_one_line_that_can_be_printed(said: object, line: str) -> None:
    assert plain(said) == line


@pytest.mark.parametrize("said", SAID_WITH_A_PASSWORD)
def test_passwords_are_hidden(said: str) -> None:
    assert "hunter2" not in plain(said)
    assert "***" in plain(said)


def test_what_only_speaks_of_passwords_stays() -> None:
    for said in ('password authentication failed for user "app"', "wrong password: see app@nas", "key is missing"):
        assert plain(said) == said


def test_a_text_of_any_length_is_cut_to_the_width_that_is_asked_for() -> None:
    assert plain("x" * 10**7, 100) == "x" * 97 + "..."
    assert plain("x" * 100, 100) == "x" * 100


@pytest.mark.parametrize("wrong", WRONG_NUMBERS)
def test_what_is_no_number_is_not_known(wrong: object) -> None:
    assert (reading.number(wrong), reading.whole(wrong), reading.seconds(wrong)) == (None, None, None)


def test_moments_are_read_in_any_form_of_iso_8601() -> None:
    said = {"started_at": "2026-11-21T11:00:00Z", "ended_at": "2026-11-21T12:30:00.5+01:00"}
    assert reading.moments(said, NOW) == (NOW - 3600, NOW - 1799.5)
    assert reading.iso(NOW) == "2026-11-21T12:00:00Z"


@pytest.mark.parametrize("wrong", ["1970-01-01T00:00:07Z", "2027-01-01T00:00:00Z", "soon", "9999-99-99", 5, "x" * 999])
def test_a_moment_that_cannot_be_is_not_known(wrong: object) -> None:
    assert reading.moments({"started_at": wrong, "ended_at": "2026-11-21T11:00:00Z"}, NOW)[0] is None


def test_what_ended_before_it_began_has_no_times() -> None:
    said = {"started_at": "2026-11-21T11:00:00Z", "ended_at": "2026-11-21T10:00:00Z"}
    assert reading.moments(said, NOW) == (None, None)


def test_of_lists_that_are_too_long_the_beginning_is_taken_and_it_is_damage() -> None:
    damage: list[str] = []
    assert reading.texts({"held": ["a"] * 5}, "held", 3, damage) == ["a"] * 3
    assert len(list(reading.mappings({"sets": [{}] * 5}, "sets", 3, damage))) == 3
    assert damage == ["it reported 5 held; a report takes 3", "it reported 5 sets; a report takes 3"]


def test_what_is_no_list_or_no_dict_is_damage_and_what_is_missing_is_none() -> None:
    damage: list[str] = []
    assert reading.texts({"held": "a"}, "held", 3, damage) == []
    assert list(reading.mappings({"after": [1]}, "after", 3, damage, among="health")) == []
    assert reading.mapping({"kernel": [1]}, "kernel", damage) == {}
    assert damage == [
        "the held it reported are a text, not a list",
        "one of the health after it reported is a number, not a dict",
        "the kernel it reported is a list, not a dict",
    ]
    del damage[:]
    for said in ({}, {"x": None}):
        assert (reading.texts(said, "x", 3, damage), reading.mapping(said, "x", damage)) == ([], {})
    assert damage == []


def test_damage_makes_a_host_a_failed_one_but_never_better_than_it_was() -> None:
    assert reading.with_damage("ok", "", ["x is missing"]) == ("failed", "x is missing")
    assert reading.with_damage("unreachable", "no route", list("abcd")) == ("unreachable", "no route; a; b; c")
    assert reading.with_damage("ok", "", []) == ("ok", "")
