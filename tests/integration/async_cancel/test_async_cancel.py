# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Real jobs are ended with all of their processes, and those that nobody meant go on.

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ...fleet.system import eventually
from ..async_batch.conftest import BatchSandbox, batch_task, is_alive, lines_of

if t.TYPE_CHECKING:
    from ...support import Outcome

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="processes are found through /proc here"),
]

Task = dict[str, t.Any]
Job = dict[str, t.Any]

DAY = 86400.0
# The id of a user who has no account.
NOBODY = 987654
# What a job does that never ends by itself, and one whose shell hears signals.
HANG = "sleep 1000"
SPIN = "while true; do sleep 0.1; done"
# The user that this module runs as may have become that by sudo.
REASON = (
    r"cancelled at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z by "
    + re.escape(pwd.getpwuid(os.getuid()).pw_name)
    + r"( \(sudo by .+\))?"
)
NOTHING_SAYS = (
    r"nothing says which jobs to cancel: give jobs, batch, state, name, older_than or newer_than, or all: true"
)
GRACE = r"it must be a number of seconds, 0 to 86400"
# What is given, and what is said about it.
REFUSED: list[tuple[dict[str, object], str]] = [
    ({}, NOTHING_SAYS),
    ({"all": False}, NOTHING_SAYS),
    ({"name": None, "older_than": None}, NOTHING_SAYS),
    ({"grace": 5, "signal": "INT"}, NOTHING_SAYS),
    ({"all": True, "batch": "nightly"}, r"all is true, and batch is given as well: give one of them"),
    ({"all": True, "jobs": []}, r"all is true, and jobs is given as well: give one of them"),
    ({"all": True, "grace": -1}, rf"grace is -1: {GRACE}"),
    ({"all": True, "grace": "nan"}, rf"grace is nan: {GRACE}"),
    ({"all": True, "grace": "inf"}, rf"grace is inf: {GRACE}"),
    ({"all": True, "grace": 1e9}, rf"grace is 1e\+09: {GRACE}"),
    ({"all": True, "grace": "a while"}, r"(?s).*grace.*float.*"),
    ({"all": True, "signal": "STOP"}, r"(?s).*value of signal must be one of: TERM, .*, got: STOP.*"),
    ({"older_than": "soon"}, r"older_than is 'soon': it must be a number of seconds, or a number with s, m, .*"),
    ({"state": "succeeded"}, r"(?s).*value of state must be one or more of: running, queued.* for: succeeded.*"),
    ({"jobs": None}, r"jobs is empty \(null\), which no task with async registered"),
    ({"jobs": "../x"}, r"jobs is a str that is no job id: '\.\./x'"),
    ({"jid": ["j1.1", "../x"]}, r"jobs\[1\] is a str that is no job id: '\.\./x'"),
    ({"batch": "../x"}, r"batch is '\.\./x': it is not the id of a batch"),
    ({"name": ""}, r"name is '': it must be a pattern of 1 to 200 characters"),
]


@pytest.fixture
def sandbox(tmp_path: Path) -> t.Iterator[BatchSandbox]:
    """A home, a job directory and a working folder for one test."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    place = BatchSandbox(tmp_path, playbooks=playbooks)
    yield place
    place.close()


@pytest.fixture
def nothing_left(sandbox: BatchSandbox) -> t.Iterator[None]:
    """Fails a test that leaves processes of its jobs behind."""
    yield
    sandbox.leaves_nothing()


def cancel(title: str, /, **options: t.Any) -> Task:
    """A task that ends jobs, and whose failure does not end the play."""
    return {"name": title, "inflight.jobs.async_cancel": options, "ignore_errors": True}


def info(title: str, /, **options: t.Any) -> Task:
    return {"name": title, "inflight.jobs.async_info": options}


def wait(title: str, /, **options: t.Any) -> Task:
    """A task that waits for jobs, and whose failure does not end the play."""
    return {"name": title, "inflight.jobs.async_wait": options, "ignore_errors": True}


def launch(name: str, script: str, **more: t.Any) -> Task:
    """A task that starts a job of core's."""
    command = {"argv": ["sh", "-c", script]}
    return {"name": name, "ansible.builtin.command": command, "async": 3000, "poll": 0, "register": name, **more}


def jobs(outcome: Outcome, task: str) -> list[Job]:
    found: list[Job] = outcome.result(task)["jobs"]
    return found


def ids(outcome: Outcome, task: str) -> list[str]:
    """The ids of the jobs that a task returned; those that a loop has started as well."""
    result = outcome.result(task)
    found = result.get("jobs") or result.get("results") or [result]
    return [job["ansible_job_id"] for job in found]


def begun(log: Path, number: int) -> None:
    """Wait until so many jobs have written a line to the log."""
    eventually(lambda: len(lines_of(log)) >= number, 60, f"{number} jobs have begun")


def test_the_jobs_that_are_meant_are_ended_and_no_others(sandbox: BatchSandbox) -> None:
    log = sandbox.folder / "log"
    hang = f"echo begun >> {log}; {HANG}"
    first = sandbox.run_tasks(
        [
            launch("done", "echo did it"),
            wait("wait", jobs="{{ done }}"),
            launch("single", hang),
            launch("looped", hang, loop=["a", "b"]),
            launch("by id", hang, register="by_id"),
            launch("other", hang),
            batch_task("nightly", hang, id="nightly", items=["one", "two", "three"], concurrency=1, wait=False),
            batch_task("weekly", hang, id="weekly", items=["dump a", "dump b", "keep"], concurrency=3, wait=False),
        ]
    )
    done, single, looped, by_id, other, nightly, weekly = (
        ids(first, task) for task in ("done", "single", "looped", "by id", "other", "nightly", "weekly")
    )
    one, two, three = nightly
    begun(log, 9)
    ended_before = (sandbox.jobs / done[0]).read_bytes()
    registered = {task: first.result(task) for task in ("done", "single", "looped")}

    second = sandbox.run_tasks(
        [
            {**cancel("would, of all", all=True), "check_mode": True},
            {**cancel("would, of these", jobs=["{{ single }}", "{{ done }}"]), "check_mode": True},
            info("before"),
            cancel("single", jobs="{{ single }}"),
            cancel("single again", jobs=["{{ done }}", "{{ single }}"]),
            {
                "name": "core",
                "ansible.builtin.async_status": {"jid": "{{ single.ansible_job_id }}"},
                "ignore_errors": True,
            },
            cancel("looped", jobs="{{ looped }}"),
            cancel("by id", jid=by_id[0]),
            cancel("by both", jobs=other, batch="weekly"),
            cancel("queued", state="queued"),
            cancel("by batch", batch="nightly"),
            cancel("by name", name="dump *"),
            cancel("old", older_than="1h"),
            cancel("no such batch", batch="never"),
            cancel("no job", jobs=[]),
            cancel("no such job", jobs="j1.1"),
            info("between", state="running"),
            cancel("all", all=True),
            cancel("all again", all=True),
            info("after"),
        ],
        variables=registered,
    )

    # In check mode, nothing happens.
    would = second.result("would, of all")
    assert (would["cancelled"], would["changed"], would["failed"]) == (11, True, False)
    assert would["msg"] == "would cancel 11 jobs"
    assert set(ids(second, "would, of all")) == {*single, *looped, *by_id, *other, *nightly, *weekly}
    assert {job["state"] for job in would["jobs"]} == {"running", "queued"}
    assert second.result("would, of these")["msg"] == "would cancel 1 job, 1 had ended"
    assert [job["state"] for job in jobs(second, "would, of these")] == ["running", "succeeded"]
    before = {job["ansible_job_id"]: job["state"] for job in jobs(second, "before")}
    assert before == {**dict.fromkeys(before, "running"), done[0]: "succeeded", two: "queued", three: "queued"}

    # Task -> the jobs that it ends.
    ends = {
        "single": single,
        "looped": looped,
        "by id": by_id,
        "queued": [two, three],
        "by batch": [one],
        "by name": weekly[:2],
        "all": [*other, weekly[2]],
    }
    for task, expected in ends.items():
        result = second.result(task)
        assert (result["changed"], result["failed"], result["cancelled"]) == (True, False, len(expected)), task
        assert result["msg"] == f"cancelled {len(expected)} job{'s' * (len(expected) > 1)}", task
        assert sorted(ids(second, task)) == sorted(expected), task
        for job in result["jobs"]:
            assert (job["state"], job["finished"], job["failed"]) == ("cancelled", True, True), task
            assert "result" not in job
            begin = "not started: " if task == "queued" else ""
            assert re.fullmatch(begin + REASON, job["msg"]), job["msg"]
            assert (job["started"], job["attempts"]) == ((False, 0) if task == "queued" else (True, 1)), task
    assert [job["name"] for job in jobs(second, "looped")] == ["a", "b"]
    assert [(job["name"], job["batch"]) for job in jobs(second, "by batch")] == [("one", "nightly")]
    assert {job["name"] for job in jobs(second, "by name")} == {"dump a", "dump b"}

    nothing = ("single again", "by both", "old", "no such batch", "no job", "no such job", "all again")
    for task in nothing:
        result = second.result(task)
        assert (result["changed"], result["failed"], result["cancelled"]) == (False, False, 0), task
        assert result["msg"].startswith("nothing to cancel"), task
    assert second.result("all again")["msg"] == second.result("no job")["msg"] == "nothing to cancel"
    again = second.result("single again")
    assert again["msg"] == "nothing to cancel, 2 had ended"
    assert [(job["ansible_job_id"], job["state"]) for job in again["jobs"]] == [
        (done[0], "succeeded"),
        (single[0], "cancelled"),
    ]
    assert [job["state"] for job in jobs(second, "no such job")] == ["missing"]
    assert "there is no batch 'never'" in re.sub(r"\s+", " ", second.output)

    # Everybody else can read it.
    core = second.result("core")
    assert (core["failed"], core["finished"]) == (True, 1)
    assert core["msg"] == jobs(second, "single")[0]["msg"]
    assert sorted(ids(second, "between")) == sorted(ends["all"])
    after = {job["ansible_job_id"]: job["state"] for job in jobs(second, "after")}
    assert after == {**dict.fromkeys(before, "cancelled"), done[0]: "succeeded"}
    assert (sandbox.jobs / done[0]).read_bytes() == ended_before
    # Those of the batch that waited were never started.
    assert len(lines_of(log)) == 9


@pytest.mark.skipif(shutil.which("setsid") is None, reason="setsid (util-linux) is not there")
def test_programs_may_tidy_up_and_nothing_of_a_job_is_left(sandbox: BatchSandbox) -> None:
    folder = sandbox.folder
    log, daemon = folder / "log", folder / "daemon"
    # They tell that they have begun when they are ready for signals.
    begin = f"echo begun >> {log}"
    scripts = {
        "tidy": f"trap 'echo tidying up; sleep 0.5; touch {folder}/tidied; exit 0' TERM; {begin}; {SPIN}",
        "stubborn": f"trap 'touch {folder}/heard' TERM; {begin}; {SPIN}",
        "session": f"""setsid sh -c "trap '' TERM; {begin}; {HANG}; {HANG}" & wait""",
        "int": f"trap 'touch {folder}/interrupted; exit 0' INT; {begin}; {SPIN}",
        "kill": f"trap 'touch {folder}/asked' TERM INT; {begin}; {SPIN}",
        "deaf": f"trap '' TERM; {begin}; {HANG}; touch {folder}/went-on",
        "old": f"{begin}; {HANG}",
    }
    # A daemon has left its session and its parents; the job that has started it goes on.
    double = f"setsid sh -c 'sh -c \"echo \\$\\$ > {daemon}; {begin}; {HANG}\" &'; {HANG}"
    first = sandbox.run_tasks(
        [
            *(launch(name, script) for name, script in scripts.items()),
            batch_task("batch", double, id="daemon", items=["daemon"], wait=False),
        ]
    )
    jid = {name: ids(first, name)[0] for name in (*scripts, "batch")}
    begun(log, len(jid))
    moment = time.time() - 2 * DAY
    os.utime(sandbox.jobs / jid["old"], (moment, moment))

    stubborn = [jid["stubborn"], jid["session"]]
    second = sandbox.run_tasks(
        [
            cancel("old", older_than="1d", newer_than="3d"),
            cancel("grace", jobs=stubborn, grace=1),
            cancel("daemon", batch="daemon"),
            # These would take an hour if the grace were waited for to its end.
            cancel("tidy", jobs=jid["tidy"], grace=3600),
            cancel("int", jobs=jid["int"], signal="INT", grace=3600),
            cancel("kill", jobs=jid["kill"], signal="KILL", grace=3600),
            cancel("no grace", jobs=jid["deaf"], grace=0),
            info("after", results=True),
        ]
    )
    assert second.rc == 0, second.output
    assert ids(second, "old") == [jid["old"]]
    assert ids(second, "grace") == stubborn
    assert second.result("grace")["msg"] == "cancelled 2 jobs"
    after = {job["ansible_job_id"]: job for job in jobs(second, "after")}
    assert {name: after[one]["state"] for name, one in jid.items()} == dict.fromkeys(jid, "cancelled")
    traces = ("tidied", "heard", "interrupted", "asked", "went-on")
    assert {name for name in traces if (folder / name).exists()} == {"tidied", "heard", "interrupted"}
    assert not is_alive(int(daemon.read_text("ascii")))
    # What the module said when its program ended is not lost.
    results = {name: after[jid[name]]["result"] or {} for name in ("tidy", "int", "old")}
    assert {name: result.get("rc") for name, result in results.items()} == {"tidy": 0, "int": 0, "old": -15}
    assert results["tidy"]["stdout"] == "tidying up"


def test_a_play_that_waits_sees_what_another_one_cancelled_and_the_rest_goes_on(sandbox: BatchSandbox) -> None:
    log = sandbox.folder / "log"
    script = f'echo {{{{ item }}}} >> {log}; [ "{{{{ item }}}}" != hangs ] || {HANG}; echo did {{{{ item }}}}'
    options: dict[str, t.Any] = {"items": ["hangs", "not wanted", "fine"], "concurrency": 1, "id": "nightly"}
    # A job that is cancelled is no failure that would be tried again, or would end the batch.
    options.update(retries=2, retry_delay=0, on_failure="cancel", max_failures=1)
    first = sandbox.start_tasks([batch_task("batch", script, **options)])
    begun(log, 1)
    second = sandbox.run_tasks(
        [cancel("queued", name="not *", state=["queued"]), cancel("running", batch="nightly", state=["running"])]
    )
    assert second.rc == 0, second.output
    assert [job["name"] for job in jobs(second, "queued")] == ["not wanted"]
    assert [job["name"] for job in jobs(second, "running")] == ["hangs"]

    found = jobs(first.outcome(), "batch")
    assert [(job["name"], job["state"], job["attempts"]) for job in found] == [
        ("hangs", "cancelled", 1),
        ("not wanted", "cancelled", 0),
        ("fine", "succeeded", 1),
    ]
    assert re.fullmatch(REASON, found[0]["msg"])
    assert found[0]["elapsed"] > 0
    assert found[2]["result"]["stdout"] == "did fine"
    assert lines_of(log) == ["hangs", "fine"]


def test_wrong_input_is_one_clear_sentence_and_ends_nothing(sandbox: BatchSandbox) -> None:
    log = sandbox.folder / "log"
    tasks = [cancel(f"case {place}", **options) for place, (options, dummy) in enumerate(REFUSED)]
    outcome = sandbox.run_tasks(
        [
            launch("core", f"echo begun >> {log}; {HANG}"),
            batch_task("batch", HANG, id="nightly", items=["one", "two"], concurrency=1, wait=False),
            *tasks,
            # An empty list means no job here as well, and not all.
            cancel("no state", state=[]),
            cancel("no state of a batch", batch="nightly", state=[]),
            {**cancel("background", all=True), "async": 10, "poll": 0},
            {**cancel("windows", all=True), "vars": {"ansible_shell_type": "powershell"}},
            {**cancel("hidden", jobs="hunter2"), "no_log": True},
            info("after"),
            cancel("end", all=True, signal="KILL"),
        ]
    )
    wrong = []
    for place, (options, pattern) in enumerate(REFUSED):
        result = outcome.result(f"case {place}")
        if not re.fullmatch(pattern, result.get("msg", "")) or "jobs" in result or not result["failed"]:
            wrong.append((options, pattern, result))
    assert not wrong
    for task in ("no state", "no state of a batch"):
        assert (outcome.result(task)["msg"], outcome.result(task)["changed"]) == ("nothing to cancel", False)
    assert "async" in outcome.result("background")["msg"]
    assert outcome.result("windows")["msg"].startswith("async_cancel does not support Windows hosts")
    assert outcome.result("hidden")["failed"] is True
    assert "hunter2" not in outcome.output
    # Of the batch, the second one waits for its turn.
    assert sorted(job["state"] for job in jobs(outcome, "after")) == ["queued", "running", "running"]
    assert outcome.result("end")["msg"] == "cancelled 3 jobs"


@pytest.fixture
def bystander() -> t.Iterator[subprocess.Popen[bytes]]:
    """A process that is no job's."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield process
        finally:
            process.kill()


def job_of_nobody(folder: Path, pid: int) -> dict[str, str]:
    """What the launch of a job returned whose user has no account; its job file says that this process runs it."""
    folder.mkdir(mode=0o700)
    ticks = int(Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[19])
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    process = [pid, round(ticks / os.sysconf("SC_CLK_TCK"), 2), boot]
    job_file = folder / "j1.0"
    marker = {"started": 1, "finished": 0, "ansible_job_id": job_file.name, "process": process}
    job_file.write_text(json.dumps(marker), "ascii")
    for path in (job_file, folder):
        os.chown(path, NOBODY, NOBODY)
    return {"ansible_job_id": job_file.name, "results_file": str(job_file)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_job_that_cannot_be_ended_fails_the_task_and_no_log_hides_its_name(
    sandbox: BatchSandbox, bystander: subprocess.Popen[bytes]
) -> None:
    log = sandbox.folder / "log"
    nobodys = job_of_nobody(sandbox.folder / "nobodys", bystander.pid)
    job_file = Path(nobodys["results_file"])
    written = job_file.read_bytes()
    names = ["hunter2", "hunter3"]
    first = sandbox.run_tasks([batch_task("batch", f"echo begun >> {log}; {HANG}", items=names, wait=False)])
    one, other = jobs(first, "batch")
    second = sandbox.run_tasks(
        [
            {**cancel("hidden", jobs=[one]), "no_log": True},
            {**cancel("hidden failure", jobs=[nobodys]), "no_log": True},
        ],
        "-v",
    )
    assert "hunter" not in second.output
    assert "j1.0" not in second.output
    for task, failed in (("hidden", False), ("hidden failure", True)):
        assert second.result(task)["failed"] is failed
        assert "jobs" not in second.result(task)

    # The others are ended all the same, and the result tells of all.
    third = sandbox.run_tasks([cancel("told", jobs=[nobodys, one, other])])
    told = third.result("told")
    assert (told["failed"], told["changed"], told["cancelled"]) == (True, True, 1)
    assert told["msg"] == (
        f"cancelled 1 job, 1 had ended, 1 job could not be ended: j1.0 (there is no account for user id {NOBODY})"
    )
    assert [job["state"] for job in told["jobs"]] == ["running", "cancelled", "cancelled"]
    assert bystander.poll() is None
    assert job_file.read_bytes() == written
