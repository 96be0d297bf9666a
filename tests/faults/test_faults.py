# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Faults on real hosts, while async_wait waits for five jobs on each of three. One test for each row of the table.

from __future__ import annotations

import json
import re
import time
import typing as t

from ..fleet import levers
from ..fleet.host import Host
from ..fleet.system import eventually
from ..support import Family, Outcome, family, kill
from .scene import JOB, NAMES, Launches, Scene
from .table import Table

JOBS = "/root/.ansible_async"
ALL = dict.fromkeys(NAMES, "succeeded")


def job_id(launches: Launches, host: Host, name: str) -> str:
    """The id of a job."""
    return str(launches[host.name]["results"][NAMES.index(name)]["ansible_job_id"])


def whole_family(jid: str) -> Family:
    """The processes of a job, by their numbers on this machine, once its command runs."""

    def found() -> Family | None:
        processes = family(jid)
        return processes if len(processes.below) > 1 else None

    return t.cast(Family, eventually(found, 30, f"job {jid} runs its command"))


def stdouts(outcome: Outcome, host: Host) -> list[str]:
    """What the jobs of a host printed."""
    return [job["result"]["stdout"] for job in outcome.result_of_wait(host.name)["jobs"]]


# Processes


def test_killed_processes(scene: Scene, table: Table) -> None:
    launches = scene.start()
    host = scene.first
    one, two, three = (whole_family(job_id(launches, host, name)) for name in NAMES[:3])
    run = scene.wait(launches)
    killed = time.monotonic()
    kill([two.watcher, one.runner, *three.below[:1]])
    lost = scene.known(host, "one") - killed
    failed = scene.known(host, "three") - killed
    assert scene.logged() == {(host.name, "one"): "lost", (host.name, "three"): "failed"}
    assert lost < 10
    assert run.is_running
    scene.let_go()
    outcome = run.outcome()
    assert scene.states(outcome, host) == {**ALL, "one": "lost", "three": "failed"}
    assert scene.others_succeeded(outcome)
    table.row("killed processes", f"lost after {lost:.1f} s; running, then succeeded; failed after {failed:.1f} s")


def test_memory(scene: Scene, table: Table) -> None:
    eat = JOB.format(name="one") + "; python3 -c 'x = bytes(range(256)) * (1 << 20); print(len(x))'"
    launches = scene.start({"one": eat})
    host = scene.first
    eater = whole_family(job_id(launches, host, "one"))
    run = scene.wait(launches)
    with levers.memory_limit(host, "one", eater.all, megabytes=64):
        ended = time.monotonic()
        scene.let_go("one")
        known = scene.known(host, "one") - ended
        assert run.is_running
        scene.let_go()
        outcome = run.outcome()
    state = scene.states(outcome, host)["one"]
    assert state in ("failed", "lost")
    assert scene.states(outcome, host) == {**ALL, "one": state}
    assert scene.others_succeeded(outcome)
    table.row("memory", f"{state}, after {known:.1f} s")


# Power


def test_reboot(scene: Scene, table: Table) -> None:
    launches = scene.start()
    host = scene.first
    run = scene.wait(launches)
    host.reboot()
    returned = time.monotonic()
    known = scene.known(host, *NAMES) - returned
    assert known < 15
    assert run.is_running
    scene.let_go()
    outcome = run.outcome()
    assert scene.states(outcome, host) == dict.fromkeys(NAMES, "lost")
    assert scene.others_succeeded(outcome)
    table.row("reboot", f"lost, {known:.1f} s after sshd's return")


def test_power_cut(scene: Scene, table: Table) -> None:
    launches = scene.start()
    host = scene.first
    run = scene.wait(launches)
    with levers.powered_off(host):
        time.sleep(40)  # the fault is 40 s long
    returned = time.monotonic()
    known = scene.known(host, *NAMES) - returned
    assert known < 15
    assert run.is_running
    scene.let_go()
    outcome = run.outcome()
    result = outcome.result_of_wait(host.name)
    assert scene.states(outcome, host) == dict.fromkeys(NAMES, "lost")
    assert result["reconnects"] == 1
    assert not result.get("unreachable")
    assert len(re.findall(rf"^{host.name}: out of reach", outcome.stdout, re.MULTILINE)) == 1
    assert scene.others_succeeded(outcome)
    table.row("power cut", f"lost, {known:.1f} s after sshd's return; one line; not unreachable")


def test_power_gone(scene: Scene, table: Table) -> None:
    launches = scene.start()
    host = scene.first
    run = scene.wait(launches, unreachable_timeout=20)
    scene.let_go("one")
    scene.known(host, "one")
    with levers.powered_off(host):
        cut = time.monotonic()
        gave_up = run.shows(f"fatal: [{host.name}]: UNREACHABLE!", seconds=100) and time.monotonic() - cut
        assert run.is_running
        scene.let_go()
        outcome = run.outcome()
    result = outcome.result_of_wait(host.name)
    assert result["unreachable"] is True
    assert scene.states(outcome, host) == {**dict.fromkeys(NAMES, "running"), "one": "succeeded"}
    assert result["jobs"][0]["result"]["stdout"] == "one"
    assert scene.others_succeeded(outcome)
    table.row("power gone", f"unreachable after {gave_up:.0f} s, with the result of the one job that had ended")


# Connections


def test_link(scene: Scene, table: Table) -> None:
    launches = scene.start()
    run = scene.wait(launches)
    with levers.link_down(scene.first):
        time.sleep(20)  # the fault is 20 s long
    scene.let_go()
    table.row("link", nothing_was_lost(scene, run.outcome()))


def test_sshd(scene: Scene, table: Table) -> None:
    launches = scene.start()
    run = scene.wait(launches)
    with levers.sshd_stopped(scene.first):
        pass
    scene.let_go()
    table.row("sshd", nothing_was_lost(scene, run.outcome()))


def test_control_master(scene: Scene, table: Table) -> None:
    launches = scene.start()
    run = scene.wait(launches)
    scene.kill_control_master(scene.first)
    scene.let_go()
    table.row("control master", nothing_was_lost(scene, run.outcome()))


def nothing_was_lost(scene: Scene, outcome: Outcome) -> str:
    """Assert that all jobs have the results that they would have had; say how the connection did."""
    assert outcome.rc == 0, outcome.output
    for host in scene.hosts:
        assert scene.states(outcome, host) == ALL
        assert stdouts(outcome, host) == list(NAMES)
    assert scene.others_succeeded(outcome)
    reconnects = outcome.result_of_wait(scene.first.name)["reconnects"]
    return f"all succeeded, the same results; reconnects: {reconnects}"


def test_controller(scene: Scene, table: Table) -> None:
    launches = scene.start()
    run = scene.wait(launches)
    run.kill()
    second = scene.wait(None)
    for host in scene.hosts:
        # It has found them: what the run that was killed had there may watch them, too, until its hold is over.
        second.shows(f"{host.name}: 0/5 ended")
    scene.let_go()
    outcome = second.outcome()
    started = {launch["ansible_job_id"] for host in scene.hosts for launch in launches[host.name]["results"]}
    found = [job for host in scene.hosts for job in outcome.result_of_wait(host.name)["jobs"]]
    assert sorted(job["ansible_job_id"] for job in found) == sorted(started)
    assert {job["state"] for job in found} == {"succeeded"}
    assert sorted(job["result"]["stdout"] for job in found) == sorted(NAMES * len(scene.hosts))
    table.row("controller", f"{len(found)} of {len(started)} results, none twice")


# Job files


def test_full_filesystem(scene: Scene, table: Table) -> None:
    host = scene.first
    with levers.mounted(host, JOBS, "size=256k"):
        launches = scene.start()
        run = scene.wait(launches)
        levers.fill(host, JOBS)
        ended = time.monotonic()
        scene.let_go()
        outcome = run.outcome()
        known = time.monotonic() - ended
    states = set(scene.states(outcome, host).values())
    assert states <= {"lost", "unreadable"}
    for job in outcome.result_of_wait(host.name)["jobs"]:
        assert job["msg"].endswith(f"the filesystem of {JOBS} is full")
    assert scene.others_succeeded(outcome)
    table.row("full filesystem", f"{' and '.join(sorted(states))} with that reason, after {known:.1f} s")


# Stands in for async_wrapper: carries its command line, and writes the job file slowly, in its place.
SLOW_WRITER = """\
import json, os, sys, time
jid = sys.argv[1] + ".1"
path = "/root/.ansible_async/" + jid
with open(path, "w") as file:
    json.dump({"started": True, "finished": False, "ansible_job_id": jid}, file)
while not os.path.exists("/run/go-slow"):
    time.sleep(0.1)
with open(path, "w", buffering=1) as file:
    for letter in json.dumps({"changed": True, "rc": 0, "stdout": "written slowly", "ansible_job_id": jid}):
        file.write(letter)
        file.flush()
        time.sleep(0.1)
"""


def test_half_written(scene: Scene, table: Table) -> None:
    launches = scene.start()
    host = scene.first
    (host.root / "srv/async_wrapper.py").write_text(SLOW_WRITER, encoding="utf-8")
    host.shell("setsid python3 /srv/async_wrapper.py j900000000001 >/dev/null 2>&1 </dev/null &")
    eventually((host.root / JOBS.lstrip("/") / "j900000000001.1").exists, 10, "the slow writer runs")
    slow = {"ansible_job_id": "j900000000001.1", "results_file": f"{JOBS}/j900000000001.1", "started": 1, "finished": 0}
    given = {**launches, host.name: {"results": [*launches[host.name]["results"], slow]}}
    run = scene.wait(given)
    began = time.monotonic()
    scene.let_go("slow")
    known = scene.known(host, "j900000000001.1") - began
    assert run.is_running
    scene.let_go()
    outcome = run.outcome()
    assert scene.states(outcome, host) == {**ALL, "j900000000001.1": "succeeded"}
    assert outcome.result_of_wait(host.name)["jobs"][-1]["result"]["stdout"] == "written slowly"
    assert scene.others_succeeded(outcome)
    table.row("half written", f"running, then the whole result; {known:.1f} s after its first byte")


def test_clock(scene: Scene, table: Table) -> None:
    host = scene.first
    own = scene.folder / "clock"
    own.write_text("0", encoding="ascii")
    fake = {"PYTHONPATH": str(levers.FAKE_CLOCK), "FAKE_CLOCK": str(own)}
    with levers.fake_clock(host) as set_off:

        def set_both(seconds: int) -> None:
            set_off(seconds)
            own.write_text(str(seconds), encoding="ascii")

        pythons = {host.name: levers.FAKE_CLOCK_PYTHON}
        started = time.monotonic()
        launches = scene.start(pythons=pythons)
        run = scene.wait(launches, environment=fake, timeout=25, pythons=pythons)
        set_both(3600)
        scene.let_go("one")
        scene.known(host, "one")
        set_both(0)
        outcome = run.outcome()
        waited = [outcome.result_of_wait(each.name)["elapsed"] for each in scene.hosts]
        whole = time.monotonic() - started
    for each in scene.hosts:
        assert scene.states(outcome, each) == {**dict.fromkeys(NAMES, "running"), "one": "succeeded"}
        assert outcome.result_of_wait(each.name)["msg"].startswith("The timeout of 25 s passed")
        assert all(0 < job["elapsed"] < whole for job in outcome.result_of_wait(each.name)["jobs"])
    assert 25 <= min(waited) <= max(waited) < 30
    table.row("clock", f"the wait ended after {max(waited):.1f} s; no job's elapsed time is off")


def test_hidden(scene: Scene, table: Table) -> None:
    host = scene.first
    directory = "/srv/jobs"
    with levers.processes_hidden(host):
        launches = scene.start(async_dir=directory)
        for each in scene.hosts:
            each.shell(f"chmod 755 {directory}; chmod 644 {directory}/*")
        run = scene.wait(launches, user="deploy")
        time.sleep(20)  # twice as long as it takes to know that a job is lost
        assert scene.logged() == {}
        assert run.is_running
        for each in scene.hosts:
            each.shell("umask 022; touch /run/go")
        outcome = run.outcome()
    assert scene.states(outcome, host) == ALL
    assert scene.others_succeeded(outcome)
    table.row("hidden", "running for 20 s, never lost; then succeeded")


# Stands in for so many jobs: a shell with the command line of async_wrapper for each, and one process that writes all
# results, as fast as it can, and then lets the shells go.
THOUSAND = """\
import json, os, subprocess, sys, time
directory, count = "/root/.ansible_async", int(sys.argv[1])
os.makedirs(directory, 0o700, exist_ok=True)
os.mkfifo("/srv/end")
ids = ["j%d.1" % (910000000000 + number) for number in range(count)]
for jid in ids:
    with open(directory + "/" + jid, "w") as file:
        json.dump({"started": True, "finished": False, "ansible_job_id": jid}, file)
    subprocess.Popen(["sh", "-c", "read line < /srv/end", "async_wrapper.py", jid.split(".")[0]])
open("/srv/started", "w").close()
while not os.path.exists("/run/go-thousand"):
    time.sleep(0.05)
began = time.monotonic()
for jid in ids:
    with open(directory + "/" + jid + ".tmp", "w") as file:
        json.dump({"changed": True, "rc": 0, "stdout": jid, "ansible_job_id": jid}, file)
    os.rename(directory + "/" + jid + ".tmp", directory + "/" + jid)
with open("/srv/took", "w") as file:
    file.write(str(time.monotonic() - began))
open("/srv/end", "w").close()
"""


def test_thousand(scene: Scene, table: Table) -> None:
    host = scene.first
    launches = scene.start()
    (host.root / "srv/thousand.py").write_text(THOUSAND, encoding="utf-8")
    host.shell("setsid python3 /srv/thousand.py 1000 >/dev/null 2>&1 </dev/null &")
    eventually((host.root / "srv/started").exists, 60, "the thousand have started")
    ids = [f"j{910000000000 + number}.1" for number in range(1000)]
    run = scene.wait({**launches, host.name: {"results": [{"ansible_job_id": jid, "started": 1} for jid in ids]}})
    scene.let_go("thousand")
    scene.let_go()
    outcome = run.outcome()
    result = outcome.result_of_wait(host.name)
    took = float((host.root / "srv/took").read_text(encoding="ascii"))
    assert took < 1
    assert [job["state"] for job in result["jobs"]] == ["succeeded"] * 1000
    assert [job["result"]["stdout"] for job in result["jobs"]] == ids
    assert result["checks"] <= 5
    assert scene.others_succeeded(outcome)
    table.row("thousand", f"1,000 ends in {took:.2f} s: all reported, with {result['checks']} checks")


def test_old_files(scene: Scene, table: Table) -> None:
    host = scene.first
    make = (
        "import json, os; os.makedirs('/root/.ansible_async', 0o700, exist_ok=True)\n"
        "for n in range({first}, {first} + {count}):\n"
        " open('/root/.ansible_async/j%d.1' % n, 'w').write(json.dumps(dict(rc=0, stdout='x' * 200)))"
    )
    host.run("python3", "-c", make.format(first=920000000000, count=20))
    ids = [{"ansible_job_id": f"j{920000000000 + number}.1", "started": 1} for number in range(20)]

    def costs() -> float:
        outcome = scene.play("wait_again", where=host.name, jobs={host.name: {"results": ids}}, times=15)
        waits = outcome.result_of_wait(host.name)["results"]
        assert all(len(wait["jobs"]) == wait["summary"]["succeeded"] == 20 for wait in waits)
        # What else the machine does can only make it slower.
        return min(float(wait["elapsed"]) for wait in waits)

    empty = costs()
    host.run("python3", "-c", make.format(first=930000000000, count=10_000))
    full = costs()
    assert full <= 1.2 * empty
    table.row("old files", f"{full:.2f} s, against {empty:.2f} s in an empty one (fastest of 15)")


def test_permissions(scene: Scene, table: Table) -> None:
    launches = scene.start(async_dir="/srv/place/jobs")
    for host, script in zip(
        scene.hosts,
        ("chmod 777 /srv/place/jobs", "chown deploy /srv/place/jobs", "chmod 777 /srv/place"),
        strict=True,
    ):
        host.shell(script)
    scene.let_go()
    outcome = scene.play("wait", jobs=launches)
    # Warnings are wrapped to the width of the terminal.
    said = " ".join(outcome.output.split())
    assert (
        "Every local user may write to the job directory /srv/place/jobs: results could be forged or deleted." in said
    )
    assert "The job directory /srv/place/jobs belongs to" in said
    assert scene.states(outcome, scene.hosts[0]) == ALL
    assert scene.states(outcome, scene.hosts[1]) == ALL
    refused = outcome.result_of_wait(scene.hosts[2].name)["jobs"]
    assert {job["state"] for job in refused} == {"unreadable"}
    assert all("anyone could put another directory in its place" in job["msg"] for job in refused)
    table.row("permissions", "warned; warned; refused, all its jobs unreadable for that reason")


def test_async_status(scene: Scene, table: Table) -> None:
    launches = scene.start()
    untouched = scene.start()
    before = answers(scene, launches), answers(scene, untouched)
    run = scene.wait(launches)
    during = answers(scene, launches), answers(scene, untouched)
    assert run.is_running
    scene.let_go()
    outcome = run.outcome()
    for host in scene.hosts:
        for launch in untouched[host.name]["results"]:
            eventually(lambda launch=launch: not family(launch["ansible_job_id"]).all, 30, "the others have ended")
    after = answers(scene, launches), answers(scene, untouched)
    for ours, theirs in (before, during, after):
        assert ours == theirs
    assert {tuple(answer) for answer in before[0]} != {tuple(answer) for answer in after[0]}
    assert [scene.states(outcome, host) for host in scene.hosts] == [ALL] * len(scene.hosts)
    table.row("async_status", f"the same {3 * len(before[0])} answers")


def answers(scene: Scene, launches: Launches) -> list[list[t.Any]]:
    """What async_status says of each job, without what differs from job to job."""
    outcome = scene.play("async_status", jobs=launches)
    assert outcome.rc == 0, outcome.output
    found = []
    for host in scene.hosts:
        for answer in outcome.result("Ask for the jobs", host.name)["results"]:
            own = {"ansible_job_id", "results_file", "item", "start", "end", "delta", "invocation"}
            found.append(sorted((key, json.dumps(value)) for key, value in answer.items() if key not in own))
    return found
