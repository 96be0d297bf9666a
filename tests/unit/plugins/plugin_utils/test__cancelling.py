# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._order import MAX_GRACE
from ansible_collections.inflight.jobs.plugins.plugin_utils._cancelling import manner_of, message_of, result_of
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, new_record
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption

DEFAULTS: dict[str, t.Any] = {
    **dict.fromkeys(("jobs", "batch", "state", "name", "older_than", "newer_than")),
    "all": False,
    "signal": "TERM",
    "grace": 10.0,
}
# One value of each option that chooses among jobs.
CHOOSERS: dict[str, t.Any] = {
    "jobs": ["j1.1"],
    "jid": "j1.1",
    "batch": "nightly",
    "state": ["queued"],
    "name": "dump *",
    "older_than": "1d",
    "newer_than": 0,
}
NOTHING_SAYS = (
    "nothing says which jobs to cancel: give jobs, batch, state, name, older_than or newer_than, or all: true"
)


def manner(**given: t.Any) -> dict[str, t.Any]:
    """How the jobs of a task with these arguments are to be ended."""
    arguments = {**DEFAULTS, **given}
    if "jid" in given:
        arguments["jobs"] = given["jid"]
    return manner_of(arguments, given)


def refusal(**given: t.Any) -> str:
    """What is said of these arguments."""
    with pytest.raises(BadOption) as said:
        manner(**given)
    return str(said.value)


def records(*states: str) -> list[Record]:
    return [new_record(f"j{number}.1", state) for number, state in enumerate(states)]


def response(cancelled: int, left: t.Sequence[t.Sequence[str]] = ()) -> dict[str, t.Any]:
    """What the host answers."""
    return {"jobs": [], "cancelled": cancelled, "left": left, "remarks": [], "took": 1.0}


def message(*states: str, cancelled: int = 0, check_mode: bool = False, no_log: bool = False, **more: t.Any) -> str:
    return message_of(records(*states), response(cancelled, **more), check_mode, no_log)


# Options


def test_jobs_get_term_and_ten_seconds_unless_the_task_says_otherwise() -> None:
    assert manner(all=True) == {"signal": "TERM", "grace": 10.0, "why": None}
    assert manner(name="dump *", signal="INT", grace=120.0) == {"signal": "INT", "grace": 120.0, "why": None}


def test_the_manner_travels_as_json() -> None:
    said = manner(all=True)
    assert json.loads(json.dumps(said)) == said


@pytest.mark.parametrize("option", list(CHOOSERS))
def test_any_option_that_chooses_jobs_says_which_are_meant(option: str) -> None:
    assert manner(**{option: CHOOSERS[option]}) == manner(all=True)


def test_options_that_choose_jobs_may_be_given_together() -> None:
    assert manner(**{option: value for option, value in CHOOSERS.items() if option != "jid"}) == manner(all=True)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"all": False},
        {"signal": "KILL", "grace": 0.0},
        *({option: None} for option in CHOOSERS if option not in ("jobs", "jid")),
    ],
)
def test_a_task_that_says_nothing_of_jobs_does_not_mean_all(given: dict[str, t.Any]) -> None:
    assert refusal(**given) == NOTHING_SAYS


@pytest.mark.parametrize("option", ["jobs", "jid", "state"])
def test_an_empty_list_means_no_job_and_is_no_mistake(option: str) -> None:
    assert manner(**{option: []}) == manner(all=True)


@pytest.mark.parametrize("option", list(CHOOSERS))
def test_all_jobs_and_some_of_them_cannot_both_be_meant(option: str) -> None:
    assert refusal(all=True, **{option: CHOOSERS[option]}) == (
        f"all is true, and {option} is given as well: give one of them"
    )


def test_of_several_options_beside_all_one_is_named() -> None:
    assert refusal(all=True, older_than="1d", batch="nightly") == (
        "all is true, and batch is given as well: give one of them"
    )


def test_an_option_that_is_given_as_null_is_not_given() -> None:
    assert manner(all=True, batch=None, name=None) == manner(all=True)


@pytest.mark.parametrize("grace", [0.0, 0.5, MAX_GRACE])
def test_a_grace_may_be_anything_from_nothing_to_a_day(grace: float) -> None:
    assert manner(all=True, grace=grace)["grace"] == grace


@pytest.mark.parametrize(
    ("grace", "shown"),
    [(-1.0, "-1"), (-0.5, "-0.5"), (float("nan"), "nan"), (float("inf"), "inf"), (86401.0, "86401"), (1e9, "1e+09")],
)
def test_any_other_grace_is_refused_in_one_sentence(grace: float, shown: str) -> None:
    assert refusal(all=True, grace=grace) == f"grace is {shown}: it must be a number of seconds, 0 to 86400"


# Messages


@pytest.mark.parametrize(
    ("states", "cancelled", "said"),
    [
        ((), 0, "nothing to cancel"),
        (("cancelled",), 1, "cancelled 1 job"),
        (("cancelled",) * 12, 12, "cancelled 12 jobs"),
        (("cancelled", "succeeded", "lost"), 1, "cancelled 1 job, 2 had ended"),
        # One was cancelled by an earlier task, or by somebody else just now.
        (("cancelled", "cancelled"), 1, "cancelled 1 job, 1 had ended"),
        (("succeeded", "failed"), 0, "nothing to cancel, 2 had ended"),
    ],
)
def test_the_message_counts_what_was_cancelled_and_what_had_ended(
    states: tuple[str, ...], cancelled: int, said: str
) -> None:
    assert message(*states, cancelled=cancelled) == said


@pytest.mark.parametrize(
    ("states", "cancelled", "said"),
    [
        ((), 0, "nothing to cancel"),
        (("running",), 1, "would cancel 1 job"),
        (("running", "queued"), 2, "would cancel 2 jobs"),
        (("running", "cancelled", "timed_out"), 1, "would cancel 1 job, 2 had ended"),
        (("succeeded",), 0, "nothing to cancel, 1 had ended"),
    ],
)
def test_in_check_mode_the_message_says_what_would_be_done(states: tuple[str, ...], cancelled: int, said: str) -> None:
    assert message(*states, cancelled=cancelled, check_mode=True) == said


def test_the_message_says_which_jobs_could_not_be_ended_and_why() -> None:
    one, two = ["dump users", "it belongs to user bob"], ["j2.1", "not gone in 25 s: process 7 (state D)"]
    assert message("running", left=[one]) == "1 job could not be ended: dump users (it belongs to user bob)"
    assert message("cancelled", "succeeded", "running", "running", cancelled=1, left=[one, two]) == (
        "cancelled 1 job, 1 had ended, 2 jobs could not be ended: dump users (it belongs to user bob), "
        "j2.1 (not gone in 25 s: process 7 (state D))"
    )


@pytest.mark.parametrize(
    ("number", "end"), [(10, "j9.1 (stuck)"), (11, "j9.1 (stuck), and 1 more"), (500, "j9.1 (stuck), and 490 more")]
)
def test_the_message_names_ten_jobs_at_most(number: int, end: str) -> None:
    said = message(*["running"] * number, left=[[f"j{place}.1", "stuck"] for place in range(number)])
    assert said.startswith(f"{number} jobs could not be ended: j0.1 (stuck), ")
    assert said.endswith(end)
    assert said.count("(stuck)") == 10


def test_what_a_host_tells_stays_on_one_line_and_is_printable() -> None:
    said = message("running", left=[["a\x1b[2Jb\nc", "x" * 1000 + "\ny"]])
    assert said.isprintable()
    assert said.startswith("1 job could not be ended: a [2Jb (xxx")
    assert len(said) < 300


def test_no_log_hides_names_and_reasons_but_no_numbers() -> None:
    left = [["dump users", "it belongs to user bob"]]
    assert message("cancelled", "running", cancelled=1, left=left, no_log=True) == (
        "cancelled 1 job, 1 job could not be ended: no_log hides which"
    )


# Results


def test_a_result_has_the_jobs_and_how_many_were_cancelled() -> None:
    jobs = records("cancelled", "succeeded")
    assert result_of(jobs, response(1), check_mode=False) == {
        "jobs": jobs,
        "cancelled": 1,
        "msg": "cancelled 1 job, 1 had ended",
        "changed": True,
        "failed": False,
    }


def test_nothing_changes_where_nothing_was_cancelled() -> None:
    assert result_of([], response(0), check_mode=False) == {
        "jobs": [],
        "cancelled": 0,
        "msg": "nothing to cancel",
        "changed": False,
        "failed": False,
    }


def test_in_check_mode_the_result_says_that_something_would_change() -> None:
    result = result_of(records("running"), response(1), check_mode=True)
    assert (result["changed"], result["cancelled"], result["msg"]) == (True, 1, "would cancel 1 job")


def test_the_task_fails_when_a_job_could_not_be_ended_and_tells_of_the_others() -> None:
    jobs = records("cancelled", "running")
    result = result_of(jobs, response(1, left=[["j1.1", "stuck"]]), check_mode=False)
    assert (result["failed"], result["changed"], result["cancelled"]) == (True, True, 1)
    assert result["jobs"] == jobs


def test_the_message_of_a_result_heeds_no_log() -> None:
    result = result_of(records("running"), response(0, left=[["j0.1", "stuck"]]), check_mode=False, no_log=True)
    assert (result["failed"], result["msg"]) == (True, "1 job could not be ended: no_log hides which")
