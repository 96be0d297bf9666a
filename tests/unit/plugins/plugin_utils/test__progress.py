# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import itertools
import json
import os
import stat
import types
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils import _progress
from ansible_collections.inflight.jobs.plugins.plugin_utils._progress import JobLog, Progress
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import Record, new_record


class Screen:
    """Takes down what would be shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.verbose: list[tuple[str, str | None]] = []
        self.warnings: list[str] = []

    def display(self, line: str) -> None:
        self.lines.append(line)

    def v(self, line: str, host: str | None = None) -> None:
        self.verbose.append((line, host))

    def warning(self, line: str) -> None:
        self.warnings.append(line)


class Scene:
    """A wait for some jobs, and what a person sees of it."""

    def __init__(self, names: list[t.Any], **options: t.Any) -> None:
        self.now = 100.0
        self.screen = Screen()
        self.records = [new_record(f"j{number}.1", "running", name=name) for number, name in enumerate(names)]
        self.progress = Progress(t.cast("t.Any", self.screen), "web1", clock=lambda: self.now, **options)

    def end(self, *numbers: int, state: str = "succeeded", **more: t.Any) -> None:
        for number in numbers:
            name = self.records[number]["name"]
            self.records[number].update(new_record(f"j{number}.1", state, name=name, **more))
            self.progress.ended(self.records[number])

    def news(self, after: float = 0, finished: bool | None = None) -> list[str]:
        """What is shown at this news."""
        self.now += after
        still_open = [record for record in self.records if not record["finished"]]
        wait = types.SimpleNamespace(
            records=self.records,
            elapsed=self.now - 100.0,
            still_open=still_open,
            finished=not still_open if finished is None else finished,
        )
        before = len(self.screen.lines)
        self.owes_a_line = self.progress.news(t.cast("t.Any", wait))
        return self.screen.lines[before:]


def test_a_line_says_how_many_ended_and_what_still_runs() -> None:
    scene = Scene(["users", "orders", "stock"])
    scene.end(1)
    scene.end(2, state="failed")
    assert scene.news(after=12) == ["web1: 2/3 ended, 1 failed, 12 s; running: users"]


def test_nothing_new_is_no_line_however_long_it_takes() -> None:
    scene = Scene(["users", "orders"])
    assert len(scene.news(30)) == 1
    assert scene.news(30) == []
    assert scene.news(3000) == []
    scene.end(0)
    assert len(scene.news(30)) == 1


def test_what_running_jobs_print_is_shown_below_the_line() -> None:
    scene = Scene(["users", "orders", "stock"])
    scene.records[0]["tail"] = ["older", "table 3 of 7"]
    scene.records[2]["tail"] = ["\x1b[31mred\x1b[0m " + "x" * 100]
    head, first, second = scene.news(after=12)
    assert head == "web1: 0/3 ended, 0 failed, 12 s; running: users, orders, stock"
    assert first == "  users: table 3 of 7"
    assert second.startswith("  stock: ")
    assert second.endswith("xxx...")
    assert len(second) == 80
    assert "\x1b" not in second
    assert scene.news(after=12) == []
    scene.records[0]["tail"] = ["table 4 of 7"]
    assert scene.news(after=12)[1] == "  users: table 4 of 7"


def test_only_some_jobs_are_shown_with_what_they_print() -> None:
    scene = Scene([str(number) for number in range(50)])
    for record in scene.records:
        record["tail"] = ["working"]
    assert len(scene.news(after=12)) == 11


def test_there_is_at_most_one_line_in_five_seconds() -> None:
    scene = Scene([str(number) for number in range(100)])
    shown = []
    for number in range(99):
        scene.end(number)
        shown += [scene.now for _line in scene.news(after=0.5)]
    assert len(shown) >= 9
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(shown))


def test_a_line_that_comes_too_soon_is_owed() -> None:
    scene = Scene(["users", "orders", "stock"])
    scene.end(0)
    assert len(scene.news(1)) == 1
    assert not scene.owes_a_line
    scene.end(1)
    assert scene.news(1) == []
    assert scene.owes_a_line
    assert len(scene.news(5)) == 1
    assert not scene.owes_a_line


def test_the_last_line_is_shown_however_soon_it_comes() -> None:
    scene = Scene(["users", "orders"])
    scene.end(0)
    assert len(scene.news(1)) == 1
    scene.end(1)
    assert scene.news(1) == ["web1: 2/2 ended, 0 failed, 2 s"]


def test_a_wait_that_was_over_at_the_first_look_needs_no_line() -> None:
    scene = Scene(["users"])
    scene.end(0)
    assert scene.news(1) == []


def test_without_progress_there_are_no_lines() -> None:
    scene = Scene(["users", "orders"], lines=False)
    scene.end(0)
    assert scene.news(30) == []
    assert scene.screen.verbose != []


def test_lines_and_a_job_log_make_somebody_follow_the_news(tmp_path: Path) -> None:
    assert Scene(["users"]).progress.follows
    assert not Scene(["users"], lines=False).progress.follows
    assert not Scene(["users"], no_log=True).progress.follows
    with JobLog(str(tmp_path / "log"), "web1", anonymous=False) as job_log:
        assert Scene(["users"], lines=False, job_log=job_log).progress.follows


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=60) | st.integers(), min_size=1, max_size=30))
def test_a_line_is_one_line_that_fits_whatever_the_names_are(names: list[t.Any]) -> None:
    (line,) = Scene(names).news(30)
    assert line.isprintable()
    assert len(line) <= _progress.LINE_WIDTH


def test_names_that_have_no_room_are_counted() -> None:
    (line,) = Scene([f"database_number_{number}" for number in range(10)]).news(30)
    assert line == "web1: 0/10 ended, 0 failed, 30 s; running: database_number_0, +9"
    (line,) = Scene(["x" * 200, "y"]).news(30)
    assert line == "web1: 0/2 ended, 0 failed, 30 s"


# Single jobs, silence and warnings


def test_every_end_is_shown_to_those_who_ask_for_more() -> None:
    scene = Scene(["users"])
    scene.end(0, state="failed", msg="disk full\x1b[2J")
    assert scene.screen.verbose == [("users: failed disk full [2J", "web1")]


@pytest.mark.parametrize("result", [None, {}, {"warnings": None}, {"warnings": []}])
def test_a_job_without_warnings_shows_none(result: dict[str, t.Any] | None) -> None:
    scene = Scene(["users"])
    scene.end(0, result=result)
    assert scene.screen.warnings == []


def test_warnings_of_a_module_are_shown() -> None:
    scene = Scene(["users"])
    scene.end(0, result={"warnings": ["careful\nnow", "and here"]})
    assert scene.screen.warnings == ["careful", "and here"]


@pytest.mark.parametrize("warnings", [5, True, {"a": "b"}, "careful"])
def test_warnings_in_a_form_that_no_module_should_use_do_not_end_the_wait(warnings: t.Any) -> None:
    scene = Scene(["users"])
    scene.end(0, result={"warnings": warnings})
    assert len(scene.screen.warnings) <= 1


def test_a_host_that_is_out_of_reach_is_told_of() -> None:
    scene = Scene(["users"])
    scene.progress.lost_contact("no answer in 60 s")
    assert scene.screen.lines == ["web1: out of reach, trying again; jobs run on (no answer in 60 s)"]


def test_remarks_of_a_host_are_safe_to_print() -> None:
    scene = Scene(["users"])
    scene.progress.warn("bad\x1b[2J directory\nmore")
    assert scene.screen.warnings == ["bad [2J directory"]


def test_no_log_hides_progress_names_and_warnings() -> None:
    scene = Scene(["secret", "other"], no_log=True)
    scene.end(0, msg="secret", result={"warnings": ["secret"]})
    assert scene.news(30) == []
    assert (scene.screen.lines, scene.screen.verbose, scene.screen.warnings) == ([], [], [])


# The log of jobs

RECORD = new_record(
    "j1.1",
    "failed",
    name="users",
    item={"name": "users"},
    started_at="2026-01-01T00:00:00.000Z",
    ended_at="2026-01-01T00:00:02.500Z",
    elapsed=2.5,
    msg="secret",
    result={"secret": 1},
)


def written(path: Path, *records: Record, anonymous: bool = False) -> list[t.Any]:
    with JobLog(str(path), "web1", anonymous=anonymous) as log:
        for record in records:
            log.write(record)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_log_has_one_line_for_each_job(tmp_path: Path) -> None:
    (line,) = written(tmp_path / "log", RECORD)
    assert line == {
        "host": "web1",
        "name": "users",
        "item": {"name": "users"},
        "state": "failed",
        "started_at": "2026-01-01T00:00:00.000Z",
        "ended_at": "2026-01-01T00:00:02.500Z",
        "elapsed": 2.5,
    }


def test_the_log_grows_and_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written(tmp_path / "log", RECORD)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    assert len(written(tmp_path / "log", RECORD, RECORD)) == 3


def test_no_log_keeps_names_and_items_out_of_the_log(tmp_path: Path) -> None:
    (line,) = written(tmp_path / "log", RECORD, anonymous=True)
    assert (line["name"], line["item"], line["elapsed"]) == (None, None, 2.5)
    assert "users" not in json.dumps(line)


@pytest.mark.parametrize("item", ["a\nb", "\udcff", datetime.date(2026, 1, 1), float("nan"), [1, {"ä": None}], b"x"])
def test_any_item_is_one_line_of_the_log(tmp_path: Path, item: object) -> None:
    assert len(written(tmp_path / "log", {**RECORD, "item": item}, RECORD)) == 2


def test_lines_of_many_hosts_do_not_mix(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with JobLog(path, "web1", anonymous=False) as first, JobLog(path, "web2", anonymous=False) as second:
        for _round in range(3):
            first.write(RECORD)
            second.write(RECORD)
    hosts = [json.loads(line)["host"] for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    assert hosts == ["web1", "web2"] * 3


def test_a_log_that_cannot_be_opened_says_so_before_anything_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JobLog(str(tmp_path / "none" / "log"), "web1", anonymous=False)
    with pytest.raises(IsADirectoryError):
        JobLog(str(tmp_path), "web1", anonymous=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_of_the_controller_does_not_lose_the_results() -> None:
    """The job log is a convenience; the results of an hour are not."""
    with JobLog("/dev/full", "web1", anonymous=False) as log:
        scene = Scene(["users", "orders"], job_log=log)
        scene.end(0)
        scene.end(1)
    assert any("No space left" in warning for warning in scene.screen.warnings)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3600, "1 h 00 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_times_are_told_as_people_read_them(seconds: float, text: str) -> None:
    assert _progress.clock_time(seconds) == text
