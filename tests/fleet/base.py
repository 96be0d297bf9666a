# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The system that all hosts of the fleet begin with: Debian, made once by debootstrap and kept.

from __future__ import annotations

import hashlib
import shutil
import typing as t
from pathlib import Path

from .system import FleetError, mounts, run

PACKAGES = (
    "acl",
    "attr",
    "ca-certificates",
    "dbus",
    "dnf",
    "iproute2",
    "mariadb-server",
    "needrestart",
    "openssh-server",
    "postgresql",
    "procps",
    "python3",
    "python3-apt",
    "python3-dnf",
    "restic",
    "rpm",
    "rsync",
    "sudo",
    "systemd",
    "systemd-sysv",
    "unattended-upgrades",
    "zstd",
)
# Started by the tests that need them.
SERVERS = ("mariadb", "postgresql", "unattended-upgrades")
# A user of the hosts who is not root.
USER = "deploy"

SSHD = """\
UseDNS no
MaxStartups 100
MaxSessions 100
"""


def make_base(folder: Path) -> None:
    """Make the base system in this folder, unless it is there and still the one that this file describes."""
    mirror, release = _mirror()
    wanted = hashlib.sha256(f"{release} {_this_file()}".encode()).hexdigest()
    stamp = folder.with_name("base.stamp")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    stamp.unlink(missing_ok=True)
    remove_base(folder)
    run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", release, folder, mirror)
    run("chroot", folder, "useradd", "--create-home", "--shell", "/bin/bash", USER)
    run("chroot", folder, "systemctl", "enable", "systemd-networkd")
    run("chroot", folder, "systemctl", "disable", *SERVERS)
    (folder / "etc/ssh/sshd_config.d/fleet.conf").write_text(SSHD, encoding="utf-8")
    for key in folder.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        (folder / name).unlink(missing_ok=True)
    # Only now is it complete: an interrupted run starts again.
    stamp.write_text(wanted, encoding="utf-8")


def remove_base(folder: Path) -> None:
    """Remove what is there of the base system. An interrupted debootstrap leaves /proc and /sys mounted in it."""
    for point in mounts(folder):
        run("umount", point)
    if folder.exists():
        shutil.rmtree(folder)


def _this_file() -> str:
    return Path(__file__).read_text(encoding="utf-8")


def _mirror() -> tuple[str, str]:
    """The address and the release of the Debian packages that this machine uses."""
    release = dict(_os_release()).get("VERSION_CODENAME", "")
    fields = "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"
    lines = run("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines()
    for line in lines:
        origin, codename, component, address = line.split("|")
        if (origin, codename, component) == ("Debian", release, "main"):
            return address, release
    raise FleetError(f"no package source of Debian {release} main: run apt-get update, or see sources.list(5)")


def _os_release() -> t.Iterator[tuple[str, str]]:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, dummy, value = line.partition("=")
        yield name, value.strip('"')
