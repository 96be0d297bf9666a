# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures async_info over a job directory with thousands of job files, side by side with what people do without it.

First the half that runs on the host, started as a process of its own without SSH: seconds and peak memory for all jobs
and for some of them by name, there and in a directory without other jobs. Then whole playbooks with some jobs by name:
async_info, and a loop of async_status. Last a shell that prints all job files, which is what is left without either.

The job files are made by hand: of core and of batches, most with a result. Those that run belong to this process: the
ones of batches by their job file, the ones of core by a stand-in with the command line of async_wrapper.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

from loopback_sshd import MissingProgram, loopback_sshd

HERE = Path(__file__).parent
GOAL_SECONDS, GOAL_MEBIBYTES = 1.5, 60 * 1e6 / 2**20
# Of all jobs, one in so many runs; of these, half are core's. A batch has so many jobs.
RUNNING_EVERY = 500
BATCH = 500

# What core's payload of the module does, with what it needs at hand: tell how long it took, and its peak of memory.
RUN = """
import resource, sys, time
began = time.monotonic()
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.stdin.buffer.read(), "legacy"
from ansible_collections.inflight.jobs.plugins.modules import async_info
try:
    async_info.main()
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(time.monotonic() - began, peak, file=sys.stderr)
"""


class Measured(t.NamedTuple):
    """One run of the half on the host. seconds: as a process. peak: of its memory in MiB. jobs: how many it told of;
    running: of those."""

    seconds: float
    peak: float
    jobs: int
    running: int


@contextlib.contextmanager
def stand_ins(ids: Sequence[str], folder: Path) -> Iterator[None]:
    """A process for each job of core, which looks like its async_wrapper and waits for the end."""
    fifo = folder / "end"
    os.mkfifo(fifo)
    processes = [
        subprocess.Popen(["sh", "-c", f"read line < {fifo}", "async_wrapper.py", jid.split(".")[0], "7200"])
        for jid in ids
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def fill(path: Path, count: int) -> tuple[list[str], list[str]]:
    """Make so many job files.

    :return: the ids of all jobs, and of those of core that are to run.
    """
    # Here, not above: the collection is where the environment of `make bench` has it.
    from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _processes  # noqa: PLC0415

    path.mkdir(mode=0o700)
    directory = _jobs.JobDirectory.create(str(path))
    myself = _processes.identity(os.getpid())
    result = {"changed": True, "rc": 0, "cmd": ["dump"], "stdout": "x" * 1000, "stderr": "", "delta": "0:00:01.5"}
    everybody, running = [], []
    for start in range(0, count, 2 * BATCH):
        number = f"j{800000000000 + start}"
        size = min(BATCH, (count - start) // 2)
        listed = [
            {"jid": f"{number}.{place}", "key": str(place), "name": f"dump {place}", "item": place}
            for place in range(size)
        ]
        _batch_folder.BatchFolder(directory.path, number).make({"id": None, "grace": 0, "jobs": listed})
        of_core = [
            f"j{900000000000 + start + place}.{4000 + place}" for place in range(min(2 * BATCH, count - start) - size)
        ]
        for place, jid in enumerate([*(job["jid"] for job in listed), *of_core]):
            everybody.append(jid)
            if place % RUNNING_EVERY:
                (path / jid).write_text(json.dumps(result), encoding="utf-8")
            elif jid in of_core:
                (path / jid).write_text(
                    json.dumps({"started": 1, "finished": 0, "ansible_job_id": jid}), encoding="utf-8"
                )
                running.append(jid)
            else:
                directory.create_marker(jid)
                directory.change_marker(jid, myself)
    return everybody, running


def ask(path: Path, jids: Sequence[str] | None) -> Measured:
    """Run the half on the host."""
    request: dict[str, t.Any] = dict.fromkeys(("batch", "states", "name", "older_than", "newer_than"))
    request.update(directories=[{"path": str(path), "jobs": jids}], results=False, tail=0)
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {"_request": json.dumps(request)}})
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([*sys.path, os.environ["ANSIBLE_COLLECTIONS_PATH"]]))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=given.encode(), capture_output=True, check=True, env=environment
    )
    seconds = time.monotonic() - began
    peak = int(done.stderr.split()[-1]) / 1024
    jobs = json.loads(done.stdout)["jobs"]
    return Measured(seconds, peak, len(jobs), sum(job["state"] == "running" for job in jobs))


class Playbooks:
    """Runs the playbooks over SSH with pipelining; seconds of the task that looks at the jobs."""

    def __init__(self, folder: Path, inventory: Path, path: Path, jids: Sequence[str]) -> None:
        self._times = folder / "times.jsonl"
        self._inventory = inventory
        self._variables = json.dumps({"jids": list(jids)})
        self._environment = dict(
            os.environ,
            ANSIBLE_PIPELINING="1",
            ANSIBLE_ASYNC_DIR=str(path),
            ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="task_times",
            TASK_TIMES=str(self._times),
        )

    def run(self, playbook: str) -> float:
        self._times.unlink(missing_ok=True)
        command = [
            "ansible-playbook",
            "-i",
            self._inventory,
            HERE / "playbooks" / f"{playbook}.yml",
            "-e",
            self._variables,
        ]
        subprocess.run(command, env=self._environment, stdout=subprocess.DEVNULL, check=True)
        lines = map(json.loads, self._times.read_text(encoding="utf-8").splitlines())
        times = {line["event"]: float(line["time"]) for line in lines if line["task"] == "Look"}
        return times["end"] - times["start"]


def shell(path: Path) -> float:
    """Seconds of a shell that prints all job files."""
    began = time.monotonic()
    command = f"find {path} -maxdepth 1 -type f -name 'j*' -exec tail -v -n +1 {{}} +"
    subprocess.run(["sh", "-c", command], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def table(title: str, *heads: str) -> None:
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n| {' | '.join('---' for dummy in heads)} |", flush=True)


def cell(figures: Sequence[float], digits: int = 2) -> str:
    return f"{statistics.median(figures):.{digits}f} ({min(figures):.{digits}f} to {max(figures):.{digits}f})"


def measure(count: int, named: int, runs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        full, empty = folder / "full", folder / "empty"
        everybody, running = fill(full, count)
        jids = everybody[:: max(1, len(everybody) // named)][:named]
        empty.mkdir(mode=0o700)
        asked = {
            f"all of {count}": (full, None),
            f"{named} of {count}": (full, jids),
            f"{named}, in an empty directory": (empty, jids),
        }
        found: dict[str, list[Measured]] = {title: [] for title in asked}
        with stand_ins(running, folder), loopback_sshd(folder, python=sys.executable) as inventory:
            for dummy in range(runs):
                for title, (path, wanted) in asked.items():
                    found[title].append(ask(path, wanted))
            table(
                "The half on the host, with the start of Python",
                "jobs",
                "seconds",
                "peak memory (MiB)",
                "jobs told",
                "running",
            )
            for title, figures in found.items():
                seconds, peaks = cell([one.seconds for one in figures]), cell([one.peak for one in figures], 1)
                print(f"| {title} | {seconds} | {peaks} | {figures[-1].jobs} | {figures[-1].running} |", flush=True)
            playbooks = Playbooks(folder, inventory, full, jids)
            times: dict[str, list[float]] = {"info": [], "info_by_loop": []}
            for dummy in range(runs):
                for playbook, seconds_of in times.items():
                    seconds_of.append(playbooks.run(playbook))
            printed = [shell(full) for dummy in range(runs)]
        table("Over SSH, and by hand", "what", "by", "seconds")
        print(f"| {named} of {count} jobs | `async_info` | {cell(times['info'])} |")
        print(f"| {named} of {count} jobs | loop of `async_status` | {cell(times['info_by_loop'])} |")
        print(f"| {count} job files, on the host | `find` and `tail` | {cell(printed)} |")
        table("Goals", "measure", "goal: at most", "measured")
        first, some, none = found.values()
        print(f"| seconds for all of {count} | {GOAL_SECONDS} s | {cell([one.seconds for one in first])} |")
        print(f"| peak memory for all of {count} | {GOAL_MEBIBYTES:.0f} MiB | {cell([one.peak for one in first], 1)} |")
        part = statistics.median(one.seconds for one in some) / statistics.median(one.seconds for one in none)
        print(f"| {named} of {count}, part of the same in an empty directory | 1.0 | {part:.2f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description="async_info over a large job directory")
    parser.add_argument("--jobs", type=int, default=10_000, help="number of job files")
    parser.add_argument("--named", type=int, default=20, help="how many jobs are asked for by name")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; the tables show their medians")
    arguments = parser.parse_args()
    ansible = subprocess.run(["ansible", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    print(f"{ansible.stdout.splitlines()[0]}, Python {platform.python_version()}, {os.cpu_count()} CPUs,")
    print("SSH to the loopback address with pipelining.")
    print(f"Medians of {arguments.runs} runs (lowest to highest).")
    sys.path.append(os.environ["ANSIBLE_COLLECTIONS_PATH"])
    try:
        measure(arguments.jobs, arguments.named, arguments.runs)
    except MissingProgram as ex:
        print(ex, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
