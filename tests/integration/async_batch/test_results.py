# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

from ...fleet.system import eventually
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


def test_items_of_every_kind_reach_the_jobs_as_they_are_and_name_them(sandbox: BatchSandbox) -> None:
    # Items, and what the job of each is called.
    items: list[tuple[t.Any, str]] = [
        ("a\nb", "a\nb"),
        ("\u00e4 \u20ac \U0001f600 \u2028", "\u00e4 \u20ac \U0001f600 \u2028"),
        ("nul\0byte", "nul\0byte"),
        ('it\'s "quoted" $HOME `id` \\', 'it\'s "quoted" $HOME `id` \\'),
        ("{% raw %}{{ no_template }}{% endraw %}", "{{ no_template }}"),
        ({"name": "users", "size": 3}, "users"),
        ({"label": "stock", "parts": [1, {"a": None}]}, "stock"),
        ({"size": 3}, "want_json"),
        ({1: "a", "b": 2}, "want_json"),
        (["x", "y"], "want_json"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "True"),
        (None, "want_json"),
        ("", "want_json"),
    ]
    outcome = sandbox.run_batch([{"want_json": {"value": "{{ item }}"}}], items=[item for item, dummy in items])
    assert outcome.rc == 0, outcome.output
    for job, (written, name) in zip(batch_result(outcome)["jobs"], items, strict=True):
        item = name if "raw" in str(written) else json.loads(json.dumps(written))  # the keys of dicts become strings
        assert job["item"] == item
        assert job["result"]["given"]["value"] == item
        assert job["name"] == name


def test_tasks_may_be_written_in_every_form(sandbox: BatchSandbox) -> None:
    folder = sandbox.folder / "a folder"
    folder.mkdir()
    outcome = sandbox.run_batch(
        [
            {"ansible.builtin.command": "echo {{ db.name }} 'two words'"},
            {"command": f"pwd chdir='{folder}'"},
            {"shell": "pwd; echo a | wc -c", "args": {"chdir": str(folder)}},
            {"ansible.builtin.command": {"argv": ["printf", "%s", "{{ db.text }}"]}},
            {"ansible.builtin.command": {"cmd": "pwd", "chdir": "{{ db.folder | default(omit) }}"}},
            {"ansible.builtin.command": "touch made", "args": {"chdir": str(folder), "creates": str(folder)}},
            {"ansible.builtin.command": {"cmd": "cat", "stdin": "{{ db.text }}", "stdin_add_newline": False}},
            {"action": "ansible.builtin.ping data={{ db.name }}"},
            {"ansible.builtin.ping": None, "args": "{{ some_arguments }}"},
            {"ansible.legacy.ping": {"data": "{{ omit }}"}},
            {"name": "{{ nothing_special }}", "ansible.builtin.ping": {}, "when": ["db.name == 'users'", True]},
        ],
        items=[{"name": "users", "text": "one\ntwo \u00e4", "folder": "/"}, {"name": "stock", "text": ""}],
        loop_var="db",
        variables={"some_arguments": {"data": "{{ db.name }}!"}, "nothing_special": "only {{ db.name }}"},
        play={"vars": {"some_arguments": {"data": "from the play"}}},
    )
    assert outcome.rc == 0, outcome.output
    said: dict[str, list[str]] = {"users": [], "stock": []}
    for job in batch_result(outcome)["jobs"]:
        said[job["item"]["name"]].append(job["result"].get("stdout", job["result"].get("ping")))
    here = str(sandbox.playbooks)
    assert said == {
        "users": [
            "users two words",
            str(folder),
            f"{folder}\n2",
            "one\ntwo \u00e4",
            "/",
            f"skipped, since {folder} exists",
            "one\ntwo \u00e4",
            "users",
            "users!",
            "pong",
            "pong",
        ],
        "stock": [
            "stock two words",
            str(folder),
            f"{folder}\n2",
            "",
            here,
            f"skipped, since {folder} exists",
            "",
            "stock",
            "stock!",
            "pong",
        ],
    }
    assert [job["name"] for job in batch_result(outcome)["jobs"]][9:12] == [
        "ansible.legacy.ping: users",
        "only users",
        "ansible.builtin.command: stock",
    ]


def test_changed_when_and_failed_when_judge_the_result_of_each_job(sandbox: BatchSandbox) -> None:
    # Items, and what becomes of them.
    ends = {
        "failed_when is false": ("succeeded", True, "said at last"),
        "changed_when is false": ("succeeded", False, ""),
        "failed_when by words": ("failed", True, "failed_when is true"),
        "failed_when is wrong": (
            "failed",
            True,
            (
                "changed_when or failed_when cannot be evaluated: Error while evaluating conditional: "
                "object of type 'dict' has no attribute 'no_such_key'"
            ),
        ),
        "a broken module": ("succeeded", False, "the module printed no result"),
        "changed_when sees variables": ("succeeded", True, ""),
    }
    run = "echo {{ item }}"
    outcome = sandbox.run_batch(
        [
            {
                "behaves": {"how": "fail", "msg": "said at last"},
                "failed_when": False,
                "when": "item == 'failed_when is false'",
            },
            {"ansible.builtin.shell": run, "changed_when": False, "when": "item == 'changed_when is false'"},
            {
                "ansible.builtin.shell": run,
                "failed_when": "item in result.stdout",
                "when": "item == 'failed_when by words'",
            },
            {
                "ansible.builtin.shell": run,
                "failed_when": "result.no_such_key == 3",
                "when": "item == 'failed_when is wrong'",
            },
            {"behaves": {"how": "vanish"}, "failed_when": "result.rc != 7", "when": "item == 'a broken module'"},
            {
                "ansible.builtin.ping": {"data": "{{ item }}"},
                "changed_when": ["result.ping == expected", "inventory_hostname == 'localhost'"],
                "when": "item == 'changed_when sees variables'",
            },
        ],
        items=list(ends),
        play={"vars": {"expected": "{{ item }}"}},
    )
    result = batch_result(outcome)
    assert outcome.rc == 2
    assert len(result["jobs"]) == len(ends)
    for job in result["jobs"]:
        assert (job["state"], job["changed"], job["msg"]) == ends[job["item"]], job["item"]
        assert job["failed"] is (job["state"] == "failed")
    assert result["msg"].startswith("2 of 6 jobs did not succeed: ")
    assert (result["changed"], result["summary"]["failed"], result["summary"]["succeeded"]) == (True, 2, 4)


def test_five_thousand_items_come_back_in_their_order(sandbox: BatchSandbox) -> None:
    run = sandbox.start_batch(
        [{"ansible.builtin.command": "echo {{ item }}"}],
        items="{{ range(5000) | list }}",
        concurrency=4,
        progress=False,
    )
    eventually(lambda: not run.is_running, 900, "the batch has ended")
    outcome = run.outcome()
    result = batch_result(outcome)
    assert outcome.rc == 0, result["msg"]
    assert [job["result"]["stdout"] for job in result["jobs"]] == [str(number) for number in range(5000)]
    assert [job["item"] for job in result["jobs"]] == list(range(5000))
    assert (result["msg"], result["summary"]["succeeded"]) == ("5000 jobs succeeded", 5000)
