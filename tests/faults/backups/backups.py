# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a test of backups works with: hosts with something to back up, and runs of the role on them.

from __future__ import annotations

import contextlib
import json
import shlex
import typing as t
from pathlib import Path

from ...fleet.fleet import Fleet
from ...fleet.host import Host
from ...fleet.system import FleetError, eventually
from ...support import Outcome, Result, Run, Sandbox

DIRECTORY = "/srv/backups"
DATA = {"name": "data", "paths": ["/srv/data"]}
ETC = {"name": "etc", "paths": ["/etc"]}

# Stands for a zstd that goes on only when it is told to: what is compressed meanwhile waits in a pipe.
GATE = """\
#!/bin/sh
case "$*" in *-d*) ;; *) until [ -e /run/open ]; do sleep 0.1; done ;; esac
exec /usr/bin/zstd "$@"
"""


class Backups:
    """The hosts, and the runs of the role on them.

    hosts: of the fleet. first: the one that most things happen to. reports: the folder of the reports.
    """

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.hosts = fleet.hosts
        self.first = self.hosts[0]
        self.reports = folder / "reports"
        self._sandbox = Sandbox(folder, Path(__file__).parent / "playbooks", fleet.inventory)

    def sweep(self) -> None:
        """Leave no backup and no job on any host, and a few files to back up."""
        for host in self.hosts:
            if not host.is_on():
                host.power_on()
                host.wait_until_up()
            host.shell("touch /run/open; pkill -KILL -x python3 || true; pkill -KILL -x tar || true")
            host.shell("rm -rf /root/.ansible_async /home/*/.ansible_async /srv/* /run/open /usr/local/bin/zstd")
            # Much more than fits into pipes, in files of which one is read for long.
            host.shell(
                "mkdir /srv/data; cd /srv/data; seq 100 > first; head -c 8M /dev/urandom > large; echo end > zlast"
            )

    def close(self) -> None:
        """End what the test has left running."""
        self._sandbox.close()
        self.sweep()

    # Runs

    def start_play(self, playbook: str, *arguments: str, **variables: t.Any) -> Run:
        """Start a playbook, with variables of the role without their prefix."""
        given = {
            "sets": [DATA, ETC],
            "directory": DIRECTORY,
            "min_free_mb": 0,
            "min_free_percent": 0,
            "report_directory": str(self.reports),
            **variables,
        }
        prefixed = {f"parallel_backup_{name}": value for name, value in given.items() if name != "where"}
        where = (
            {"where": variables["where"], "target": variables["where"]} if "where" in variables else {"target": "fleet"}
        )
        return self._sandbox.start_playbook(playbook, *arguments, **prefixed, **where)

    def play(self, playbook: str, *arguments: str, **variables: t.Any) -> Outcome:
        """The same, and wait for its end."""
        return self.start_play(playbook, *arguments, **variables).outcome()

    def play_first(self, playbook: str, *arguments: str, **variables: t.Any) -> Outcome:
        """The same, on the first host alone."""
        return self.play(playbook, *arguments, where=self.first.name, **variables)

    def report(self) -> dict[str, t.Any]:
        """What the newest report says of each host, by its name."""
        path = max(self.reports.glob("backup-*.json"), key=lambda path: path.stat().st_mtime_ns)
        return {host["host"]: host for host in json.loads(path.read_text(encoding="utf-8"))["hosts"]}

    def sets(self, host: Host | None = None) -> dict[str, Result]:
        """What the newest report says of each set of a host, the first one, by its name."""
        return {found["set"]: found for found in self.report()[(host or self.first).name]["sets"]}

    # Hosts

    @contextlib.contextmanager
    def gate(self, *hosts: Host) -> t.Iterator[None]:
        """Keep archives from being finished until open() is called."""
        for host in hosts:
            (host.root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
            host.shell(f"rm -f /run/open; cat > /usr/local/bin/zstd <<'END'\n{GATE}END\nchmod 755 /usr/local/bin/zstd")
        try:
            yield
        finally:
            for host in hosts:
                with contextlib.suppress(FleetError):
                    host.run("touch", "/run/open")

    def open(self, *hosts: Host) -> None:
        """Let archives be finished."""
        for host in hosts:
            host.run("touch", "/run/open")

    def wait_for_tar(self, host: Host) -> None:
        """Wait until tar waits for the gate: it has the large file open, and there is no room in the pipe."""
        script = "for pid in $(pgrep -x tar); do ls -l /proc/$pid/fd; done"
        eventually(lambda: "/srv/data/large" in _told(host, script), 60, f"tar is at work on {host}")

    def ids(self, name: str, host: Host | None = None) -> list[str]:
        """What is in the folder of a set of a host, the first one: its backups, also unfinished ones."""
        listed = (host or self.first).shell(f"ls {DIRECTORY}/{shlex.quote(name)} 2>/dev/null || true")
        return listed.split()

    def path(self, name: str, host: Host | None = None) -> str:
        """The folder of the newest backup of a set."""
        return f"{DIRECTORY}/{name}/{[found for found in self.ids(name, host) if '.' not in found][-1]}"


def _told(host: Host, script: str) -> str:
    try:
        return host.shell(script)
    except FleetError:
        return ""
