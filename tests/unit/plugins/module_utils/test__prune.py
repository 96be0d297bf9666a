# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _processes, _prune
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.module_utils._prune import Candidate, Prune, Rules, choose

from ..conftest import NUMBER, made_folder, supervised

Answer = dict[str, t.Any]

DAY = 86400.0
NOW = 1_800_000_000.0
EVERYTHING: Answer = {"older_than": 0.0}


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


def prune(path: str | Path, only_look: bool = False, jobs: list[str] | None = None, **more: t.Any) -> Answer:
    """Run a prune as the action asks for it, with the defaults of its options."""
    request: Answer = {
        "directories": [{"path": str(path), "jobs": jobs}],
        "batch": None,
        "states": list(_prune.STATES),
        "name": None,
        "older_than": 7 * DAY,
        "newer_than": None,
        "keep_last": 0,
        "max_bytes": None,
        **more,
    }
    return Prune(request, no_command, only_look).run()


def removed(answer: Answer) -> list[str]:
    return [report["jid"] for report in answer["jobs"]]


def put(folder: str | Path, jid: str, days: float = 30, content: object = None) -> Path:
    """A job file that was last changed so many days ago."""
    path = Path(folder) / jid
    path.write_text(json.dumps({"rc": 0} if content is None else content), encoding="utf-8")
    age(path, days)
    return path


def age(path: Path, days: float) -> None:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment), follow_symlinks=False)


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# The rule


def test_the_newest_stay_whatever_the_other_rules_say() -> None:
    jobs = [Candidate(10, NOW - days * DAY, f"j{days}.1") for days in (1, 9, 20, 30)]
    assert [one.jid for one in choose(jobs, Rules(7 * DAY, None, 0, None), NOW)] == ["j30.1", "j20.1", "j9.1"]
    assert [one.jid for one in choose(jobs, Rules(7 * DAY, None, 2, None), NOW)] == ["j30.1", "j20.1"]
    assert [one.jid for one in choose(jobs, Rules(7 * DAY, None, 3, 0), NOW)] == ["j30.1"]
    assert choose(jobs, Rules(0, None, 4, 0), NOW) == []


def test_the_limit_takes_the_oldest_of_the_others() -> None:
    jobs = [Candidate(10, NOW - days * DAY, f"j{days}.1") for days in (1, 2, 3, 30)]
    assert [one.jid for one in choose(jobs, Rules(7 * DAY, None, 0, 30), NOW)] == ["j30.1"]
    assert [one.jid for one in choose(jobs, Rules(7 * DAY, None, 0, 29), NOW)] == ["j30.1", "j3.1"]
    assert [one.jid for one in choose(jobs, Rules(7 * DAY, None, 1, 0), NOW)] == ["j30.1", "j3.1", "j2.1"]


def test_a_job_file_of_the_future_is_new() -> None:
    jobs = [Candidate(10, NOW + DAY, "j1.1")]
    assert choose(jobs, Rules(1, None, 0, None), NOW) == []
    assert choose(jobs, Rules(0, None, 0, None), NOW) == jobs


AGES = st.none() | st.integers(0, 20)
RULES = st.builds(Rules, AGES, AGES, st.integers(0, 6), st.none() | st.integers(0, 200))
CANDIDATES = st.lists(st.tuples(st.integers(0, 50), st.integers(-3, 20)), max_size=12).map(
    lambda made: [Candidate(size, NOW - days, f"j{number}.1") for number, (size, days) in enumerate(made)]
)


@given(jobs=CANDIDATES, rules=RULES)
def test_what_is_chosen_is_exactly_what_the_rule_says(jobs: list[Candidate], rules: Rules) -> None:
    chosen = choose(jobs, rules, NOW)
    stays = [one for one in jobs if one not in chosen]
    newest = sorted(jobs, key=lambda one: (one.modified, one.jid))[len(jobs) - min(rules.keep_last, len(jobs)) :]
    assert not set(newest) & set(chosen)
    by_age = {
        one
        for one in set(jobs) - set(newest)
        if (rules.older_than is None or max(0, NOW - one.modified) >= rules.older_than)
        and (rules.newer_than is None or NOW - one.modified <= rules.newer_than)
    }
    assert by_age <= set(chosen)
    more = sorted(set(chosen) - by_age, key=lambda one: (one.modified, one.jid))
    if rules.max_bytes is None:
        assert more == []
        return
    left = sum(one.size for one in stays)
    assert left <= rules.max_bytes or set(stays) <= set(newest)
    # The oldest went first, and no more of them than was necessary.
    if more:
        assert left + more[-1].size > rules.max_bytes
        others = set(stays) - set(newest)
        assert all((one.modified, one.jid) > (more[-1].modified, more[-1].jid) for one in others)


# Files


KINDS = ("result", "failed", "garbage", "running", "link", "folder", "foreign", "pipe")


@settings(deadline=None, max_examples=60)
@given(
    files=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20)), max_size=10),
    older_than=st.integers(0, 20),
    keep_last=st.integers(0, 3),
)
def test_what_is_removed_is_what_the_rule_says_and_nothing_else(
    files: list[tuple[str, int]], older_than: int, keep_last: int
) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        secret = top / "secret"
        secret.write_text("{}", encoding="utf-8")
        folder = top / "jobs"
        folder.mkdir(mode=0o700)
        ended = []
        for number, (kind, days) in enumerate(files):
            jid = f"j{number}.1"
            # Half a day more: the moments of the rule are never hit.
            path = folder / {"foreign": f"{jid}.txt", "folder": jid}.get(kind, jid)
            if kind == "link":
                path.symlink_to(secret)
            elif kind == "folder":
                path.mkdir()
            elif kind == "pipe":
                os.mkfifo(path)
            else:
                content = {"failed": '{"failed": true}', "garbage": "x", "result": "{}", "foreign": "{}"}.get(kind)
                path.write_text(content or json.dumps({"started": 1, "finished": 0, "ansible_job_id": jid}), "utf-8")
            age(path, days + 0.5)
            if kind in ("result", "failed", "garbage", "running"):  # one without a process is lost, and so has ended
                ended.append((days, jid))
        newest_first = sorted(ended, key=lambda one: os.stat(folder / one[1]).st_mtime, reverse=True)
        kept = {jid for dummy, jid in newest_first[:keep_last]}
        rule = {jid for days, jid in ended if days >= older_than and jid not in kept}
        before = set(names(folder))
        rules: Answer = {"older_than": older_than * DAY, "keep_last": keep_last}
        would = prune(folder, only_look=True, **rules)
        assert set(names(folder)) == before
        answer = prune(folder, **rules)
        assert set(removed(answer)) == rule
        assert would == answer
        assert set(names(folder)) == before - rule
        assert names(top) == ["jobs", "secret"]
        assert removed(prune(folder, **rules)) == []
    finally:
        shutil.rmtree(top)


def test_a_job_that_lives_is_left_alone_also_where_its_file_cannot_be_read(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = {"started": 1, "finished": 0, "ansible_job_id": "j1.1"}
    put(directory.path, "j1.1", content=marked)
    (put(directory.path, "j2.1")).write_text("", encoding="utf-8")
    age(Path(directory.path) / "j2.1", 30)
    process = _processes.Process(os.getpid(), os.geteuid(), None)
    monkeypatch.setattr(_processes.JobProcesses, "living", lambda dummy, jobs, users: dict.fromkeys(jobs, process))
    answer = prune(directory.path, **EVERYTHING)
    assert (answer["jobs"], answer["changed"]) == ([], False)
    assert names(directory.path) == ["j1.1", "j2.1"]


def test_what_async_wrapper_left_beside_a_job_file_goes_with_it(directory: JobDirectory) -> None:
    put(directory.path, "j1.1")
    put(directory.path, "j1.1.tmp")
    put(directory.path, "j2.1.tmp")
    (Path(directory.path) / "j3.1.tmp").symlink_to("j2.1.tmp")
    put(directory.path, "j3.1")
    answer = prune(directory.path)
    assert answer["freed_bytes"] == 3 * len('{"rc": 0}')
    assert names(directory.path) == ["j2.1.tmp", "j3.1.tmp"]


def test_a_file_that_changes_meanwhile_stays(directory: JobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    put(directory.path, "j1.1")
    chosen = _prune.choose

    def choose_and_change(*arguments: t.Any) -> list[Candidate]:
        found = chosen(*arguments)
        put(directory.path, "j1.1", content={"rc": 1})
        return found

    monkeypatch.setattr(_prune, "choose", choose_and_change)
    answer = prune(directory.path)
    assert (answer["jobs"], answer["freed_bytes"], answer["changed"]) == ([], 0, False)
    assert answer["remarks"] == ["1 job files could not be removed, or have changed."]


def test_only_the_jobs_that_are_named_are_removed_and_count(directory: JobDirectory) -> None:
    for number in range(4):
        put(directory.path, f"j{number}.1", days=30 - number)
    assert removed(prune(directory.path, jobs=["j0.1", "j2.1", "j9.1"], keep_last=1)) == ["j0.1"]
    assert removed(prune(directory.path, name="j[12].*")) == ["j1.1", "j2.1"]
    assert removed(prune(directory.path, states=["failed"])) == []


def test_a_directory_that_is_not_there_is_nothing_to_remove(tmp_path: Path) -> None:
    answer = prune(tmp_path / "nowhere", **EVERYTHING)
    assert (answer["jobs"], answer["freed_bytes"], answer["changed"]) == ([], 0, False)


# Batches


def end_all(directory: JobDirectory, days: float = 30) -> None:
    for index in range(3):
        put(directory.path, f"{NUMBER}.{index}", days=days - index)


def test_a_batch_goes_with_the_last_of_its_job_files(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    end_all(directory)
    for name in (f"{NUMBER}.0.out", f"{NUMBER}.1.err"):
        Path(batch_folder.file(name)).write_text("said", encoding="utf-8")
    size = len('{"rc": 0}')
    would = prune(directory.path, only_look=True, keep_last=1)
    answer = prune(directory.path, keep_last=1)
    assert would == answer
    assert removed(answer) == [f"{NUMBER}.0", f"{NUMBER}.1"]
    assert answer["freed_bytes"] == 2 * size + 8
    assert names(batch_folder.path) == ["batch.json"]
    manifest = os.stat(batch_folder.file("batch.json")).st_size
    assert prune(directory.path, only_look=True)["freed_bytes"] == size + manifest
    assert prune(directory.path)["freed_bytes"] == size + manifest
    assert not batch_folder.exists()


def test_of_a_batch_whose_supervisor_lives_only_job_files_are_removed(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    end_all(directory)
    directory.delete(f"{NUMBER}.2")
    directory.create_marker(f"{NUMBER}.2")
    age(Path(directory.path) / f"{NUMBER}.2", 30)
    Path(batch_folder.file(f"{NUMBER}.0.out")).touch()
    with supervised(batch_folder):
        assert removed(prune(directory.path)) == [f"{NUMBER}.0", f"{NUMBER}.1"]
        assert names(batch_folder.path) == ["batch.json", f"{NUMBER}.0.out", "lock"]
    answer = prune(directory.path)
    assert [(report["jid"], report["state"]) for report in answer["jobs"]] == [(f"{NUMBER}.2", "lost")]
    assert not batch_folder.exists()


def test_a_folder_without_job_files_goes_when_it_is_old(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    other = made_folder(directory, "j5")
    Path(other.file("batch.json")).write_text("{", encoding="utf-8")
    for folder in (batch_folder, other):
        age(Path(folder.path), 1 / 48)
    assert not prune(directory.path, **EVERYTHING)["changed"]
    age(Path(batch_folder.path), 8)
    age(Path(other.path), 6)
    narrower: list[Answer] = [{"jobs": []}, {"name": "*"}, {"newer_than": 90 * DAY}]
    for narrow in narrower:
        assert not prune(directory.path, **narrow)["changed"]
    assert prune(directory.path, only_look=True)["changed"]
    assert prune(directory.path)["changed"]
    assert (batch_folder.exists(), other.exists()) == (False, True)
    assert prune(directory.path, **EVERYTHING)["changed"]
    assert not other.exists()


def test_a_batch_that_was_run_again_in_part_stays_as_long_as_what_it_took_over(directory: JobDirectory) -> None:
    jobs = [{"jid": jid, "key": jid, "name": None, "item": None} for jid in (f"{NUMBER}.0", "j5.1")]
    again = BatchFolder(directory.path, "j5")
    again.make({"id": None, "grace": 0, "jobs": jobs})
    put(directory.path, f"{NUMBER}.0", days=1)
    put(directory.path, "j5.1")
    assert removed(prune(directory.path)) == ["j5.1"]
    assert again.exists()


def test_a_batch_can_be_named_and_need_not_be_there(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    end_all(directory)
    put(directory.path, "j1.1")
    with _batch_folder.BatchId(directory.path, "nightly", keep=True) as name:
        name.set_latest(batch_folder)
    assert len(removed(prune(directory.path, batch="nightly"))) == 3
    assert not batch_folder.exists()
    assert not prune(directory.path, batch="nightly")["changed"]
    assert names(directory.path) == [".inflight", "j1.1"]


def test_states_that_are_open_are_never_removed(directory: JobDirectory) -> None:
    directory.create_marker("j1.1")
    assert removed(prune(directory.path, states=list(_jobs.STATES), **EVERYTHING)) == ["j1.1"]  # nobody runs it: lost
    assert not set(_prune.STATES) & _jobs.OPEN_STATES
