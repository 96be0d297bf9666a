# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The rows of docs/updates.md.

from __future__ import annotations

from ..table import Table, surroundings

ROWS = {
    # Well
    "parallel": (
        "three hosts, each with a package whose postinst waits until all three wait",
        "all install at the same time",
    ),
    "progress": ("the same, while they wait", "the progress of each host is shown"),
    "report": (
        "the report, against dpkg-query before and after",
        "equal, with the origin of each package",
    ),
    "conffile": (
        "a configuration file that was changed on the host, and in the new version",
        "kept; the new one lies beside it, and the report names it",
    ),
    "held": ("a package held by the administrator", "not updated, still held, and in the report"),
    "pulled in": ("a new version that needs a package which was not there", "both are installed"),
    "kept back": ("a new version that would remove another package", "kept back, and in the report"),
    "check mode": ("check mode, before that", "nothing changes; the same list as that of the real run"),
    "second run": ("the same again, with reboot: if_needed", "nothing changed, no reboot"),
    "put back": (
        "holds, timers and all of /etc/apt, after success; one of the timers was stopped before",
        "as before",
    ),
    # What is installed
    "security": (
        "security_only, where the package has a newer version that is no security update",
        "only the security update",
    ),
    "choice": ("exclude one package, hold another one", "both as they were, and in the report; neither is held after"),
    "removal": ("type: full, where that would remove a package", "refused with that reason; nothing changed"),
    # Badly
    "fails": ("a package whose postinst fails", "failed; the report has what it said"),
    "service": ("a package whose service does not start any more", "failed: a new fault"),
    "baseline": ("a unit that had failed before", "an old fault, which does not count"),
    "unfinished": ("a package that an earlier run unpacked and did not configure", "configured first"),
    "put back after failure": ("holds, timers and all of /etc/apt, after failure", "as before"),
    # Locks
    "lock": ("the lock of dpkg held for 60 s", "waits, then updates"),
    "lock too long": (
        "the lock of dpkg held for longer than lock_timeout",
        "failed with that reason; nothing changed; who holds it lives",
    ),
    "backup": ("a backup at work on the host, for longer than lock_timeout", "failed with that reason"),
    # Breaks
    "link": (
        "the link cut in mid-install, until that is noticed, and the SSH connection killed",
        "reconnects; the update is collected",
    ),
    "sshd": ("sshd itself restarted by a package, in mid-install", "the update is collected"),
    "job": (
        "SIGKILL of the job, and of all else on the host but the package manager, in mid-install; another run",
        "failed; the package manager ends its work; the next run reports it, and everything is put back",
    ),
    "timeout": (
        "timeout passes in mid-install",
        "reported as still running; the package manager lives",
    ),
    "controller": (
        "ansible-playbook killed with SIGKILL in mid-install; another run",
        "all updates are collected, that of the last row too",
    ),
    # Reboots
    "no report": (
        "ansible-playbook killed with SIGKILL after the installation; another run, with reboot: if_changed",
        "its report has what the first one has changed, and the host reboots",
    ),
    "reboot never": (
        "reboot: never; needed (KSTA 2, said by a stand-in for needrestart), not needed, unknown",
        "none reboots; the report says which need it",
    ),
    "reboot if_needed": (
        "reboot: if_needed; needed (a package asks for it), not needed, unknown",
        "the first one reboots; a warning for the last one",
    ),
    "reboot if_changed": (
        "reboot: if_changed; changed, by only one package; needed (KSTA 3, said by a stand-in), not changed; unknown",
        "the first one reboots, and just that package is new there",
    ),
    "reboot always": (
        "reboot: always, reboot_serial: 1; needed, not needed, unknown",
        "all reboot, never two at once, probed from outside four times each second",
    ),
    # The roll-out
    "hooks": (
        "task files before the update, after the installation and after a reboot; always, one host stays healthy",
        "each ran on both hosts, in turn",
    ),
    "hook lost": (
        "a task before the update, delegated to a host that is out of reach, on one of three hosts",
        "that host is not updated; the others are, and are in the report",
    ),
    "rollback": (
        "snapshot and rollback by commands; a check command fails on one of two hosts after the update",
        "that one is failed and rolled back; the snapshot of the other one is removed",
    ),
    "rollback lost": (
        "the same on a third host, where the rollback ends every sshd",
        "failed with both reasons, and its snapshot does not count as rolled back; the others are in the report",
    ),
    "canary": ("a canary whose service does not start any more", "failed; no package changed on any other host"),
    "canaries reboot": (
        "two canaries that reboot one after the other; the first one is not healthy after that",
        "failed; the second one is not rebooted, and that is in its warning; no package changed on any other host",
    ),
    "twice": (
        "a playbook with two roll-outs, reboot_serial 3 and 1; in the second one, a host is not healthy after that",
        "a report of each; each host is updated once; the other host of the second one is not rebooted",
    ),
    "threshold 0": ("one host of three switched off, max_fail_percentage: 0", "nothing changed on any host"),
    "threshold 50": (
        "the same with max_fail_percentage: 50",
        "the others are updated; unreachable, in the report; the exit code is not 0, after the report",
    ),
    # dnf
    "dnf": (
        "a host driven by dnf: check mode; then the report, against rpm before and after",
        "the same list; equal; the changed configuration file kept, and .rpmnew in the report",
    ),
    "dnf fails": ("a host driven by dnf, with a package whose %post fails: dnf says success", "failed"),
}


def page(table: Table) -> str:
    """docs/updates.md."""
    return f"""\
# Updates that go wrong

What the role `parallel_update` does on three real hosts when things go well and when they do not. The packages are
small ones, made for this, in an old and a new version; apt and dnf, and all that they do, are real.

`make fleet-test` measures this again and writes this page. Here:
{surroundings()}.

{table.lines(ROWS)}
"""
