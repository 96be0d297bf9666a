# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Job files of real jobs are removed, and those of jobs that run are not.

from __future__ import annotations

import os
import re
import time
import typing as t
from pathlib import Path

import pytest

from ..async_batch.conftest import BatchSandbox, batch_task, until_exists

Task = dict[str, t.Any]

DAY = 86400.0

# What is given, and what is said about it.
CASES: list[tuple[dict[str, object], str]] = [
    ({"state": "running"}, r"(?s).*value of state must be one or more of: succeeded, .* Got no match for: running.*"),
    ({"state": ["failed", "queued"]}, r"(?s).*value of state must be .* Got no match for: queued.*"),
    ({"jobs": "../../etc/passwd"}, r"jobs is a str that is no job id: '\.\./\.\./etc/passwd'"),
    ({"older_than": "soon"}, r"older_than is 'soon': it must be a number of seconds, or .*"),
    ({"older_than": -1}, r"older_than is -1: it must be a number of seconds, or .*"),
    ({"newer_than": "1d"}, r"newer_than is '1d' and older_than is '7d': no job can be both, .*"),
    ({"keep_last": -1}, r"keep_last is -1: it must be a number of jobs, 0 or more"),
    ({"max_total_mb": -0.5}, r"max_total_mb is -0\.5: it must be a number of megabytes, 0 or more"),
    ({"max_total_mb": "nan"}, r"max_total_mb is nan: it must be a number of megabytes, 0 or more"),
    ({"batch": "../x"}, r"batch is '\.\./x': it is not the id of a batch"),
    ({"name": ""}, r"name is '': it must be a pattern of 1 to 200 characters"),
]


@pytest.fixture
def sandbox(tmp_path: Path) -> t.Iterator[BatchSandbox]:
    """A home, a job directory and a working folder for one test."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    place = BatchSandbox(tmp_path, playbooks=playbooks)
    yield place
    place.close()


def prune_task(task: str, /, **options: t.Any) -> Task:
    """A task of a playbook that removes job files, and whose failure does not end the play."""
    return {"name": task, "inflight.jobs.async_prune": options, "ignore_errors": True}


def async_task(name: str, script: str, register: str) -> Task:
    """A task of a playbook that starts a job in the way of core."""
    return {"name": name, "ansible.builtin.shell": script, "async": 600, "poll": 0, "register": register}


def touch(path: Path) -> Task:
    return {"name": f"touch {path.name}", "ansible.builtin.file": {"path": str(path), "state": "touch"}}


def job_files(sandbox: BatchSandbox) -> set[str]:
    return {path.name for path in sandbox.jobs.iterdir() if not path.name.startswith(".")}


def test_jobs_that_have_ended_are_removed_and_those_that_run_are_not(sandbox: BatchSandbox) -> None:
    go = sandbox.folder / "go"
    waits = f"{until_exists(go)}; echo done"
    first = sandbox.run_tasks(
        [
            batch_task("batch", "echo {{ item }}; exit {{ item }}", id="nightly", items=[0, 3]),
            batch_task("long batch", waits, id="long", items=[1, 2], concurrency=1, wait=False),
            async_task("core short", "echo hello", "short"),
            async_task("core long", waits, "long"),
            {"name": "wait", "inflight.jobs.async_wait": {"jobs": "{{ short }}"}},
        ]
    )
    ended = [job["ansible_job_id"] for job in first.result("batch")["jobs"]]
    ended.append(first.result("core short")["ansible_job_id"])
    running = {job["ansible_job_id"] for job in first.result("long batch")["jobs"]}
    running.add(first.result("core long")["ansible_job_id"])
    assert job_files(sandbox) == {*ended, *running}
    folder = sandbox.jobs / ".inflight" / ended[0].split(".")[0]
    assert folder.is_dir()

    # However old the files of those that run are.
    for jid in running:
        moment = time.time() - 90 * DAY
        os.utime(sandbox.jobs / jid, (moment, moment))
    size = sum((sandbox.jobs / jid).stat().st_size for jid in ended)
    second = sandbox.run_tasks(
        [
            prune_task("too new"),
            {**prune_task("would", older_than=0), "check_mode": True},
            {"name": "list", "inflight.jobs.async_info": {}},
            prune_task("keep", older_than=0, keep_last=3),
            prune_task("batch", batch="nightly", older_than=0),
            prune_task("rest", max_total_mb=0),
            prune_task("again", older_than=0),
            touch(go),
            {"name": "wait", "inflight.jobs.async_wait": {"batch": "long"}},
            {"name": "wait for core", "inflight.jobs.async_wait": {"jobs": sorted(running)}},
            prune_task("all", older_than=0),
        ]
    )
    assert second.rc == 0, second.output
    for name in ("too new", "keep", "again"):
        result = second.result(name)
        assert (result["jobs"], result["removed"], result["freed_bytes"]) == ([], 0, 0)
        assert (result["msg"], result["changed"]) == ("nothing to remove", False)

    would = second.result("would")
    assert would["changed"]
    assert {job["ansible_job_id"] for job in would["jobs"]} == set(ended)
    assert would["freed_bytes"] >= size
    assert re.fullmatch(r"would remove 3 job files, \d+ kB", would["msg"])
    assert len(second.result("list")["jobs"]) == 6

    batch = second.result("batch")
    assert sorted((job["ansible_job_id"], job["name"], job["state"], job["batch"]) for job in batch["jobs"]) == [
        (ended[0], "0", "succeeded", "nightly"),
        (ended[1], "3", "failed", "nightly"),
    ]
    assert all("result" not in job for job in batch["jobs"])
    assert re.fullmatch(r"removed 2 job files, \d+ kB", batch["msg"])
    rest = second.result("rest")
    assert [job["ansible_job_id"] for job in rest["jobs"]] == ended[2:]
    assert re.fullmatch(r"removed 1 job file, \d+ kB", rest["msg"])
    assert not folder.exists()

    assert second.result("wait")["msg"] == "2 jobs succeeded"
    assert second.result("wait for core")["msg"] == "3 jobs succeeded"
    assert {job["ansible_job_id"] for job in second.result("all")["jobs"]} == running
    assert job_files(sandbox) == set()


def test_old_job_files_go_and_nothing_else_does(sandbox: BatchSandbox) -> None:
    sandbox.jobs.mkdir(mode=0o700)
    secret = sandbox.folder / "secret"
    for path in (secret, *(sandbox.jobs / name for name in ("j1.1", "j2.1", "notes", "j4.1.txt"))):
        path.write_text('{"rc": 0}', encoding="utf-8")
    (sandbox.jobs / "j3.1").symlink_to(secret)
    (sandbox.jobs / "j2.1").write_text("{", encoding="utf-8")
    moment = time.time() - 8 * DAY
    for path in sandbox.jobs.iterdir():
        os.utime(path, (moment, moment), follow_symlinks=False)
    result = sandbox.run_tasks([prune_task("prune")]).result("prune")
    assert [(job["ansible_job_id"], job["state"]) for job in result["jobs"]] == [
        ("j1.1", "succeeded"),
        ("j2.1", "unreadable"),
    ]
    assert (result["removed"], result["freed_bytes"], result["msg"]) == (2, 10, "removed 2 job files, 1 kB")
    assert job_files(sandbox) == {"j3.1", "notes", "j4.1.txt"}
    assert secret.exists()


def test_wrong_input_is_refused_in_one_clear_sentence(sandbox: BatchSandbox) -> None:
    tasks = [prune_task(str(number), **options) for number, (options, dummy) in enumerate(CASES)]
    outcome = sandbox.run_tasks([*tasks, {**prune_task("secret", name=""), "no_log": True}])
    for number, (dummy, said) in enumerate(CASES):
        result = outcome.result(str(number))
        assert result["failed"]
        assert re.fullmatch(said, result["msg"]), result["msg"]
    assert "no_log hides" in outcome.output
    assert not sandbox.jobs.exists()
