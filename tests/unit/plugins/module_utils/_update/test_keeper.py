# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# With real processes: one that has the lock of a batch as its supervisor has it, jobs, and the keeper itself.

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _host_lock, _jobs, _output, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.module_utils._termination import Terminated, heed_sigterm
from ansible_collections.inflight.jobs.plugins.module_utils._update import keeper
from ansible_collections.inflight.jobs.plugins.module_utils._update.keeper import Batch, batch_of, has_gone, leave
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import BEGUN, OUTCOME, Workspace

from ...conftest import FOREVER, NUMBER, exit_code, fork, living, supervised

OWN, FIRST, SECOND = (f"{NUMBER}.{index}" for index in range(3))


def eventually(is_so: Callable[[], object]) -> None:
    due = time.monotonic() + FOREVER
    while not is_so():
        assert time.monotonic() < due
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "EVERY", 0.05)


@pytest.fixture(autouse=True)
def own_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    # Jobs have the same ids in all tests, and some of these run side by side.
    monkeypatch.setattr(_processes, "TAG", f"{_processes.TAG}_{os.getpid()}")


@pytest.fixture
def batch(directory: JobDirectory, batch_folder: BatchFolder) -> Batch:
    for jid in (OWN, FIRST, SECOND):
        directory.create_marker(jid)
    return batch_of(batch_folder.status_file(OWN))


class Scene:
    """An update that has been begun, and what its keeper tells."""

    def __init__(self, folder: Path, batch: Batch) -> None:
        self.workspace = Workspace(str(folder / "workspace"))
        self.workspace.make()
        self.batch = batch
        self.host_lock = str(folder / "host.lock")
        self._word = folder / "word"
        self._finished = folder / "finished"
        self.say("download 1 of 2")

    def say(self, word: str) -> None:
        """Have the package manager log this."""
        self._word.with_suffix(".new").write_text(word, encoding="utf-8")
        self._word.with_suffix(".new").rename(self._word)

    def say_nothing(self) -> None:
        """Have it have no log."""
        self._word.unlink()

    def told(self, jid: str) -> list[str]:
        """What whoever waits for a job reads."""
        return _output.last_lines(self.batch.folder, jid, 1)

    def leave(self) -> None:
        """Leave a keeper, as a module that ends then."""

        def body() -> None:
            lock = _host_lock.take(False, 0, self.host_lock)
            leave(self.batch, lock, self._finish, lambda: self._word.read_text(encoding="utf-8"), self.workspace)

        assert exit_code(fork(body)) == 0

    def _finish(self) -> None:
        self._finished.write_text(json.dumps({"pid": os.getpid(), "session": os.getsid(0), "tag": tagged()}))

    def has_finished(self) -> bool:
        return self._finished.exists()

    def finished(self) -> dict[str, t.Any]:
        assert has_gone(self.workspace, FOREVER)
        return t.cast("dict[str, t.Any]", json.loads(self._finished.read_text(encoding="ascii")))

    def host_is_locked(self) -> bool:
        try:
            os.close(t.cast(int, _host_lock.take(True, 0, self.host_lock)))
        except _host_lock.HostLockError:
            return True
        return False


def tagged() -> str | None:
    return os.environ.get(_processes.TAG)


@pytest.fixture
def scene(tmp_path: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv(_processes.TAG, OWN)
    scene = Scene(tmp_path, batch)
    yield scene
    assert has_gone(scene.workspace, FOREVER), "the keeper has not gone"


@contextlib.contextmanager
def working(directory: JobDirectory, jid: str) -> Iterator[int]:
    """A process that runs a job; its pid."""
    with living() as pid:
        directory.change_marker(jid, _processes.identity(pid))
        yield pid


@contextlib.contextmanager
def started_by(jid: str) -> Iterator[None]:
    """A program that a job has started."""
    with subprocess.Popen(["sleep", str(FOREVER)], env={**os.environ, _processes.TAG: jid}) as process:
        try:
            yield
        finally:
            process.kill()
            process.wait()


class TestBatch:
    def test_it_is_found_by_the_file_of_the_job(self, batch: Batch, batch_folder: BatchFolder) -> None:
        assert (batch.folder.path, batch.own, batch.others) == (batch_folder.path, OWN, [FIRST, SECOND])

    @pytest.mark.parametrize("status_file", [None, ""])
    def test_outside_of_a_batch_it_is_refused(self, status_file: str | None) -> None:
        with pytest.raises(UpdateError, match=r"^update_begin can only be a task of inflight\.jobs\.async_batch"):
            batch_of(status_file)

    def test_a_batch_that_is_damaged_is_refused(self, batch_folder: BatchFolder) -> None:
        Path(batch_folder.file("batch.json")).write_text("{", encoding="ascii")
        with pytest.raises(UpdateError, match=r"^the batch of this job cannot be read: .*is damaged"):
            batch_of(batch_folder.status_file(OWN))


class TestAtWork:
    def test_as_long_as_its_supervisor_lives(self, batch: Batch) -> None:
        with supervised(batch.folder):
            assert batch.is_at_work()
        assert not batch.is_at_work()

    def test_without_a_supervisor_as_long_as_the_process_of_another_job_lives(
        self, batch: Batch, directory: JobDirectory
    ) -> None:
        with working(directory, SECOND):
            assert batch.is_at_work()
        assert not batch.is_at_work()

    def test_its_own_job_does_not_count(self, batch: Batch, directory: JobDirectory) -> None:
        with working(directory, OWN):
            assert not batch.is_at_work()

    def test_a_job_that_has_ended_does_not_count(self, batch: Batch, directory: JobDirectory) -> None:
        with working(directory, FIRST):
            directory.write_result(FIRST, batch.folder.file("new"), _jobs.verdict(_jobs.LOST, "it was killed"))
            assert not batch.is_at_work()

    @pytest.mark.parametrize("state", [None, _jobs.LOST, _jobs.CANCELLED, _jobs.TIMED_OUT])
    def test_what_a_job_has_started_counts_also_when_the_job_was_killed(
        self, batch: Batch, directory: JobDirectory, state: str | None
    ) -> None:
        # As a package manager whose module was killed: it goes on by itself.
        if state is not None:
            directory.write_result(FIRST, batch.folder.file("new"), _jobs.verdict(state, "it was killed"))
        with started_by(FIRST):
            eventually(batch.is_at_work)
        assert not batch.is_at_work()

    @pytest.mark.parametrize("result", [{"changed": True}, {"failed": True, "msg": "no"}, {"rc": 100}])
    def test_a_daemon_that_a_package_has_left_does_not_count_once_there_is_a_result(
        self, batch: Batch, directory: JobDirectory, result: dict[str, t.Any]
    ) -> None:
        with started_by(FIRST):
            eventually(batch.is_at_work)
            directory.write_result(FIRST, batch.folder.file("new"), json.dumps(result).encode())
            assert not batch.is_at_work()
            # That of the other job has none yet.
            with started_by(SECOND):
                eventually(batch.is_at_work)

    def test_a_batch_that_was_deleted_does_not_work(self, batch: Batch) -> None:
        batch.folder.delete()
        assert not batch.is_at_work()

    def test_a_job_directory_that_nobody_can_open_any_more_does_not_work(self, batch: Batch) -> None:
        directory = Path(batch.folder.directory)
        shutil.rmtree(directory)
        directory.write_text("", encoding="ascii")
        assert not batch.is_at_work()


class TestKeeper:
    def test_it_waits_for_the_batch_and_finishes_then(self, scene: Scene) -> None:
        with supervised(scene.batch.folder):
            scene.leave()
            assert not has_gone(scene.workspace, 0.3)
            assert not scene.has_finished()
            assert scene.host_is_locked()
        told = scene.finished()
        assert not scene.host_is_locked()
        # A process of its own, which is no part of the job that left it, and nobody's child.
        assert told["pid"] == told["session"] != os.getpid()
        assert told["tag"] is None

    def test_meanwhile_it_says_of_the_other_jobs_how_far_the_installation_is(self, scene: Scene) -> None:
        with supervised(scene.batch.folder):
            scene.leave()
            for word in ("download 1 of 2", "install 1 of 2, caf\u00e9"):
                scene.say(word)
                eventually(lambda word=word: scene.told(FIRST) == scene.told(SECOND) == [word])  # type: ignore[misc]
            assert scene.told(OWN) == []
        scene.finished()

    def test_it_goes_on_when_the_supervisor_is_killed_while_a_job_lives(
        self, scene: Scene, directory: JobDirectory
    ) -> None:
        with working(directory, FIRST):
            supervisor = fork(lambda: (scene.batch.folder.supervise(), time.sleep(FOREVER)))
            eventually(lambda: scene.batch.folder.supervisor() == supervisor)
            scene.leave()
            os.kill(supervisor, signal.SIGKILL)
            assert exit_code(supervisor) == -signal.SIGKILL
            scene.say("install 2 of 2, b")
            eventually(lambda: scene.told(FIRST) == ["install 2 of 2, b"])
            assert not scene.has_finished()
            assert scene.host_is_locked()
        scene.finished()
        assert not scene.host_is_locked()

    def test_a_log_that_cannot_be_read_does_not_end_it(self, scene: Scene) -> None:
        with supervised(scene.batch.folder):
            scene.say_nothing()
            scene.leave()
            assert not has_gone(scene.workspace, 0.3)
            scene.say("install 1 of 2, a")
            eventually(lambda: scene.told(FIRST) == ["install 1 of 2, a"])
        scene.finished()

    def test_a_batch_that_is_deleted_is_no_reason_not_to_finish(self, scene: Scene) -> None:
        with supervised(scene.batch.folder):
            scene.leave()
            scene.batch.folder.delete()
        scene.finished()

    def test_it_holds_nothing_that_was_open(self, scene: Scene) -> None:
        with supervised(scene.batch.folder):
            read, write = os.pipe()
            os.set_inheritable(write, True)
            scene.leave()
            os.close(write)
            # Who reads what the module prints sees its end at once.
            assert os.read(read, 1) == b""
            os.close(read)
            assert not scene.has_finished()
        scene.finished()

    def test_without_a_lock_of_the_host_as_well(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_host_lock, "take", lambda *dummy: None)
        scene.leave()
        scene.finished()

    def test_whoever_leaves_it_goes_on_and_lives(self, scene: Scene, tmp_path: Path) -> None:
        def body() -> None:
            leave(scene.batch, None, lambda: None, lambda: "", scene.workspace)
            (tmp_path / "lived").touch()

        assert exit_code(fork(body)) == 0
        assert (tmp_path / "lived").exists()

    def test_it_has_no_part_in_how_the_module_heeds_sigterm(self, scene: Scene, tmp_path: Path) -> None:
        def finish() -> None:
            is_default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            if is_default and signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, []):
                (tmp_path / "as before").touch()

        def body() -> None:
            heed_sigterm()
            leave(scene.batch, None, finish, lambda: "", scene.workspace)

        assert exit_code(fork(body)) == 0
        assert has_gone(scene.workspace, FOREVER)
        assert (tmp_path / "as before").exists()

    @pytest.mark.parametrize("to_keeper", [True, False])
    def test_one_that_comes_just_then_unwinds_the_module_alone(
        self, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_keeper: bool
    ) -> None:
        real = os.fork

        def fork_meanwhile() -> int:
            pid = real()
            if to_keeper == (pid == 0):
                os.kill(os.getpid(), signal.SIGTERM)
            return pid

        def body() -> None:
            heed_sigterm()
            monkeypatch.setattr(os, "fork", fork_meanwhile)
            module = os.getpid()
            try:
                leave(scene.batch, None, (tmp_path / "finished").touch, lambda: "", scene.workspace)
            except Terminated:
                (tmp_path / ("module" if os.getpid() == module else "keeper")).touch()

        assert exit_code(fork(body)) == 0
        assert has_gone(scene.workspace, FOREVER)
        found = [name for name in ("finished", "keeper", "module") if (tmp_path / name).exists()]
        assert found == ([] if to_keeper else ["finished", "module"])

    def test_a_machine_that_is_full_of_processes_is_told(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        def fork_fails() -> int:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", fork_fails)
            with pytest.raises(UpdateError) as caught:
                leave(scene.batch, None, lambda: None, lambda: "", scene.workspace)
        assert str(caught.value) == (
            "no process can be started that looks after the update: Resource temporarily unavailable"
        )
        # Nobody keeps anything.
        assert has_gone(scene.workspace, 0)


class TestHasGone:
    def test_without_one_it_has_gone(self, tmp_path: Path) -> None:
        assert has_gone(Workspace(str(tmp_path)), 0)

    def test_one_that_was_killed_has_gone(self, scene: Scene) -> None:
        path = scene.workspace.file(keeper.LOCK)
        with living(lambda: fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)) as pid:
            began = time.monotonic()
            assert not has_gone(scene.workspace, 0)
            assert not has_gone(scene.workspace, 0.2)
            assert time.monotonic() - began >= 0.2
            os.kill(pid, signal.SIGKILL)
            assert has_gone(scene.workspace, FOREVER)

    def test_without_one_a_package_manager_that_goes_on_is_waited_for(
        self, scene: Scene, directory: JobDirectory
    ) -> None:
        """What was killed beside it would have told what it has done."""
        scene.workspace.write(BEGUN, {"status_file": scene.batch.status_file})
        with working(directory, FIRST):
            assert not has_gone(scene.workspace, 0)
            scene.workspace.write(OUTCOME, {})
            assert has_gone(scene.workspace, 0)
            scene.workspace.delete(OUTCOME)
        assert has_gone(scene.workspace, FOREVER)

    def test_those_who_ask_do_not_disturb_each_other(self, scene: Scene) -> None:
        path = scene.workspace.file(keeper.LOCK)
        with living(lambda: fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_SH)):
            assert has_gone(scene.workspace, 0)


def test_what_is_said_of_a_job_goes_with_its_batch(scene: Scene) -> None:
    _output.say("install", scene.batch.folder.status_file(FIRST))
    assert f"{FIRST}.status" in scene.batch.folder.files([FIRST])
    scene.batch.folder.delete()
    assert not os.path.exists(scene.batch.folder.path)
