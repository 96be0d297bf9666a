# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

import pytest
import yaml

from ...fleet.system import FleetError, eventually, processes
from ...support import Outcome, Run, Sandbox

TASK = "Run the batch"


class BatchSandbox(Sandbox):
    """A sandbox that runs batches; each is written to a playbook of its own, because its tasks cannot be variables."""

    def start_tasks(
        self,
        tasks: list[dict[str, t.Any]],
        *arguments: str,
        play: t.Mapping[str, t.Any] | None = None,
        environment: t.Mapping[str, str] | None = None,
        variables: t.Mapping[str, t.Any] | None = None,
    ) -> Run:
        """Start a playbook with these tasks; everything else is as in start_batch."""
        whole = [{"name": "Test", "hosts": "localhost", "gather_facts": False, **(play or {}), "tasks": tasks}]
        path = self.playbooks / f"batch-{len(self._runs)}.yml"
        path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        return self.start_playbook(path.stem, *arguments, environment=environment, **(variables or {}))

    def start_batch(
        self,
        tasks: list[dict[str, t.Any]],
        *arguments: str,
        play: t.Mapping[str, t.Any] | None = None,
        keywords: t.Mapping[str, t.Any] | None = None,
        environment: t.Mapping[str, str] | None = None,
        variables: t.Mapping[str, t.Any] | None = None,
        **options: t.Any,
    ) -> Run:
        """Start a playbook with one task that runs a batch.

        :param tasks: of the batch.
        :param arguments: more arguments for ansible-playbook.
        :param play: what else the play has. keywords: what else the task has.
        :param environment: of ansible-playbook.
        :param variables: extra variables.
        :param options: of async_batch.
        """
        task = {"name": TASK, "inflight.jobs.async_batch": {"tasks": tasks, **options}, **(keywords or {})}
        return self.start_tasks([task], *arguments, play=play, environment=environment, variables=variables)

    def run_batch(self, tasks: list[dict[str, t.Any]], *arguments: str, **everything: t.Any) -> Outcome:
        """The same, and wait for its end."""
        return self.start_batch(tasks, *arguments, **everything).outcome()

    def run_tasks(self, tasks: list[dict[str, t.Any]], *arguments: str, **everything: t.Any) -> Outcome:
        """Run a playbook with these tasks, and wait for its end."""
        return self.start_tasks(tasks, *arguments, **everything).outcome()

    def folder_of_batch(self) -> Path:
        """The folder of the one batch that this sandbox has, as soon as it has a supervisor."""

        def found() -> Path | None:
            return next((lock.parent for lock in self.jobs.glob(".inflight/j*/lock") if lock.read_text("ascii")), None)

        return t.cast(Path, eventually(found, 30, "the batch has a supervisor"))

    def living(self) -> dict[int, str]:
        """The processes that runs and batches of this sandbox have, with their command lines."""
        mark = f"ANSIBLE_ASYNC_DIR={self.jobs}".encode()
        found = {}
        for pid, command_line in processes():
            # A zombie has no environment any more; a process that has just ended has no file.
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found[pid] = " ".join(command_line)
        return found

    def leaves_nothing(self) -> None:
        """Wait until no process is left of the runs and the batches, supervisors and what they fork included."""
        with contextlib.suppress(FleetError):
            eventually(lambda: not self.living(), 20, "nothing is left")
        assert not self.living()


def batch_task(name: str, script: str, **options: t.Any) -> dict[str, t.Any]:
    """A task of a playbook that runs a shell script for each item, and whose failure does not end the play.

    :param name: of the task. options: of async_batch.
    """
    jobs = [{"name": "{{ item }}", "ansible.builtin.shell": script}]
    return {"name": name, "inflight.jobs.async_batch": {"tasks": jobs, **options}, "ignore_errors": True}


def until_exists(path: Path) -> str:
    """The words of a shell that waits until there is such a file."""
    return f"until [ -e {path} ]; do sleep 0.05; done"


def lines_of(path: Path) -> list[str]:
    """The lines of a file that jobs write to; none when there is no file yet."""
    return path.read_text("utf-8").splitlines() if path.exists() else []


def is_alive(pid: int) -> bool:
    """Whether a process lives, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def batch_result(outcome: Outcome) -> dict[str, t.Any]:
    """What the batch of a run returned."""
    return outcome.result(TASK)


@pytest.fixture
def sandbox(tmp_path: Path) -> t.Iterator[BatchSandbox]:
    """A home, a job directory and a working folder for one test; modules come from the folders beside this file."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    for folder in ("library", "module_utils"):
        (playbooks / folder).symlink_to(Path(__file__).parent / folder)
    place = BatchSandbox(tmp_path, playbooks=playbooks)
    yield place
    place.close()


@pytest.fixture
def nothing_left(sandbox: BatchSandbox) -> t.Iterator[None]:
    """Fails a test that leaves processes of its batches behind."""
    if not os.path.exists("/proc/self/stat"):
        pytest.skip("processes are found through /proc here")
    yield
    sandbox.leaves_nothing()
