# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path

import pytest

from ...fleet.system import eventually
from ...support import Family, Sandbox, family, kill, registered

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="processes are found through /proc here")


def logged(job_log: Path) -> dict[str, str]:
    """The states in a job log, by name."""
    lines = job_log.read_text(encoding="utf-8").splitlines() if job_log.exists() else []
    return {line["name"]: line["state"] for line in map(json.loads, lines)}


def whole_family(jid: str) -> Family:
    """The processes of a job, as soon as its module has started the command."""

    def found() -> Family | None:
        processes = family(jid)
        return processes if len(processes.below) > 1 else None

    return t.cast(Family, eventually(found, 10, f"job {jid} runs its command"))


def test_killed_jobs_are_told_from_those_that_live(sandbox: Sandbox) -> None:
    wait_for_go = f"while [ ! -e {sandbox.folder}/go ]; do sleep 0.1; done; echo done"
    launches = sandbox.start_jobs(
        {
            "family": "sleep 100",
            "runner": "sleep 100",
            "watcher": wait_for_go,
            "module": "sleep 100",
            "bystander": wait_for_go,
        }
    )
    pids = {name: whole_family(launch["ansible_job_id"]) for name, launch in launches.items()}
    job_log = sandbox.folder / "jobs.jsonl"
    run = sandbox.start_playbook("wait", jobs=registered(launches), job_log=str(job_log))
    eventually(job_log.exists, 20, "the wait has begun")

    killed_at = time.monotonic()
    kill([pids["watcher"].watcher])
    kill(pids["family"].all)
    # Its watcher lives on, and takes up to five seconds to notice.
    kill([pids["runner"].runner])
    kill(pids["module"].below)

    eventually(lambda: {"family", "runner"} <= logged(job_log).keys(), 30, "the killed jobs are reported")
    assert time.monotonic() - killed_at < 10
    eventually(lambda: "module" in logged(job_log), 10, "the job whose module was killed is reported")
    # The others are waited for, also the one that has no watcher any more.
    assert logged(job_log) == {"family": "lost", "runner": "lost", "module": "failed"}
    assert family(launches["watcher"]["ansible_job_id"]).watcher is None
    assert run.is_running

    (sandbox.folder / "go").touch()
    outcome = run.outcome()
    jobs = {job["name"]: job for job in outcome.result_of_wait()["jobs"]}
    assert outcome.rc == 2
    assert {name: job["state"] for name, job in jobs.items()} == {
        "family": "lost",
        "runner": "lost",
        "watcher": "succeeded",
        "module": "failed",
        "bystander": "succeeded",
    }
    assert jobs["watcher"]["result"]["stdout"] == jobs["bystander"]["result"]["stdout"] == "done"
    assert jobs["family"]["result"] is None
    assert jobs["module"]["msg"] == "the module printed no result but nothing"
    lost = "family lost: no process and no result; runner lost: no process and no result"
    assert f"3 of 5 jobs did not succeed: {lost}; module failed: the module printed" in outcome.result_of_wait()["msg"]
