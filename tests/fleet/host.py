# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# One host of the fleet: a machine of systemd-nspawn over an overlay on the base system.

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

from .base import USER
from .system import FleetError, eventually, mounts, parents, processes, run

KEEP_ON = Path(__file__).with_name("keep_on.py")
# How long a boot may take on a machine that is busy with other things; it takes about three seconds on an idle one.
BOOT_LIMIT = 120.0

NETWORK = """\
[Match]
Name=host0

[Network]
Address={address}/24
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


class Host:
    """One host.

    name: in the inventory and in the host itself. address: its IPv4 address. interface: the outer end of its cable.
    root: its filesystem, as seen from outside.
    """

    def __init__(self, folder: Path, name: str, address: str, bridge: str) -> None:
        """
        :param folder: where everything of this host is.
        """
        self.folder = folder
        self.name = name
        self.address = address
        self.interface = f"vb-{name}"
        self._bridge = bridge
        self.root = folder / "root"
        self._upper = folder / "upper"

    # Disk

    def make_disk(self, base: Path, authorized_key: str) -> None:
        """Make the filesystem of the host, unless there is one."""
        if str(self.root) in mounts(self.folder.parent):
            return
        new = not self._upper.exists()
        for folder in (self.root, self._upper, self.folder / "work"):
            folder.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={base},upperdir={self._upper},workdir={self.folder / 'work'}"
        run("mount", "-t", "overlay", "-o", layers, "overlay", self.root)
        if new:
            self._write("etc/hostname", f"{self.name}\n")
            self._write("etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.name}\n")
            self._write("etc/machine-id", f"{uuid.uuid4().hex}\n")
            self._write("etc/systemd/network/10-fleet.network", NETWORK.format(address=self.address))
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", self.root / self._HOST_KEY)
            for home, user in (("root", "root"), (f"home/{USER}", USER)):
                self._write(f"{home}/.ssh/authorized_keys", authorized_key)
                (self.root / home / ".ssh").chmod(0o700)
                run("chroot", self.root, "chown", "-R", f"{user}:", f"/{home}/.ssh")

    _HOST_KEY = "etc/ssh/ssh_host_ed25519_key"

    @property
    def public_key(self) -> str:
        """The key that the host proves itself with, as a line of known_hosts."""
        kind, key = (self.root / f"{self._HOST_KEY}.pub").read_text(encoding="utf-8").split()[:2]
        return f"{self.address} {kind} {key}\n"

    def _write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def remove_disk(self) -> None:
        """Remove the filesystem of a host that is off, with all that was changed in it."""
        for point in mounts(self.folder.parent):
            if Path(point).is_relative_to(self.folder):
                run("umount", point)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    # Power

    def power_on(self) -> None:
        """Boot, unless it is on; returns before it is up."""
        if self._keepers():
            return
        command = [
            *("systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}"),
            *(f"--network-bridge={self._bridge}", "--register=no", "--keep-unit", "--link-journal=no", "--boot"),
        ]
        with (self.folder / "console.log").open("ab") as console:
            subprocess.Popen(
                [sys.executable, str(KEEP_ON), self.interface, ":".join(map(str, self._groups)), *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def power_off(self) -> None:
        """Cut the power: no process of the host gets a chance to say anything."""
        for pid in (*self._keepers(), *filter(None, [self._init()]), *self._machines()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self._machines(), 30, f"{self.name} is off")
        # Else it would be there until the kernel has taken the network of the host to pieces.
        with contextlib.suppress(FleetError):
            run("ip", "link", "delete", self.interface)
        eventually(self._groups_are_gone, 30, f"the control groups of {self.name} are empty")

    def reboot(self) -> None:
        """Have it boot again; returns when it is up."""
        before = self._init()
        self.run("systemctl", "reboot", "--no-block")
        # Seen from outside: systemd stops all processes before it ends them, and nsenter would stop with the one that
        # it looks after, and never go on.
        eventually(lambda: self._init() not in (None, before), BOOT_LIMIT, f"{self.name} boots again")
        self.wait_until_up()

    @property
    def _groups(self) -> list[Path]:
        """The host's control groups, in each of the hierarchies that systemd uses."""
        root = Path("/sys/fs/cgroup")
        parents = [path for path in (root / "systemd", root / "unified") if path.is_dir()] or [root]
        return [parent / f"inflight-{self.name}" for parent in parents]

    def _groups_are_gone(self) -> bool:
        """Remove the host's control groups, as far as they are empty; whether all of them are."""
        for group in self._groups:
            for folder, dummy_folders, dummy_files in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        return not any(group.exists() for group in self._groups)

    def is_on(self) -> bool:
        """Whether its power is on."""
        return bool(self._machines())

    def wait_until_up(self) -> None:
        """Return when its sshd answers."""
        try:
            eventually(self._ssh_answers, BOOT_LIMIT, f"{self.name} is up")
        except FleetError as ex:
            console = (self.folder / "console.log").read_text("utf-8", "replace")
            raise FleetError(f"{ex}; its console said at the end:\n{console[-2000:]}") from None

    def wait_until_settled(self) -> None:
        """Return when all units have started.

        :raises FleetError: when one has failed; the message says which, and what it said.
        """
        script = """
            systemctl is-system-running --wait >/dev/null && exit
            units=$(systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1)
            systemctl status --no-pager --full $units || true
            """
        told = self.run("sh", "-c", script)
        if told:
            raise FleetError(f"{self.name} is up, but units have failed:\n{told}")

    def _ssh_answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _keepers(self) -> list[int]:
        return [pid for pid, words in processes() if str(KEEP_ON) in words and f"--directory={self.root}" in words]

    def _machines(self) -> list[int]:
        return [
            pid
            for pid, words in processes()
            if words[0].endswith("systemd-nspawn") and f"--directory={self.root}" in words
        ]

    def _init(self) -> int | None:
        """The first process of the host, as seen from outside."""
        machines = self._machines()
        return next((pid for pid, parent in parents().items() if parent in machines), None)

    # Inside

    def run(self, *command: str) -> str:
        """Run a command as root inside the host, without its network; what it printed.

        :raises FleetError: when it fails or the host is off.
        """
        init = self._init()
        if init is None:
            raise FleetError(f"{self.name} is off")
        return run("nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--", *command)

    def shell(self, script: str) -> str:
        """The same with a script of the shell."""
        return self.run("sh", "-euc", script)

    def pids(self, *inner: int) -> list[int]:
        """The processes with these numbers inside the host that still live, by their numbers outside of it."""
        namespace = os.readlink(f"/proc/{self._init()}/ns/pid")
        found = {}
        for pid, dummy in processes():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                    lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
                    numbers = next(line for line in lines if line.startswith("NSpid:")).split()
                    found[int(numbers[-1])] = pid
        return [found[number] for number in inner if number in found]

    def __repr__(self) -> str:
        return f"<Host {self.name}>"
