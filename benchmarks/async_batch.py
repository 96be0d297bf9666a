# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures async_batch side by side with loops, async and Mitogen, on a host of the fleet (a systemd container).

All methods run the same commands with the same ansible-core, each run over an SSH connection of its own, taking turns.
Seconds are those of the whole playbook, from the start of ansible-playbook to its end. Prints tables in Markdown, the
last of which has the goals.
"""

from __future__ import annotations

import argparse
import heapq
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from fleet.__main__ import FOLDER
from fleet.fleet import Fleet, why_not
from fleet_runs import FleetRuns, Method

BATCH = Method("`async_batch`", "batch")
LOOP = Method("`loop`, pipelined", "loop")
ASYNC = Method("`async` and `async_status`", "start_and_collect")
MITOGEN = Method("`loop`, Mitogen", "loop", mitogen=True)
MITOGEN_ASYNC = Method("`async` and `async_status`, Mitogen", "start_and_collect", mitogen=True)

DELAY = 0.04
WINDOW = 10
TRUE = "/bin/true"
# Numbers of running jobs between which the memory of one is measured.
FEW, MANY = 5, 25


class Goal(t.NamedTuple):
    """What async_batch is to reach, and what it did."""

    measure: str
    goal: str
    measured: str


class Bench:
    """The parts of the benchmark. Each prints its table and returns its goals.

    runs: of each method. slow_runs: of those that take half a minute and more.
    """

    def __init__(self, host: FleetRuns, arguments: argparse.Namespace) -> None:
        self._host = host
        self._runs: int = arguments.runs
        self._slow_runs: int = min(arguments.runs, arguments.slow_runs)
        self._items: int = arguments.items
        self._batches: list[int] = arguments.batches
        self._mean: float = arguments.mean

    def short(self) -> list[Goal]:
        """Many short commands."""
        medians = self._short(0, {BATCH: self._runs, MITOGEN: self._runs, LOOP: self._slow_runs, ASYNC: 1})
        measured = f"{_part(medians, MITOGEN)} and {_part(medians, LOOP)}"
        return [Goal(self._shown(0), "0.6 of Mitogen's loop, 0.08 of the pipelined loop", measured)]

    def delayed(self) -> list[Goal]:
        """The same a long way from the host."""
        medians = self._short(DELAY, {BATCH: self._runs, MITOGEN: self._runs, LOOP: self._slow_runs, ASYNC: 1})
        return [Goal(self._shown(DELAY), "0.25 of Mitogen's loop", _part(medians, MITOGEN))]

    def _shown(self, delay: float) -> str:
        return f"{self._items} x `{TRUE}`" + (f", round-trip delay {delay * 1000:g} ms" if delay else "")

    def _short(self, delay: float, methods: dict[Method, int]) -> dict[Method, float]:
        _begin_table(self._shown(delay), "method", "seconds", "runs")
        return self._side_by_side([TRUE] * self._items, methods, delay=delay)

    def parallel(self) -> list[Goal]:
        """Jobs that all run at once."""
        count = self._items // 2
        _begin_table(f"{count} x `sleep 2` at once", "method", "seconds", "runs")
        # What nobody can go below: a playbook of one plain task, its connection and its module.
        floor = [self._host.run(LOOP, ["sleep 2"]) for dummy in range(self._runs)]
        _row("one `sleep 2`, for comparison", _cell(floor), len(floor))
        methods = {BATCH: self._runs, MITOGEN_ASYNC: self._runs, ASYNC: self._slow_runs}
        medians = self._side_by_side(["sleep 2"] * count, methods, concurrency=count)
        return [Goal(f"{count} x `sleep 2` at once", "4 s", f"{medians[BATCH]:.2f} s")]

    def cpu(self) -> list[Goal]:
        """CPU time on the host for each item, by the size of the batch."""
        _begin_table("CPU time on the host for each item", "method", "items", "milliseconds", "runs")
        methods = [(BATCH, count) for count in self._batches] + [(MITOGEN, self._batches[0])]
        figures: dict[tuple[Method, int], list[float]] = {method: [] for method in methods}
        for run in range(self._slow_runs):
            fixed = {method: self._cpu_seconds(method, 1) for method in (BATCH, MITOGEN)}
            for method, count in methods:
                _say(f"{count} items, run {run + 1}, {method.name}")
                seconds = self._cpu_seconds(method, count) - fixed[method]
                figures[method, count].append(seconds / (count - 1) * 1000)
        for (method, count), found in figures.items():
            _row(method.name, count, _cell(found, 1), len(found))
        measured = ", ".join(f"{statistics.median(figures[BATCH, count]):.1f} ms" for count in self._batches)
        sizes = ", ".join(f"{count:,}" for count in self._batches)
        return [Goal(f"CPU time on the host for each item of {sizes}", "10 ms, no growth", measured)]

    def _cpu_seconds(self, method: Method, count: int) -> float:
        before = self._host.cpu_seconds()
        self._host.run(method, [TRUE] * count)
        return self._host.cpu_seconds() - before

    def memory(self) -> list[Goal]:
        """Memory on the host for each job that runs."""
        _begin_table("Memory on the host (PSS)", "method", "MiB for each running job", "MiB beyond that", "runs")
        methods = (BATCH, Method(ASYNC.name, "start"), Method(MITOGEN_ASYNC.name, "start", mitogen=True))
        slopes: dict[Method, list[float]] = {method: [] for method in methods}
        fixed: dict[Method, list[float]] = {method: [] for method in methods}
        for run in range(self._slow_runs):
            for method in methods:
                _say(f"memory, run {run + 1}, {method.name}")
                few, many = (self._memory(method, count) for count in (FEW, MANY))
                slopes[method].append((many - few) / (MANY - FEW))
                fixed[method].append(few - FEW * slopes[method][-1])
        for method in methods:
            _row(method.name, _cell(slopes[method], 1), _cell(fixed[method], 1), len(slopes[method]))
        measured = f"{statistics.median(slopes[BATCH]) * 1.048576:.1f} MB"
        return [Goal("memory on the host for each running job", "6 MB", measured)]

    def _memory(self, method: Method, count: int) -> float:
        self._host.run(method, ["sleep 3600"] * count, concurrency=count, wait=False)
        found = self._host.memory(count)
        self._host.sweep()
        return found

    def makespan(self) -> list[Goal]:
        """How well the window is used, by jobs of very different lengths."""
        title = f"100 jobs of exponential lengths, {WINDOW} at once"
        _begin_table(title, "method", "part of the lower bound", "the same when nothing costs time", "seconds", "runs")
        rows: list[tuple[str, Method, bool, int]] = [
            (f"{BATCH.name}", BATCH, False, self._runs),
            (f"{BATCH.name} with `durations`", BATCH, True, self._runs),
            (f"tens of {MITOGEN_ASYNC.name}", MITOGEN_ASYNC, False, self._slow_runs),
            (f"tens of {ASYNC.name}", ASYNC, False, 1),
        ]
        figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name, *dummy in rows}
        trivial = []
        for run in range(self._runs):
            # Other jobs in each run: by chance alone, an order can be good or bad for one lot.
            lengths = _exponential(self._mean, run)
            bound = max(sum(lengths) / WINDOW, *lengths)
            commands = [f"sleep {length}" for length in lengths]
            for name, method, hints, runs in rows:
                if run < runs:
                    _say(f"makespan, run {run + 1} of {runs}, {name}")
                    more = {"durations": lengths} if hints else {}
                    seconds = self._host.run(method, commands, concurrency=WINDOW, at_a_time=WINDOW, **more)
                    ideal = _ideal(sorted(lengths, reverse=True) if hints else lengths, barrier=method is not BATCH)
                    figures[name].append((self._host.makespan() / bound, ideal / bound, seconds))
            trivial.append(self._host.run(BATCH, [TRUE] * len(commands), concurrency=WINDOW))
        for name, *dummy in rows:
            parts, ideals, seconds = zip(*figures[name], strict=True)
            _row(name, _cell(parts), _cell(ideals), _cell(seconds), len(parts))
        _row(f"{BATCH.name}, 100 x `{TRUE}`", "", "", _cell(trivial), len(trivial))
        measured = [statistics.median(part for part, *dummy in figures[name]) for name, *dummy in rows[:2]]
        return [
            Goal(f"{title}: part of the lower bound", "1.25", f"{measured[0]:.2f}"),
            Goal("the same with `durations`", "1.05", f"{measured[1]:.2f}"),
        ]

    def _side_by_side(
        self, commands: list[str], methods: dict[Method, int], delay: float = 0, **variables: object
    ) -> dict[Method, float]:
        """Print a row for each method, with so many runs, and return the medians of their seconds."""
        figures: dict[Method, list[float]] = {method: [] for method in methods}
        for run in range(max(methods.values())):
            for method, runs in methods.items():
                if run < runs:
                    _say(f"{len(commands)} x {commands[0]}, delay {delay:g} s, run {run + 1} of {runs}, {method.name}")
                    figures[method].append(self._host.run(method, commands, delay, **variables))
        for method, found in figures.items():
            _row(method.name, _cell(found), len(found))
        return {method: statistics.median(found) for method, found in figures.items()}


PARTS: dict[str, t.Callable[[Bench], list[Goal]]] = {
    "short": Bench.short,
    "delayed": Bench.delayed,
    "parallel": Bench.parallel,
    "cpu": Bench.cpu,
    "memory": Bench.memory,
    "makespan": Bench.makespan,
}


def _exponential(mean: float, seed: int) -> list[float]:
    """Lengths of 100 jobs in seconds, always the same for a seed."""
    generator = random.Random(seed)
    return [round(generator.expovariate(1 / mean), 3) for dummy in range(100)]


def _ideal(lengths: Sequence[float], *, barrier: bool) -> float:
    """The makespan of jobs that start in this order, if starting one costs nothing.

    :param barrier: whether the next ones start only when all that run have ended.
    """
    if barrier:
        return sum(max(lengths[start : start + WINDOW]) for start in range(0, len(lengths), WINDOW))
    ends = [0.0] * WINDOW
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _begin_table(title: str, *heads: str) -> None:
    print(f"\n{title}\n")
    _row(*heads)
    _row(*["---"] * len(heads))


def _row(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def _cell(figures: Sequence[float], digits: int = 2) -> str:
    median = f"{statistics.median(figures):.{digits}f}"
    return f"{median} ({min(figures):.{digits}f} to {max(figures):.{digits}f})" if len(figures) > 1 else median


def _part(medians: dict[Method, float], of: Method) -> str:
    return f"{medians[BATCH] / medians[of]:.2f}"


def _machine() -> str:
    """What a reader needs to know of this machine."""
    ansible = subprocess.run(["ansible", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "model unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    core = ansible.stdout.splitlines()[0]
    return (
        f"{core}, Python {platform.python_version()}, Mitogen {version('mitogen')}, Linux {platform.release()},\n"
        f"{os.cpu_count()} CPUs ({model}) that controller and host share, {memory:.0f} GiB of memory.\n"
        "Medians (lowest to highest)."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="async_batch side by side with loops, async and Mitogen")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="the parts to measure")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; the tables show their medians")
    parser.add_argument("--slow-runs", type=int, default=3, help="runs of what takes half a minute and more")
    parser.add_argument("--items", type=int, default=100, help="number of short commands; half as many run at once")
    parser.add_argument("--batches", type=int, nargs="+", default=[200, 1000, 5000], help="items to measure CPU with")
    parser.add_argument("--mean", type=float, default=1.0, help="mean length of the jobs of makespan, in seconds")
    arguments = parser.parse_args()
    reason = why_not()
    if reason:
        _say(f"not run: async_batch on the fleet ({reason})")
        return 0
    fleet = Fleet(FOLDER)
    if fleet.hosts:
        _say("a fleet is up, and what others do there would be measured: PYTHONPATH=tests python3 -m fleet down")
        return 1
    print(_machine())
    fleet.up(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            host = FleetRuns(fleet, Path(name))
            for method in (BATCH, LOOP, MITOGEN, ASYNC):
                host.run(method, [TRUE])  # what is read for the first time ever takes longer
            bench = Bench(host, arguments)
            goals = [goal for part in arguments.only for goal in PARTS[part](bench)]
            host.sweep()
    finally:
        fleet.down()
    _begin_table("Goals", "measure", "goal: at most", "measured")
    for goal in goals:
        _row(*goal)
    return 0


if __name__ == "__main__":
    sys.exit(main())
