# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The package managers that stand on rpm, as an update needs them. They never install anything by themselves.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import re
import shutil
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import (
    Change,
    Package,
    Plan,
    RunCommand,
    UpdateError,
    matching,
)

_FORMAT = "%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"
# ij-plain.noarch    2.0-1    stable, with blanks at the end, and in two lines where the name is long
_AVAILABLE = re.compile(r"^(\S+)\.(\S+)\s+(\S+)\s+(\S+)[ \t]*$", re.MULTILINE)
_UPDATES_ARE_THERE = 100
# What zypper ends with when all went well but for a repository that cannot be reached.
_REPOSITORY_SKIPPED = 106
# 2026-11-21T10:00:00+0000 SUBDEBUG Upgrade: ij-plain-2.0-1.noarch
# 2026-11-21T10:00:00+0000 [4711] INFO RPM callback install stop "ij-plain-0:2.0-1.noarch" amount 6 total 6
_LOGGED = re.compile(
    r"^\S+ (?:\S+ (?:Upgrade|Installed): |\S+ \S+ RPM callback install stop \")(\S+)-[^-\s]+-[^-\s]+(?:$|\" )",
    re.MULTILINE,
)
# Error in POSTIN scriptlet in rpm package ij-fails
_FAILED = re.compile(r"Error in (\w+) scriptlet in rpm package (\S+)")
# RPM callback non-critical error in %post scriptlet "ij-fails-0:1.0-1.noarch"; before dnf5 5.2.14 it was post-install.
_FAILED_DNF5 = re.compile(r"RPM callback (?:non-critical )?error in %?(\S+) scriptlet \"(\S+)-[^-\s]+-[^-\s]+\"")
# foo-0:1.0-1.* in the list of dnf, name = "foo" in that of dnf5
_LOCKED = re.compile(r"^([^#\s!]\S*?)-(?:\d+:|\*)|^name = \"([^\"]+)\"", re.MULTILINE)
_LISTS_OF_LOCKS = ("/etc/dnf/plugins/versionlock.list", "/etc/dnf/versionlock.toml")


class Dnf:
    """dnf and dnf5: what it was asked for, and its programs."""

    # dnf5 has one log for all, which the others do not write to. A host can have both.
    LOGS: t.Sequence[str] = ("/var/log/dnf.rpm.log", "/var/log/dnf.log", "/var/log/dnf5.log")
    FOLLOWED: t.Sequence[str] = (LOGS[0], LOGS[2])

    def __init__(self, options: t.Mapping[str, t.Any], run: RunCommand) -> None:
        """
        :param options: those of the module update_begin.
        :param run: run_command of a module.
        """
        self._options = options
        self._run = run
        self.environment = {"LANGUAGE": "C", "LC_ALL": "C.UTF-8"}

    def _program(self, *argv: str) -> tuple[int, str, str]:
        return self._run([*argv], environ_update=self.environment)

    def repair(self, wait: float) -> list[str]:
        """rpm finishes nothing that was left half done."""
        del wait
        return []

    def refresh(self, valid_time: float, wait: float) -> None:
        """dnf itself looks how old its lists are."""
        del valid_time, wait

    def installed(self) -> list[Package]:
        """What is installed."""
        code, output, complaints = self._program("rpm", "-qa", "--queryformat", _FORMAT)
        if code:
            raise UpdateError(f"rpm -qa ended with {code}: {complaints.strip()[-300:]}")
        found = [Package(*line.split("\t")) for line in output.splitlines() if line.count("\t") == 2]
        if not found:
            raise UpdateError(
                "rpm -qa lists no packages: see whether rpm --eval %_dbpath names the database of this host"
            )
        return found

    def held(self) -> list[str]:
        """The names of packages whose version is locked."""
        names: set[str] = set()
        for path in _LISTS_OF_LOCKS:
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                names.update(first or second for first, second in _LOCKED.findall(file.read()))
        return sorted(names)

    def plan(self) -> Plan:
        """What the update is going to do, without what comes in anew."""
        options = self._options
        age = int(options["cache_valid_time"])
        # What stands in the file of a repository beats what is set for all.
        every = self._available([f"--setopt=metadata_expire={age}", f"--setopt=*.metadata_expire={age}"])
        chosen = self._available(command=["check-update", "--security"]) if options["security_only"] else every
        names = {change.name for change in chosen} - matching(
            (change.name for change in chosen), [*options["exclude"], *options["hold"]]
        )
        if options["only"]:
            names &= matching(names, options["only"])
        return Plan(
            [change for change in chosen if change.name in names],
            [],
            sorted({change.name for change in every} - names),
        )

    def _available(self, settings: t.Sequence[str] = (), command: t.Sequence[str] = ("check-update",)) -> list[Change]:
        """What has a newer version.

        :param command: with its own arguments, which dnf5 takes only behind it.
        """
        program = next(filter(shutil.which, ("dnf", "dnf5")), "dnf")
        code, output, complaints = self._program(program, "-q", *settings, *command)
        if code not in (0, _UPDATES_ARE_THERE):
            raise UpdateError(f"{program} check-update ended with {code}: {complaints.strip()[-600:]}")
        present = {(package.name, package.arch): package.version for package in self.installed()}
        return [
            Change(name, arch, present[name, arch], version, origin)
            for name, arch, version, origin in _AVAILABLE.findall(output.partition("Obsoleting")[0])
            if (name, arch) in present
        ]

    def unfinished(self, log: str = "") -> list[tuple[str, str]]:
        """The packages whose scripts have failed. rpm counts these as installed, and dnf as a success."""
        found = sorted({*_FAILED.findall(log), *_FAILED_DNF5.findall(log)})
        return [(name, f"{script.lower()} scriptlet failed") for script, name in found]

    def progress(self, plan: Plan, log: str) -> str:
        """How many packages are installed, of how many."""
        names = _LOGGED.findall(log)
        total = max(len(plan.changes), len(set(names)))
        return f"install {len(set(names))} of {total}, {names[-1]}" if names else f"download {total} packages"


class Zypper(Dnf):
    """zypper, of which only its lists are read here."""

    LOGS = ("/var/log/zypp/history", "/var/log/zypper.log")
    FOLLOWED = (LOGS[0],)

    def __init__(self, options: t.Mapping[str, t.Any], run: RunCommand) -> None:
        super().__init__(options, run)
        self.environment["ZYPP_LOCK_TIMEOUT"] = str(int(options["lock_timeout"]))

    def plan(self) -> Plan:
        """What is newer; zypper decides what of it is installed."""
        code, output, complaints = self._program("zypper", "--non-interactive", "--quiet", "list-updates")
        if code not in (0, _REPOSITORY_SKIPPED):
            raise UpdateError(f"zypper list-updates ended with {code}: {complaints.strip()[-600:]}")
        remarks = [f"zypper has skipped a repository: {' '.join(complaints.split())[-600:]}"] if code else []
        rows = [[cell.strip() for cell in line.split("|")] for line in output.splitlines() if line.count("|") == 5]
        return Plan([Change(row[2], row[5], row[3], row[4], row[1]) for row in rows if row[0] == "v"], [], [], remarks)

    def held(self) -> list[str]:
        """Locks of zypper are of patterns, repositories and kinds: it heeds them itself."""
        return []

    def progress(self, plan: Plan, log: str) -> str:
        """How many packages are installed, of how many, by lines such as 2026-11-21 10:00:00|install|NAME|VERSION."""
        names = re.findall(r"^[^|#]+\|install\|([^|]+)\|", log, re.MULTILINE)
        total = max(len(plan.changes), len(names))
        return f"install {len(names)} of {total}, {names[-1]}" if names else f"download {total} packages"
