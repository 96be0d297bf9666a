# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ...support import Result, Sandbox


def names(waited: Result) -> list[str]:
    return [job["name"] for job in waited["jobs"]]


def test_whatever_a_task_registered_can_be_waited_for(sandbox: Sandbox) -> None:
    (sandbox.folder / "many.yml").write_text(
        "many:\n" + "".join(f"  - j{number}.{number}\n" for number in range(1, 10_001)), encoding="utf-8"
    )
    outcome = sandbox.run_playbook("registered", "--extra-vars", f"@{sandbox.folder}/many.yml")
    assert outcome.rc == 0, outcome.output
    single = outcome.result("Start without a loop")["ansible_job_id"]
    other = outcome.result("Start with dicts as items")["results"][3]["ansible_job_id"]
    launches = outcome.result("Start with a loop variable of another name")["results"]
    letters = [launch["ansible_job_id"] for launch in launches]

    waited = outcome.result("Wait for a loop")
    assert names(waited) == ["a", "b"]
    assert [job["item"] for job in waited["jobs"]] == ["a", "b"]
    assert names(outcome.result("Wait for dicts")) == ["by name", "by label", "3", other]
    assert names(outcome.result("Wait for a dict")) == ["one", "two"]
    assert names(outcome.result("Wait with a label in a list")) == ["inner"]
    # Lists are flattened in the order given; skipped ones are left out.
    expected = ["a", "b", "one", "two", single, "1", "a", "b"]
    waited = outcome.result("Wait for several variables")
    assert names(waited) == expected
    assert waited["summary"]["succeeded"] == waited["summary"]["total"] == len(expected)
    assert waited["msg"] == "8 jobs succeeded"

    waited = outcome.result("Wait for failed launches")
    assert names(waited)[:2] == ["x", single]
    assert [job["state"] for job in waited["jobs"]] == ["not_started", "succeeded", "not_started"]
    for job in (waited["jobs"][0], waited["jobs"][2]):
        assert (job["ansible_job_id"], job["started"], job["finished"], job["failed"]) == (None, False, True, True)
        assert job["msg"]
    assert waited["failed"] is True
    assert waited["msg"].startswith("2 of 3 jobs did not succeed: x not started: ")

    waited = outcome.result("Wait for what core has waited for")
    assert names(waited) == ["a", "b"]
    assert [job["ansible_job_id"] for job in waited["jobs"]] == letters
    assert {job["state"] for job in waited["jobs"]} == {"succeeded"}
    assert waited["jobs"][0]["result"]["rc"] == 0

    assert names(outcome.result("Wait for one id")) == [single]
    assert outcome.result("Wait for one id")["jobs"][0]["item"] is None
    assert names(outcome.result("Wait for a list of ids")) == letters

    # The same job is reported once for each place, with the same content.
    first, *between, second, third = outcome.result("Wait for the same job in three places")["jobs"]
    assert names({"jobs": between}) == ["a", "b"]
    assert first == second == third
    assert first["result"]["rc"] == 0

    for task in ("Wait for nothing", "Wait for what was skipped"):
        waited = outcome.result(task)
        assert (waited["jobs"], waited["finished"], waited["changed"]) == ([], True, False)
        assert waited["summary"]["total"] == 0
        assert waited["failed"] is False
        assert waited["msg"] == "There were no jobs to wait for"

    waited = outcome.result("Wait for a great many")
    assert len(waited["jobs"]) == 10_002
    assert waited["summary"]["missing"] == 10_000
    assert waited["summary"]["succeeded"] == 2
    assert names(waited)[-3:] == ["j10000.10000", "one", "two"]
    assert waited["msg"].startswith("10000 of 10002 jobs did not succeed: j1.1 missing: there is no job file ")
    assert waited["msg"].endswith("and 9990 more")
    assert waited["elapsed"] < 20

    # Some of the results of a loop are as good as all of them.
    assert names(outcome.result("Wait for some results of a loop")) == ["two"]
