# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from ...fleet.system import eventually
from ...support import Result, Sandbox, family, registered

SLOW = "sleep 200"


def states(waited: Result) -> dict[str, str]:
    return {job["name"]: job["state"] for job in waited["jobs"]}


def test_a_wait_may_end_what_still_runs_when_a_job_fails(sandbox: Sandbox) -> None:
    launches = sandbox.start_jobs({"bad": "exit 3", "slow": SLOW, "detached": f"setsid {SLOW}"})
    outcome = sandbox.run_playbook("wait", jobs=registered(launches), on_failure="cancel")
    waited = outcome.result_of_wait()
    assert states(waited) == {"bad": "failed", "slow": "cancelled", "detached": "cancelled"}
    assert (waited["failed"], waited["finished"]) == (True, True)
    assert waited["msg"].startswith("3 of 3 jobs did not succeed: bad failed (rc 3)")
    said = waited["jobs"][1]["msg"]
    assert said.startswith("cancelled at 20")
    assert said.endswith(": another job of the wait did not succeed")
    assert not any(family(launch["ansible_job_id"]).all for launch in launches.values())


def test_a_wait_may_end_what_still_runs_when_its_time_is_over(sandbox: Sandbox) -> None:
    launches = sandbox.start_jobs({"quick": "echo done", "slow": f"trap 'echo tidied' TERM; {SLOW}"})
    outcome = sandbox.run_playbook("wait", jobs=registered(launches), timeout=2, on_timeout="cancel")
    waited = outcome.result_of_wait()
    assert states(waited) == {"quick": "succeeded", "slow": "cancelled"}
    assert waited["failed"] is True
    assert waited["msg"].startswith("The timeout of 2 s passed. 1 of 2 jobs did not succeed: slow cancelled")
    assert waited["jobs"][0]["result"]["stdout"] == "done"
    assert waited["jobs"][1]["result"]["stdout"] == "tidied"
    assert not family(launches["slow"]["ansible_job_id"]).all


def test_in_check_mode_a_wait_ends_nothing(sandbox: Sandbox) -> None:
    launches = sandbox.start_jobs({"slow": SLOW})
    outcome = sandbox.run_playbook("wait", "--check", jobs=registered(launches), timeout=1, on_timeout="cancel")
    waited = outcome.result_of_wait()
    assert states(waited) == {"slow": "running"}
    assert family(launches["slow"]["ansible_job_id"]).below


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wait_may_end_the_jobs_when_it_is_interrupted(sandbox: Sandbox, number: int) -> None:
    launches = sandbox.start_jobs({"quick": "true", "slow": SLOW})
    run = sandbox.start_playbook("wait", jobs=registered(launches), on_interrupt="cancel")
    run.shows("1/2 ended")
    run.send(number)
    assert run.outcome().rc != 0
    slow = launches["slow"]
    path = Path(slow["results_file"])
    eventually(lambda: "inflight_state" in path.read_text(encoding="utf-8"), 30, "the job file says that it was ended")
    said = json.loads(path.read_text(encoding="utf-8"))
    assert said["inflight_state"] == "cancelled"
    assert said["msg"].endswith(": the wait was interrupted")
    assert not family(slow["ansible_job_id"]).all


def test_a_wait_that_is_interrupted_leaves_the_jobs_running_unless_told_otherwise(sandbox: Sandbox) -> None:
    launches = sandbox.start_jobs({"quick": "true", "slow": SLOW})
    run = sandbox.start_playbook("wait", jobs=registered(launches))
    run.shows("1/2 ended")
    run.send(signal.SIGINT)
    assert run.outcome().rc != 0
    assert family(launches["slow"]["ansible_job_id"]).below
