# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import NotAJob
from ansible_collections.inflight.jobs.plugins.plugin_utils._selection import Selection, seconds_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

OPTIONS = ("jobs", "batch", "state", "name", "older_than", "newer_than")
DIRECTORY = "~/.ansible_async"
FAILED_LAUNCH = {"failed": True, "msg": "no space", "item": "b", "ansible_loop_var": "item"}


def select(**given: t.Any) -> Selection:
    """A selection for a task with these arguments."""
    arguments = {**dict.fromkeys(OPTIONS), **given}
    if "jid" in given:
        arguments["jobs"] = given["jid"]
    return Selection(arguments, given)


def launch(jid: str, path: str = "/srv/jobs", **more: t.Any) -> dict[str, t.Any]:
    return {"ansible_job_id": jid, "results_file": f"{path}/{jid}", "started": True, "finished": False, **more}


# Durations


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (90, 90),
        ("90", 90),
        (0, 0),
        ("0", 0),
        (1.5, 1.5),
        ("1.5", 1.5),
        ("1.5h", 5400),
        ("90s", 90),
        ("15m", 900),
        ("15 m", 900),
        ("2h", 7200),
        ("7d", 604800),
        ("1w", 604800),
    ],
)
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(value: object, seconds: float | None) -> None:
    assert seconds_of("older_than", value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, -1, -0.5, "-1", "+1", float("inf"), float("nan"), "inf", "nan", 10**12, 1e-7, 1e300),
        *(
            "",
            " ",
            "3x",
            "soon",
            "h",
            "1h30m",
            "15M",
            "15  m",
            " 15m",
            "15m\n",
            ".5",
            "1.",
            "1e3",
            "0x10",
            "1_000",
            "٣",
        ),
        *([], [5], {}, {"hours": 1}, b"90"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(value: object) -> None:
    with pytest.raises(
        BadOption, match=r"^older_than is .*: it must be a number of seconds, or .* as in '7d'$"
    ) as said:
        seconds_of("older_than", value)
    assert "\n" not in str(said.value)


@settings(deadline=None)
@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.from_regex("[0-9.]+ ?[a-z]?"))
def test_a_duration_is_never_less_than_nothing_and_always_a_number(value: object) -> None:
    try:
        seconds = seconds_of("newer_than", value)
    except BadOption:
        return
    assert seconds is None if value is None else seconds is not None and 0 <= seconds < 1e19


# Options


@pytest.mark.parametrize("option", ["older_than", "newer_than"])
def test_both_ages_are_checked(option: str) -> None:
    with pytest.raises(BadOption, match=f"^{option} is '3x': "):
        select(**{option: "3x"})


@pytest.mark.parametrize("batch", ["", ".x", "../x", "a/b", "a b", "a\n", "x" * 101])
def test_what_is_no_id_of_a_batch_is_refused(batch: str) -> None:
    with pytest.raises(BadOption, match=r"^batch is .*: it is not the id of a batch$"):
        select(batch=batch)


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_pattern_has_a_length(name: str) -> None:
    with pytest.raises(BadOption, match=r"^name is .*: it must be a pattern of 1 to 200 characters$"):
        select(name=name)


@pytest.mark.parametrize("jobs", [None, "hello", ["j1.1", "../x"], {"rc": 0}, 5])
def test_what_is_no_job_is_refused(jobs: object) -> None:
    with pytest.raises(NotAJob, match=r"^jobs"):
        select(jobs=jobs)


# What the host is asked for


def test_without_options_all_jobs_of_the_directory_are_meant() -> None:
    selection = select()
    assert selection.records is None
    assert selection.not_started == []
    assert selection.request(DIRECTORY) == {
        "directories": [{"path": DIRECTORY, "jobs": None}],
        **dict.fromkeys(("batch", "states", "name", "older_than", "newer_than")),
    }


def test_the_filters_travel_as_json() -> None:
    request = select(batch="nightly", state=["lost"], name="dump *", older_than="1h", newer_than=90).request(DIRECTORY)
    assert json.loads(json.dumps(request)) == request
    assert {key: request[key] for key in request if key != "directories"} == {
        "batch": "nightly",
        "states": ["lost"],
        "name": "dump *",
        "older_than": 3600,
        "newer_than": 90,
    }


@pytest.mark.parametrize("option", ["jobs", "jid"])
def test_jobs_are_looked_for_where_their_launch_says(option: str) -> None:
    jobs = [launch("j1.1"), "j2.2", launch("j3.3", "/other"), launch("j4.4")]
    selection = select(**{option: jobs})
    assert selection.request(DIRECTORY)["directories"] == [
        {"path": "/srv/jobs", "jobs": ["j1.1", "j4.4"]},
        {"path": DIRECTORY, "jobs": ["j2.2"]},
        {"path": "/other", "jobs": ["j3.3"]},
    ]


def test_an_empty_list_of_jobs_means_no_job_and_not_all() -> None:
    selection = select(jobs=[])
    assert selection.records == []
    assert selection.request(DIRECTORY)["directories"] == []


def test_a_job_that_was_not_started_is_unknown_to_the_host() -> None:
    selection = select(jobs={"results": [launch("j1.1"), FAILED_LAUNCH]})
    assert selection.request(DIRECTORY)["directories"] == [{"path": "/srv/jobs", "jobs": ["j1.1"]}]
    assert [record["name"] for record in selection.not_started] == ["b"]


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        ({}, True),
        ({"state": ["not_started"]}, True),
        ({"state": ["lost", "not_started"]}, True),
        ({"state": ["lost"]}, False),
        ({"name": "*"}, False),
        ({"batch": "nightly"}, False),
        ({"older_than": 0}, False),
        ({"newer_than": "1w"}, False),
    ],
)
def test_a_job_that_was_not_started_has_no_age_and_no_batch(filters: dict[str, t.Any], meant: bool) -> None:
    assert bool(select(jobs=[FAILED_LAUNCH], **filters).not_started) is meant
