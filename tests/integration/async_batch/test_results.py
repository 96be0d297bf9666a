# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from .conftest import BatchSandbox, batch_result


def test_every_task_runs_for_every_item_and_the_results_come_in_their_order(sandbox: BatchSandbox) -> None:
    outcome = sandbox.run_batch(
        [
            {"name": "say {{ item }}", "ansible.builtin.command": "echo {{ item }} {{ word }}"},
            {"ansible.builtin.shell": "echo $GREETING | tr a-z A-Z", "environment": {"GREETING": "{{ item }}"}},
        ],
        items=["one", "two", "three"],
        concurrency=3,
        variables={"word": "ok"},
    )
    result = batch_result(outcome)
    assert outcome.rc == 0, outcome.output
    assert [job["result"]["stdout"] for job in result["jobs"]] == [
        "one ok",
        "ONE",
        "two ok",
        "TWO",
        "three ok",
        "THREE",
    ]
    assert [job["name"] for job in result["jobs"]][:2] == ["say one", "ansible.builtin.shell: one"]
    assert [job["item"] for job in result["jobs"]] == ["one", "one", "two", "two", "three", "three"]
    assert {job["state"] for job in result["jobs"]} == {"succeeded"}
    assert {job["attempts"] for job in result["jobs"]} == {1}
    assert result["msg"] == "6 jobs succeeded"
    assert result["checks"] == 1
    assert all(job["started_at"] < job["ended_at"] and job["elapsed"] > 0 for job in result["jobs"])


def test_conditions_are_evaluated_for_each_item(sandbox: BatchSandbox) -> None:
    outcome = sandbox.run_batch(
        [
            {
                "name": "{{ item }}",
                "ansible.builtin.command": "sh -c 'exit {{ item }}'",
                "when": "item != 7",
                "changed_when": "result.rc == 2",
                "failed_when": ["result.rc > 2", "item > 2"],
            }
        ],
        items=[0, 2, 3, 7],
    )
    result = batch_result(outcome)
    assert outcome.rc == 2
    states = [(job["item"], job["state"], job["changed"], job["failed"]) for job in result["jobs"]]
    assert states == [(0, "succeeded", False, False), (2, "succeeded", True, False), (3, "failed", False, True)]
    assert "1 of 3 jobs did not succeed: 3 failed (rc 3)" in result["msg"]
