# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a test of the fault suite works with: jobs on every host of the fleet, a wait for them, and when what was known.

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

from ..fleet.fleet import Fleet
from ..fleet.host import Host
from ..fleet.system import eventually, processes
from ..support import Outcome, Result, Run, Sandbox, kill

NAMES = ("one", "two", "three", "four", "five")
# Runs until it is let go. It says its name first: the module reads what comes at the end less reliably (it looks once a
# second, and what is printed between its last look and the end is lost).
JOB = "echo {name}; until [ -e /run/go ] || [ -e /run/go-{name} ]; do sleep 0.1; done"
# What belongs to a run of Ansible or to a job, by its command line: sessions of sshd (the one that listens has a path),
# what they run, and jobs. What else is Python belongs to a batch. The brackets keep pkill from finding its own shell.
STRAY = "^sshd: [^/]|^(/bin/)?sh -c |[a]sync_wrapper.py|[/]run/go|[/]srv/"
# Long enough for a busy machine; every row has its own, shorter limits where a time matters.
LIMIT = 120.0

Launches = dict[str, Result]


class Scene:
    """The hosts, and the runs of Ansible on them.

    hosts: of the fleet. first: the one that most faults happen to. folder: for files of the controller.
    """

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.hosts = fleet.hosts
        self.first = self.hosts[0]
        self.job_log = folder / "jobs.jsonl"
        self._sandbox = Sandbox(folder, Path(__file__).parent / "playbooks", fleet.inventory)

    def sweep(self) -> None:
        """Leave no connection, no job and no trace of one on any host."""
        self.disconnect()
        for host in self.hosts:
            if not host.is_on():
                host.power_on()
                host.wait_until_up()
            # What a session has just been asked to start is not Python yet, so this goes on until nothing is left.
            host.shell(f"while pkill -KILL -f '{STRAY}' || pkill -KILL -x python3; do :; done")
            host.shell("rm -rf /root/.ansible_async /home/*/.ansible_async /srv/* /run/go*")

    def close(self) -> None:
        """End what the test has left running."""
        self._sandbox.close()
        self.sweep()

    # Jobs

    def start(self, scripts: t.Mapping[str, str] | None = None, **variables: t.Any) -> Launches:
        """Start five jobs on each host; what the tasks registered, by host.

        :param scripts: what jobs of the first host run instead, by their names.
        """
        jobs = {host.name: [{"name": name, "run": JOB.format(name=name)} for name in NAMES] for host in self.hosts}
        for job in jobs[self.first.name]:
            job["run"] = (scripts or {}).get(job["name"], job["run"])
        outcome = self._sandbox.run_playbook("start", jobs=jobs, where="fleet", **variables)
        assert outcome.rc == 0, outcome.output
        return {host.name: outcome.result("Start the jobs", host.name) for host in self.hosts}

    def let_go(self, *names: str) -> None:
        """Let the jobs of these names end on all hosts; all jobs without a name."""
        files = [f"/run/go-{name}" for name in names] or ["/run/go"]
        for host in self.hosts:
            if host.is_on():
                host.run("touch", *files)

    # Runs of Ansible

    def play(self, playbook: str, **variables: t.Any) -> Outcome:
        """Run a playbook to its end."""
        return self._sandbox.run_playbook(playbook, **{"where": "fleet", **variables})

    def start_play(self, playbook: str, environment: t.Mapping[str, str] | None = None, **variables: t.Any) -> Run:
        """Start a playbook that writes to the job log."""
        given = {"where": "fleet", "job_log": str(self.job_log), **variables}
        return self._sandbox.start_playbook(playbook, environment=environment, **given)

    def wait(
        self, launches: Launches | None, environment: t.Mapping[str, str] | None = None, **variables: t.Any
    ) -> Run:
        """Start a wait, and return when it looks after the jobs on all its hosts.

        :param launches: None for a wait without jobs.
        """
        jobs = {} if launches is None else {"jobs": launches}
        run = self.start_play("wait", environment=environment, **jobs, **variables)
        for host in self.hosts:
            eventually(lambda host=host: not run.is_running or self.is_watched(host), LIMIT, f"{host} is watched")
        assert run.is_running, run.outcome().output
        return run

    def is_watched(self, host: Host) -> bool:
        """Whether async_wait looks after jobs there: its module is the one that holds an inotify."""
        script = (
            "for fd in /proc/[0-9]*/fd/*; do"
            " case $(readlink $fd) in anon_inode:inotify) ls -l ${fd%/fd/*}/exe; esac; done 2>/dev/null"
        )
        return "python" in host.shell(script)

    # What was known, and when

    def logged(self) -> dict[tuple[str, str], str]:
        """The states in the job log, by host and name."""
        lines = self.job_log.read_text(encoding="utf-8").splitlines() if self.job_log.exists() else []
        return {(line["host"], line["name"]): line["state"] for line in map(json.loads, lines)}

    def known(self, host: Host, *names: str) -> float:
        """Wait until it is known how these jobs ended, and return when that was, by the monotonic clock."""
        wanted = {(host.name, name) for name in names}
        eventually(lambda: wanted <= self.logged().keys(), LIMIT, f"the ends of {names} on {host} are known")
        return time.monotonic()

    def states(self, outcome: Outcome, host: Host) -> dict[str, str]:
        """How the jobs of a host ended, by name, as the wait says."""
        return {job["name"]: job["state"] for job in outcome.result_of_wait(host.name)["jobs"]}

    def others_succeeded(self, outcome: Outcome) -> bool:
        """Whether the wait was undisturbed on all hosts but the first."""
        return all(
            self.states(outcome, host) == dict.fromkeys(NAMES, "succeeded")
            and outcome.result_of_wait(host.name)["reconnects"] == 0
            for host in self.hosts[1:]
        )

    # Connections

    def control_masters(self, host: Host) -> list[int]:
        """The ssh processes that hold the connection to a host."""
        title = f"ssh: {self.fleet.folder}/ssh/root@{host.address} "
        return [pid for pid, words in processes() if words[0].startswith(title)]

    def kill_control_master(self, host: Host) -> None:
        """Kill the ssh process that holds the connection to a host."""
        masters = self.control_masters(host)
        assert masters, f"{host} is not connected"
        kill(masters)

    def disconnect(self) -> None:
        """Leave no connection that the next run of Ansible would take."""
        for host in self.hosts:
            kill(self.control_masters(host))
        eventually(lambda: not any(map(self.control_masters, self.hosts)), LIMIT, "connections have ended")
