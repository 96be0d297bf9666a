# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pwd
import re
import typing as t

import pytest

from ...fleet.system import eventually
from ...support import Outcome, family, kill
from ..async_batch.conftest import BatchSandbox, batch_task, lines_of, until_exists

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="processes are found through /proc here")

Task = dict[str, t.Any]
Job = dict[str, t.Any]

OF_PROCESSES = {"pid", "user", "command", "cpu_seconds", "memory_bytes", "children", "time_left"}
# What is given, and what is said about it.
REFUSED: list[tuple[dict[str, object], str]] = [
    ({"older_than": "3x"}, r"older_than is '3x': it must be a number of seconds, or a number with s, m, h, d or w, .*"),
    ({"newer_than": True}, r"newer_than is True: it must be a number of seconds, .*"),
    ({"older_than": -1}, r"older_than is -1: it must be a number of seconds, .*"),
    ({"jobs": ["j1.1", "hello"]}, r"jobs\[1\] is a str that is no job id: 'hello'"),
    ({"jid": "../../etc/passwd"}, r"jobs is a str that is no job id: '\.\./\.\./etc/passwd'"),
    ({"jobs": None}, r"jobs is empty \(null\), which no task with async registered"),
    ({"batch": "../x"}, r"batch is '\.\./x': it is not the id of a batch"),
    (
        {"batch": "weekly"},
        r"The jobs cannot be looked at on the host: there is no batch 'weekly' in the job directory .*",
    ),
    ({"name": ""}, r"name is '': it must be a pattern of 1 to 200 characters"),
    ({"state": ["well"]}, r".*state.*succeeded, failed.*well.*"),
    ({"sate": ["lost"]}, r".*sate.*"),
]


def info(title: str, /, **options: t.Any) -> Task:
    """A task that lists jobs, and whose failure does not end the play."""
    return {"name": title, "inflight.jobs.async_info": options, "ignore_errors": True}


def launch(name: str, script: str) -> Task:
    """A task that starts a job of core's."""
    command = {"argv": ["sh", "-c", script]}
    return {"name": name, "ansible.builtin.command": command, "async": 300, "poll": 0, "register": name}


def jobs(outcome: Outcome, task: str) -> list[Job]:
    found: list[Job] = outcome.result(task)["jobs"]
    return found


def names(outcome: Outcome, task: str) -> list[str]:
    return [job["name"] for job in jobs(outcome, task)]


def test_what_a_job_of_a_batch_prints_can_be_seen_while_it_runs(sandbox: BatchSandbox) -> None:
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    script = f"seq 3; echo oops >&2; echo begun >> {log}; {until_exists(go)}"
    secret = {**batch_task("secret", script, items=["three"], id="secret", wait=False), "no_log": True}
    sandbox.run_tasks([batch_task("batch", script, items=["one", "two"], id="nightly", wait=False), secret])
    eventually(lambda: len(lines_of(log)) == 3, 60, "three jobs run")
    wait = {"batch": "nightly", "timeout": 1, "tail": 1}
    outcome = sandbox.run_tasks(
        [
            info("three lines", batch="nightly", tail=3),
            info("secret lines", batch="secret", tail=3),
            info("none", batch="nightly"),
            info("too many", batch="nightly", tail=1001),
            {"name": "wait", "inflight.jobs.async_wait": wait, "ignore_errors": True},
        ]
    )
    assert [sorted(job["tail"]) for job in jobs(outcome, "three lines")] == [["2", "3", "oops"]] * 2
    assert ["tail" in job for task in ("secret lines", "none") for job in jobs(outcome, task)] == [False] * 3
    assert outcome.result("too many")["msg"] == "tail is 1001: it must be a number of lines, 0 to 1000"
    (newest,) = {tuple(job["tail"]) for job in jobs(outcome, "wait")}
    assert newest in {("3",), ("oops",)}
    assert f"  one: {newest[0]}" in outcome.stdout.splitlines()
    go.touch()
    sandbox.run_tasks([{"name": "end", "inflight.jobs.async_wait": {}}])
    assert not list(sandbox.jobs.glob(".inflight/*/*.output"))


def test_jobs_of_core_and_of_a_batch_are_listed_together(sandbox: BatchSandbox) -> None:
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    script = f"echo begun >> {log}; {until_exists(go)}; echo did it"
    options: dict[str, t.Any] = {"items": ["one", "two", "three"], "concurrency": 1, "id": "nightly", "wait": False}
    first = sandbox.run_tasks([launch("core", script), batch_task("batch", script, timeout=600, **options)])
    core = first.result("core")["ansible_job_id"]
    eventually(lambda: len(lines_of(log)) == 2, 60, "two jobs run")

    second = sandbox.run_tasks(
        [
            info("all"),
            {**info("checked"), "check_mode": True},
            info("by name", name="t*"),
            info("by job id", jobs=core, results=True),
            info("by batch", batch="nightly"),
            info("by state", state="queued"),
            info("old", older_than="1h"),
            info("young", newer_than="1h"),
        ]
    )
    listed = {job["name"]: job for job in jobs(second, "all")}
    assert second.rc == 0, second.output
    assert {name: job["state"] for name, job in listed.items()} == {
        core: "running",
        "one": "running",
        "two": "queued",
        "three": "queued",
    }
    whole = second.result("all")
    assert whole["msg"] == "4 jobs: 2 running, 2 queued"
    assert (whole["summary"]["total"], whole["changed"]) == (4, False)
    for name, limit in ((core, 300), ("one", 600)):
        job = listed[name]
        assert job.keys() >= OF_PROCESSES
        assert job["user"] == pwd.getpwuid(os.geteuid()).pw_name
        assert job["command"].startswith(("sh -c echo begun", "/bin/sh -c echo begun"))
        assert job["time_left"] == pytest.approx(limit - job["elapsed"], abs=0.1)
        assert job["pid"] > 1
        assert job["children"] >= 1
    assert "result" not in listed[core]
    assert "batch" not in listed[core]
    assert {listed[name]["batch"] for name in ("one", "two", "three")} == {"nightly"}
    assert [(listed[name]["queue_place"], listed[name]["item"]) for name in ("two", "three")] == [
        (1, "two"),
        (2, "three"),
    ]
    assert not OF_PROCESSES & listed["two"].keys()

    assert second.result("checked")["summary"] == whole["summary"]
    assert sorted(names(second, "by name")) == ["three", "two"]
    (job,) = jobs(second, "by job id")
    assert (job["ansible_job_id"], job["result"]) == (core, None)
    assert sorted(names(second, "by batch")) == ["one", "three", "two"]
    assert sorted(names(second, "by state")) == ["three", "two"]
    assert names(second, "old") == []
    assert second.result("old")["msg"] == "0 jobs"
    assert set(names(second, "young")) == set(listed)

    go.touch()
    third = sandbox.run_tasks(
        [
            {"name": "wait", "inflight.jobs.async_wait": {"batch": "nightly"}},
            {"name": "wait for core", "inflight.jobs.async_wait": {"jobs": core}},
            info("results", results=True),
            info("no results"),
        ]
    )
    done = {job["name"]: job for job in jobs(third, "results")}
    assert {name: (job["state"], job["result"]["stdout"]) for name, job in done.items()} == dict.fromkeys(
        (core, "one", "two", "three"), ("succeeded", "did it")
    )
    assert third.result("results")["msg"] == "4 jobs: 4 succeeded"
    assert [{**job, "result": done[job["name"]]["result"]} for job in jobs(third, "no results")] == list(done.values())


def test_a_job_whose_processes_were_killed_is_lost(sandbox: BatchSandbox) -> None:
    first = sandbox.run_tasks([launch("doomed", "sleep 1000"), launch("other", "sleep 1000")])
    jids = [first.result(name)["ansible_job_id"] for name in ("doomed", "other")]
    eventually(lambda: all(len(family(jid).below) > 1 for jid in jids), 60, "both run their command")
    kill(family(jids[0]).all)
    eventually(lambda: not family(jids[0]).all, 20, "it has gone")

    second = sandbox.run_tasks([info("all"), info("lost", state="lost", newer_than="1d")])
    assert {job["ansible_job_id"]: job["state"] for job in jobs(second, "all")} == {jids[0]: "lost", jids[1]: "running"}
    (lost,) = jobs(second, "lost")
    assert (lost["ansible_job_id"], lost["msg"], lost["failed"]) == (jids[0], "no process and no result", True)
    assert not OF_PROCESSES & lost.keys()
    assert not second.result("lost")["failed"]


def test_what_a_loop_registered_is_listed_in_its_order_and_with_its_names(sandbox: BatchSandbox) -> None:
    task = {**launch("started", "exit {{ item }}"), "loop": [0, 3, 0]}
    outcome = sandbox.run_tasks(
        [
            task,
            {"name": "wait", "inflight.jobs.async_wait": {"jobs": "{{ started }}"}, "ignore_errors": True},
            info("listed", jobs="{{ started }}"),
            info("failed ones", jobs="{{ started }}", state=["failed"]),
        ]
    )
    assert [(job["name"], job["state"]) for job in jobs(outcome, "listed")] == [
        ("0", "succeeded"),
        ("3", "failed"),
        ("0", "succeeded"),
    ]
    (job,) = jobs(outcome, "failed ones")
    assert job["item"] == 3
    assert "non-zero return code" in job["msg"]  # newer versions of core say a whole sentence


def test_wrong_input_is_refused_in_one_clear_sentence(sandbox: BatchSandbox) -> None:
    sandbox.jobs.mkdir(mode=0o700)
    tasks = [info(f"case {place}", **options) for place, (options, dummy) in enumerate(REFUSED)]
    background = {**info("background"), "async": 10, "poll": 0}
    windows = {**info("windows"), "vars": {"ansible_shell_type": "powershell"}}
    hidden = {**info("hidden", jobs="hunter2"), "no_log": True}
    outcome = sandbox.run_tasks([*tasks, background, windows, hidden])
    wrong = []
    for place, (options, pattern) in enumerate(REFUSED):
        result = outcome.result(f"case {place}")
        if not re.fullmatch(pattern, result["msg"]) or "jobs" in result or not result["failed"]:
            wrong.append((options, pattern, result))
    assert not wrong
    assert "async" in outcome.result("background")["msg"]
    assert outcome.result("windows")["msg"] == (
        "async_info does not support Windows hosts: use ansible.builtin.async_status there"
    )
    assert "hunter2" not in outcome.stderr
    assert outcome.result("hidden")["failed"] is True


def test_without_a_job_directory_there_are_no_jobs(sandbox: BatchSandbox) -> None:
    outcome = sandbox.run_tasks([info("all"), info("named", jobs="j1.1")])
    assert outcome.result("all")["msg"] == "0 jobs"
    assert [job["state"] for job in jobs(outcome, "named")] == ["missing"]
    assert not sandbox.jobs.exists()
