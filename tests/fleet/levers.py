# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Faults of hosts, each with its undo: context managers, the fault lasts as long as the block.

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import typing as t
from pathlib import Path

from .host import Host
from .system import eventually, run

DELAY = Path(__file__).with_name("delay.py")
# Makes Python believe in another time of day; FAKE_CLOCK in the environment names the file that says by how much.
FAKE_CLOCK = Path(__file__).with_name("fake_clock")
# The Python of a host with that clock.
FAKE_CLOCK_PYTHON = "/usr/local/bin/python3-with-fake-clock"


@contextlib.contextmanager
def link_down(host: Host) -> t.Iterator[None]:
    """Pull the cable: what is sent gets lost, and nobody is told."""
    run("ip", "link", "set", host.interface, "down")
    try:
        yield
    finally:
        run("ip", "link", "set", host.interface, "up")


@contextlib.contextmanager
def sshd_stopped(host: Host) -> t.Iterator[None]:
    """Nobody listens on the port of SSH; connections that are there live on."""
    host.run("systemctl", "stop", "ssh.service")
    try:
        yield
    finally:
        host.run("systemctl", "start", "ssh.service")
        host.wait_until_up()


@contextlib.contextmanager
def powered_off(host: Host) -> t.Iterator[None]:
    """Cut the power. It comes back with the end of the block; the host is up again then."""
    host.power_off()
    try:
        yield
    finally:
        host.power_on()
        host.wait_until_up()


@contextlib.contextmanager
def mounted(host: Host, path: str, options: str) -> t.Iterator[None]:
    """A filesystem in memory over a folder of the host, with these options of mount: size=1m for one that soon is full,
    noexec for one from which nothing can be started.
    """
    host.run("mkdir", "-p", path)
    host.run("mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", path)
    try:
        yield
    finally:
        # Lazily: something may be open in it still.
        host.run("umount", "--lazy", path)


def fill(host: Host, path: str) -> None:
    """Write to the filesystem at this path until not a byte is left."""
    host.shell(f"cat /dev/zero > {shlex.quote(path)}/filler 2>/dev/null || true")


@contextlib.contextmanager
def memory_limit(host: Host, name: str, pids: t.Iterable[int], megabytes: int) -> t.Iterator[None]:
    """Let these processes, and what they start from now on, have so much memory together; swap does not count.

    :param name: of the control group, which is made outside of the host: within, they are read-only.
    :param pids: by their numbers outside of the host.
    """
    version_1 = Path("/sys/fs/cgroup/memory")
    if version_1.is_dir():
        parent, limit = version_1, "memory.limit_in_bytes"
    else:
        parent, limit = Path("/sys/fs/cgroup"), "memory.max"
        (parent / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
    group = parent / f"inflight-{host.name}-{name}"
    group.mkdir()
    try:
        (group / limit).write_text(str(megabytes * 1024 * 1024), encoding="ascii")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended by now
                (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):
                (parent / "cgroup.procs").write_text(pid, encoding="ascii")
        eventually(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"), 10, f"{group} is empty")
        group.rmdir()


@contextlib.contextmanager
def processes_hidden(host: Host) -> t.Iterator[None]:
    """Users see nobody's processes but their own."""
    host.run("mount", "-o", "remount,hidepid=2", "/proc")
    try:
        yield
    finally:
        host.run("mount", "-o", "remount,hidepid=0", "/proc")


@contextlib.contextmanager
def fake_clock(host: Host) -> t.Iterator[t.Callable[[int], None]]:
    """Make a Python on the host that believes in another time of day; yields what sets it off by so many seconds.

    What it starts inherits its clock.
    """
    script = '#!/bin/sh\nPYTHONPATH=/opt/fake-clock FAKE_CLOCK=/run/fake-clock exec /usr/bin/python3 "$@"\n'
    shutil.copytree(FAKE_CLOCK, host.root / "opt/fake-clock")
    python = host.root / FAKE_CLOCK_PYTHON.lstrip("/")
    python.write_text(script, encoding="ascii")
    python.chmod(0o755)

    def set_off(seconds: int) -> None:
        # Renamed into its place: whoever reads it at this moment finds the old time or the new one.
        host.shell(f"echo {seconds} > /run/fake-clock.new; mv /run/fake-clock.new /run/fake-clock")

    set_off(0)
    try:
        yield set_off
    finally:
        python.unlink()
        shutil.rmtree(host.root / "opt/fake-clock")


def delayed(seconds: float) -> str:
    """Arguments for ssh that make every answer of a host come so many seconds later: a long way there and back."""
    command = shlex.join([sys.executable, str(DELAY), "%h", "%p", str(seconds / 2)])
    return f"-o ProxyCommand={shlex.quote(command)}"
