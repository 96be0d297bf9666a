# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Hosts for the tests of what looks at them: a folder in place of their root, and programs that are real or replayed.

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.inflight.jobs.plugins.module_utils._update.ground import Host

# Exit code and standard output.
Answer = tuple[int, str]


def real(command: list[str], environ_update: dict[str, str], **dummy: t.Any) -> tuple[int, str, str]:
    """Runs the programs of this machine, as AnsibleModule.run_command does."""
    done = subprocess.run(
        command, env={**os.environ, **environ_update}, capture_output=True, text=True, check=False, stdin=None
    )
    return done.returncode, done.stdout, done.stderr


class Replay:
    """Says what programs said elsewhere. One that is not in it is not installed.

    asked: the commands that were run.
    """

    def __init__(self, answers: dict[str, Answer]) -> None:
        """
        :param answers: by how a command begins.
        """
        self._answers = answers
        self.asked: list[str] = []

    def __call__(self, command: list[str], **dummy: t.Any) -> tuple[int, str, str]:
        line = " ".join(command)
        self.asked.append(line)
        for begin, (exit_code, output) in self._answers.items():
            if line.startswith(begin):
                return exit_code, output, ""
        raise FileNotFoundError(2, "No such file or directory", command[0])


def host_of(folder: Path, answers: dict[str, Answer] | None = None) -> Host:
    """A host whose programs say this, and that has none else."""
    return Host(Replay(answers or {}), str(folder))


def put(folder: Path, name: str, text: str = "") -> None:
    """Give a host a file."""
    path = folder / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
