# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures the role parallel_backup on hosts of the fleet, side by side with what people write without it.

Every host has the same folder, half of it text and half random. It is archived with tar and zstd, by the role with its
usual checks, and by plain tasks with async and a loop of async_status: once without any check, once with sha256sum and
tar --list behind tar, as the role has them. The methods take turns. Needs root; see tests/fleet.
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
import threading
import time
import typing as t
from pathlib import Path

from fleet.fleet import Fleet
from fleet.host import Host
from fleet.system import FleetError, processes

HERE = Path(__file__).parent
ROLE = "the role"
TASKS = "plain tasks, without a check"
CHECKED = "plain tasks, with sha256sum and tar --list"
VERIFY = {TASKS: "true", CHECKED: 'sha256sum "$1" > "$1.sha256"; tar --list --file "$1" > "$1.list"'}


class Measured(t.NamedTuple):
    """One run.

    whole: seconds of the playbook. started: seconds from its start until the play is free for other work. slowest:
    seconds that the jobs of the slowest host took; None where nobody tells. peak: MiB of memory of the largest module
    process.
    """

    whole: float
    started: float
    slowest: float | None
    peak: float


class Runs:
    """Runs the methods on all hosts of a fleet."""

    def __init__(self, fleet: Fleet, folder: Path, megabytes: int) -> None:
        self._fleet = fleet
        self._folder = folder
        for host in fleet.hosts:
            make_data(host, megabytes)

    def run(self, method: str) -> Measured:
        """Run a method once."""
        for host in self._fleet.hosts:
            host.shell("rm -rf /srv/backups /srv/plain; sync; echo 3 > /proc/sys/vm/drop_caches || true")
        reports, times = self._folder / "reports", self._folder / "times"
        times.unlink(missing_ok=True)
        variables: dict[str, t.Any] = {
            "verify": VERIFY.get(method),
            "parallel_backup_sets": [{"name": "data", "paths": ["/srv/data"]}],
            "parallel_backup_directory": "/srv/backups",
            "parallel_backup_report_directory": str(reports),
            "parallel_backup_min_free_percent": 0,
        }
        playbook = HERE / "playbooks" / f"backup_by_{'role' if method == ROLE else 'tasks'}.yml"
        command = ["ansible-playbook", "-i", self._fleet.inventory, playbook, "-e", json.dumps(variables)]
        environment = {
            **os.environ,
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_times",
            "TASK_TIMES": str(times),
        }
        began, clock = time.monotonic(), time.time()
        with Peak(self._fleet.hosts) as peak:
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
        whole = time.monotonic() - began
        if done.returncode:
            raise RuntimeError(f"{method}: the playbook failed:\n{done.stdout[-4000:]}")
        events = [json.loads(line) for line in times.read_text(encoding="utf-8").splitlines()]
        started = next(event["time"] for event in events if event["task"].endswith("Do other work")) - clock
        return Measured(whole, started, slowest(reports) if method == ROLE else None, peak.mebibytes)


class Peak:
    """Looks for the largest module process of some hosts, ten times a second, in a with statement.

    mebibytes: what the largest one had at its peak.
    """

    def __init__(self, hosts: list[Host]) -> None:
        self._roots = {str(host.root) for host in hosts}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.mebibytes = 0.0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            for pid, words in processes():
                # A process of the controller has the same namespace as this one.
                if Path(words[0]).name.startswith("python3") and _namespace(pid) not in (None, _namespace(os.getpid())):
                    self.mebibytes = max(self.mebibytes, _peak(pid))


def _namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def make_data(host: Host, megabytes: int) -> None:
    """Make a folder of so many megabytes, in files of 4 MB: text and random ones in turn."""
    host.shell(
        f"""
        rm -rf /srv/data
        mkdir -p /srv/data
        cd /srv/data
        for i in $(seq {megabytes // 8}); do
            head -c 4000000 /dev/urandom > random-$i
            seq $((i * 1000000)) $((i * 1000000 + 600000)) | head -c 4000000 > text-$i
        done
        """
    )


def slowest(reports: Path) -> float:
    """The seconds that the sets of the slowest host took, as the newest report says."""
    newest = max(reports.glob("backup-*.json"), key=lambda path: path.stat().st_mtime_ns)
    hosts = json.loads(newest.read_text(encoding="utf-8"))["hosts"]
    return max(sum(found["seconds"] for found in host["sets"]) for host in hosts)


def _cell(figures: list[float]) -> str:
    return f"{statistics.median(figures):.1f} ({min(figures):.1f} to {max(figures):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each method")
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=2000, help="on each host")
    arguments = parser.parse_args()
    fleet = Fleet(Path(os.environ.get("FLEET_FOLDER", HERE.parent / ".fleet")))
    was_up = bool(fleet.hosts)
    try:
        fleet.up(arguments.hosts)
        with tempfile.TemporaryDirectory(prefix="backups-") as folder:
            runs = Runs(fleet, Path(folder), arguments.megabytes)
            found: dict[str, list[Measured]] = {method: [] for method in (ROLE, CHECKED, TASKS)}
            for number in range(arguments.runs):
                for method, measured in found.items():
                    print(f"run {number + 1}: {method}", file=sys.stderr)
                    measured.append(runs.run(method))
    except FleetError as ex:
        raise SystemExit(f"not measured: {ex}") from None
    finally:
        if not was_up:
            fleet.down()
    print(
        f"\n{arguments.hosts} hosts with {arguments.megabytes} MB each, {os.cpu_count()} CPUs for all of them,", end=" "
    )
    print(f"controller Python {platform.python_version()}. Medians of {arguments.runs}, lowest and highest.\n")
    print("| method | whole playbook, s | free for other work after, s | jobs of the slowest host, s | memory, MiB |")
    print("| --- | --- | --- | --- | --- |")
    for method, measured in found.items():
        told = [one.slowest for one in measured if one.slowest is not None]
        print(
            f"| {method} | {_cell([one.whole for one in measured])} | {_cell([one.started for one in measured])} |"
            f" {_cell(told) if told else ''} | {max(one.peak for one in measured):.0f} |"
        )


if __name__ == "__main__":
    main()
