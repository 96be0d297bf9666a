# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# How many jobs run at once and in which order, how long they may take, and what a failure leads to.

from __future__ import annotations

import itertools
import os
import shutil
import typing as t

import pytest

from ...support import Outcome
from .conftest import BatchSandbox, batch_task, is_alive, lines_of

pytestmark = pytest.mark.usefixtures("nothing_left")

# What a job does that never ends by itself.
HANG = "sleep 1000"
SPIN = "while true; do sleep 0.2; done"


def case(name: str) -> str:
    """The head of a script that does something else for this item alone."""
    return f'[ "{{{{ item }}}}" = {name} ]'


def states(outcome: Outcome, task: str) -> dict[str, str]:
    """The states of the jobs of a task, by name."""
    return {job["name"]: job["state"] for job in outcome.result(task)["jobs"]}


def jobs(outcome: Outcome, task: str) -> dict[str, dict[str, t.Any]]:
    """The jobs of a task, by name."""
    return {job["name"]: job for job in outcome.result(task)["jobs"]}


def most_at_once(lines: list[str]) -> int:
    """How many jobs ran at once at the most, by the lines "begin" and "end" that they wrote."""
    running = most = 0
    for line in lines:
        running += 1 if line.startswith("begin") else -1
        most = max(most, running)
    assert running == 0, lines
    return most


def test_the_window_is_full_and_never_fuller(sandbox: BatchSandbox) -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Task -> what it gives as concurrency, and how many jobs that is.
    windows: dict[str, tuple[dict[str, t.Any], int]] = {
        "three": ({"concurrency": 3}, 3),
        "half": ({"concurrency": "50%"}, max(1, cpus // 2)),
        "default": ({}, cpus),
    }
    tasks = []
    for name, (options, window) in windows.items():
        log = sandbox.folder / name
        items = list(range(2 * window + 2))
        # Each waits for the whole window to be there, for 20 seconds at the most.
        meet = f"for try in $(seq 400); do [ $(grep -c begin {log}) -ge {window} ] && break; sleep 0.05; done"
        # And the first one for all others to end, if there is anywhere else for them to run.
        others = f"until [ $(grep -c end {log}) -ge {len(items) - 1} ]; do sleep 0.05; done"
        first = f"{case('0')} && {others}" if window > 1 else "true"
        script = f"echo begin {{{{ item }}}} >> {log}; {meet}; {first}; echo end {{{{ item }}}} >> {log}"
        tasks.append(batch_task(name, script, items=items, **options))
    outcome = sandbox.run_tasks(tasks)
    assert outcome.rc == 0, outcome.output
    for name, (dummy, window) in windows.items():
        assert most_at_once(lines_of(sandbox.folder / name)) == window
        # In the order of the items, however long they take.
        assert [job["item"] for job in outcome.result(name)["jobs"]] == list(range(2 * window + 2))
    # A job that takes long holds up nobody.
    assert lines_of(sandbox.folder / "three")[-1] == "end 0"


@pytest.mark.skipif(shutil.which("setsid") is None, reason="setsid (util-linux) is not there")
def test_a_timeout_ends_the_whole_tree_of_a_job(sandbox: BatchSandbox) -> None:
    # Beside it: jobs of which the last one ends 3.6 seconds after the start of their batch, and 0.9 after its own.
    queue = sandbox.start_tasks([batch_task("queue", "sleep 0.9", items=[1, 2, 3, 4], concurrency=1, timeout=3)])

    folder = sandbox.folder
    scripts = {
        "in time": "echo ok",
        "simple": HANG,
        # The shell must not go on with its next command when the one that runs is ended.
        "two commands": f"{HANG}; touch {folder}/next",
        "deaf children": f"trap '' TERM; {HANG} & {HANG} & wait; wait",
        # The shell goes at once; what it has started is in a session of its own, and deaf.
        "session": f"""setsid sh -c "trap '' TERM; {HANG}; {HANG}" & wait""",
        "session that listens": f"""setsid sh -c 'trap "touch {folder}/heard; exit" TERM; {SPIN}' & wait""",
        # A daemon: neither in the session nor a descendant any more. It carries the id of the job.
        "daemon": f"setsid sh -c 'sh -c \"echo \\$\\$ > {folder}/daemon; {HANG}\" &'; {HANG}",
        "stopped": f"trap 'touch {folder}/woken; exit' TERM; kill -STOP $$; {HANG}",
        "stopped and deaf": "trap '' TERM; kill -STOP $$; " + HANG,
        "tidy": f"trap 'echo tidying up; sleep 0.5; touch {folder}/tidied; exit' TERM; {SPIN}",
    }
    outcome = sandbox.run_tasks(
        [
            batch_task(
                "tree",
                "{{ scripts[item] }}",
                items=list(scripts),
                concurrency=len(scripts),
                timeout=3,
                grace=3,
            )
        ],
        variables={"scripts": scripts},
    )
    found = jobs(outcome, "tree")
    assert {name: job["state"] for name, job in found.items()} == {
        name: "succeeded" if name == "in time" else "timed_out" for name in scripts
    }
    traces = ("heard", "woken", "tidied", "next")
    assert {name for name in traces if (folder / name).exists()} == {"heard", "woken", "tidied"}
    # What the module said all the same is not lost.
    assert found["tidy"]["result"]["stdout"] == "tidying up"
    assert {job["msg"] for name, job in found.items() if name != "in time"} == {"its timeout of 3 s passed"}
    # Those that listen are not made to wait for the end of the grace; the deaf ones have all of it.
    assert 3 <= found["simple"]["elapsed"] < found["deaf children"]["elapsed"]
    assert all(found[name]["elapsed"] >= 6 for name in ("deaf children", "session", "stopped and deaf"))
    assert outcome.result("tree")["summary"]["timed_out"] == 9
    assert not is_alive(int((folder / "daemon").read_text(encoding="ascii")))

    outcome = queue.outcome()
    assert outcome.rc == 0, outcome.output
    assert set(states(outcome, "queue").values()) == {"succeeded"}
    assert outcome.result("queue")["elapsed"] > 3


def test_a_total_timeout_ends_what_runs_and_starts_nothing_more(sandbox: BatchSandbox) -> None:
    log = sandbox.folder / "log"
    script = f"echo {{{{ item }}}} >> {log}; {case('fails')} && exit 3; {HANG}"
    outcome = sandbox.run_tasks(
        [
            batch_task(
                "limited",
                script,
                items=["hangs", "fails", "hangs too", "waits", "waits too"],
                concurrency=2,
                total_timeout=5,
                grace=1,
                retries=5,
                # One more attempt would come before the jobs that were told to end have ended, or long after that.
                retry_delay=5.5,
            )
        ]
    )
    found = jobs(outcome, "limited")
    assert {name: (job["state"], job["attempts"]) for name, job in found.items()} == {
        "hangs": ("timed_out", 1),
        "fails": ("failed", 1),
        "hangs too": ("timed_out", 1),
        "waits": ("cancelled", 0),
        "waits too": ("cancelled", 0),
    }
    assert found["fails"]["result"]["rc"] == 3
    assert found["hangs"]["msg"] == "the total_timeout of 5 s passed"
    assert found["waits"]["msg"] == "not started: the total_timeout of 5 s passed"
    assert found["waits"]["started_at"] is None
    assert not found["waits"]["started"]
    sandbox.leaves_nothing()
    assert sorted(lines_of(log)) == ["fails", "hangs", "hangs too"]


def test_failures_can_stop_the_batch(sandbox: BatchSandbox) -> None:
    tasks = []
    for mode in ("drain", "cancel"):
        log = sandbox.folder / mode
        until_beside = f"until grep -q beside {log}; do sleep 0.05; done"
        beside = HANG if mode == "cancel" else "sleep 1"
        script = (
            f"echo {{{{ item }}}} >> {log}; {case('bad')} && {{ {until_beside}; exit 3; }};"
            f" {case('beside')} && {beside}; true"
        )
        items = ["bad", "beside", "later", "last"]
        tasks.append(batch_task(mode, script, items=items, concurrency=2, on_failure=mode, grace=5))
    limits: dict[str, int | str] = {"two": 2, "half": "50%", "a bit": "1%"}
    for name, max_failures in limits.items():
        script = f"{case('bad')} || {case('worse')} && exit 3; true"
        items = ["bad", "good", "worse", "last"]
        task = batch_task(name, script, items=items, concurrency=1, on_failure="drain", max_failures=max_failures)
        tasks.append(task)
    outcome = sandbox.run_tasks(tasks)
    assert states(outcome, "drain") == {
        "bad": "failed",
        "beside": "succeeded",
        "later": "cancelled",
        "last": "cancelled",
    }
    assert states(outcome, "cancel") == {
        "bad": "failed",
        "beside": "cancelled",
        "later": "cancelled",
        "last": "cancelled",
    }
    assert jobs(outcome, "drain")["last"]["msg"] == "not started: another job of the batch failed"
    assert jobs(outcome, "cancel")["beside"]["msg"] == "another job of the batch failed"
    assert jobs(outcome, "cancel")["beside"]["attempts"] == 1
    for mode in ("drain", "cancel"):
        assert sorted(lines_of(sandbox.folder / mode)) == ["bad", "beside"]
    after_two = ["failed", "succeeded", "failed", "cancelled"]
    assert {name: list(states(outcome, name).values()) for name in limits} == {
        "two": after_two,
        "half": after_two,
        "a bit": ["failed", "cancelled", "cancelled", "cancelled"],
    }


def test_failed_jobs_are_started_again_after_doubling_pauses(sandbox: BatchSandbox) -> None:
    folder = sandbox.folder
    script = (
        f"echo {{{{ item }}}} $(date +%s.%N) >> {folder}/log; {case('never')} && exit 3;"
        f" {case('second')} && {{ grep -c second {folder}/log; [ $(grep -c second {folder}/log) -ge 2 ]; exit; }}; true"
    )
    # It hangs the first time, or always.
    limited = f"{case('always')} && {HANG}; [ -e {folder}/tried ] || {{ touch {folder}/tried; {HANG}; }}"
    # The first one fails for good after two seconds, when the other one has failed once or is about to.
    until_both = f"until grep -q first {folder}/stop; do sleep 0.05; done"
    stop = (
        f"echo {{{{ item }}}} >> {folder}/stop; echo {{{{ item }}}} said this;"
        f" {case('other')} && {{ {until_both}; sleep 2; }}; exit 3"
    )
    outcome = sandbox.run_tasks(
        [
            batch_task("again", script, items=["never", "second", "other"], concurrency=1, retries=3, retry_delay=0.25),
            batch_task(
                "limited", limited, items=["once", "always"], concurrency=2, retries=1, retry_delay=0, timeout=2
            ),
            batch_task(
                "stop",
                stop,
                items=["first", "other"],
                concurrency=2,
                retries=1,
                retry_delay=2,
                on_failure="drain",
            ),
        ]
    )
    found = jobs(outcome, "again")
    assert {name: (job["state"], job["attempts"]) for name, job in found.items()} == {
        "never": ("failed", 4),
        "second": ("succeeded", 2),
        "other": ("succeeded", 1),
    }
    assert found["second"]["result"]["stdout"] == "2"
    assert found["never"]["result"]["rc"] == 3
    lines = [line.split() for line in lines_of(folder / "log")]
    moments = [float(moment) for name, moment in lines if name == "never"]
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert all(pause >= least - 0.05 for pause, least in zip(pauses, (0.25, 0.5, 1), strict=True)), pauses
    # The pauses keep nobody from running.
    names = [name for name, dummy in lines]
    assert "never" in names[names.index("other") :]
    # How long it took is that of the last attempt.
    assert found["never"]["elapsed"] < sum(pauses)

    found = jobs(outcome, "limited")
    assert {name: (job["state"], job["attempts"]) for name, job in found.items()} == {
        "once": ("succeeded", 2),
        "always": ("timed_out", 2),
    }

    # There is no other attempt any more, so this one counts.
    found = jobs(outcome, "stop")
    assert (found["first"]["state"], found["first"]["attempts"]) == ("failed", 2)
    assert (found["other"]["state"], found["other"]["attempts"]) == ("failed", 1)
    assert found["other"]["result"]["stdout"] == "other said this"
    assert found["other"]["result"]["rc"] == 3
    assert sorted(lines_of(folder / "stop")) == ["first", "first", "other"]


def test_jobs_start_in_the_order_and_at_the_pace_that_was_asked_for(sandbox: BatchSandbox) -> None:
    items = [
        {"name": "short", "cost": {"s": 1}},
        {"name": "long", "cost": {"s": 9}},
        {"name": "middle", "cost": {"s": 5}},
    ]
    durations: dict[str, t.Any] = {
        "dict": {"short": 1, "long": 9, "middle": 5},
        "list": [1, 9, 5],
        "attribute": "cost.s",
    }
    tasks = []
    for name, value in durations.items():
        task = batch_task(
            name, f"echo {{{{ item.name }}}} >> {sandbox.folder}/{name}", items=items, concurrency=1, durations=value
        )
        task["inflight.jobs.async_batch"]["tasks"][0]["name"] = "{{ item.name }}"
        tasks.append(task)
    pace = f"date +%s.%N >> {sandbox.folder}/pace; nice"
    tasks.append(batch_task("pace", pace, items=[1, 2, 3, 4], concurrency=4, start_delay=0.7, nice=7))
    outcome = sandbox.run_tasks(tasks)
    assert outcome.rc == 0, outcome.output
    for name in durations:
        assert lines_of(sandbox.folder / name) == ["long", "middle", "short"]
        assert [job["name"] for job in outcome.result(name)["jobs"]] == ["short", "long", "middle"]
    moments = [float(line) for line in lines_of(sandbox.folder / "pace")]
    # The first start takes a while, because the module is loaded then.
    assert moments[3] - moments[1] > 0.7
    assert outcome.result("pace")["elapsed"] > 2.1
    # The jobs have a lower priority than we have.
    assert {job["result"]["stdout"] for job in outcome.result("pace")["jobs"]} == {str(min(19, os.nice(0) + 7))}


@pytest.mark.skipif(shutil.which("ionice") is None, reason="ionice (util-linux) is not there")
def test_the_priority_of_the_jobs_for_disks_can_be_lowered(sandbox: BatchSandbox) -> None:
    outcome = sandbox.run_tasks([batch_task("idle", "ionice -p $$", items=[1], io_class="idle")])
    assert outcome.rc == 0, outcome.output
    assert jobs(outcome, "idle")["1"]["result"]["stdout"] == "idle"
