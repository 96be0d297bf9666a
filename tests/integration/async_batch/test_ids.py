# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Batches with an id: a second run finds the first one, whatever has become of it.

from __future__ import annotations

import typing as t

import pytest

from ...fleet.system import eventually
from ...support import Outcome
from .conftest import BatchSandbox, batch_task, lines_of, until_exists

pytestmark = pytest.mark.usefixtures("nothing_left")

Job = dict[str, t.Any]


def jobs(outcome: Outcome, task: str) -> list[Job]:
    """The jobs that a task returned."""
    found: list[Job] = outcome.result(task)["jobs"]
    return found


def wait_task(name: str, **options: t.Any) -> dict[str, t.Any]:
    """A task of a playbook that waits, and whose failure does not end the play."""
    return {"name": name, "inflight.jobs.async_wait": options, "ignore_errors": True}


def test_a_second_run_attaches_to_a_batch_that_lives(sandbox: BatchSandbox) -> None:
    log, go = sandbox.folder / "log", sandbox.folder / "go"
    script = f"echo {{{{ item }}}} >> {log}; {until_exists(go)}; echo did {{{{ item }}}}"
    options: dict[str, t.Any] = {"id": "nightly", "items": ["one", "two", "three"], "concurrency": 2}
    first = sandbox.start_tasks([batch_task("first", script, **options)])
    eventually(lambda: len(lines_of(log)) == 2, 60, "two jobs run")

    second = sandbox.start_tasks(
        [
            batch_task("refused", script, on_existing="fail", **options),
            batch_task("look", script, wait=False, **options),
            # It wants something else done, and gets what is being done.
            batch_task("attach", "echo other", hold=0, poll=1, **{**options, "items": ["one", "four"]}),
        ]
    )
    third = sandbox.start_tasks(
        [
            {**batch_task("look", script, wait=False, **options), "register": "looked"},
            # Nobody who waits needs to know what the tasks are.
            wait_task("wait by id", batch="nightly", hold=0, poll=1),
            wait_task("wait for what was registered", jobs="{{ looked }}"),
            wait_task("no such batch", batch="weekly"),
        ]
    )
    for run in (second, third):
        run.shows("0/3 ended", 60)
    go.touch()
    one, two, three = first.outcome(), second.outcome(), third.outcome()

    assert sorted(lines_of(log)) == ["one", "three", "two"]
    done = jobs(one, "first")
    assert one.rc == 0, one.output
    assert [(job["name"], job["item"], job["result"]["stdout"]) for job in done] == [
        (name, name, f"did {name}") for name in options["items"]
    ]
    for outcome, task in ((two, "attach"), (three, "wait by id"), (three, "wait for what was registered")):
        assert jobs(outcome, task) == done
        assert outcome.result(task)["msg"] == "3 jobs succeeded"
    assert two.result("refused")["msg"] == (
        "The batch was not started: the batch 'nightly' lives already on this host, and on_existing is fail"
    )
    assert {job["state"] for job in jobs(two, "refused")} == {"not_started"}
    for outcome in (two, three):
        looked = outcome.result("look")
        assert looked["msg"] == "3 jobs started"
        assert [job["state"] for job in looked["jobs"]] == ["running", "running", "queued"]
        assert [job["attempts"] for job in looked["jobs"]] == [1, 1, 0]
        assert [job["ansible_job_id"] for job in looked["jobs"]] == [job["ansible_job_id"] for job in done]
    assert three.result("no such batch")["msg"] == (
        f"The jobs cannot be looked at on the host: there is no batch 'weekly' in the job directory {sandbox.jobs}"
    )


def test_a_batch_can_be_left_to_a_later_task(sandbox: BatchSandbox) -> None:
    go = sandbox.folder / "go"
    script = f"{until_exists(go)}; echo did {{{{ item }}}}; exit {{{{ item }}}}"
    outcome = sandbox.run_tasks(
        [
            {**batch_task("start", script, items=[0, 3, 0], concurrency=1, wait=False), "register": "started"},
            {"name": "go", "ansible.builtin.file": {"path": str(go), "state": "touch"}},
            wait_task("wait", jobs="{{ started }}"),
            {
                "name": "ask core",
                "ansible.builtin.async_status": {"jid": "{{ started.jobs[1].ansible_job_id }}"},
                "ignore_errors": True,
            },
        ]
    )
    states = [job["state"] for job in jobs(outcome, "start")]
    assert states[0] in ("running", "queued")
    assert states[1:] == ["queued", "queued"]
    assert not outcome.result("start")["failed"]
    assert not outcome.result("start")["finished"]
    found = [(job["name"], job["item"], job["state"], job["result"]["stdout"]) for job in jobs(outcome, "wait")]
    assert found == [
        ("0", 0, "succeeded", "did 0"),
        ("3", 3, "failed", "did 3"),
        ("0", 0, "succeeded", "did 0"),
    ]
    status = outcome.result("ask core")
    assert (status["finished"], status["stdout"], status["rc"]) == (True, "did 3", 3)


def test_a_second_run_can_replace_a_batch_that_lives(sandbox: BatchSandbox) -> None:
    log = sandbox.folder / "log"
    script = f"echo old {{{{ item }}}} >> {log}; sleep 1000"
    options: dict[str, t.Any] = {"id": "nightly", "concurrency": 2, "grace": 5, "on_existing": "replace"}
    old = sandbox.start_tasks([batch_task("old", script, items=[1, 2, 3], **options)])
    eventually(lambda: len(lines_of(log)) == 2, 60, "two jobs run")
    new = sandbox.run_tasks([batch_task("new", f"echo new {{{{ item }}}} >> {log}", items=[1, 2], **options)])
    assert new.rc == 0, new.output
    replaced = old.outcome()
    assert [(job["state"], job["attempts"], job["msg"]) for job in jobs(replaced, "old")] == [
        ("cancelled", 1, "another run replaced its batch"),
        ("cancelled", 1, "another run replaced its batch"),
        ("cancelled", 0, "not started: another run replaced its batch"),
    ]
    assert sorted(lines_of(log)) == ["new 1", "new 2", "old 1", "old 2"]


def test_two_runs_at_the_same_moment_start_a_batch_once(sandbox: BatchSandbox) -> None:
    log, rounds, runs = sandbox.folder / "log", 4, ("a", "b")

    def playbook(run: str) -> list[dict[str, t.Any]]:
        tasks: list[dict[str, t.Any]] = []
        for number in range(rounds):
            meet = "; ".join(until_exists(sandbox.folder / f"{other}{number}") for other in runs)
            together = f"touch {sandbox.folder}/{run}{number}; {meet}"
            tasks.append({"name": f"meet {number}", "ansible.builtin.shell": together})
            # Whoever comes when the other one has ended must not start it either.
            script = f"echo {number} {{{{ item }}}} >> {log}; sleep 0.2; echo $$"
            tasks.append(batch_task(f"round {number}", script, id=f"round-{number}", items=[1, 2], rerun="failed"))
        return tasks

    started = [sandbox.start_tasks(playbook(run)) for run in runs]
    one, two = (run.outcome() for run in started)
    assert one.rc == two.rc == 0, one.output + two.output
    assert sorted(lines_of(log)) == [f"{number} {item}" for number in range(rounds) for item in (1, 2)]
    for number in range(rounds):
        assert jobs(one, f"round {number}") == jobs(two, f"round {number}")
        assert len(jobs(one, f"round {number}")) == 2


def test_a_batch_that_has_ended_is_run_again_as_a_whole_or_in_part(sandbox: BatchSandbox) -> None:
    log, repaired = sandbox.folder / "log", sandbox.folder / "repaired"
    script = (
        f'echo {{{{ item }}}} >> {log}; echo {{{{ item }}}} at $(date +%s.%N); [ "{{{{ item }}}}" != bad ] ||'
        f" [ -e {repaired} ] || exit 3"
    )
    options: dict[str, t.Any] = {"id": "nightly", "items": ["good", "bad", "better"], "concurrency": 1}
    outcome = sandbox.run_tasks(
        [
            batch_task("first", script, **options),
            {"name": "repair", "ansible.builtin.file": {"path": str(repaired), "state": "touch"}},
            batch_task("rest", script, rerun="failed", **options),
            batch_task("nothing left", script, rerun="failed", **options),
            # Half of the items are others; a task with another name is another one as well.
            batch_task("others", script, rerun="failed", **{**options, "items": ["better", "new"]}),
            batch_task("all", script, **options),
        ]
    )
    first, rest, nothing = (jobs(outcome, name) for name in ("first", "rest", "nothing left"))
    assert [job["state"] for job in first] == ["succeeded", "failed", "succeeded"]
    assert [job["state"] for job in rest] == ["succeeded"] * 3
    # What succeeded is not run again, and its old result is returned as it was.
    assert [rest[0], rest[2]] == [first[0], first[2]]
    assert rest[1]["ansible_job_id"] != first[1]["ansible_job_id"]
    assert nothing == rest
    assert outcome.result("nothing left")["msg"] == "3 jobs succeeded"
    others = jobs(outcome, "others")
    assert others[0] == first[2]
    assert [job["name"] for job in others] == ["better", "new"]
    again = jobs(outcome, "all")
    assert not {job["ansible_job_id"] for job in again} & {job["ansible_job_id"] for job in [*first, *rest, *others]}
    assert lines_of(log) == ["good", "bad", "better", "bad", "new", "good", "bad", "better"]


def test_ids_in_two_job_directories_have_nothing_to_do_with_each_other(sandbox: BatchSandbox) -> None:
    go = sandbox.folder / "go"
    options: dict[str, t.Any] = {"id": "nightly", "items": [1], "on_existing": "fail"}
    other = sandbox.folder / "other-jobs"
    outcome = sandbox.run_tasks(
        [
            batch_task("here", f"{until_exists(go)}; echo here", wait=False, **options),
            {
                **batch_task("there", "echo there", **options),
                "vars": {"ansible_async_dir": str(other)},
            },
            {"name": "go", "ansible.builtin.file": {"path": str(go), "state": "touch"}},
            wait_task("wait here", batch="nightly"),
            {**wait_task("wait there", batch="nightly"), "vars": {"ansible_async_dir": str(other)}},
        ]
    )
    assert outcome.rc == 0, outcome.output
    for task, word in (("there", "there"), ("wait here", "here"), ("wait there", "there")):
        assert [job["result"]["stdout"] for job in jobs(outcome, task)] == [word]
    assert jobs(outcome, "there")[0]["results_file"].startswith(f"{other}/")
