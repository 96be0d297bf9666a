# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ...support import Sandbox


def test_odd_results_are_whole_and_confuse_nothing(sandbox: Sandbox) -> None:
    outcome = sandbox.run_playbook("odd_results")
    waited = outcome.result_of_wait()
    jobs = {job["name"]: job for job in waited["jobs"][:-1]}
    used = outcome.result("Use what was registered")["msg"]
    launches = [launch["ansible_job_id"] for launch in outcome.result("Start odd modules")["results"]]

    assert [job["ansible_job_id"] for job in waited["jobs"][:-1]] == launches
    assert {name: job["state"] for name, job in jobs.items() if job["state"] != "succeeded"} == {
        "print junk": "failed",
        "print nothing": "failed",
        "be too large": "unreadable",
        "fail": "failed",
    }

    # A module may return any key that is also one of ours.
    ours = jobs["return keys of ours"]
    assert ours["ansible_job_id"] == launches[0]
    assert ours["results_file"] == f"{sandbox.jobs}/{launches[0]}"
    assert (ours["started"], ours["finished"], ours["failed"], ours["changed"]) == (True, True, False, True)
    assert ours["item"] == {"how": "return keys of ours"}
    theirs = {key: value for key, value in ours["result"].items() if key != "invocation"}
    assert theirs == {
        "changed": True,
        "started": False,
        "finished": False,
        "state": "running",
        "failed": False,
        "name": "a name",
        "item": "an item",
        "jobs": ["a"],
        "summary": {"total": 7},
        "results": [{"ansible_job_id": "j5.5"}],
        "results_file": "/nowhere/j5.5",
        "ansible_job_id": "j5.5",
        "ended_at": "yesterday",
        "elapsed": "long",
    }
    assert used["json"]["result"]["state"] == "running"
    assert jobs["return what looks like a start"]["result"]["state"] == "absent"
    assert jobs["print a bare start"]["result"] == {"started": True}

    # No result at all: the reason is one line.
    assert jobs["print junk"]["msg"].startswith("the module printed no result but this is")
    assert jobs["print nothing"]["msg"].startswith("the module printed no result but nothing")
    for job in waited["jobs"]:
        assert "\n" not in job["msg"]
        assert "Traceback" not in job["msg"]
    assert "Traceback" not in waited["msg"]

    assert used["warnings"] == ["the disk is old"]
    assert all(isinstance(warning, str) for warning in jobs["warn"]["result"]["warnings"])
    assert jobs["warn"]["result"]["deprecations"][0]["msg"] == "the old way is going away"
    assert "[WARNING]: the disk is old" in outcome.output

    for name in ("be large", "be large too"):
        assert len(jobs[name]["result"]["large"]) == 5 * 1024 * 1024
    assert "more than the limit of 16777216" in jobs["be too large"]["msg"]

    # Nothing that came from a host is a template, and nothing of it moves the cursor.
    assert used["template"] == "\x1b[31mred\x1b[0m {{ lookup('pipe', 'id') }}"
    assert "fail failed: [31mred [0m {{ lookup('pipe', 'id') }}" in waited["msg"]
    assert "\x1b" not in outcome.stdout

    odd_bytes = waited["jobs"][-1]
    assert odd_bytes["state"] == "succeeded"
    assert odd_bytes["result"]["stdout_lines"] == ["a?\0b", "c"]
