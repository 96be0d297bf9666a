# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The levers themselves: each does what it says, and is undone.

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
import typing as t

import pytest

from ..fleet import levers
from ..fleet.fleet import Fleet
from ..fleet.host import Host
from ..fleet.system import FleetError


@pytest.fixture
def host(fleet: Fleet) -> Host:
    """One host."""
    return fleet.hosts[0]


def can_connect(host: Host) -> bool:
    """Whether the port of SSH takes a connection."""
    try:
        socket.create_connection((host.address, 22), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_link_goes_down_and_up_again(host: Host) -> None:
    with levers.link_down(host):
        assert not can_connect(host)
    host.wait_until_up()


def test_sshd_stops_and_starts_again(host: Host) -> None:
    with levers.sshd_stopped(host):
        assert not can_connect(host)
    assert can_connect(host)


def test_a_power_cut_ends_all_processes_and_keeps_the_disk(host: Host) -> None:
    host.shell("echo kept > /srv/kept; sleep 1000 >/dev/null 2>&1 &")
    before = host.run("cat", "/proc/sys/kernel/random/boot_id")
    with levers.powered_off(host):
        assert not host.is_on()
        with pytest.raises(FleetError, match="is off"):
            host.run("true")
    assert host.run("cat", "/proc/sys/kernel/random/boot_id") != before
    assert host.run("cat", "/srv/kept") == "kept\n"
    assert host.shell("pgrep -x sleep || true") == ""


def test_a_small_filesystem_gets_full(host: Host) -> None:
    with levers.mounted(host, "/srv/small", "size=64k"):
        levers.fill(host, "/srv/small")
        with pytest.raises(FleetError, match=r"No space left|I/O error"):
            host.shell("echo more > /srv/small/more")
    host.shell("echo more > /srv/small/more")


def test_nothing_starts_from_a_filesystem_that_is_noexec(host: Host) -> None:
    script = "printf '#!/bin/sh\\n' > /srv/place/script; chmod 755 /srv/place/script; /srv/place/script"
    with levers.mounted(host, "/srv/place", "noexec"), pytest.raises(FleetError, match="Permission denied"):
        host.shell(script)
    host.shell(script)


def test_a_process_that_takes_too_much_memory_is_killed(host: Host) -> None:
    eat = "until [ -e /run/eat ]; do sleep 0.05; done; python3 -c 'print(len(bytes(range(256)) * (1 << 20)))'"
    host.shell(f"sh -c {shlex.quote(eat)} > /srv/eaten 2>&1 & echo $! > /srv/pid")
    (pid,) = host.pids(int(host.run("cat", "/srv/pid")))
    with levers.memory_limit(host, "lever", [pid], megabytes=32):
        host.run("touch", "/run/eat")
        host.shell("while kill -0 $(cat /srv/pid) 2>/dev/null; do sleep 0.05; done")
        assert "268435456" not in host.run("cat", "/srv/eaten")
    host.shell(f"sh -c {shlex.quote(eat)} > /srv/eaten 2>&1; rm /run/eat")
    assert host.run("cat", "/srv/eaten") == "268435456\n"


def test_hidden_processes_are_hidden_from_users(host: Host) -> None:
    look = "su deploy -s /bin/sh -c 'cat /proc/1/cmdline' > /dev/null"
    with levers.processes_hidden(host), pytest.raises(FleetError, match="No such file"):
        host.shell(look)
    host.shell(look)


def test_a_fake_clock_is_off_and_the_monotonic_one_is_not(host: Host) -> None:
    def off() -> tuple[float, float]:
        code = "import time; print(time.time(), time.monotonic())"
        told, monotonic = map(float, host.run(levers.FAKE_CLOCK_PYTHON, "-c", code).split())
        return told - time.time(), monotonic - time.monotonic()

    with levers.fake_clock(host) as set_off:
        for seconds in (0, 3600, -3600, 0):
            set_off(seconds)
            wall, monotonic = off()
            assert wall == pytest.approx(seconds, abs=5)
            assert monotonic == pytest.approx(0, abs=5)


def test_a_long_way_takes_its_time(fleet: Fleet, host: Host) -> None:
    command = levers.delayed(0.5).removeprefix("-o ProxyCommand=")
    words = shlex.split(shlex.split(command)[0].replace("%h", host.address).replace("%p", "22"))
    assert words[0] == sys.executable
    started = time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as way:
        assert t.cast("t.IO[bytes]", way.stdout).read(4) == b"SSH-"
        # What the server says first has to go one way only.
        assert time.monotonic() - started >= 0.25
        way.kill()
    assert ssh(fleet, host, "root", levers.delayed(0.5)) == "root\n"


def test_there_is_a_user_without_root(fleet: Fleet, host: Host) -> None:
    assert ssh(fleet, host, "deploy") == "deploy\n"


def ssh(fleet: Fleet, host: Host, user: str, options: str = "") -> str:
    """What whoami prints there."""
    known = f"UserKnownHostsFile={fleet.folder}/known_hosts"
    command = [
        "ssh",
        "-i",
        f"{fleet.folder}/key",
        "-o",
        known,
        *shlex.split(options),
        f"{user}@{host.address}",
        "whoami",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
