# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures the role parallel_update on hosts of the fleet, side by side with what people write without it.

Every host has the same packages in a repository of its own, each with a megabyte and a second of postinst. They are
updated by the role with its usual checks, without a reboot, and by plain tasks: apt with async and a loop of
async_status that looks every 60 seconds, as in many playbooks, and one that looks every 5. What apt-get itself takes
for that, on all hosts at once and without Ansible, is measured beside them: the goal of the role is made of it. The
methods take turns. Needs root; see tests/fleet.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleet.fleet import Fleet
from fleet.host import Host
from fleet.system import FleetError

HERE = Path(__file__).parent
ROLE = "the role"
# How many seconds lie between two looks of async_status.
DELAYS = {"plain tasks, delay 60": 60, "plain tasks, delay 5": 5}
ALONE = "apt-get alone"

# Two versions of each package, and what apt needs to know of the new ones.
BUILD = """\
rm -rf /srv/bench; mkdir -p /srv/bench/old /srv/bench/new; cd /srv/bench
for i in $(seq {packages}); do for version in 1 2; do
    mkdir -p p/DEBIAN p/usr/share/bench-$i
    head -c 1000000 /dev/urandom > p/usr/share/bench-$i/data
    printf 'Package: bench-%s\\nVersion: %s\\nArchitecture: all\\nMaintainer: nobody <nobody@example.org>\\n' \\
        $i $version > p/DEBIAN/control
    printf 'Description: for a benchmark\\n' >> p/DEBIAN/control
    printf '#!/bin/sh\\n[ "$2" != 1 ] || sleep 1\\n' > p/DEBIAN/postinst
    chmod 755 p/DEBIAN/postinst
    [ $version = 1 ] && to=old || to=new
    dpkg-deb -Znone --build p $to/bench-$i.deb >/dev/null
    rm -rf p
done; done
cd new
for file in *.deb; do
    dpkg-deb --field $file
    printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' $file $(stat -c %s $file) $(sha256sum $file | cut -d ' ' -f 1)
done > Packages
printf 'Origin: bench\\nSuite: stable\\nDate: %s\\nSHA256:\\n %s %s Packages\\n' "$(date -Ru)" \\
    $(sha256sum Packages | cut -d ' ' -f 1) $(stat -c %s Packages) > Release
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/bench/new ./' > /etc/apt/sources.list
"""
UPDATE = "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get upgrade --yes --with-new-pkgs"
RESET = "dpkg --force-downgrade --install /srv/bench/old/*.deb >/dev/null 2>&1; rm -rf /var/lib/apt/lists/*"


class Measured(t.NamedTuple):
    """One run.

    whole: seconds until all hosts are updated. dpkg: seconds of dpkg on the slowest host, as its log says.
    """

    whole: float
    dpkg: float


def run(fleet: Fleet, method: str, folder: Path, packages: int) -> Measured:
    """Update all hosts by a method, once."""
    for host in fleet.hosts:
        host.shell(RESET)
        host.shell(": > /var/log/dpkg.log")
    began = time.monotonic()
    said = by_hand(fleet) if method == ALONE else by_ansible(fleet, method, folder)
    whole = time.monotonic() - began
    new = "dpkg-query --show --showformat '${Version}\\n' 'bench-*' | grep -c '^2$'"
    if any(int(host.shell(new)) != packages for host in fleet.hosts):
        raise RuntimeError(f"{method} has not updated all:\n{said[-4000:]}")
    return Measured(whole, max(map(seconds_of_dpkg, fleet.hosts)))


def by_hand(fleet: Fleet) -> str:
    """Have apt-get update all hosts at once; what it printed on the first one."""
    with ThreadPoolExecutor(len(fleet.hosts)) as pool:
        first, *dummy = pool.map(lambda host: host.shell(UPDATE), fleet.hosts)
        return first


def by_ansible(fleet: Fleet, method: str, folder: Path) -> str:
    """Have a playbook do it; what it printed."""
    variables: dict[str, t.Any] = {
        "every": DELAYS.get(method),
        "parallel_update_cache_valid_time": 0,
        "parallel_update_reboot": "never",
        "parallel_update_report_directory": str(folder / "reports"),
    }
    playbook = HERE / "playbooks" / "update_by_tasks.yml"
    what = "inflight.jobs.update" if method == ROLE else str(playbook)
    command = ["ansible-playbook", "-i", str(fleet.inventory), what, "-e", json.dumps(variables), "-e", "target=fleet"]
    environment = {**os.environ, "ANSIBLE_PIPELINING": "1", "ANSIBLE_FORKS": str(len(fleet.hosts))}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{method}: the playbook failed:\n{done.stdout[-4000:]}")
    return done.stdout


def seconds_of_dpkg(host: Host) -> float:
    """From the first line of the log of dpkg to the last one; it knows whole seconds."""
    lines = host.run("cat", "/var/log/dpkg.log").splitlines()
    first, last = (time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")) for line in (lines[0], lines[-1]))
    return last - first


def _cell(figures: list[float]) -> str:
    return f"{statistics.median(figures):.1f} ({min(figures):.1f} to {max(figures):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each method")
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--packages", type=int, default=20, help="on each host")
    arguments = parser.parse_args()
    fleet = Fleet(Path(os.environ.get("FLEET_FOLDER", HERE.parent / ".fleet")))
    was_up = bool(fleet.hosts)
    found: dict[str, list[Measured]] = {method: [] for method in (ROLE, *DELAYS, ALONE)}
    try:
        fleet.up(arguments.hosts)
        for host in fleet.hosts:
            host.shell(BUILD.replace("{packages}", str(arguments.packages)))
        with tempfile.TemporaryDirectory(prefix="updates-") as folder:
            for number in range(arguments.runs):
                for method, measured in found.items():
                    print(f"run {number + 1}: {method}", file=sys.stderr)
                    measured.append(run(fleet, method, Path(folder), arguments.packages))
    except FleetError as ex:
        raise SystemExit(f"not measured: {ex}") from None
    finally:
        if not was_up:
            fleet.down()
    print(f"\n{arguments.hosts} hosts with {arguments.packages} packages each, {os.cpu_count()} CPUs for all,", end=" ")
    print(f"controller Python {platform.python_version()}. Medians of {arguments.runs}, lowest and highest.\n")
    alone = statistics.median(one.whole for one in found[ALONE])
    goal = 1.15 * alone + 10
    print(f"Goal: 1.15 times {alone:.1f} s (apt-get alone, the slowest host) and 10 s, {goal:.1f} s.\n")
    print("| method | all hosts, s | dpkg on the slowest host, s | of the goal |")
    print("| --- | --- | --- | --- |")
    for method, measured in found.items():
        whole = [one.whole for one in measured]
        print(f"| {method} | {_cell(whole)} | {_cell([one.dpkg for one in measured])} |", end=" ")
        print(f"{statistics.median(whole) / goal:.2f} |")


if __name__ == "__main__":
    main()
