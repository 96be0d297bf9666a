# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from ansible.release import __version__ as core_version

from ...support import Sandbox, can_be_used_by, interpreters

HOSTS = ("localhost", "alpha", "beta")


@pytest.mark.parametrize(
    ("strategy", "hold", "pipelining"),
    [("linear", 0, "false"), ("free", 0.5, "true")],
    ids=["polling without pipelining", "holding with pipelining and strategy free"],
)
def test_any_strategy_hold_and_pipelining_will_do(
    sandbox: Sandbox, strategy: str, hold: float, pipelining: str
) -> None:
    outcome = sandbox.run_playbook(
        "strategies", strategy=strategy, hold=hold, environment={"ANSIBLE_PIPELINING": pipelining}
    )
    assert outcome.rc == 0, outcome.output
    for host in HOSTS:
        waited = outcome.result_of_wait(host)
        assert [job["name"] for job in waited["jobs"]] == ["1"]
        assert [job["result"]["stdout"] for job in waited["jobs"]] == [host]
        assert waited["msg"] == "1 job succeeded"


def test_jobs_of_another_user_are_waited_for_as_that_user(sandbox: Sandbox) -> None:
    usable = [path for path in (sys.executable, "/usr/bin/python3") if can_be_used_by("nobody", path)]
    if not usable:
        pytest.skip("this needs root, su, and a Python that the user nobody may run")
    # Where pytest keeps its folders nobody else may look.
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        jobs = folder / "jobs"
        jobs.mkdir(0o700)
        os.chown(jobs, pwd.getpwnam("nobody").pw_uid, -1)
        outcome = sandbox.run_playbook("other_user", user="nobody", async_dir=str(jobs), interpreter=usable[0])
        assert outcome.rc == 0, outcome.output
        waited = outcome.result_of_wait()
        assert [job["result"]["stdout"] for job in waited["jobs"]] == ["nobody", "nobody"]
        assert [Path(job["results_file"]).parent for job in waited["jobs"]] == [jobs, jobs]
        assert list(jobs.iterdir()) == []
        assert "[WARNING]" not in outcome.output
    finally:
        shutil.rmtree(folder)


def test_the_command_line_can_wait_for_a_job(sandbox: Sandbox) -> None:
    launch = sandbox.start_jobs({"one": "sleep 1.4; echo one"})["one"]
    jid = launch["ansible_job_id"]

    def wait(arguments: str) -> tuple[int, str]:
        outcome = sandbox.start(["ansible", "localhost", "-m", "inflight.jobs.async_wait", "-a", arguments]).outcome()
        return outcome.rc, outcome.output

    rc, output = wait(f"jid={jid} cleanup=true until=1 timeout=100")
    assert rc == 0
    assert '"msg": "1 job' in output
    assert f'"name": "{jid}"' in output
    assert not Path(launch["results_file"]).exists()
    rc, output = wait(f"jid={jid}")
    assert rc == 2
    assert f"{jid} missing: there is no job file" in output


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(8, 14)])
def test_the_host_may_have_any_python_from_3_8_on(sandbox: Sandbox, version: str) -> None:
    if version not in interpreters():
        pytest.skip(f"there is no Python {version} on this machine")
    if version == "3.8" and tuple(map(int, core_version.split(".")[:2])) >= (2, 20):
        pytest.skip(f"ansible-core {core_version} needs Python 3.9 on the host")
    outcome = sandbox.run_playbook("interpreter", ansible_python_interpreter=interpreters()[version])
    assert outcome.rc == 0, outcome.output
    assert [job["result"]["stdout"] for job in outcome.result_of_wait()["jobs"]] == ["done"]
    assert "[WARNING]" not in outcome.output


def test_the_job_directory_of_the_launch_counts_whatever_is_set_now(sandbox: Sandbox) -> None:
    outcome = sandbox.run_playbook("elsewhere", elsewhere=str(sandbox.folder / "elsewhere"))
    assert outcome.result_of_wait()["jobs"][0]["result"]["stdout"] == "one"
    assert outcome.result("Wait for a bare job id")["jobs"][0]["state"] == "missing"
