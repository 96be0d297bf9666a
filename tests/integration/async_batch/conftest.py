# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ...support import Outcome, Run, Sandbox

TASK = "Run the batch"


class BatchSandbox(Sandbox):
    """A sandbox that runs batches; each is written to a playbook of its own, because its tasks cannot be variables."""

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
        whole = [{"name": "Test", "hosts": "localhost", "gather_facts": False, **(play or {}), "tasks": [task]}]
        path = self.playbooks / f"batch-{len(self._runs)}.yml"
        path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        return self.start_playbook(path.stem, *arguments, environment=environment, **(variables or {}))

    def run_batch(self, tasks: list[dict[str, t.Any]], *arguments: str, **everything: t.Any) -> Outcome:
        """The same, and wait for its end."""
        return self.start_batch(tasks, *arguments, **everything).outcome()


def batch_result(outcome: Outcome) -> dict[str, t.Any]:
    """What the batch of a run returned."""
    return outcome.result(TASK)


@pytest.fixture
def sandbox(tmp_path: Path) -> t.Iterator[BatchSandbox]:
    """A home, a job directory and a working folder for one test; modules are taken from the folder library."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    (playbooks / "library").symlink_to(Path(__file__).parent / "library")
    place = BatchSandbox(tmp_path, playbooks=playbooks)
    yield place
    place.close()
