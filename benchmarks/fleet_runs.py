# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of playbooks on a host of the fleet, and what they cost the host: time, CPU, memory."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import time
import typing as t
from datetime import datetime
from pathlib import Path

from fleet import levers
from fleet.fleet import Fleet
from fleet.host import Host
from fleet.system import eventually, processes

HERE = Path(__file__).parent
JOBS = "root/.ansible_async"


class Method(t.NamedTuple):
    """A way to run commands: a playbook, under the strategy of Mitogen or of core."""

    name: str
    playbook: str
    mitogen: bool = False


class FleetRuns:
    """Runs playbooks on the first host of a fleet, each over a connection of its own."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        """
        :param folder: for files of the controller; must not be readable by others.
        """
        self.host: Host = fleet.hosts[0]
        self._inventory = fleet.inventory
        self._folder = folder
        self._own_processes = self._processes()

    def run(self, method: Method, commands: list[str], delay: float = 0, **variables: object) -> float:
        """Run commands, and return how many seconds the whole playbook took.

        :param delay: seconds that every answer of the host comes later.
        """
        self.sweep()
        control = self._folder / "mux"
        variables.update(commands=commands, ansible_control_path=str(control))
        if delay:
            inventory = json.loads(self._inventory.read_text(encoding="utf-8"))
            arguments = inventory["fleet"]["vars"]["ansible_ssh_common_args"]
            variables["ansible_ssh_common_args"] = f"{arguments} {levers.delayed(delay)}"
        given = self._folder / "variables.json"
        given.write_text(json.dumps(variables), encoding="utf-8")
        environment = dict(os.environ, ANSIBLE_PIPELINING="1")
        if method.mitogen:
            environment.update(ANSIBLE_STRATEGY="mitogen_linear", ANSIBLE_STRATEGY_PLUGINS=str(mitogen_strategies()))
        playbook = HERE / "playbooks" / f"{method.playbook}.yml"
        command = ["ansible-playbook", "-i", self._inventory, "--limit", self.host.name, playbook, "-e", f"@{given}"]
        begin = time.monotonic()
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        elapsed = time.monotonic() - begin
        with contextlib.suppress(FileNotFoundError):
            control.lstat()
            exit_master = ["ssh", "-o", f"ControlPath={control}", "-O", "exit", self.host.name]
            subprocess.run(exit_master, stderr=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise RuntimeError(f"{method.name}: the playbook failed:\n{done.stdout[-4000:]}")
        return elapsed

    def sweep(self) -> None:
        """End all that was started, and remove what it left."""
        left = self._new_processes()
        while left:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            left = self._new_processes()
        self.host.run("rm", "-rf", f"/{JOBS}")

    def makespan(self) -> float:
        """Seconds from the start of the first of the commands to the end of the last, as their results tell."""
        starts, ends = [], []
        for path in (self.host.root / JOBS).iterdir():
            if path.is_file():
                result = json.loads(path.read_text(encoding="utf-8"))
                starts.append(datetime.fromisoformat(result["start"]))
                ends.append(datetime.fromisoformat(result["end"]))
        return (max(ends) - min(starts)).total_seconds()

    def cpu_seconds(self) -> float:
        """CPU time of all processes of the host since it was powered on, once those of the last run have gone."""
        eventually(lambda: not self._new_processes(), 60, "the processes of the last run have gone")
        root = Path("/sys/fs/cgroup")
        hierarchy = root / "unified" if (root / "unified").is_dir() else root
        lines = (hierarchy / f"inflight-{self.host.name}" / "cpu.stat").read_text(encoding="ascii").splitlines()
        return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6

    def memory(self, running: int) -> float:
        """MiB of all processes that the last run has left on the host: PSS, pages that n of them share count 1/n.

        :param running: how many processes named sleep there must be before.
        """
        eventually(lambda: self._count("sleep") == running, 60, f"{running} commands run")
        time.sleep(1)  # by then connections have ended, and nobody starts anything any more
        total = 0
        for pid in self._new_processes():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024

    def _count(self, name: str) -> int:
        count = 0
        for pid in self._new_processes():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                count += Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == name
        return count

    def _new_processes(self) -> set[int]:
        return self._processes() - self._own_processes

    def _processes(self) -> set[int]:
        """All processes of the host, by their numbers outside of it."""
        namespace = os.readlink(f"/proc/{self.host.pids(1)[0]}/ns/pid")
        found = set()
        for pid, dummy in processes():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                    found.add(pid)
        return found


def mitogen_strategies() -> Path:
    """The folder with the strategies of the Mitogen that is installed beside this Python's ansible-core."""
    spec = importlib.util.find_spec("ansible_mitogen")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("Mitogen is not installed: tests/requirements-bench.txt has its version")
    return Path(spec.submodule_search_locations[0]) / "plugins" / "strategy"
