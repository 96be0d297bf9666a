# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What becomes of a batch when its processes are killed, the controller dies, or somebody touches its files.

from __future__ import annotations

import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ...fleet.system import eventually, parents
from ...support import Outcome, kill
from .conftest import BatchSandbox, batch_task, is_alive, lines_of, until_exists

pytestmark = pytest.mark.usefixtures("nothing_left")

Job = dict[str, t.Any]


def jobs(outcome: Outcome, task: str) -> list[Job]:
    """The jobs that a task returned."""
    found: list[Job] = outcome.result(task)["jobs"]
    return found


def states(outcome: Outcome, task: str) -> list[str]:
    """The states of the jobs that a task returned."""
    return [job["state"] for job in jobs(outcome, task)]


def wait_task(name: str, **options: t.Any) -> dict[str, t.Any]:
    """A task of a playbook that waits, and whose failure does not end the play."""
    return {"name": name, "inflight.jobs.async_wait": options, "ignore_errors": True}


class Scene:
    """A batch whose jobs note in a log that they have begun, and end when there is a file that lets them go."""

    def __init__(self, sandbox: BatchSandbox) -> None:
        self.sandbox = sandbox
        self.log = sandbox.folder / "log"
        self.go = sandbox.folder / "go"
        self.script = f"echo {{{{ item }}}} >> {self.log}; {until_exists(self.go)}; echo did {{{{ item }}}}"

    def batch(self, name: str, items: list[t.Any], **options: t.Any) -> dict[str, t.Any]:
        """A task that runs the batch, two jobs at once."""
        return batch_task(name, self.script, **{"concurrency": 2, "items": items, **options})

    def begun(self, number: int) -> None:
        """Wait until so many jobs have begun."""
        eventually(lambda: len(lines_of(self.log)) >= number, 60, f"{number} jobs have begun")

    @property
    def folder(self) -> Path:
        """The folder of the one batch that there is."""
        return self.sandbox.folder_of_batch()

    def supervisor(self) -> int:
        """The process that keeps the window full."""
        return int((self.folder / "lock").read_text("ascii"))

    def zygote(self) -> int:
        """The process between the supervisor and the jobs."""
        children = [pid for pid, parent in parents().items() if parent == self.supervisor()]
        assert len(children) == 1
        return children[0]

    def job_file(self, place: int) -> Path:
        """The job file of the job at this place of the batch."""
        return self.sandbox.jobs / f"{self.folder.name}.{place}"

    def process(self, place: int) -> int:
        """The first process of this job."""
        return int(json.loads(self.job_file(place).read_text("ascii"))["process"][0])

    def family(self, place: int) -> list[int]:
        """All processes of this job."""
        found = [self.process(place)]
        for pid in found:
            found.extend(child for child, parent in parents().items() if parent == pid)
        return found


@pytest.fixture
def scene(sandbox: BatchSandbox) -> Scene:
    return Scene(sandbox)


def kill_at_once(*pids: int) -> None:
    """Kill these processes, and wait until they are gone."""
    kill(pids)
    eventually(lambda: not any(map(is_alive, pids)), 20, "they are dead")


def test_jobs_outlive_their_supervisor_and_are_not_started_twice(scene: Scene) -> None:
    options: dict[str, t.Any] = {"id": "nightly", "items": [1, 2, 3, 4]}
    # The second one fails, and would be tried again if there were anybody to do it.
    scene.script += "; [ {{ item }} != 2 ] || [ -e " + str(scene.log) + ".again ]"
    first = scene.sandbox.start_tasks([scene.batch("first", **options, retries=1, retry_delay=0)])
    scene.begun(2)
    kill_at_once(scene.supervisor())

    # What is left of it still is the batch of this name.
    second = scene.sandbox.start_tasks(
        [scene.batch("refused", on_existing="fail", **options), scene.batch("second", hold=0, poll=1, **options)]
    )
    second.shows("running: 1, 2", 60)
    assert sorted(lines_of(scene.log)) == ["1", "2"]
    scene.go.touch()
    attached = second.outcome()
    assert "the batch 'nightly' lives already on this host" in attached.result("refused")["msg"]
    for outcome, task in ((first.outcome(), "first"), (attached, "second")):
        one, two, *queued = jobs(outcome, task)
        assert (one["state"], one["result"]["stdout"], one["attempts"]) == ("succeeded", "did 1", 1)
        assert (two["state"], two["result"]["stdout"], two["attempts"]) == ("failed", "did 2", 1)
        assert [(job["state"], job["msg"], job["attempts"], job["started"]) for job in queued] == [
            ("lost", "its supervisor died", 0, False)
        ] * 2

    # Now that none of them lives, they are run afresh: those that did not succeed, or all.
    Path(f"{scene.log}.again").touch()
    scene.log.unlink()
    last = scene.sandbox.run_tasks([scene.batch("rest", **options, rerun="failed"), scene.batch("all", **options)])
    assert last.rc == 0, last.output
    assert states(last, "rest") == states(last, "all") == ["succeeded"] * 4
    assert jobs(last, "rest")[0]["ansible_job_id"] == one["ansible_job_id"]
    assert sorted(lines_of(scene.log)) == ["1", "2", "2", "3", "3", "4", "4"]


def test_what_a_dead_supervisor_left_behind_can_be_replaced(scene: Scene) -> None:
    options: dict[str, t.Any] = {"id": "nightly", "items": [1, 2, 3], "grace": 5}
    first = scene.sandbox.start_tasks([scene.batch("first", **options)])
    scene.begun(2)
    left = [*scene.family(0), *scene.family(1)]
    kill_at_once(scene.supervisor())
    scene.script = "echo new"
    second = scene.sandbox.run_tasks([scene.batch("second", **options, on_existing="replace")])
    assert second.rc == 0, second.output
    assert not any(map(is_alive, left))
    assert [job["result"]["stdout"] for job in jobs(second, "second")] == ["new"] * 3
    replaced = [(job["state"], job["msg"]) for job in jobs(first.outcome(), "first")]
    assert replaced[:2] == [("cancelled", "another run replaced its batch")] * 2
    assert replaced[2] == ("lost", "its supervisor died")


def test_a_killed_job_is_lost_and_the_others_go_on(scene: Scene) -> None:
    run = scene.sandbox.start_tasks([scene.batch("batch", [1, 2, 3, 4, 5])])
    scene.begun(2)
    # Its command as well: what a job leaves behind lives on.
    kill_at_once(*scene.family(0))
    # There is room for another one now.
    scene.begun(3)
    assert lines_of(scene.log)[2] == "3"
    kill_at_once(scene.zygote())
    scene.go.touch()
    outcome = run.outcome()
    found = jobs(outcome, "batch")
    assert [job["state"] for job in found] == ["lost", *["succeeded"] * 4]
    assert found[0]["msg"] == "killed by signal 9 (SIGKILL)"
    assert found[0]["result"] is None
    assert [job["result"]["stdout"] for job in found[1:]] == ["did 2", "did 3", "did 4", "did 5"]
    assert {job["attempts"] for job in found} == {1}
    assert sorted(lines_of(scene.log)) == ["1", "2", "3", "4", "5"]


def test_a_job_that_is_killed_with_its_zygote_is_lost_unless_it_has_another_attempt(scene: Scene) -> None:
    again = scene.sandbox.folder / "again"
    script = f"echo {{{{ item }}}} >> {scene.log}; [ -e {again} ] || {until_exists(scene.go)}; echo did {{{{ item }}}}"
    scene.script = script
    run = scene.sandbox.start_tasks([scene.batch("batch", [1, 2, 3], retries=1, retry_delay=0.5)])
    scene.begun(2)
    again.touch()
    kill_at_once(scene.zygote(), *scene.family(0))
    scene.begun(4)
    scene.go.touch()
    outcome = run.outcome()
    assert outcome.rc == 0, outcome.output
    assert [(job["result"]["stdout"], job["attempts"]) for job in jobs(outcome, "batch")] == [
        ("did 1", 2),
        ("did 2", 1),
        ("did 3", 1),
    ]


def test_jobs_outlive_everything_that_started_them(scene: Scene) -> None:
    run = scene.sandbox.start_tasks([scene.batch("batch", [1, 2, 3, 4], concurrency=3)])
    scene.begun(3)
    kill_at_once(scene.supervisor(), scene.zygote(), *scene.family(1))
    scene.go.touch()
    found = jobs(run.outcome(), "batch")
    assert [(job["state"], job["attempts"]) for job in found] == [
        ("succeeded", 1),
        ("lost", 1),
        ("succeeded", 1),
        ("lost", 0),
    ]
    assert [job["msg"] for job in found if job["state"] == "lost"] == [
        "no process and no result",
        "its supervisor died",
    ]
    assert [job["result"]["stdout"] for job in found if job["result"]] == ["did 1", "did 3"]


def test_a_controller_that_is_killed_loses_nothing(scene: Scene) -> None:
    options: dict[str, t.Any] = {"id": "nightly", "items": [1, 2, 3, 4]}
    run = scene.sandbox.start_tasks([scene.batch("batch", **options)])
    scene.begun(2)
    # Everything that Ansible has started, its module on the host included; not what our module has started there.
    of_batch = {scene.supervisor()}
    everything = {pid for pid, line in scene.sandbox.living().items() if "ansible-playbook" in line}
    tree = parents()
    while more := {pid for pid, parent in tree.items() if parent in everything} - everything - of_batch:
        everything |= more
    assert everything
    kill_at_once(*everything)
    run.kill()
    assert all(is_alive(pid) for pid in (scene.supervisor(), scene.process(0), scene.process(1)))
    again = scene.sandbox.start_tasks([scene.batch("batch", hold=0, poll=1, **options)])
    again.shows("0/4 ended", 60)
    scene.go.touch()
    outcome = again.outcome()
    assert outcome.rc == 0, outcome.output
    assert [job["result"]["stdout"] for job in jobs(outcome, "batch")] == ["did 1", "did 2", "did 3", "did 4"]
    assert sorted(lines_of(scene.log)) == ["1", "2", "3", "4"]


def test_job_files_that_are_deleted_are_missing(scene: Scene) -> None:
    run = scene.sandbox.start_tasks([scene.batch("batch", [1, 2, 3, 4], hold=0, poll=1)], "-v")
    scene.begun(2)
    # One that runs, and one that waits: that one cannot run without it.
    scene.job_file(1).unlink()
    scene.job_file(3).unlink()
    run.shows("> 2: missing", 60)
    run.shows("> 4: missing", 60)
    scene.go.touch()
    found = jobs(run.outcome(), "batch")
    assert [job["state"] for job in found] == ["succeeded", "missing", "succeeded", "missing"]
    assert found[1]["msg"] == f"there is no job file {found[1]['results_file']}"
    assert sorted(lines_of(scene.log)) == ["1", "2", "3"]


def test_a_batch_ends_when_its_folder_is_deleted(scene: Scene) -> None:
    run = scene.sandbox.start_tasks([scene.batch("batch", [1, 2, 3, 4, 5], hold=0, poll=1, timeout=60)], "-v")
    scene.begun(2)
    supervisor, running = scene.supervisor(), [scene.process(0), scene.process(1)]
    shutil.rmtree(scene.folder)
    # Those that run are not lost as long as they do.
    for name in ("3", "4", "5"):
        run.shows(f"> {name}: lost", 60)
    assert all(map(is_alive, running))
    scene.go.touch()
    outcome = run.outcome()
    assert states(outcome, "batch") == ["lost"] * 5
    eventually(lambda: not is_alive(supervisor), 60, "the supervisor ends")


def make_folder(path: Path, mode: int = 0o700) -> Path:
    """Make a folder and those above it."""
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


def in_directory(task: dict[str, t.Any], path: Path) -> dict[str, t.Any]:
    """A task that has another job directory than the others."""
    return {**task, "vars": {"ansible_async_dir": str(path)}}


def test_what_anybody_else_could_have_put_into_the_job_directory_is_refused(sandbox: BatchSandbox) -> None:
    folder = sandbox.folder
    elsewhere = make_folder(folder / "elsewhere" / "ids").parent
    (elsewhere / "ids" / "nightly").write_text("j123", "ascii")
    victim = folder / "victim"
    victim.write_text("precious", "ascii")

    (make_folder(folder / "link") / ".inflight").symlink_to(elsewhere)
    (make_folder(folder / "file") / ".inflight").write_text("", "ascii")
    make_folder(folder / "open" / ".inflight", 0o777)
    (make_folder(folder / "ids" / ".inflight") / "ids").symlink_to(elsewhere / "ids")
    (make_folder(folder / "id" / ".inflight" / "ids") / "nightly").symlink_to(victim)
    refused = {
        "link": f"{folder}/link/.inflight belongs to somebody else, or others may write to it: remove it",
        "file": f"{folder}/file/.inflight belongs to somebody else, or others may write to it: remove it",
        "open": f"{folder}/open/.inflight belongs to somebody else, or others may write to it: remove it",
        "ids": f"{folder}/ids/.inflight/ids belongs to somebody else, or others may write to it: remove it",
        "id": f"cannot use {folder}/id/.inflight/ids/nightly: Too many levels of symbolic links",
    }
    # A batch that the id names, but that cannot be ours: a new one is started.
    for name, mode in (("linked batch", None), ("open batch", 0o777)):
        inflight = make_folder(folder / name / ".inflight")
        (make_folder(inflight / "ids") / "nightly").write_text("j123", "ascii")
        if mode is None:
            (inflight / "j123").symlink_to(elsewhere)
        else:
            make_folder(inflight / "j123", mode)
            (inflight / "j123" / "batch.json").write_text('{"jobs": []}', "ascii")
    fresh = ("linked batch", "open batch")

    script = f"echo {{{{ item }}}} >> {folder}/log; echo ok"
    tasks = [in_directory(batch_task(name, script, items=[name], id="nightly"), folder / name) for name in refused]
    tasks.extend(in_directory(batch_task(name, script, items=[name], id="nightly"), folder / name) for name in fresh)
    tasks.append(in_directory(wait_task("wait", batch="nightly"), folder / "link"))
    outcome = sandbox.run_tasks(tasks)
    for name, sentence in refused.items():
        assert outcome.result(name)["msg"].startswith(f"The batch was not started: {sentence}"), outcome.result(name)
        assert states(outcome, name) == ["not_started"]
    assert f"{folder}/link/.inflight belongs to somebody else" in outcome.result("wait")["msg"]
    assert [states(outcome, name) for name in fresh] == [["succeeded"], ["succeeded"]]
    assert lines_of(folder / "log") == list(fresh)
    assert victim.read_text("ascii") == "precious"
    assert [path.name for path in elsewhere.iterdir()] == ["ids"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_refused(sandbox: BatchSandbox) -> None:
    folder = make_folder(sandbox.jobs / ".inflight")
    os.chown(folder, 65534, 65534)
    outcome = sandbox.run_tasks([batch_task("batch", "echo ok", items=[1], id="nightly")])
    assert outcome.result("batch")["msg"].startswith(
        f"The batch was not started: {folder} belongs to somebody else, or others may write to it: remove it"
    )
    assert list(folder.iterdir()) == []


def test_a_damaged_batch_is_told_in_a_sentence(sandbox: BatchSandbox) -> None:
    damages = {
        "cut": '{"id": "nightly", "jobs": [{"jid": "j123.0", "ke',
        "half a job": '{"jobs": [{"jid": "j123.0"}]}',
        "no id": '{"jobs": [{"jid": "../../x", "key": "k", "name": "x", "item": null}]}',
        "deep": "[" * 100_000,
    }
    tasks = []
    for name, text in damages.items():
        inflight = make_folder(sandbox.folder / name / ".inflight")
        (make_folder(inflight / "ids") / "nightly").write_text("j123", "ascii")
        (make_folder(inflight / "j123") / "batch.json").write_text(text, "ascii")
        batch = batch_task(name, "echo ok", items=[1], id="nightly", rerun="failed")
        tasks.append(in_directory(batch, sandbox.folder / name))
    waits = ("half a job", "no id")
    tasks.extend(in_directory(wait_task(f"wait for {name}", batch="nightly"), sandbox.folder / name) for name in waits)
    outcome = sandbox.run_tasks(tasks)
    for name in damages:
        sentence = f"{sandbox.folder}/{name}/.inflight/j123/batch.json is damaged: give the batch another id"
        assert outcome.result(name)["msg"].startswith(f"The batch was not started: {sentence}"), outcome.result(name)
    for name in waits:
        sentence = f"{sandbox.folder}/{name}/.inflight/j123/batch.json is damaged: give the batch another id"
        assert outcome.result(f"wait for {name}")["msg"] == f"The jobs cannot be looked at on the host: {sentence}"
