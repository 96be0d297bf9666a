# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures async_wait side by side with a loop of async_status, over SSH to a server on the loopback address.

For each number of jobs and each of the two, in turn: real background jobs are started that end at a signal; the wait is
started; the jobs get their signal; the time from the end of the last job (the last change of a job file) to the end of
the task is the delay. Then the same task is timed once more, now that all jobs have ended: the collection. Prints the
medians as a table in Markdown.

When all jobs get their signal at the same moment, all their processes end at once, on the CPUs that the wait needs to
see it: 200 jobs on two CPUs need more than ten seconds for that. So async_wait is measured a second time with the last
job getting its signal alone, after all processes of the others have gone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from loopback_sshd import MissingProgram, loopback_sshd

HERE = Path(__file__).parent
# What waits, and whether the last job ends alone.
METHODS = (("async_status", False), ("async_wait", False), ("async_wait", True))
NAMES = {
    ("async_status", False): "loop of async_status",
    ("async_wait", False): "async_wait",
    ("async_wait", True): "async_wait, last job alone",
}


class Bench:
    """Runs the playbooks of one measurement in one folder."""

    def __init__(self, folder: Path, inventory: Path) -> None:
        self.folder = folder
        self.inventory = inventory
        self.times = folder / "times.jsonl"
        self.fifo = folder / "signal"
        self.last_fifo = folder / "signal.last"
        os.mkfifo(self.fifo)
        os.mkfifo(self.last_fifo)

    def start(self, playbook: str, **variables: object) -> subprocess.Popen[bytes]:
        """Start a playbook with pipelining and the clock for tasks."""
        environment = dict(
            os.environ,
            ANSIBLE_PIPELINING="1",
            ANSIBLE_ASYNC_DIR=str(self.folder / "jobs"),
            ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="task_times",
            TASK_TIMES=str(self.times),
        )
        variables.update(fifo=str(self.fifo), kept=str(self.folder / "launched.json"))
        path = HERE / "playbooks" / f"{playbook}.yml"
        command = ["ansible-playbook", "-i", self.inventory, path, "-e", json.dumps(variables)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def run(self, playbook: str, **variables: object) -> None:
        if self.start(playbook, **variables).wait():
            raise RuntimeError(f"the playbook {playbook} failed")

    def event(self, event: str) -> float | None:
        """When the task "Wait" began (start) or ended (end)."""
        if not self.times.exists():
            return None
        for line in self.times.read_text().splitlines():
            found = json.loads(line)
            if found["task"] == "Wait" and found["event"] == event:
                return float(found["time"])
        return None

    def launch(self, count: int) -> None:
        self.run("launch", count=count)

    def delay(self, method: str, count: int, last_alone: bool) -> float:
        """Seconds from the end of the last job to the end of the task that waits for it."""
        self.times.unlink(missing_ok=True)
        waiting = self.start(method)
        while self.event("start") is None:
            time.sleep(0.05)
        time.sleep(3)  # by then the wait has settled on the host
        if count > 1:
            os.close(os.open(self.fifo, os.O_WRONLY))
        launched = json.loads((self.folder / "launched.json").read_text())["results"]
        if last_alone:
            while living([job["ansible_job_id"] for job in launched[:-1]]):
                time.sleep(0.5)
            time.sleep(1)  # by then the wait holds again, after the last of its reports
        os.close(os.open(self.last_fifo, os.O_WRONLY))
        if waiting.wait():
            raise RuntimeError(f"the wait with {method} failed")
        last = max(os.stat(job["results_file"]).st_mtime for job in launched)
        return self._end() - last

    def collection(self, method: str) -> float:
        """Seconds that the task takes when all jobs have ended."""
        self.times.unlink(missing_ok=True)
        self.run(method)
        begin = self.event("start")
        if begin is None:
            raise RuntimeError("the task did not begin")
        return self._end() - begin

    def _end(self) -> float:
        end = self.event("end")
        if end is None:
            raise RuntimeError("the task did not end")
        return end


def living(jids: list[str]) -> bool:
    """Whether a process of any of these jobs lives: core's watcher goes up to five seconds after its job."""
    wanted = {jid.split(".", maxsplit=1)[0].encode() for jid in jids}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if wanted.intersection(arguments):
            return True
    return False


def measure(counts: list[int], runs: int) -> t.Iterator[tuple[int, str, list[float], list[float]]]:
    """The delays and the collections of each number of jobs and each method."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with loopback_sshd(folder, python=sys.executable) as inventory:
            bench = Bench(folder, inventory)
            for count in counts:
                methods = [method for method in METHODS if count > 1 or not method[1]]
                delays: dict[tuple[str, bool], list[float]] = {method: [] for method in methods}
                collections: dict[tuple[str, bool], list[float]] = {method: [] for method in methods}
                for run in range(runs):
                    for method in methods:
                        print(f"{count} jobs, run {run + 1} of {runs}, {NAMES[method]}", file=sys.stderr)
                        bench.launch(count)
                        delays[method].append(bench.delay(method[0], count, last_alone=method[1]))
                        collections[method].append(bench.collection(method[0]))
                for method in methods:
                    yield count, NAMES[method], delays[method], collections[method]


def cell(figures: list[float]) -> str:
    return f"{statistics.median(figures):.2f} ({min(figures):.2f} to {max(figures):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description="async_wait side by side with a loop of async_status")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 20, 200], help="numbers of jobs to measure")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; the table shows their medians")
    arguments = parser.parse_args()
    ansible = subprocess.run(["ansible", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    print(f"{ansible.stdout.splitlines()[0]}, Python {platform.python_version()}, {os.cpu_count()} CPUs,")
    print("SSH to the loopback address with pipelining.")
    print(f"Medians of {arguments.runs} runs (lowest to highest), in seconds.")
    print()
    print("| jobs | wait by | end of last job to end of task | collecting jobs that have ended |")
    print("| --- | --- | --- | --- |")
    try:
        for count, name, delays, collections in measure(arguments.jobs, arguments.runs):
            print(f"| {count} | {name} | {cell(delays)} | {cell(collections)} |", flush=True)
    except MissingProgram as ex:
        print(ex, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
