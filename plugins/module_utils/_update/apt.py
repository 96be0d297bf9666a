# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The package manager of Debian and Ubuntu, as an update needs it. It never installs anything by itself.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import re
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import (
    Change,
    Package,
    Plan,
    RunCommand,
    UpdateError,
    matching,
)
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import Workspace, writing

# Files of the workspace: what APT_CONFIG names, what that has apt read last of all, and its pins.
CONFIG, LAST, PINS = "apt.conf", "last.conf", "preferences"
# The first two once more, for the engine that chooses security updates.
ENGINE_CONFIG, ENGINE_LAST = "engine.conf", "engine-last.conf"

# Options that name folders: of lists of packages, and of packages.
LISTS, ARCHIVES = "Dir::State::Lists", "Dir::Cache::Archives"

# Of the host.
_ETC = "/etc/apt"
_ARCHIVES = "/var/cache/apt/archives"
# Some hosts note when lists were fetched; on the others, a list that is new changes its folder.
_LISTS = "/var/lib/apt/lists"
_STAMPS = ("/var/lib/apt/periodic/update-success-stamp", _LISTS)
# Has files with a number for a name when dpkg was killed. apt-get does nothing as long as they are there.
_JOURNAL = "/var/lib/dpkg/updates"

_FORMAT = "${db:Status-Status}\t${Package}\t${Architecture}\t${Version}\n"
_GONE = ("not-installed", "config-files")
# Inst foo [1.0] (2.0 Debian:12.5/stable, Debian-Security:12/stable-security [amd64]) []
_INSTALL = re.compile(r"Inst (\S+)(?: \[([^\]]*)\])? \((\S+) (.*) \[(\S+)\]\)")
_REMOVE = re.compile(r"(?:Remv|Purg) (\S+)(?: \[([^\]]*)\])?")
_KEPT = (
    "The following packages have been kept back:",
    "The following upgrades have been deferred due to phasing:",
)
_DOWNGRADED = ("The following packages will be DOWNGRADED:",)
# Options of the host by which apt-get would write its lists in another form: with versions, or as apt does.
_PLAIN = ("-o", "APT::Get::Show-Versions=false", "-o", "APT::Output-Version=0")
_CANDIDATE = re.compile(r"^(\S+):$|^  (Installed|Candidate): (\S+)$", re.MULTILINE)
_ENGINE_LIST = re.compile(r"^Packages that will be upgraded:(.*)$", re.MULTILINE)
_ENGINE_FOUND_NONE = "No packages found that can be upgraded unattended"
# 2026-11-21 10:00:00 upgrade foo:all 1.0 2.0
_LOGGED = re.compile(r"^\S+ \S+ (upgrade|install|status unpacked|status installed|remove) ([^ :]+)", re.MULTILINE)
# How the programs say that somebody else is at work.
_LOCKED = (
    *("Could not get lock", "is locked by another process", "lock was locked by another process"),
    *("Lock could not be acquired", "Lock file is already taken"),
)
_LOCK_PAUSE = 1.0
# Suites of security updates, as Debian, Ubuntu and those who follow their example call them.
_SECURITY = ("codename=*-security", "archive=*-security", "label=*-Security")
_SECURITY_PINS = ("n=/-security$/", "a=/-security$/", "l=/-Security$/")
# The highest that apt knows: an administrator may have pins of more than 1000 as well, and ours come before those.
_FIRST_OF_ALL = 32767
_NEVER = -1
# Programs of the host that note that its lists are new, or make something of them.
_HOOKS = ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")


class Apt:
    """What it was asked for, and the programs of apt."""

    LOGS: t.Sequence[str] = ("/var/log/dpkg.log", "/var/log/apt/term.log")
    FOLLOWED: t.Sequence[str] = (LOGS[0],)

    def __init__(self, options: t.Mapping[str, t.Any], run: RunCommand, workspace: Workspace) -> None:
        """
        :param options: those of the module update_begin.
        :param run: run_command of a module.
        """
        self._options = options
        self._run = run
        self._workspace = workspace
        self._aside: dict[str, str] = {}
        self._present: dict[str, Package] = {}
        self.environment = {
            "APT_CONFIG": workspace.file(CONFIG),
            "APT_LISTCHANGES_FRONTEND": "none",
            "APT_LISTBUGS_FRONTEND": "none",
            "DEBIAN_FRONTEND": "noninteractive",
            # With C.UTF-8, it would still choose the language.
            "LANGUAGE": "C",
            "LC_ALL": "C.UTF-8",
            "NEEDRESTART_SUSPEND": "1",
            "UCF_FORCE_CONFFOLD": "1",
        }

    def _program(self, *argv: str, **environment: str) -> tuple[int, str, str]:
        # Else it puts variables of the host in the place of those that dpkg-query is to show.
        return self._run([*argv], environ_update={**self.environment, **environment}, expand_user_and_vars=False)

    def _said_by(self, *argv: str) -> str:
        """What a program printed.

        :raises UpdateError: when it failed.
        """
        code, output, complaints = self._program(*argv)
        if code:
            raise UpdateError(_ended(argv, code, output, complaints))
        return output

    def configure(self, pins: str = "", aside: t.Mapping[str, str] | None = None) -> None:
        """Write the configuration that all programs of this update read, those of core's module included.

        apt reads it after all files of /etc/apt, so that they cannot undo it, and nothing of it has to be undone.

        :param pins: preferences that come before those of the host.
        :param aside: folders to be used in place of those of the host, by the options of apt that name them. Of lists
            that are elsewhere the host takes no notice.
        """
        self._aside.update(aside or {})
        main = os.path.join(_ETC, "apt.conf")
        last = [f'#include "{main}";'] if os.path.exists(main) else []
        last.append(f'DPkg::Lock::Timeout "{int(self._options["lock_timeout"])}";')
        last.extend(f'{option} "{path}";' for option, path in self._aside.items())
        if LISTS in self._aside:
            last.extend(f"#clear APT::Update::{hook};" for hook in _HOOKS)
        if pins:
            parts = self._preferences_of_the_host()
            last.append(f'Dir::Etc::Preferences "{self._workspace.write_text(PINS, pins)}";')
            last.append(f'Dir::Etc::PreferencesParts "{parts}";')
        self._write(CONFIG, LAST, last)
        if self._options["security_only"]:
            self._write(ENGINE_CONFIG, ENGINE_LAST, [*last, *self._engine_options()])

    def _write(self, first: str, last: str, lines: t.Sequence[str]) -> None:
        path = self._workspace.write_text(last, "\n".join([*lines, ""]))
        self._workspace.write_text(first, f'Dir::Etc::main "{path}";\n')

    def _preferences_of_the_host(self) -> str:
        """A folder with all preferences of the host: a file of ours takes the place of its first one."""
        folder = self._workspace.file("preferences.d")
        theirs = os.path.join(_ETC, "preferences.d")
        names = os.listdir(theirs) if os.path.isdir(theirs) else []
        paths = {name: os.path.join(theirs, name) for name in names}
        first = os.path.join(_ETC, "preferences")
        if os.path.exists(first):
            paths["00-preferences"] = first
        with writing(folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
            for name, path in paths.items():
                os.symlink(path, os.path.join(folder, name))
        return folder

    def _engine_options(self) -> list[str]:
        origins = " ".join(f'"{pattern}";' for pattern in _SECURITY)
        own = "Unattended-Upgrade"
        return [
            f"#clear {own}::Origins-Pattern;",
            f"#clear {own}::Allowed-Origins;",
            # Today is the day.
            f"#clear {own}::Update-Days;",
            f"{own}::Origins-Pattern {{ {origins} }};",
            f'{own}::Automatic-Reboot "false";',
            f'{own}::Mail "";',
            f'{own}::OnlyOnACPower "false";',
            f'{own}::Skip-Updates-On-Metered-Connections "false";',
            f'{own}::AutoFixInterruptedDpkg "false";',
            # Without these it leaves out packages that dpkg could ask something about.
            'DPkg::Options { "--force-confdef"; "--force-confold"; };',
        ]

    # The steps before an update

    def repair(self, wait: float) -> list[str]:
        """Configure what an earlier run has left unpacked; the names of these packages."""
        names = {name for name, dummy_state in self.unfinished()}
        if names or _has_journal():
            argv = ("dpkg", "--configure", "-a", "--force-confdef", "--force-confold")
            code, output, complaints = self._once_unlocked(wait, *argv)
            if code:
                raise UpdateError(_ended(argv, code, output, complaints))
        # Some can only be installed anew.
        return sorted(names - {name for name, dummy_state in self.unfinished()})

    def refresh(self, valid_time: float, wait: float) -> None:
        """Fetch the lists of packages, unless they are younger than so many seconds."""
        if LISTS not in self._aside and not self.is_outdated(valid_time):
            return
        argv = ("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
        code, output, complaints = self._once_unlocked(wait, *argv)
        if code:
            raise UpdateError(_ended(argv, code, output, complaints))

    def is_outdated(self, valid_time: float) -> bool:
        """Whether the host has no lists of packages, or they are older than so many seconds, or from the future."""
        return not 0 <= time.time() - _lists_fetched_at() < valid_time or not _has_lists()

    def _once_unlocked(self, wait: float, *argv: str, **environment: str) -> tuple[int, str, str]:
        """Run a program that does not wait for a lock by itself.

        :raises UpdateError: when somebody has the lock for longer than so many seconds.
        """
        due = time.monotonic() + wait
        while True:
            code, output, complaints = self._program(*argv, **environment)
            if not code or not any(words in output + complaints for words in _LOCKED):
                return code, output, complaints
            if time.monotonic() >= due:
                raise UpdateError(_ended(argv, code, output, complaints, f", also after {wait:g} s"))
            time.sleep(_LOCK_PAUSE)

    def installed(self) -> list[Package]:
        """What is installed, half-installed ones included."""
        return [Package(name, arch, version) for state, name, arch, version in self._listed() if state not in _GONE]

    def unfinished(self, log: str = "") -> list[tuple[str, str]]:
        """Names and states of packages that are neither installed nor removed; dpkg itself knows them."""
        del log
        return [(name, state) for state, name, *dummy in self._listed() if state not in (*_GONE, "installed")]

    def _listed(self) -> t.Iterator[list[str]]:
        for line in self._said_by("dpkg-query", "--show", f"--showformat={_FORMAT}").splitlines():
            fields = line.split("\t")
            if len(fields) == 4:
                yield fields

    def held(self) -> list[str]:
        """The names of the packages that are on hold; those of another architecture than the host's with that."""
        return self._said_by("apt-mark", "showhold").split()

    # The plan

    @property
    def _upgrade(self) -> list[str]:
        """The command of apt-get that updates all."""
        return ["dist-upgrade"] if self._options["type"] == "full" else ["upgrade", "--with-new-pkgs"]

    @property
    def _left_out(self) -> list[str]:
        """Patterns of what is not to be installed."""
        return [*self._options["exclude"], *self._options["hold"]]

    def plan(self) -> Plan:
        """What the update is going to do; from then on, the configuration has it do just that."""
        options = self._options
        self.configure()
        native = self._said_by("dpkg", "--print-architecture").strip()
        self._present = {_full_name(package, native): package for package in self.installed()}
        held = set(self.held())
        plain = self._simulate(*self._upgrade)
        possible = plain.updated | set(plain.kept) - held
        fixes = self._chosen_by_engine() if options["security_only"] else None
        pins = ""
        if fixes is not None:
            pins = "".join(_stanza("*", f"release {place}", 990) for place in _SECURITY_PINS)
            # Where the host wants another release, only these offer fixes, and with them what is no part of the update.
            self.configure(pins)
            offered = self._simulate(*self._upgrade)
            possible |= offered.updated | set(offered.kept) - held
        choice = _Choice(_chosen(self._present, self._left_out), fixes, options["only"])
        wanted = choice.of(possible)
        if choice.is_limited:
            self.configure(pins + self._pinned(choice.unwanted))
            wanted = self._with_needs(wanted) - choice.unwanted
        final, excluded = self._settle(pins, choice, possible, wanted)
        self._refuse(final, held)
        kept_back = self._versions_of(sorted(set(final.kept) - held))
        return Plan(final.changes, kept_back, sorted({_bare(name) for name in excluded}))

    def _with_needs(self, names: t.Iterable[str]) -> set[str]:
        """Packages, and those that have to be updated with them."""
        names = sorted(names)
        try:
            found = self._simulate("install", "--only-upgrade", *names).updated if names else set()
        except UpdateError:
            # One that cannot be updated is kept back, and not a reason to leave the others.
            found = set().union(*map(self._with_needs, ([name] for name in names))) if len(names) > 1 else set()
        return found.union(names)

    def _settle(self, pins: str, choice: _Choice, possible: set[str], wanted: set[str]) -> tuple[_Simulation, set[str]]:
        """Have apt do what is wanted and nothing else; what it does, and which packages stay as they are for that.

        What it can do depends on what is pinned, so one run shows what must be pinned in the next one.
        """
        new: set[str] = set()
        while True:
            stay = possible - wanted
            never = "".join(_stanza(name, "version *", _NEVER) for name in sorted(new))
            self.configure(pins + self._pinned(stay | choice.unwanted) + never)
            final = self._simulate(*self._upgrade)
            more = final.updated - wanted - possible
            unwelcome = _chosen(final.new, self._left_out) - new
            if not more and not unwelcome:
                break
            possible, wanted, new = possible | more, wanted | choice.of(more), new | unwelcome
        overruled = sorted((final.updated - wanted) | _chosen(final.new, self._left_out))
        if overruled:
            raise UpdateError(
                f"the update would install {', '.join(overruled)}, which must stay as they are: "
                "the preferences of apt on the host overrule that"
            )
        return final, stay

    def _refuse(self, final: _Simulation, held: set[str]) -> None:
        removed = final.removed
        lost = [name for name in removed if name in held.union(_chosen(removed, self._options["hold"]))]
        if lost:
            raise UpdateError(f"the update would remove {', '.join(lost)}, which must stay as they are")
        if removed and not self._options["allow_remove"]:
            raise UpdateError(
                f"the update would remove {', '.join(removed)}, and allow_remove is false: "
                "have only safe updates, or allow that"
            )
        if final.downgraded:
            raise UpdateError(
                f"the update would put {', '.join(final.downgraded)} back to an older version, as the preferences of "
                "apt on the host want: exclude that, or change these"
            )

    def _pinned(self, names: t.Iterable[str]) -> str:
        """Preferences by which packages stay at the version that is there."""
        # Not by its number: a repository may have another build with the same one.
        return "".join(_stanza(name, "release a=now", _FIRST_OF_ALL) for name in sorted(names) if name in self._present)

    def _simulate(self, *command: str) -> _Simulation:
        # Without that it would only say that it must not put any back to an older version, and not which.
        argv = ("apt-get", *command, "-q", "--simulate", "--assume-yes", "--allow-downgrades", *_PLAIN)
        output = self._said_by(*argv)
        installed = _INSTALL.findall(output)
        changes = [
            Change(_bare(name), arch, old or None, new, _origin(origin)) for name, old, new, origin, arch in installed
        ]
        # One that only makes room for its own new version is not removed.
        gone = {name: old for name, old in _REMOVE.findall(output) if name not in {name for name, *dummy in installed}}
        changes.extend(
            Change(_bare(name), self._present[name].arch if name in self._present else "", old or None, None)
            for name, old in gone.items()
        )
        return _Simulation(
            changes,
            new={name for name, old, *dummy in installed if not old},
            updated={name for name, old, *dummy in installed if old},
            downgraded=_named_below(_DOWNGRADED, output),
            removed=sorted(gone),
            kept=_named_below(_KEPT, output),
        )

    def _chosen_by_engine(self) -> set[str]:
        """The packages that unattended-upgrades would update, by the origins of security updates."""
        argv = ("unattended-upgrade", "--dry-run", "--verbose")
        environment = {
            "APT_CONFIG": self._workspace.file(ENGINE_CONFIG),
            # Where it is to install when the host shuts down. It reads the settings of the host once more after ours.
            "UNATTENDED_UPGRADES_FORCE_INSTALL_ON_SHUTDOWN": "1",
        }
        code, output, complaints = self._once_unlocked(self._options["lock_timeout"], *argv, **environment)
        said = f"{output}\n{complaints}"
        found = _ENGINE_LIST.search(said)
        # What it ends with says nothing: some versions end with 1 although all is well.
        if found is None and _ENGINE_FOUND_NONE not in said:
            raise UpdateError(_ended(argv, code, output, complaints))
        return set(found.group(1).split()) if found else set()

    def _versions_of(self, names: t.Sequence[str]) -> list[Change]:
        """Present and possible versions of packages."""
        changes = []
        name, arch, old = "", "", None
        for first, kind, version in _CANDIDATE.findall(self._said_by("apt-cache", "policy", *names) if names else ""):
            if first:
                name, dummy, arch = first.partition(":")
            elif kind == "Installed":
                old = version
            else:
                changes.append(Change(name, arch, old, version))
        return changes

    # While it runs

    def progress(self, plan: Plan, log: str) -> str:
        """How far it is: what has been downloaded, unpacked or configured, of how many packages."""
        names = {change.name for change in plan.changes if change.new}
        done: dict[str, set[str]] = {}
        last = ""
        for what, name in _LOGGED.findall(log):
            done.setdefault(what, set()).add(name)
            last = name
        # What is configured once more because others want that does not count.
        unpacked = len(names & (done.get("upgrade", set()) | done.get("install", set())))
        configured = len(names & done.get("status installed", set()))
        if not done:
            return f"download {_fetched(plan.changes)} of {len(names)}"
        if configured and unpacked == len(names):
            return f"configure {configured} of {len(names)}, {last}"
        return f"install {unpacked} of {len(names)}, {last}"


class _Simulation(t.NamedTuple):
    """What apt-get would do.

    new, updated, downgraded (these are updated as well), removed, kept (back): names of packages as it writes them.
    """

    changes: list[Change]
    new: set[str]
    updated: set[str]
    downgraded: list[str]
    removed: list[str]
    kept: list[str]


class _Choice(t.NamedTuple):
    """What is to be updated.

    unwanted: installed packages that are not. fixes: those with a security update; None where these are not asked for.
    only: patterns of what is; empty for all.
    """

    unwanted: set[str]
    fixes: set[str] | None
    only: t.Sequence[str]

    @property
    def is_limited(self) -> bool:
        """Whether it is not just all but what is unwanted."""
        return self.fixes is not None or bool(self.only)

    def of(self, names: set[str]) -> set[str]:
        """Those of these packages that are to be updated."""
        found = names - self.unwanted
        if self.fixes is not None:
            found &= self.fixes
        return _chosen(found, self.only) if self.only else found


def _named_below(headings: t.Sequence[str], output: str) -> list[str]:
    """The packages that apt-get lists below these lines."""
    names: list[str] = []
    is_below = False
    for line in output.splitlines():
        if not line.startswith("  "):
            is_below = line in headings
        elif is_below:
            names.extend(line.split())
    return names


def _origin(words: str) -> str:
    """The origins of a version, as apt-get names them; one that concerns security first."""
    origins = [origin.strip() for origin in words.split(",")]
    return sorted(origins, key=lambda origin: "-security" not in origin.lower())[0]


def _stanza(package: str, pin: str, priority: int) -> str:
    return f"Package: {package}\nPin: {pin}\nPin-Priority: {priority}\n\n"


def _bare(name: str) -> str:
    """The name of a package without its architecture."""
    return name.partition(":")[0]


def _full_name(package: Package, native: str) -> str:
    """The name of a package as apt-get writes it: with its architecture, where that is not the one of the host."""
    return package.name if package.arch in (native, "all") else f"{package.name}:{package.arch}"


def _chosen(names: t.Iterable[str], patterns: t.Sequence[str]) -> set[str]:
    """Those that a pattern matches, with or without their architecture."""
    return {name for name in names if matching((name, _bare(name)), patterns)}


def _has_journal() -> bool:
    try:
        return any(name.isdigit() for name in os.listdir(_JOURNAL))
    except OSError:
        return False


def _lists_fetched_at() -> float:
    return next((os.stat(path).st_mtime for path in _STAMPS if os.path.exists(path)), 0.0)


def _has_lists() -> bool:
    try:
        # They may be compressed.
        return any("_Packages" in name for name in os.listdir(_LISTS))
    except OSError:
        return False


def _fetched(changes: t.Iterable[Change]) -> int:
    """How many of the new versions have been downloaded."""
    try:
        files = {name.rpartition("_")[0] for name in os.listdir(_ARCHIVES)}
    except OSError:
        return 0
    wanted = {(change.name, change.new.replace(":", "%3a")) for change in changes if change.new}
    return len({name for name, version in wanted if f"{name}_{version}" in files})


def _ended(argv: t.Sequence[str], code: int, output: str, complaints: str, waited: str = "") -> str:
    """A sentence for a program that failed."""
    return f"{' '.join(argv[:2])} ended with {code}{waited}: {_last_of(complaints or output)}"


def _last_of(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-600:]
