# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The fleet as a whole: its folder, its network, its hosts.

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
import typing as t
from pathlib import Path

from .base import make_base, remove_base
from .host import Host
from .system import PATH, FleetError, eventually, processes, run

__all__ = ["Fleet", "FleetError", "missing_packages", "why_not"]

BRIDGE = "inflight0"
# Of a range that is kept for documentation (RFC 5737): nobody's network is shadowed.
NETWORK = "198.51.100"
LIMIT = 100
# Else the bridge has the lowest address of its ports: with a host that goes, all others would lose sight of it.
BRIDGE_ADDRESS = "02:00:c6:33:64:01"

# Programs and the Debian packages that bring them.
PROGRAMS = {
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "systemd-nspawn": "systemd-container",
}


def missing_packages() -> list[str]:
    """The Debian packages that a fleet needs and that this machine lacks."""
    return sorted({package for program, package in PROGRAMS.items() if not shutil.which(program, path=PATH)})


def why_not() -> str:
    """Why there can be no fleet on this machine; empty when there can be one."""
    if sys.platform != "linux":
        return f"the fleet needs Linux, and this is {sys.platform}"
    if not Path("/etc/debian_version").exists():
        return "the fleet needs Debian, whose packages its hosts are made of"
    if os.geteuid() != 0:
        return "the fleet needs root, for containers and their network"
    missing = missing_packages()
    return f"the fleet needs packages that are not here: apt-get install {' '.join(missing)}" if missing else ""


class Fleet:
    """Hosts on one bridge, everything of which is in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "inventory.yml"
        self.base = folder / "base"
        self._hosts = folder / "hosts"
        self._key = folder / "key"
        self._control_paths = folder / "ssh"

    @property
    def hosts(self) -> list[Host]:
        """The hosts that have a disk."""
        numbers = sorted(int(path.name.removeprefix("fleet")) for path in self._hosts.glob("fleet*"))
        return [self._host(number) for number in numbers]

    def _host(self, number: int) -> Host:
        name = f"fleet{number}"
        return Host(self._hosts / name, name, f"{NETWORK}.{100 + number}", BRIDGE)

    def up(self, count: int) -> None:
        """Bring so many hosts up; those that are up already stay as they are."""
        reason = why_not()
        if reason:
            raise FleetError(reason)
        if not 1 <= count <= LIMIT:
            raise FleetError(f"the number of hosts is {count}: give one from 1 to {LIMIT}")
        if {",", ":", "\\"}.intersection(str(self.folder)):
            raise FleetError(f"{self.folder}: an overlay cannot be mounted where there is a comma, colon or backslash")
        self.folder.mkdir(exist_ok=True, mode=0o700)
        with self._alone():
            self._make_network()
            if not self.hosts:  # never under the feet of those that are there
                make_base(self.base)
            self._make_key()
            hosts = [self._host(number) for number in range(1, count + 1)]
            for host in hosts:
                host.make_disk(self.base, self._key.with_suffix(".pub").read_text(encoding="utf-8"))
                host.power_on()
            self._write_inventory(hosts)
            for host in hosts:
                host.wait_until_up()
            for host in hosts:
                host.wait_until_settled()

    def down(self) -> None:
        """Take everything down, whatever state it is in; only the base system is kept."""
        if not self.folder.exists():
            return
        with self._alone():
            for host in self.hosts:
                host.power_off()
            self._end_connections()
            for host in self.hosts:
                host.remove_disk()
            if self._owner() in {"", str(self.folder)}:
                run("ip", "link", "delete", BRIDGE)
            for path in (self._hosts, self._control_paths):
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.inventory, self._key, self._key.with_suffix(".pub"), self.folder / "known_hosts"):
                path.unlink(missing_ok=True)

    def purge(self) -> None:
        """Remove the base system of a fleet that is down, and so all that is left of it."""
        if self.folder.exists():
            remove_base(self.base)
            shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def _alone(self) -> t.Iterator[None]:
        """Wait for whoever else brings this fleet up or down."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _owner(self) -> str | None:
        """The folder of the fleet that has the bridge; None when there is no bridge."""
        links = json.loads(run("ip", "-json", "link", "show"))
        return next((str(link.get("ifalias", "")) for link in links if link["ifname"] == BRIDGE), None)

    def _make_network(self) -> None:
        owner = self._owner()
        if owner is None:
            run("ip", "link", "add", BRIDGE, "address", BRIDGE_ADDRESS, "type", "bridge")
        if owner and owner != str(self.folder) and any(host.is_on() for host in Fleet(Path(owner)).hosts):
            raise FleetError(f"another fleet is up, in {owner}: take it down first")
        run("ip", "link", "set", BRIDGE, "alias", self.folder)
        run("ip", "address", "replace", f"{NETWORK}.1/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")

    def _make_key(self) -> None:
        self._control_paths.mkdir(exist_ok=True, mode=0o700)
        if not self._key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", self._key)

    def _write_inventory(self, hosts: list[Host]) -> None:
        known = self.folder / "known_hosts"
        known.write_text("".join(host.public_key for host in hosts), encoding="utf-8")
        options = f"-o UserKnownHostsFile={shlex.quote(str(known))} -o GlobalKnownHostsFile=/dev/null"
        inventory = {
            "fleet": {
                "hosts": {host.name: {"ansible_host": host.address} for host in hosts},
                "vars": {
                    "ansible_user": "root",
                    "ansible_python_interpreter": "/usr/bin/python3",
                    "ansible_ssh_private_key_file": str(self._key),
                    "ansible_ssh_common_args": options,
                    # Short: the path of a socket has no room for more than about a hundred characters.
                    "ansible_control_path": f"{self._control_paths}/%%r@%%h",
                },
            }
        }
        # JSON is YAML.
        self.inventory.write_text(json.dumps(inventory, indent=2) + "\n", encoding="utf-8")

    def _end_connections(self) -> None:
        """End the connections that ssh keeps open for the next run of Ansible."""

        def masters() -> list[int]:
            return [pid for pid, words in processes() if words[0].startswith(f"ssh: {self._control_paths}/")]

        for pid in masters():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        eventually(lambda: not masters(), 10, "connections to the hosts have ended")
