# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import pathlib

from ansible.release import __version__ as core_version

from ...support import Sandbox

# What the command module says, in the words of this ansible-core.
NO_REASON = (
    "non-zero return code"
    if core_version.startswith(("2.19.", "2.20."))
    else "The command exited with a non-zero return code."
)
EXPECTED = [
    ("41", "timed_out", "its time limit (async) passed"),
    ("42", "timed_out", "its time limit (async) passed"),
    ("quick_1", "succeeded", ""),
    ("quick_2", "succeeded", ""),
    ("quick_3", "succeeded", ""),
    ("users_db", "failed", "no space on disk"),
    ("quick_4", "succeeded", ""),
    ("quick_5", "succeeded", ""),
    ("silent", "failed", NO_REASON),
    ("talker", "failed", "only on stdout"),
    ("quick_6", "succeeded", ""),
    ("quick_7", "succeeded", ""),
    ("quick_8", "succeeded", ""),
    ("0.1", "succeeded", ""),
    ("0.2", "succeeded", ""),
    ("0.3", "succeeded", ""),
    ("0.4", "succeeded", ""),
    ("m1", "succeeded", ""),
    ("m2", "failed", "disk m2 is full"),
    (None, "failed", "alone"),
]


def test_twenty_jobs_with_mixed_ends_are_reported_whole_and_in_order(sandbox: Sandbox) -> None:
    outcome = sandbox.run_playbook("mixed_ends")
    waited = outcome.result_of_wait()
    jobs = waited["jobs"]

    alone = outcome.result("Start one module without a loop")["ansible_job_id"]
    assert [(job["name"], job["state"], job["msg"]) for job in jobs] == [
        (name or alone, state, msg) for name, state, msg in EXPECTED
    ]
    assert {state: count for state, count in waited["summary"].items() if count} == {
        "total": 20,
        "succeeded": 13,
        "failed": 5,
        "timed_out": 2,
    }
    assert waited["finished"] is True
    assert waited["changed"] is True

    # The task fails, and says which jobs did not succeed and why.
    assert outcome.rc == 2
    said = waited["msg"]
    assert said.startswith("7 of 20 jobs did not succeed: 41 timed out: its time limit (async) passed; 42 timed out")
    for reason in (
        "users_db failed (rc 1): no space on disk",
        f"silent failed (rc 7): {NO_REASON}",
        "talker failed (rc 2): only on stdout",
        "m2 failed: disk m2 is full",
        f"{alone} failed: alone",
    ):
        assert reason in said
    assert "\n" not in said

    # Real booleans that follow from the state, and whole results, as in the foreground.
    for job in jobs:
        assert (job["started"], job["finished"]) == (True, True)
        assert job["failed"] is (job["state"] != "succeeded")
        assert pathlib.Path(job["results_file"]) == sandbox.jobs / job["ansible_job_id"]
    by_name = {job["name"]: job for job in jobs}
    assert by_name["quick_3"]["item"] == {"name": "quick_3", "run": "sleep 0.3; echo three"}
    assert by_name["quick_3"]["result"]["stdout_lines"] == ["three"]
    assert by_name["users_db"]["result"]["rc"] == 1
    assert by_name["users_db"]["result"]["stdout"] == "working"
    assert by_name["0.1"]["item"] == 0.1
    assert by_name[alone]["item"] is None

    # Times are plausible and agree with each other.
    slow = by_name["quick_4"]
    assert 2.9 < slow["elapsed"] < 15
    started, ended = (datetime.datetime.fromisoformat(slow[key]) for key in ("started_at", "ended_at"))
    assert abs((ended - started).total_seconds() - slow["elapsed"]) < 0.5
    assert waited["checks"] <= 4
    assert waited["reconnects"] == 0

    used = outcome.result("Use what was registered")["msg"]
    assert used["json"]["jobs"] == jobs
    assert used["json"]["failed"] is True
    assert used["failed"] is True
    assert used["lost"] == ["41", "42"]
    assert used["booleans"] == ["bool"]

    # What this module returned may be given to it again; the same is said again.
    again = outcome.result("Fail because of the jobs")
    assert again["jobs"] == jobs
    assert again["msg"] == said
