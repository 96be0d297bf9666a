# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The table of the fault suite: a row for each fault, with what was expected and what was measured.

from __future__ import annotations

import platform
import typing as t
from pathlib import Path

import pytest
from ansible.release import __version__ as core_version

# The rows in the order of the page: the fault, and what is expected. First those of async_wait.
ROWS = {
    "killed processes": (
        "SIGKILL of one job's runner; of another's watcher; of a third one's module",
        "lost within 10 s; running, then succeeded; failed",
    ),
    "memory": ("a memory limit kills what one job runs", "failed or lost, never running"),
    "reboot": (
        "one host reboots",
        "its jobs lost, known within 15 s of sshd's return; the other hosts untouched",
    ),
    "power cut": (
        "one host without power for 40 s",
        "its jobs lost, known within 15 s of sshd's return; one line says so; not unreachable",
    ),
    "power gone": (
        "one host without power for longer than unreachable_timeout (20 s)",
        "unreachable, with the results of what had ended before",
    ),
    "link": ("the link of one host down for 20 s", "all succeeded, results as without the fault"),
    "sshd": ("sshd of one host restarted", "all succeeded, results as without the fault"),
    "control master": ("the SSH control master to one host killed", "all succeeded, results as without the fault"),
    "controller": (
        "ansible-playbook killed with SIGKILL, then a second run without jobs",
        "all results collected, none twice",
    ),
    "full filesystem": (
        "the job directory of one host on a full filesystem",
        "lost or unreadable with that reason, never succeeded",
    ),
    "half written": ("a job file written a byte at a time", "running, then its result"),
    "clock": (
        "the clocks of one host and of the controller set 1 h ahead, then back",
        "the deadline of 25 s and the elapsed times unharmed",
    ),
    "hidden": ("jobs of another user on a host with hidepid=2", "running, never lost; then succeeded"),
    "thousand": (
        "1,000 jobs of one host end within one second (a shell stands in for each: 1,000 real launches take long)",
        "all reported, with at most 5 checks",
    ),
    "old files": (
        "10,000 old job files in the directory",
        "a wait for 20 jobs takes at most 20 % longer than in an empty one",
    ),
    "permissions": (
        "job directory of mode 0777; owned by another user; in a world-writable folder without sticky bit",
        "a warning; a warning; refused",
    ),
    "async_status": (
        "async_status reads the same jobs before, during and after the wait",
        "the same answers as without us",
    ),
}
# Those of async_batch.
BATCH_ROWS = {
    "batch: supervisor": (
        "SIGKILL of the supervisor of a batch",
        "jobs that ran succeed, the others lost within 10 s; rerun: failed runs just these",
    ),
    "batch: processes": (
        "SIGKILL of one job; of what another one runs; of the process that jobs are forked from",
        "lost; failed; the others run on and succeed",
    ),
    "batch: reboot": (
        "one host reboots",
        "what had not ended is lost, known within 15 s of sshd's return; rerun: failed runs just that",
    ),
    "batch: power cut": (
        "one host without power for 10 s",
        "what had not ended is lost, known within 15 s of sshd's return; rerun: failed runs just that",
    ),
    "batch: link": (
        "the link of one host down until that is noticed",
        "reconnects; all succeeded, each ran once",
    ),
    "batch: sshd": (
        "sshd of one host stopped, and the SSH control master killed",
        "reconnects when sshd is back; all succeeded, each ran once",
    ),
    "batch: controller": (
        "all processes of ansible-playbook killed with SIGKILL; the playbook started again, with the same id",
        "attaches; all succeeded, each ran once",
    ),
    "batch: launch": (
        "at the start: the link of one host down; the connection to another killed; the Python of a third killed",
        "all succeeded, each ran once",
    ),
    "batch: full filesystem": (
        "the job directory of one host on a filesystem that fills up",
        "lost with that reason, never succeeded",
    ),
    "batch: noexec": (
        "the job directory of one host on a filesystem mounted noexec",
        "modules in Python and scripts succeed; a binary module fails with the reason",
    ),
    "batch: hidden": (
        "a user who is not root, on a host with hidepid=2; SIGKILL of the supervisor there",
        "as without hidepid",
    ),
}
ALL_ROWS = {**ROWS, **BATCH_ROWS}


Rows = dict[str, tuple[str, str]]


class Table:
    """What was measured, row by row; each is shown on the terminal as soon as it is there."""

    def __init__(self, config: pytest.Config, rows: Rows) -> None:
        self._rows = rows
        self._measured: dict[str, str] = {}
        self._plugins = config.pluginmanager

    def row(self, name: str, measured: str) -> None:
        """Take down a row, after all that it expects has been asserted."""
        self._measured[name] = measured
        terminal = t.cast("t.Any", self._plugins.get_plugin("terminalreporter"))
        capture = t.cast("t.Any", self._plugins.get_plugin("capturemanager"))
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(f"{self._rows[name][0]}: {measured}")

    def write(self, path: Path, page: str) -> None:
        """Write a page, if no row is missing."""
        if self._measured.keys() == self._rows.keys():
            path.write_text(page, encoding="utf-8")

    def lines(self, rows: Rows) -> str:
        """Some of the rows, as a table in Markdown; those that were not measured are left out."""
        measured = [(*told, self._measured[name]) for name, told in rows.items() if name in self._measured]
        return "\n".join(
            ["| fault | expected | measured |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in measured)]
        )


def faults_page(table: Table) -> str:
    """docs/faults.md."""
    return f"""\
# Faults

What happens when things go wrong. Five jobs run on each of three hosts, real ones with a system, a
filesystem and a network address of their own, and something breaks. In every row all that was not
hit went on, and those jobs succeeded.

`make fleet-test` measures this again and writes this page. Here:
{surroundings()}.

## During a wait

`async_wait` waits for the jobs.

{table.lines(ROWS)}

## During a batch

`async_batch` runs the jobs, two at a time. Each leaves a note on its host, by which it is counted how
often it ran.

{table.lines(BATCH_ROWS)}
"""


def surroundings() -> str:
    """With what it was measured."""
    return f"ansible-core {core_version}, controller Python {platform.python_version()}, SSH with pipelining"
