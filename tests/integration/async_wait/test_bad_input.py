# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ...support import Sandbox

LAUNCH = {"ansible_job_id": "j1.1", "started": True, "finished": False}
# What is given, and what is said about it.
CASES: list[tuple[dict[str, object], str]] = [
    ({"jobs": ["j1.1", "j2.2", "j3.3", "hello"]}, r"jobs\[3\] is a str that is no job id: 'hello'"),
    ({"jobs": [["j1.1"], [["hello"]]]}, r"jobs\[1\]\[0\]\[0\] is a str that is no job id: 'hello'"),
    ({"jobs": "../../etc/passwd"}, r"jobs is a str that is no job id: '\.\./\.\./etc/passwd'"),
    ({"jobs": "j1.2/../x"}, r"jobs is a str that is no job id: 'j1\.2/\.\./x'"),
    ({"jobs": ["j1.2\n"]}, r"jobs\[0\] is a str that is no job id: 'j1\.2\\n'"),
    ({"jobs": ["j1.2\0"]}, r"jobs\[0\] is a str that is no job id: 'j1\.2\\x00'"),
    ({"jobs": [{"ansible_job_id": "../x"}]}, r"jobs\[0\] has the ansible_job_id '\.\./x', which is no job id"),
    ({"jobs": [1234.5678]}, r"jobs\[0\] is the number 1234\.5678: write a job id in quotes"),
    ({"jobs": [7]}, r"jobs\[0\] is .*\b7\b.*"),
    ({"jobs": [LAUNCH, None]}, r"jobs\[1\] is empty \(null\), which no task with async registered"),
    ({"jobs": {"rc": 0, "stdout": ""}}, r"jobs is a dict without an ansible_job_id: register a task .*"),
    ({"jobs": {"results": [LAUNCH, {"rc": 0}]}}, r"jobs\.results\[1\] is a dict without an ansible_job_id: .*"),
    ({"jobs": "j1.1", "until": 5}, r"until is 5, but there (are only|is only|are) 1 jobs?"),
    ({"jobs": ["j1.1", "j1.2", "j1.3"], "until": 5}, r"until is 5, but there are only 3 jobs"),
    ({"jobs": "j1.1", "until": "some"}, r"until is 'some': it must be all, any, or a number of jobs, 1 or more"),
    ({"jobs": "j1.1", "until": 0}, r"until is '?0'?: it must be all, any, or a number of jobs, 1 or more"),
    ({"jobs": "j1.1", "until": True}, r"until is '?True'?: it must be all, any, or a number of jobs, 1 or more"),
    ({"jobs": "j1.1", "timeout": -1}, r"timeout is -1: it must be a number of seconds, 0 or more"),
    ({"jobs": "j1.1", "timeout": "nan"}, r"timeout is nan: it must be a number of seconds, 0 or more"),
    ({"jobs": "j1.1", "timeout": "soon"}, r"argument 'timeout' is of type str .* float.*"),
    ({"jobs": "j1.1", "poll": -0.5}, r"poll is -0\.5: it must be a number of seconds, 0 or more"),
    ({"jobs": "j1.1", "timeout": 5, "hold": 20}, r"hold is 20 s, longer than the timeout of 5 s: .*"),
    ({"on_failure": "cancel"}, r"on_failure is cancel, but nothing says which jobs are meant: give jobs or batch"),
    ({"jobs": "j1.1", "on_failure": "weep"}, r".*on_failure.*wait, stop, cancel.*weep.*"),
    ({"jobs": "j1.1", "tiemout": 5}, r".*tiemout.*"),
    ({"jobs": "j1.1", "job_log": "/nowhere/at/all"}, r"job_log: cannot write to /nowhere/at/all: No such file.*"),
    (
        {"jobs": {"results": [{**LAUNCH, "item": {"a": 1}}]}, "label": "b.c"},
        r"label is 'b\.c', but .* no such attribute: .*",
    ),
]


def test_bad_input_is_refused_in_one_clear_sentence(sandbox: Sandbox) -> None:
    outcome = sandbox.run_playbook(
        "bad_input", options=[options for options, dummy in CASES], environment={"ANSIBLE_INJECT_FACT_VARS": "false"}
    )
    assert outcome.rc == 2
    assert "Traceback" not in outcome.output
    refusals = outcome.result("Refuse bad input")["results"]
    assert len(refusals) == len(CASES)
    wrong = []
    for (options, pattern), refusal in zip(CASES, refusals, strict=True):
        if not re.fullmatch(pattern, refusal["msg"]):
            wrong.append((options, pattern, refusal["msg"]))
        if "jobs" in refusal or "Traceback" in str(refusal):
            wrong.append((options, "only a message", str(refusal)))
    assert not wrong

    windows = outcome.result("Run on Windows")
    assert windows["failed"] is True
    assert windows["msg"] == "async_wait does not support Windows hosts: use ansible.builtin.async_status there"
    background = outcome.result("Run in the background")
    assert background["failed"] is True
    assert "async" in background["msg"]
    assert "\n" not in background["msg"]
