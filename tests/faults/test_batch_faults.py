# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Faults on real hosts, while async_batch runs five jobs on each of three, two at a time. One test for each row of the
# table. Each job leaves a note on its host when it starts: that tells how often it ran.

from __future__ import annotations

import contextlib
import json
import re
import time
import typing as t
from collections import Counter
from pathlib import Path

from ..fleet import levers
from ..fleet.host import Host
from ..fleet.system import eventually, parents
from ..support import Outcome, Result, Run, kill
from .scene import JOB, LIMIT, NAMES, Scene
from .table import Table

JOBS = "root/.ansible_async"
RAN = "/srv/ran"
ONCE = Counter(NAMES)
ALL = dict.fromkeys(NAMES, "succeeded")
ID = "nightly"


def start(scene: Scene, script: str = JOB, **variables: t.Any) -> Run:
    """Start a batch on each host."""
    jobs = [{"name": name, "run": f"echo {name} >> {RAN}; {script.format(name=name)}"} for name in NAMES]
    return scene.start_play("batch", jobs={host.name: jobs for host in scene.hosts}, **variables)


def start_and_see(scene: Scene, **variables: t.Any) -> Run:
    """The same, and return when the first two jobs run everywhere."""
    run = start(scene, **variables)
    for host in scene.hosts:
        eventually(lambda host=host: not run.is_running or ran(host) == Counter(NAMES[:2]), LIMIT, f"two run on {host}")
    assert run.is_running, run.outcome().output
    return run


def ran(host: Host) -> Counter[str]:
    """How often each job has started on a host."""
    notes = host.root / RAN.lstrip("/")
    return Counter(notes.read_text(encoding="ascii").split()) if notes.exists() else Counter()


def result(outcome: Outcome, host: Host) -> Result:
    """What the batch returned for a host."""
    return outcome.result("Run the batch", host.name)


def states(outcome: Outcome, host: Host) -> dict[str, str]:
    """How the jobs of a host ended, by name. Those that succeeded have the results that they should have."""
    jobs = result(outcome, host)["jobs"]
    assert all(job["result"]["stdout"] == job["name"] for job in jobs if job["state"] == "succeeded")
    return {job["name"]: job["state"] for job in jobs}


def reasons(outcome: Outcome, host: Host, state: str) -> set[str]:
    """Why jobs of a host ended in this state."""
    return {job["msg"] for job in result(outcome, host)["jobs"] if job["state"] == state}


def others_succeeded(scene: Scene, outcome: Outcome) -> bool:
    """Whether all went undisturbed on all hosts but the first, and every job ran once there."""
    return all(
        states(outcome, host) == ALL and result(outcome, host)["reconnects"] == 0 and ran(host) == ONCE
        for host in scene.hosts[1:]
    )


def nothing_was_lost(scene: Scene, outcome: Outcome) -> str:
    """Assert that all jobs ran once and succeeded; say how the connection did."""
    assert outcome.rc == 0, outcome.output
    for host in scene.hosts:
        assert states(outcome, host) == ALL
        assert ran(host) == ONCE
    reconnects = [result(outcome, host)["reconnects"] for host in scene.hosts]
    return f"all succeeded, each ran once; reconnects: {', '.join(map(str, reconnects))}"


# What can be seen of a batch on its host


def folder(host: Host, home: str = "root") -> Path | None:
    """The folder of the one batch of a host; None as long as there is none."""
    return next((host.root / home).glob(".ansible_async/.inflight/j*"), None)


def supervisor(host: Host, home: str = "root") -> int:
    """The supervisor of the one batch of a host, by its number on this machine."""
    found = folder(host, home)
    assert found
    return host.pids(int((found / "lock").read_text(encoding="ascii")))[0]


def process(host: Host, name: str) -> int:
    """The first process of a job that runs, by its number on this machine."""
    found = folder(host)
    assert found
    manifest = json.loads((found / "batch.json").read_text(encoding="utf-8"))
    jid = next(job["jid"] for job in manifest["jobs"] if job["name"] == name)
    marker = json.loads((host.root / JOBS / jid).read_text(encoding="ascii"))
    return host.pids(int(marker["process"][0]))[0]


def pythons(host: Host) -> list[int]:
    """All Pythons of a host, by their numbers on this machine. The first one is that of the module."""
    return host.pids(*map(int, host.shell("pgrep -x python3 || true").split()))


# Processes


def test_supervisor(scene: Scene, table: Table) -> None:
    host = scene.first
    run = start_and_see(scene, id=ID)
    killed = time.monotonic()
    kill([supervisor(host)])
    known = scene.known(host, *NAMES[2:]) - killed
    assert scene.logged() == {(host.name, name): "lost" for name in NAMES[2:]}
    assert known < 10
    assert run.is_running
    scene.let_go()
    outcome = run.outcome()
    assert states(outcome, host) == {**dict.fromkeys(NAMES, "lost"), "one": "succeeded", "two": "succeeded"}
    assert reasons(outcome, host, "lost") == {"its supervisor died"}
    assert ran(host) == Counter(NAMES[:2])
    assert others_succeeded(scene, outcome)
    nothing_was_lost(scene, start(scene, id=ID, rerun="failed").outcome())
    table.row("batch: supervisor", f"two succeeded; three lost, after {known:.1f} s; these ran then, and each job once")


def test_processes(scene: Scene, table: Table) -> None:
    host = scene.first
    run = start_and_see(scene)
    one, two = process(host, "one"), process(host, "two")
    zygote = parents()[one]
    killed = time.monotonic()
    kill([one])
    lost = scene.known(host, "one") - killed
    kill([pid for pid, parent in parents().items() if parent == two])
    scene.known(host, "two")
    eventually(lambda: ran(host) == Counter(NAMES[:4]), LIMIT, "others run in their place")
    kill([zygote])
    scene.let_go()
    outcome = run.outcome()
    assert states(outcome, host) == {**ALL, "one": "lost", "two": "failed"}
    assert reasons(outcome, host, "lost") == {"killed by signal 9 (SIGKILL)"}
    assert ran(host) == ONCE
    assert others_succeeded(scene, outcome)
    table.row("batch: processes", f"lost, after {lost:.1f} s; failed; the others succeeded")


# Power


def test_reboot(scene: Scene, table: Table) -> None:
    table.row("batch: reboot", lost_by_boot(scene, scene.first.reboot))


def test_power_cut(scene: Scene, table: Table) -> None:
    def cut() -> None:
        with levers.powered_off(scene.first):
            time.sleep(10)  # the fault is 10 s long

    table.row("batch: power cut", lost_by_boot(scene, cut))


def lost_by_boot(scene: Scene, boot: t.Callable[[], None]) -> str:
    """Let one job end and a third one start, then boot the first host; see that what is lost can be run again."""
    host = scene.first
    run = start_and_see(scene, id=ID, hold=5)
    scene.let_go("one")
    for each in scene.hosts:
        scene.known(each, "one")
        eventually(lambda each=each: ran(each) == Counter(NAMES[:3]), LIMIT, f"the third one runs on {each}")
    boot()
    returned = time.monotonic()
    known = scene.known(host, *NAMES[1:]) - returned
    assert known < 15
    assert run.is_running
    scene.let_go()
    outcome = run.outcome()
    assert states(outcome, host) == {**dict.fromkeys(NAMES, "lost"), "one": "succeeded"}
    assert ran(host) == Counter(NAMES[:3])
    assert others_succeeded(scene, outcome)
    again = start(scene, id=ID, rerun="failed").outcome()
    assert again.rc == 0, again.output
    assert [states(again, each) for each in scene.hosts] == [ALL] * len(scene.hosts)
    assert ran(host) == ONCE + Counter(["two", "three"])
    assert others_succeeded(scene, again)
    return f"one succeeded; four lost, known {known:.1f} s after sshd's return; these ran then"


# Connections


def test_link(scene: Scene, table: Table) -> None:
    host = scene.first
    run = start_and_see(scene, hold=5)
    run.shows(f"{host.name}: 0/5 ended")  # since then it is known how fast the host answers
    with levers.link_down(host):
        run.shows(f"{host.name}: out of reach", seconds=LIMIT)
        scene.let_go("one", "two")
        eventually(lambda: ran(host) == Counter(NAMES[:4]), LIMIT, "others run in their place")
    scene.let_go()
    outcome = run.outcome()
    assert result(outcome, host)["reconnects"] == 1
    table.row("batch: link", nothing_was_lost(scene, outcome))


def test_sshd(scene: Scene, table: Table) -> None:
    host = scene.first
    run = start_and_see(scene)
    with levers.sshd_stopped(host):
        scene.kill_control_master(host)
        run.shows(f"{host.name}: out of reach")
        scene.let_go("one", "two")
        eventually(lambda: ran(host) == Counter(NAMES[:4]), LIMIT, "others run in their place")
    scene.let_go()
    outcome = run.outcome()
    assert result(outcome, host)["reconnects"] == 1
    table.row("batch: sshd", nothing_was_lost(scene, outcome))


def test_controller(scene: Scene, table: Table) -> None:
    run = start_and_see(scene, id=ID)
    scene.let_go("one")
    for host in scene.hosts:
        eventually(lambda host=host: ran(host) == Counter(NAMES[:3]), LIMIT, f"the third one runs on {host}")
    run.kill()
    scene.let_go("two")
    second = start(scene, id=ID)
    for host in scene.hosts:
        second.shows(f"{host.name}: 2/5 ended")
    scene.let_go()
    table.row("batch: controller", nothing_was_lost(scene, second.outcome()))


def test_launch(scene: Scene, table: Table) -> None:
    one, two, three = scene.hosts
    scene.disconnect()
    run = start(scene, script="echo {name}")
    moments: dict[Host, t.Callable[[], object]] = {
        one: lambda: scene.control_masters(one),
        two: lambda: pythons(two),
        three: lambda: folder(three),
    }
    with contextlib.ExitStack() as until_noticed:
        faults: dict[Host, t.Callable[[], object]] = {
            one: lambda: until_noticed.enter_context(levers.link_down(one)),
            two: lambda: scene.kill_control_master(two),
            three: lambda: kill(pythons(three)[:1]),
        }
        while moments:
            for host in [host for host, has_come in moments.items() if has_come()]:
                faults[host]()
                del moments[host]
            assert run.is_running, run.outcome().output
        run.shows(f"{one.name}: out of reach", seconds=LIMIT)
    table.row("batch: launch", nothing_was_lost(scene, run.outcome()))


# The job directory


def test_full_filesystem(scene: Scene, table: Table) -> None:
    host = scene.first
    with levers.mounted(host, f"/{JOBS}", "size=4m"):
        run = start_and_see(scene)
        levers.fill(host, f"/{JOBS}")
        filled = time.monotonic()
        scene.let_go()
        outcome = run.outcome()
        known = time.monotonic() - filled
    assert states(outcome, host) == dict.fromkeys(NAMES, "lost")
    assert reasons(outcome, host, "lost") == {"its result could not be written: No space left on device"}
    assert others_succeeded(scene, outcome)
    table.row("batch: full filesystem", f"lost with that reason, after {known:.1f} s")


RESULT = """printf '{"changed": false, "rc": 0, "stdout": "%s"}' """
MODULES = {
    # Read from the path of a file, as the script of a shell, and as a program that the kernel has to start.
    "a_script": f"#!/bin/sh\n# WANT_JSON\n{RESULT} script\n",
    "a_binary": f"#!/bin/sh\n{RESULT} binary; exit\n\0",
}


def test_noexec(scene: Scene, table: Table) -> None:
    library = scene.folder / "library"
    library.mkdir()
    for name, text in MODULES.items():
        (library / name).write_text(text, encoding="ascii")
    with levers.mounted(scene.first, f"/{JOBS}", "noexec"):
        outcome = scene.start_play("batch_modules", environment={"ANSIBLE_LIBRARY": str(library)}).outcome()
    for host in scene.hosts[1:]:
        assert set(states(outcome, host).values()) == {"succeeded"}
    found = states(outcome, scene.first)
    assert found.pop("binary") == "failed"
    assert set(found.values()) == {"succeeded"}
    (reason,) = reasons(outcome, scene.first, "failed")
    assert reason.endswith("Permission denied)")
    reason = re.sub(
        r"cannot run \S+:", "cannot run a file of the job directory:", reason
    )  # its name is another each time
    table.row("batch: noexec", f"succeeded; failed: {reason}")


# Users


def test_hidden(scene: Scene, table: Table) -> None:
    host, home = scene.first, "home/deploy"
    for each in scene.hosts:
        each.shell(f"touch {RAN}; chown deploy {RAN}")
    with levers.processes_hidden(host):
        run = start_and_see(scene, user="deploy", id=ID)
        time.sleep(5)  # longer than it takes to know that a job is lost
        assert scene.logged() == {}
        killed = time.monotonic()
        kill([supervisor(host, home)])
        known = scene.known(host, *NAMES[2:]) - killed
        scene.let_go()
        outcome = run.outcome()
        assert states(outcome, host) == {**dict.fromkeys(NAMES, "lost"), "one": "succeeded", "two": "succeeded"}
        assert others_succeeded(scene, outcome)
        nothing_was_lost(scene, start(scene, user="deploy", id=ID, rerun="failed").outcome())
    table.row("batch: hidden", f"two succeeded; three lost, after {known:.1f} s; these ran then, and each job once")
