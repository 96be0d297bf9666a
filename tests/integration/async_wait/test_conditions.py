# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ...support import Result, Sandbox, family


def states(waited: Result) -> dict[str, str]:
    return {job["name"]: job["state"] for job in waited["jobs"]}


def test_until_on_failure_and_timeout_return_what_is_known_and_leave_the_others_running(sandbox: Sandbox) -> None:
    outcome = sandbox.run_playbook("conditions", folder=str(sandbox.folder))
    jids = {job["name"]: job["ansible_job_id"] for job in outcome.result("Wait for any of them")["jobs"]}
    everything_runs = dict.fromkeys(("slow_1", "first", "second", "bad", "slow_2"), "running")

    waited = outcome.result("Wait for any of them")
    assert states(waited) == {**everything_runs, "first": "succeeded"}
    assert waited["finished"] is True
    assert waited["failed"] is False
    assert waited["jobs"][1]["result"]["stdout"] == "first"
    running = waited["jobs"][0]
    assert (running["started"], running["finished"], running["failed"], running["result"]) == (True, False, False, None)

    waited = outcome.result("Wait for two of them")
    assert states(waited) == {**everything_runs, "first": "succeeded", "second": "succeeded"}
    assert waited["finished"] is True
    assert waited["failed"] is False

    waited = outcome.result("Wait until one does not succeed")
    assert states(waited) == {
        "slow_1": "running",
        "first": "succeeded",
        "second": "succeeded",
        "bad": "failed",
        "slow_2": "running",
    }
    assert waited["finished"] is False
    assert waited["failed"] is True
    assert "bad failed (rc 9): broken" in waited["msg"]
    assert "2 of 5 jobs still running: slow_1, slow_2" in waited["msg"]

    waited = outcome.result("Wait for too short a time")
    assert states(waited)["slow_2"] == "running"
    assert waited["failed"] is True
    assert waited["finished"] is False
    assert waited["msg"].startswith(
        "The timeout of 1 s passed. 1 of 5 jobs did not succeed: bad failed (rc 9): broken. "
    )
    assert waited["msg"].endswith("2 of 5 jobs still running: slow_1, slow_2")
    assert 1 <= waited["elapsed"] < 4
    assert waited["summary"]["running"] == 2

    waited = outcome.result("Wait for too short a time for those that succeed")
    assert states(waited) == {"slow_1": "running", "first": "succeeded"}
    assert waited["failed"] is True
    assert waited["msg"].startswith("The timeout of 1.5 s passed. 1 of 2 jobs still running: slow_1")
    assert outcome.result("Use what was registered")["msg"] == ["first"]

    # They really run on.
    assert family(jids["slow_1"]).below
    assert family(jids["slow_2"]).below
    assert not family(jids["bad"]).below
