# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
from pathlib import Path

from ...fleet.system import eventually
from ...support import Result, Sandbox, registered

SECRET = "the-combination-is-4711"


def damage(sandbox: Sandbox, launches: dict[str, Result]) -> None:
    """Do to the file of each job what its name says."""
    secret = sandbox.folder / "secret"
    secret.write_text(f'{{"{SECRET}": "{SECRET}"}}', encoding="utf-8")
    for name, launch in launches.items():
        path = Path(launch["results_file"])
        if name == "truncated":
            os.truncate(path, 5)
        elif name == "emptied":
            os.truncate(path, 0)
        elif name == "junk":
            with path.open("wb") as file:
                file.write(b"x" * 100_000_000)
        elif name in ("deleted", "directory", "symlink", "pipe"):
            path.unlink()
            if name == "directory":
                path.mkdir()
            elif name == "symlink":
                path.symlink_to(secret)
            elif name == "pipe":
                os.mkfifo(path)


def test_a_job_file_that_cannot_be_read_is_named_and_the_others_are_waited_for(sandbox: Sandbox) -> None:
    names = ("deleted", "truncated", "emptied", "junk", "directory", "symlink", "pipe")
    go = sandbox.folder / "go"
    run_until_go = f"while [ ! -e {go} ]; do sleep 0.1; done; echo done"
    launches = sandbox.start_jobs({"good": run_until_go, **dict.fromkeys(names, "true")})
    ended = {name: Path(launch["results_file"]) for name, launch in launches.items() if name != "good"}
    eventually(lambda: all('"rc"' in path.read_text(encoding="utf-8") for path in ended.values()), 20, "all have ended")
    damage(sandbox, launches)

    run = sandbox.start_playbook("wait", "-vvv", jobs=registered(launches))
    # The module's news stay on the host for some seconds; what is shown with -v shows that the wait has got them.
    for name in names:
        run.shows(f" {name}: ")
    assert run.is_running
    go.touch()
    outcome = run.outcome()
    waited = outcome.result_of_wait()

    assert outcome.rc == 2
    states = {job["name"]: job["state"] for job in waited["jobs"]}
    assert states == {"good": "succeeded", "deleted": "missing", **dict.fromkeys(names[1:], "unreadable")}
    file = re.escape(str(sandbox.jobs)) + r"/j\d+\.\d+"
    for name, reason in {
        "deleted": f"there is no job file {file}",
        "truncated": f"the job file {file} is not JSON",
        "emptied": f"the job file {file} is empty",
        "junk": f"the job file {file} has 100000000 bytes, more than the limit of 16777216",
        "directory": f"the job file {file} is not a regular file",
        "symlink": f"the job file {file} cannot be read: a symbolic link",
        "pipe": f"the job file {file} is not a regular file",
    }.items():
        job = next(job for job in waited["jobs"] if job["name"] == name)
        assert re.fullmatch(reason, job["msg"]), name
        assert job["result"] is None
        assert f"{name} {states[name]}: {job['msg']}" in waited["msg"]
    assert waited["msg"].startswith("7 of 8 jobs did not succeed: ")
    assert waited["jobs"][0]["result"]["stdout"] == "done"
    assert SECRET not in outcome.output
    assert SECRET not in str(outcome.results)


def test_a_running_job_whose_file_is_damaged_still_ends_with_its_result(sandbox: Sandbox) -> None:
    names = ("deleted", "truncated", "junk", "symlink")
    go = sandbox.folder / "go"
    run_until_go = f"while [ ! -e {go} ]; do sleep 0.1; done; echo done"
    launches = sandbox.start_jobs(dict.fromkeys((*names, "directory"), run_until_go))
    damage(sandbox, launches)
    # Long ago: so it cannot be taken for a file that is being written at this moment.
    os.utime(launches["truncated"]["results_file"], (1, 1))

    run = sandbox.start_playbook("wait", "-v", jobs=registered(launches), hold=4)
    run.shows("localhost: 0/5 ended, 0 failed")
    # More than one look at the processes has been made by now.
    assert not any(f" {name}: " in run.stdout for name in names)
    go.touch()
    outcome = run.outcome()
    waited = outcome.result_of_wait()

    assert outcome.rc == 2
    jobs = {job["name"]: job for job in waited["jobs"]}
    for name in names:
        assert (jobs[name]["state"], jobs[name]["msg"]) == ("succeeded", "")
        assert jobs[name]["result"]["stdout"] == "done"
    # The one that could not write its result where there is a directory now.
    assert jobs["directory"]["state"] == "unreadable"
    assert "is not a regular file" in jobs["directory"]["msg"]
    assert SECRET not in outcome.output
    assert SECRET not in str(outcome.results)


def test_a_job_directory_that_is_not_there_or_cannot_be_trusted_is_named(sandbox: Sandbox) -> None:
    open_to_all = sandbox.folder / "open"
    (open_to_all / "jobs").mkdir(parents=True)
    open_to_all.chmod(0o777)
    launch = {"ansible_job_id": "j2.2", "started": True, "finished": False, "results_file": f"{open_to_all}/jobs/j2.2"}
    outcome = sandbox.run_playbook("wait", jobs=["j1.1", launch])
    waited = outcome.result_of_wait()
    assert [job["state"] for job in waited["jobs"]] == ["missing", "unreadable"]
    assert waited["jobs"][0]["msg"] == f"there is no job directory {sandbox.jobs}"
    assert f"lies in {open_to_all}, which every local user may write to" in waited["jobs"][1]["msg"]
