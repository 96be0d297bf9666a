# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is installed on a host, and what has changed between two looks at that.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import fnmatch
import os
import typing as t

# What package managers call a new version of a configuration file that they put beside a changed one.
_BESIDE = (".dpkg-dist", ".dpkg-new", ".ucf-dist", ".rpmnew", ".rpmsave")

RunCommand = t.Callable[..., t.Tuple[int, str, str]]


class UpdateError(Exception):
    """Packages cannot be updated; the message says why, in one sentence without a full stop."""


class Package(t.NamedTuple):
    """A package that is installed. arch: its architecture. version: as the package manager writes it."""

    name: str
    arch: str
    version: str


class Change(t.NamedTuple):
    """What happens to a package. old: None for a new one. new: None for one that is removed.

    origin: where the new version comes from; None where that is not known.
    """

    name: str
    arch: str
    old: str | None
    new: str | None
    origin: str | None = None


class Plan(t.NamedTuple):
    """What an update is going to do.

    changes: what it does. kept_back: what has a newer version that it does not install. excluded: names of packages
    that stay as they are because somebody asked for that. remarks: what did not work and was no reason to give up.
    """

    changes: list[Change]
    kept_back: list[Change]
    excluded: list[str]
    remarks: t.Sequence[str] = ()


def changes_between(
    before: t.Iterable[Package], after: t.Iterable[Package], origins: t.Mapping[str, str | None]
) -> list[Change]:
    """What has changed, sorted by name.

    A package of which several versions are installed, as kernels can be, has a change for each that came or went.

    :param origins: where new versions come from, by name, as far as that is known.
    """
    old, new = _versions(before), _versions(after)
    changes = []
    for key in sorted(old.keys() | new.keys()):
        gone = sorted(old.get(key, set()) - new.get(key, set()))
        come = sorted(new.get(key, set()) - old.get(key, set()))
        name, arch = key
        if len(gone) == len(come) == 1:
            changes.append(Change(name, arch, gone[0], come[0], origins.get(name)))
        else:
            changes.extend(Change(name, arch, version, None) for version in gone)
            changes.extend(Change(name, arch, None, version, origins.get(name)) for version in come)
    return changes


def _versions(packages: t.Iterable[Package]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for package in packages:
        found.setdefault((package.name, package.arch), set()).add(package.version)
    return found


def matching(names: t.Iterable[str], patterns: t.Sequence[str]) -> set[str]:
    """The names that one of these patterns of the shell matches."""
    return {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}


def files_beside(root: str = "/etc") -> dict[str, float]:
    """The configuration files that package managers have put beside changed ones, and when they were last changed."""
    found = {}
    for folder, dummy_folders, names in os.walk(root):
        for name in names:
            if name.endswith(_BESIDE):
                path = os.path.join(folder, name)
                try:
                    found[path] = os.lstat(path).st_mtime
                except OSError:
                    continue
    return found


class Manager(t.Protocol):
    """A package manager, as an update needs it. Every method may raise UpdateError.

    environment: variables for each of its programs. LOGS: the files that it logs to. FOLLOWED: those of them that
    tell its progress.
    """

    environment: dict[str, str]
    LOGS: t.Sequence[str]
    FOLLOWED: t.Sequence[str]

    def repair(self, wait: float) -> list[str]:
        """Finish what an earlier run has left half done, once its lock is free; the names of these packages."""

    def refresh(self, valid_time: float, wait: float) -> None:
        """Fetch the lists of packages, unless they are younger than so many seconds."""

    def installed(self) -> list[Package]:
        """What is installed, half-installed ones included."""

    def held(self) -> list[str]:
        """The names of the packages that the administrator wants to stay as they are."""

    def plan(self) -> Plan:
        """What the update is going to do."""

    def unfinished(self, log: str = "") -> list[tuple[str, str]]:
        """Names and states of packages that are not fully installed, also by what was logged in this update."""

    def progress(self, plan: Plan, log: str) -> str:
        """How far it is, in a few words, by what it has logged since the update began."""
