# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the parts of the fleet share: running programs, and finding processes.

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import typing as t
from pathlib import Path

T = t.TypeVar("T")

# Where the programs are, also for a root whose PATH has no folders of the administrator.
PATH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


class FleetError(Exception):
    """The fleet cannot be brought up or changed; the message says why."""


def run(*command: str | Path) -> str:
    """Run a program, and return what it printed.

    :raises FleetError: when it fails; the message holds what it printed to standard error.
    """
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "PATH": PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise FleetError(f"{words}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def eventually(condition: t.Callable[[], T], seconds: float, what: str) -> T:
    """Wait until condition() is true, and return what it returned.

    :param seconds: for so long at most.
    :param what: what is waited for, said in the failure.
    """
    started = time.monotonic()
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() - started > seconds:
            raise FleetError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def processes() -> t.Iterator[tuple[int, list[str]]]:
    """Every process of this machine with its command line, those inside the hosts included."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                command_line = Path(f"/proc/{name}/cmdline").read_bytes()
                yield int(name), command_line.decode("utf-8", "surrogateescape").rstrip("\0").split("\0")


def parents() -> dict[int, int]:
    """The parent of every process of this machine that is no zombie."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    found[int(name)] = int(fields[1])
    return found


def mounts(below: Path) -> list[str]:
    """Where something is mounted in this folder, the innermost first."""
    prefix = f"{below}/"
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return sorted((point for point in points if point.startswith(prefix)), key=len, reverse=True)
