# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

from ...fleet.system import eventually
from ...support import Sandbox, family, kill, registered


def test_without_jobs_what_an_earlier_playbook_left_running_is_found_and_what_is_dead_left_alone(
    sandbox: Sandbox,
) -> None:
    wait_for_go = f"while [ ! -e {sandbox.folder}/go ]; do sleep 0.1; done"
    launches = sandbox.start_jobs(
        {
            "one": f"{wait_for_go}; echo 1",
            "dead": "sleep 100",
            "two": f"{wait_for_go}; echo 2 >&2; exit 4",
            "ended": "true",
        }
    )
    jids = {name: launch["ansible_job_id"] for name, launch in launches.items()}
    kill(family(jids["dead"]).all)
    ended = pathlib.Path(launches["ended"]["results_file"])
    eventually(lambda: "stdout" in ended.read_text(encoding="utf-8"), 10, "the job has ended")
    (sandbox.jobs / "notes.txt").write_text("no job", encoding="utf-8")
    (sandbox.jobs / "j7.7").mkdir()

    run = sandbox.start_playbook("wait", hold=1)
    run.shows("localhost: 0/2 ended, 0 failed")
    (sandbox.folder / "go").touch()
    outcome = run.outcome()
    waited = outcome.result_of_wait()
    assert outcome.rc == 2
    assert [(job["ansible_job_id"], job["state"]) for job in waited["jobs"]] == [
        (jids["one"], "succeeded"),
        (jids["two"], "failed"),
    ]
    assert waited["jobs"][0]["result"]["stdout"] == "1"
    assert f"{jids['two']} failed (rc 4): 2" in waited["msg"]
    assert waited["jobs"][0]["elapsed"] > 1

    # Asked for by name, the dead one is lost, and that is known at once.
    outcome = sandbox.run_playbook("wait", jobs=registered(launches))
    waited = outcome.result_of_wait()
    assert {job["name"]: job["state"] for job in waited["jobs"]} == {
        "one": "succeeded",
        "dead": "lost",
        "two": "failed",
        "ended": "succeeded",
    }
    assert waited["checks"] == 1
    assert waited["elapsed"] < 10


def test_cleanup_deletes_the_job_files_of_ended_jobs_and_no_others_and_none_in_check_mode(sandbox: Sandbox) -> None:
    launches = sandbox.start_jobs(
        {"good": "true", "bad": "exit 1", "gone": "sleep 100", "running": "sleep 100", "unrelated": "true"}
    )
    unrelated = launches.pop("unrelated")
    kill(family(launches["gone"]["ansible_job_id"]).all)
    files = {name: pathlib.Path(launch["results_file"]) for name, launch in launches.items()}
    jobs = registered(launches)
    jobs["results"] = [jobs["results"][0], *jobs["results"]]

    outcome = sandbox.run_playbook("clean_up", jobs=jobs, folder=str(sandbox.folder), async_dir=str(sandbox.jobs))
    checked = outcome.result("Wait in check mode")
    assert [job["state"] for job in checked["jobs"]][:2] == ["succeeded", "succeeded"]
    left = {file["path"] for file in outcome.result("List the job files after check mode")["files"]}
    assert left >= {str(path) for path in files.values()}
    assert not (sandbox.folder / "jobs.jsonl").exists()

    waited = outcome.result("Wait and clean up")
    states = [job["state"] for job in waited["jobs"]]
    assert states == ["succeeded", "succeeded", "failed", "lost", "running"]
    assert sorted(path.name for path in sandbox.jobs.iterdir()) == sorted(
        [launches["running"]["ansible_job_id"], unrelated["ansible_job_id"]]
    )
    assert family(launches["running"]["ansible_job_id"]).below
