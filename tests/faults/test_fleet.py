# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The fleet itself: it comes up, and goes down without a trace, also after a crash.

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..fleet.fleet import BRIDGE, Fleet
from ..fleet.system import FleetError, eventually, mounts, processes, run

HOSTS = 3


def boots(fleet: Fleet) -> list[str]:
    """What tells the boots of all hosts apart."""
    return [host.run("cat", "/proc/sys/kernel/random/boot_id").strip() for host in fleet.hosts]


def traces(fleet: Fleet) -> list[str]:
    """What there is of a fleet beyond its base system: mounts, interfaces, control groups, processes, files."""
    interfaces = [link["ifname"] for link in json.loads(run("ip", "-json", "link", "show"))]
    return [
        *mounts(fleet.folder),
        *(name for name in interfaces if name == BRIDGE or name.startswith("vb-fleet")),
        *(str(path) for path in Path("/sys/fs/cgroup").glob("**/inflight-*")),
        *(
            " ".join(words)
            for dummy, words in processes()
            if is_of_the_fleet(words) and f"{fleet.folder}/" in str(words)
        ),
        *(str(path) for path in fleet.folder.iterdir() if path.name not in {"base", "base.stamp", "lock"}),
    ]


def is_of_the_fleet(words: list[str]) -> bool:
    """Whether this is the command line of something that the fleet started, and not of somebody who uses it."""
    return words[0].startswith("ssh: ") or any(word.endswith(("systemd-nspawn", "/keep_on.py")) for word in words[:2])


def test_hosts_are_systems_of_their_own(fleet: Fleet) -> None:
    fleet.up(HOSTS)
    assert len(set(boots(fleet))) == HOSTS
    for host in fleet.hosts:
        assert host.run("hostname").strip() == host.name
        assert host.run("systemctl", "is-system-running").strip() == "running"


def test_up_leaves_hosts_alone_that_are_up(fleet: Fleet) -> None:
    before = boots(fleet)
    fleet.up(HOSTS)
    assert boots(fleet) == before


def test_there_is_one_fleet_at_a_time(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=f"another fleet is up, in {fleet.folder}: take it down first"):
        Fleet(tmp_path / "other").up(1)


@pytest.mark.parametrize("number", ["0", "101", "many"])
def test_a_wrong_number_of_hosts_is_refused(fleet: Fleet, number: str) -> None:
    done = fleet_command(fleet, "up", number)
    assert done.wait(60) in (1, 2)


def test_down_leaves_nothing_behind_also_after_a_crash(fleet: Fleet) -> None:
    fleet.down()
    assert traces(fleet) == []
    fleet.down()
    # A crash half way up: hosts boot, and nobody looks after them.
    coming = fleet_command(fleet, "up", str(HOSTS))
    eventually(lambda: any(host.is_on() for host in fleet.hosts), 60, "a host boots")
    coming.kill()
    coming.wait()
    for pid, words in list(processes()):
        if any(word.endswith("/keep_on.py") for word in words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert traces(fleet) != []
    fleet.down()
    assert traces(fleet) == []
    fleet.up(HOSTS)
    assert len(set(boots(fleet))) == HOSTS


def fleet_command(fleet: Fleet, *arguments: str) -> subprocess.Popen[bytes]:
    """Run the command line of the fleet."""
    tests = Path(__file__).resolve().parents[1]
    environment = dict(os.environ, PYTHONPATH=str(tests), FLEET_FOLDER=str(fleet.folder))
    command = [sys.executable, "-m", "fleet", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
