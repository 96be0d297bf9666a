# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import sys
import typing as t
import zlib

import pytest
from ansible.module_utils import basic

from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.modules import async_batch

from ..conftest import FOREVER, Ground, fork, says

Answer = dict[str, t.Any]
Run = t.Callable[[Answer], Answer]


def request(directory: JobDirectory, *scripts: str, number: str = "j1", jobs: int | None = None, **more: t.Any) -> str:
    """What the action sends: an order, and a request to wait for its jobs."""
    limits = dict.fromkeys(("timeout", "grace", "total_timeout", "retries", "retry_delay", "start_delay"), 0)
    order = {
        "number": number,
        "id": "nightly",
        "on_existing": "attach",
        "rerun": "all",
        "nice": 0,
        "io_class": "none",
        "limits": {**limits, "window": 2, "on_failure": "continue", "max_failures": 1},
        "order": list(range(len(scripts))),
        "payloads": [{"kind": "file", "code": ['. "$1"\n'], "interpreter": "/bin/sh", "warm": False}],
        "jobs": [
            {"key": script, "name": "x", "item": None, "payload": 0, "params": script, "environment": {}}
            for script in scripts
        ],
        **more,
    }
    wanted = {f"{number}.{index}": None for index in range(len(scripts) if jobs is None else jobs)}
    return json.dumps(
        {
            "order": base64.b64encode(zlib.compress(json.dumps(order).encode())).decode(),
            "directories": [{"path": directory.path, "jobs": wanted}],
            "find": False,
            "ends": len(wanted),
            "stop": False,
            "hold": FOREVER,
            "linger": FOREVER,
            "delete": [],
        }
    )


@pytest.fixture
def run(ground: Ground, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the module with these arguments, in a process of its own as on a host."""

    def run(arguments: Answer) -> Answer:
        ground.prepare_fork()
        monkeypatch.setattr(
            basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": {"tasks": [], **arguments}}).encode()
        )
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        monkeypatch.setattr(sys, "argv", ["async_batch"])
        os.waitpid(fork(async_batch.main), 0)
        return t.cast("Answer", json.loads(capfd.readouterr().out))

    return run


def test_the_module_starts_the_jobs_and_waits_for_them(run: Run, directory: JobDirectory) -> None:
    answer = run({"_request": request(directory, says(changed=True, stdout="a\nb"), "exit 1")})
    reports = {report["jid"]: report for report in answer["ended"]}
    assert {jid: report["state"] for jid, report in reports.items()} == {"j1.0": "succeeded", "j1.1": "failed"}
    assert (answer["path"], answer["jobs"], answer["changed"], answer["more"]) == (directory.path, None, True, False)
    assert json.loads(reports["j1.0"]["text"])["stdout"] == "a\nb"


def test_jobs_of_another_run_are_told_and_waited_for_instead(run: Run, directory: JobDirectory) -> None:
    run({"_request": request(directory, says(changed=True))})
    answer = run({"_request": request(directory, "exit 1", says(changed=True), number="j2", rerun="failed")})
    assert [job["jid"] for job in answer["jobs"]] == ["j2.0", "j1.0"]
    assert {report["jid"]: report["state"] for report in answer["ended"]} == {"j2.0": "failed", "j1.0": "succeeded"}


def test_the_secrets_in_results_are_no_business_of_this_module(run: Run, directory: JobDirectory) -> None:
    result = {"password": "hunter2", "stdout": "\udcff"}
    answer = run({"_request": request(directory, says(**result))})
    assert json.loads(answer["ended"][0]["text"]) == result


def test_where_nothing_can_be_started_the_module_fails_with_the_reason(run: Run, directory: JobDirectory) -> None:
    answer = run({"_request": request(directory, says(changed=True), id="../x")})
    assert answer["failed"] is True
    assert "is no id of a batch" in answer["msg"]
    assert not BatchFolder(directory.path, "j1").exists()


def test_the_module_alone_says_how_it_is_meant_to_be_used(run: Run) -> None:
    answer = run({"tasks": []})
    assert answer["failed"] is True
    assert "action plugin" in answer["msg"]
