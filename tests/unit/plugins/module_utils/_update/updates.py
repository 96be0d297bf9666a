# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# An update from its beginning to its end, for tests: the Debian in a folder, a batch with a living supervisor, and
# processes that begin it. No systemd runs where unit tests do, so what systemctl says is replayed.

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _host_lock, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.module_utils._termination import Terminated
from ansible_collections.inflight.jobs.plugins.module_utils._update import apt, beginning, ending, keeper, packages
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import OUTCOME, REPORTED

from ...conftest import FOREVER, NUMBER, exit_code, fork, made_folder, supervised
from .debian import OPTIONS, Debian

Told = dict[str, t.Any]

TIMERS = ["apt-daily.timer", "apt-daily-upgrade.timer"]
STOP, START = ((verb, *sorted(TIMERS)) for verb in ("stop", "start"))


def eventually(is_so: Callable[[], object]) -> None:
    due = time.monotonic() + FOREVER
    while not is_so():
        assert time.monotonic() < due
        time.sleep(0.02)


class Update:
    """A host that is updated.

    debian: its packages. workspace: what is known of the update. host_lock: the path of the lock of the host. etc: its
    folder with configuration files.
    """

    def __init__(self, debian: Debian, directory: JobDirectory, folder: Path) -> None:
        self.debian = debian
        self.workspace = debian.workspace
        self.host_lock = str(folder / "host.lock")
        self.etc = folder / "etc"
        self.etc.mkdir()
        self._directory = directory
        self._answer = folder / "answer"
        self._batches = 0
        self.has_timers(*TIMERS)

    def has_timers(self, *active: str) -> None:
        """These timers are active."""
        states = ["active" if timer in active else "inactive" for timer in beginning.timers.TIMERS]
        self.debian.answers["systemctl is-active"] = (3, "\n".join(states))
        self.debian.answers["systemctl st"] = (0, "")

    @contextlib.contextmanager
    def batch(self) -> Iterator[BatchFolder]:
        """A batch whose first job begins the update; it is at work until the end of the block."""
        self._batches += 1
        number = f"{NUMBER}{self._batches}"
        folder = made_folder(self._directory, number, jobs=2)
        with supervised(folder):
            self._directory.create_marker(f"{number}.0")
            self._directory.create_marker(f"{number}.1")
            yield folder

    def begin(self, folder: BatchFolder | None, prepare: Callable[[], object] = lambda: None, **options: t.Any) -> Told:
        """Begin an update as a job of a batch does, in a process of its own; what it tells.

        :raises UpdateError: when it does.
        """

        def body() -> None:
            prepare()
            if folder is not None:
                os.environ[_processes.STATUS] = folder.status_file(f"{folder.number}.0")
            try:
                told = beginning.begin({**OPTIONS, "pause_timers": True, **options}, self.debian.run, self.workspace)
                answer = {"told": told}
            except (UpdateError, Terminated) as ex:
                answer = {"error": str(ex)}
            self._answer.write_text(json.dumps(answer), encoding="utf-8")

        self._answer.unlink(missing_ok=True)
        ended = exit_code(fork(body))
        assert ended in (0, -signal.SIGKILL)
        answer = json.loads(self._answer.read_text(encoding="utf-8")) if self._answer.exists() else {"told": {}}
        if "error" in answer:
            raise UpdateError(answer["error"])
        return t.cast("Told", answer["told"])

    def update(self, **options: t.Any) -> None:
        """Update it, and wait until the process that looks after it has gone."""
        with self.batch() as folder:
            self.begin(folder, **options)
            self.debian.upgrade()
        assert keeper.has_gone(self.workspace, FOREVER)

    def outcome(self) -> Told:
        """What came of it, as it is told."""
        outcome = self.workspace.read(OUTCOME)
        assert outcome is not None
        return ending.told(self.workspace, outcome)

    def report(self) -> Told:
        """The same, and note that a report has it."""
        self.workspace.write(REPORTED, {})
        return self.outcome()

    def versions(self) -> list[tuple[str, str | None, str | None]]:
        """What has changed, as it is told."""
        return [(change["name"], change["old"], change["new"]) for change in self.outcome()["packages"]]

    def systemctl(self) -> list[tuple[str, ...]]:
        """What was done to timers, and to which."""
        words = [line.split()[1:] for line in self.debian.asked if line.startswith("systemctl st")]
        return [(verb, *sorted(timers)) for verb, *timers in words]

    def is_locked(self) -> bool:
        """Whether no backup can be made."""
        try:
            os.close(t.cast(int, _host_lock.take(True, 0, self.host_lock)))
        except _host_lock.HostLockError:
            return True
        return False


@pytest.fixture
def update(
    debian: Debian, directory: JobDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Update]:
    found = Update(debian, directory, tmp_path)
    monkeypatch.setattr(_host_lock.take, "__defaults__", (found.host_lock,))
    monkeypatch.setattr(packages.files_beside, "__defaults__", (str(found.etc),))
    logs = (str(debian.root / "var/log/dpkg.log"), str(debian.root / "var/log/apt/term.log"))
    monkeypatch.setattr(apt.Apt, "LOGS", logs)
    monkeypatch.setattr(apt.Apt, "FOLLOWED", logs[:1])
    monkeypatch.setattr(keeper, "EVERY", 0.05)
    monkeypatch.delenv(_processes.STATUS, raising=False)
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system" or real(path))
    yield found
    assert keeper.has_gone(found.workspace, FOREVER), "the process that looks after the update has not gone"
