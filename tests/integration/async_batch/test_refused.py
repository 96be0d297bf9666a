# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from .conftest import BatchSandbox, batch_result

Given = dict[str, t.Any]

PING: Given = {"ansible.builtin.ping": {}}
NAMED: Given = {"name": "{{ item }}", **PING}
OWN_TASK = "use it in a task of its own, before or after the batch"
WHOLE_OR_PART = r"it must be a whole number, 1 or more, or a part as in '50%'"
SECONDS = "it must be a number of seconds, 0 or more"
ID = r"it must be 1 to 100 letters, digits and characters of _\.:@\+- that begin with a letter, a digit or _"

# Actions that need the controller, how they are written, and the way out.
ON_THE_CONTROLLER: dict[str, tuple[t.Any, str]] = {
    "ansible.builtin.copy": ({"src": "a", "dest": "/b"}, OWN_TASK),
    "copy": ({"src": "a", "dest": "/b"}, OWN_TASK),
    "ansible.builtin.template": ({"src": "a", "dest": "/b"}, OWN_TASK),
    "ansible.builtin.unarchive": ({"src": "/a", "dest": "/b", "remote_src": True}, OWN_TASK),
    "ansible.builtin.fetch": ({"src": "/a", "dest": "/b"}, OWN_TASK),
    "ansible.builtin.include_tasks": ("a.yml", OWN_TASK),
    "ansible.builtin.include_role": ({"name": "a"}, OWN_TASK),
    "ansible.builtin.meta": ("noop", OWN_TASK),
    "ansible.builtin.pause": ({"seconds": 1}, OWN_TASK),
    "ansible.builtin.set_fact": ({"a": 1}, OWN_TASK),
    "ansible.builtin.reboot": ({}, OWN_TASK),
    "inflight.jobs.async_wait": ({"jobs": "j1.1"}, OWN_TASK),
    "inflight.jobs.async_batch": ({"tasks": [PING]}, OWN_TASK),
    "ansible.builtin.script": ("a.sh", "copy the script to the host first, and run it by ansible.builtin.command"),
    "ansible.builtin.raw": ("true", "use ansible.builtin.shell"),
}
# Keywords that a task of a batch cannot have, and the way out.
KEYWORDS: dict[str, tuple[t.Any, str]] = {
    "loop": ([1], "use items of async_batch"),
    "with_items": ([1], "use items of async_batch"),
    "loop_control": ({"label": "a"}, "use loop_var of async_batch"),
    "register": ("a", "register the async_batch task; changed_when and failed_when see the result of a job as result"),
    "until": ("a", "use retries of async_batch"),
    "retries": (3, "use retries of async_batch"),
    "delay": (3, "use retry_delay of async_batch"),
    "timeout": (3, "use timeout of async_batch"),
    "async": (10, "each task of a batch is a background job already"),
    "poll": (0, "use wait of async_batch"),
    "become": (True, "give it to the async_batch task"),
    "no_log": (True, "give it to the async_batch task"),
    "delegate_to": ("localhost", "give it to the async_batch task"),
    "check_mode": (True, "give it to the async_batch task"),
    "vars": ({"a": 1}, "use variables of the play, or the items"),
    "ignore_errors": (True, "use failed_when"),
    "local_action": ("ping", "give delegate_to to the async_batch task"),
}
# What is given, and what is said about it.
CASES: list[tuple[Given, str]] = [
    *(
        (
            {"tasks": [PING, {name: arguments}]},
            rf"tasks\[1\]: {re.escape(name)} does a part of its work on the controller, so it cannot run in a batch: "
            + re.escape(way_out),
        )
        for name, (arguments, way_out) in ON_THE_CONTROLLER.items()
    ),
    *(
        (
            {"tasks": [{**PING, keyword: value}]},
            rf"tasks\[0\] has {keyword}, which a task of a batch cannot have: {re.escape(way_out)}",
        )
        for keyword, (value, way_out) in KEYWORDS.items()
    ),
    (
        {"tasks": [{"ansible.builtin.uri": {"url": "http://localhost:9", "src": "/a"}}]},
        rf"tasks\[0\]: ansible\.builtin\.uri with a file of the controller cannot run in a batch: {OWN_TASK}",
    ),
    ({"tasks": [{"acme.tools.nothing": {}}]}, r"tasks\[0\]: .*acme\.tools\.nothing.*"),
    ({"tasks": [{"no_such_module": {}}]}, r"tasks\[0\]: .*no_such_module.*"),
    ({"tasks": [{"name": "no module"}]}, r"tasks\[0\]: no module/action detected in task\.?"),
    ({"tasks": [{**PING, "ansible.builtin.stat": {}}]}, r"tasks\[0\]: conflicting action statements: .*ping.*stat.*"),
    ({"tasks": [{**PING, "become_usr": "a"}]}, r"tasks\[0\]: .*become_usr.*"),
    ({"tasks": [{"ansible.builtin.ping": "hello"}]}, r"tasks\[0\]: ansible\.builtin\.ping takes no free form: .*"),
    ({"tasks": [{"key_value": {"a": 1}}]}, r"key_value is an old-style module without JSON arguments, .*"),
    ({"tasks": [{"no_interpreter": {}}]}, r"no_interpreter is a script, but its first line does not say what runs it"),
    ({"tasks": [{"block": [PING]}]}, r"tasks\[0\] is a block: write its tasks one by one"),
    ({"tasks": [{"name": "a", "rescue": [PING], "block": [PING]}]}, r"tasks\[0\] is a block: .*"),
    (
        {"tasks": "{{ my_tasks }}"},
        r"tasks is '\{\{ my_tasks \}\}': write the tasks out; .* cannot come from a variable",
    ),
    ({"tasks": ["{{ my_tasks }}"]}, r"tasks\[0\] is '\{\{ my_tasks \}\}': it must be a task, a dict .*"),
    ({"tasks": []}, r"tasks is \[\]: it must be a list of tasks, and not empty"),
    ({"tasks": PING}, r"tasks is \{'ansible\.builtin\.ping': \{\}\}: it must be a list of tasks, and not empty"),
    ({"tasks": 5}, r"tasks is 5: it must be a list of tasks, and not empty"),
    ({"tasks": [[PING]]}, r"tasks\[0\] is \[\{.*\}\]: it must be a task, a dict with the name of a module"),
    ({"tasks": [None]}, r"tasks\[0\] is None: it must be a task, a dict with the name of a module"),
    ({}, r"tasks is missing: give a list of tasks, each with a module and its arguments"),
    ({"tasks": [NAMED], "items": "a,b"}, r"items is 'a,b' \(str\), not a list"),
    ({"tasks": [NAMED], "items": "{{ word }}"}, r"items is 'c,d' \(str\), not a list"),
    ({"tasks": [NAMED], "items": {"a": 1}}, r"items is a dict, not a list: .* ansible\.builtin\.dict2items"),
    ({"tasks": [NAMED], "items": 5}, r"items is 5 \(int\), not a list"),
    ({"tasks": [NAMED], "items": "{{ nothing }}"}, r".*'nothing' is undefined"),
    ({"tasks": [NAMED]}, r"tasks\[0\]: 'item' is undefined"),
    ({"tasks": [NAMED], "items": [1], "loop_var": "one item"}, r"loop_var is 'one item': it must be the name of .*"),
    ({"tasks": [NAMED], "items": [1], "loop_var": ""}, r"loop_var is '': it must be the name of a variable"),
    (
        {"tasks": [PING, {"ansible.builtin.command": "echo {{ nothing }}"}], "items": ["a\nb", "c"]},
        r"tasks\[1\] for items\[0\] \('a\\nb'\): 'nothing' is undefined",
    ),
    (
        {
            "tasks": [{"ansible.builtin.command": "echo {{ item.size }}"}],
            "items": [{"name": "a", "size": 1}, {"name": "b"}],
        },
        r"tasks\[0\] for items\[1\] \('b'\): .*has no attribute 'size'",
    ),
    (
        {"tasks": [{**PING, "when": "nothing"}]},
        r"tasks\[0\]: Error while evaluating conditional: 'nothing' is undefined",
    ),
    ({"tasks": [{**PING, "when": "{% bad"}]}, r"tasks\[0\]: Syntax error in expression.*"),
    ({"tasks": [{**PING, "environment": "a"}]}, r"tasks\[0\]: environment is 'a': it must be a dict"),
    (
        {"tasks": [{**PING, "environment": {"A": "{{ item }}"}}], "items": ["a\0b"]},
        r"tasks\[0\] for items\[0\] \('a\\x00b'\): environment has 'A' with the value 'a\\x00b': .*",
    ),
    ({"tasks": [{**PING, "environment": {"A=B": "a"}}]}, r"tasks\[0\]: environment has 'A=B' with the value 'a': .*"),
    *(
        ({"tasks": [PING], "concurrency": value}, f"concurrency is {re.escape(repr(value))}: {WHOLE_OR_PART}")
        for value in ("abc", 0, "0%", -1, 1.5, "50 %", "-5%", True, "")
    ),
    *(
        ({"tasks": [PING], name: -1}, f"{name} is -1: {SECONDS}")
        for name in ("grace", "hold", "poll", "retry_delay", "start_delay", "timeout", "total_timeout")
    ),
    ({"tasks": [PING], "timeout": "nan"}, f"timeout is nan: {SECONDS}"),
    ({"tasks": [PING], "timeout": "inf"}, f"timeout is inf: {SECONDS}"),
    ({"tasks": [PING], "timeout": "soon"}, r"argument 'timeout' is of type str .* float.*"),
    *(
        ({"tasks": [PING], "id": value}, f"id is {re.escape(repr(value))}: {ID}")
        for value in ("", "a b", "../a", "a/b", ".a", "-a", "ä", "a\n", "a\0")
    ),
    ({"tasks": [PING], "id": "a" * 101}, f"id is 'a+\\.\\.\\.: {ID}"),
    ({"tasks": [PING], "on_existing": "fail"}, r"on_existing is given, but no id: .*"),
    ({"tasks": [PING], "rerun": "failed"}, r"rerun is given, but no id: .*"),
    ({"tasks": [PING], "id": "a", "on_existing": "weep"}, r".*on_existing.*attach, fail, replace.*weep.*"),
    ({"tasks": [PING], "on_failure": "weep"}, r".*on_failure.*continue, drain, cancel.*weep.*"),
    ({"tasks": [PING], "max_failures": 3}, r"max_failures is given, but on_failure is continue: .*"),
    ({"tasks": [PING], "max_failures": 0, "on_failure": "drain"}, f"max_failures is 0: {WHOLE_OR_PART}"),
    ({"tasks": [PING], "retries": -1}, r"retries is -1: it must be a whole number, 0 or more"),
    ({"tasks": [PING], "nice": 20}, r"nice is 20: it must be from -20 to 19"),
    ({"tasks": [PING], "io_class": "fast"}, r".*io_class.*none, best-effort, idle.*fast.*"),
    ({"tasks": [PING], "durations": "seconds"}, r"durations is 'seconds', but there are no items: .*"),
    ({"tasks": [NAMED], "items": [1], "durations": [1, 2]}, r"durations is a list of length 2, but there are 1 items"),
    ({"tasks": [NAMED], "items": ["a"], "durations": {"a": -1}}, r"durations of item 1 \('a'\) is -1: .*"),
    ({"tasks": [NAMED], "items": [{"a": 1}], "durations": "b"}, r"durations is 'b', but no item has that .*: .*'a'"),
    ({"tasks": [PING], "job_log": "/nowhere/at/all"}, r"job_log: cannot write to /nowhere/at/all: No such file.*"),
    ({"tasks": [PING], "tiemout": 5}, r".*tiemout.*"),
    ({"tasks": [PING], "_request": "{}"}, r".*_request.*"),
]


def test_what_makes_no_sense_is_refused_in_one_clear_sentence_before_anything_starts(sandbox: BatchSandbox) -> None:
    tasks: list[Given] = [
        # The test looks at how it fails.
        {"name": f"Case {number}", "inflight.jobs.async_batch": given, "ignore_errors": True}
        for number, (given, dummy) in enumerate(CASES)
    ]
    more = {
        "No items": {"inflight.jobs.async_batch": {"tasks": [NAMED], "items": []}},
        "No log": {"inflight.jobs.async_batch": {"tasks": [NAMED], "items": "{{ word }}"}, "no_log": True},
        "In the background": {"inflight.jobs.async_batch": {"tasks": [PING]}, "async": 10, "poll": 0},
        "On Windows": {
            "inflight.jobs.async_batch": {"tasks": [PING]},
            "vars": {"ansible_shell_type": "powershell"},
        },
    }
    tasks.extend({"name": name, "ignore_errors": True, **task} for name, task in more.items())
    outcome = sandbox.run_tasks(tasks, variables={"my_tasks": [PING], "word": "c,d"})
    assert not sandbox.jobs.exists()
    wrong = []
    for number, (given, pattern) in enumerate(CASES):
        refusal = outcome.result(f"Case {number}")
        sentence = refusal["msg"].removeprefix("Task failed: ")
        if not re.fullmatch(pattern, sentence) or not refusal["failed"] or "jobs" in refusal:
            wrong.append((given, pattern, refusal))
    assert wrong == []
    assert re.search(r"An option is wrong; no_log hides which", outcome.stdout)
    assert outcome.result("In the background")["failed"]
    assert "async" in outcome.result("In the background")["msg"]
    assert "does not support Windows" in outcome.result("On Windows")["msg"]

    # No items are no jobs, and no failure.
    result = outcome.result("No items")
    assert (result["jobs"], result["summary"]["total"], result["checks"]) == ([], 0, 0)
    assert (result["finished"], result["changed"], result["failed"]) == (True, False, False)
    assert result["msg"] == "There were no jobs to wait for"


def test_a_batch_that_the_host_cannot_take_is_told_once_and_each_job_is_not_started(sandbox: BatchSandbox) -> None:
    outcome = sandbox.run_batch([NAMED], items=[1, 2], environment={"ANSIBLE_ASYNC_DIR": "/proc/nowhere"})
    result = batch_result(outcome)
    assert outcome.rc == 2
    assert re.fullmatch(
        r"The batch was not started: cannot make the job directory /proc/nowhere: .*; set async_dir", result["msg"]
    )
    assert [(job["state"], job["attempts"], job["msg"]) for job in result["jobs"]] == [
        ("not_started", 0, result["msg"]),
        ("not_started", 0, result["msg"]),
    ]
