# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What stands in the way of an update or a reboot: space, the package database, inhibitors.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import glob
import os
import re
import typing as t

Record = t.Dict[str, t.Any]

# AnsibleModule.run_command, or what a test has in its place.
RunCommand = t.Callable[..., t.Tuple[int, str, str]]

# How much of one thing that a host says is shown.
_SHOWN = 200
_MAX_FILE = 1024 * 1024

# Letters of dpkg for packages that are neither all there nor all gone.
_UNFINISHED = "UFHWt"

_LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
# Of one inhibitor: what, who, why and mode.
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')

_INHIBITORS = re.compile(r"a\(ssssuu\) (\d+)\b")
# What systemctl says of a service that does not run, or that it does not know.
_STOPPED = ("inactive", "failed", "unknown")


class Answer(t.NamedTuple):
    """What a program answered."""

    exit_code: int
    output: str
    complaints: str


class Host:
    """The programs of a host, and its files below a folder."""

    def __init__(self, run_command: RunCommand, root: str = "/") -> None:
        self._run_command = run_command
        self._root = root

    def path(self, name: str) -> str:
        """Where a file of the host is."""
        return os.path.join(self._root, name.lstrip("/"))

    def find(self, pattern: str) -> list[str]:
        """Those files of the host that have such a path, in order."""
        return sorted(glob.glob(os.path.join(glob.escape(self._root), pattern.lstrip("/"))))

    def read(self, name: str) -> str | None:
        """The text of a file; None when it cannot be read."""
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read(_MAX_FILE)
        except OSError:
            return None

    def ask(self, *command: str) -> Answer | None:
        """What a program answers; None when it is not there."""
        # A user whose path lacks these finds no program of the administrator.
        path = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin"
        plain = {"LC_ALL": "C", "LANGUAGE": "C", "DEBIAN_FRONTEND": "noninteractive", "PATH": path}
        try:
            found = self._run_command(
                list(command), environ_update=plain, handle_exceptions=False, expand_user_and_vars=False
            )
        except OSError:
            return None
        return Answer(*found)


def shown(text: str, limit: int = _SHOWN) -> str:
    """A text of a host, fit to be shown: one line, and not too long."""
    line = "".join(char if char.isprintable() else " " for char in text.strip())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def listed(names: t.Iterable[str], limit: int = 5) -> str:
    """Some names that a host says, and how many more there are."""
    found = [shown(name, 80) for name in names]
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def why_not(name: str, answer: Answer | None) -> str:
    """Why a program has not told what it was asked."""
    if answer is None:
        return f"{name} is not installed"
    lines = (answer.complaints.strip() or answer.output.strip()).splitlines()
    return shown(lines[0]) if lines else f"exit code {answer.exit_code}"


def is_container(host: Host) -> bool:
    """Whether systemd says that the host is a container."""
    return os.path.exists(host.path("run/systemd/container"))


def free_space(host: Host, wanted: t.Mapping[str, int]) -> list[str]:
    """Where too little space is free.

    :param wanted: how many MB, by path. One that is not there needs none.
    """
    problems = []
    asked: dict[int, int] = {}
    for name, megabytes in wanted.items():
        try:
            device = os.stat(host.path(name)).st_dev
            found = os.statvfs(host.path(name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as ex:
            problems.append(f"how much is free on {name} is not known: {ex.strerror}")
            continue
        if asked.get(device, -1) >= megabytes:
            continue
        asked[device] = megabytes
        free = found.f_bavail * found.f_frsize // 1000000
        if free < megabytes:
            problems.append(f"{free} MB are free on {name}, and {megabytes} are wanted")
    return problems


class Packages(t.NamedTuple):
    """What the package database says of itself.

    unfinished: names of packages that an earlier run did not finish. problem: why it cannot be read; None when it can.
    """

    unfinished: list[str]
    problem: str | None


def packages(host: Host, manager: str) -> Packages:
    """Look at the package database."""
    if manager == "apt":
        form = "--showformat=${db:Status-Abbrev}\t${binary:Package}\n"
        name, answer = "dpkg", host.ask("dpkg-query", f"--admindir={host.path('var/lib/dpkg')}", form, "--show")
    else:
        name, answer = "rpm", host.ask("rpm", "--query", "--all", "--queryformat=")
    if answer is None or answer.exit_code:
        return Packages([], f"the package database of {name} cannot be read: {why_not(name, answer)}")
    return Packages([shown(line[4:]) for line in answer.output.splitlines() if _is_unfinished(line)], None)


def _is_unfinished(line: str) -> bool:
    # The third letter is R for one that has to be installed again.
    return line[1:2] in tuple(_UNFINISHED) or line[2:3] == "R"


def inhibitors(host: Host) -> list[dict[str, str]] | None:
    """Who keeps the host from being shut down, nobody where there is no logind; None when that is not known."""
    if not os.path.isdir(host.path("run/systemd/system")):
        return []
    # The table of systemd-inhibit has no separator that could not be in a name. All versions of busctl quote.
    answer = host.ask("busctl", "call", *_LOGIND, "ListInhibitors")
    if answer is None or answer.exit_code:
        return None if _may_have_logind(host) else []
    strings = [_unquoted(text) for text in _STRING.findall(answer.output)]
    number = _INHIBITORS.match(answer.output)
    if number is None or len(strings) != 4 * int(number.group(1)):
        return None
    rows = zip(*(strings[place::4] for place in range(4)))
    return [
        {"who": shown(who), "why": shown(why)}
        for what, who, why, mode in rows
        if mode == "block" and "shutdown" in what.split(":")
    ]


def _may_have_logind(host: Host) -> bool:
    """Whether the service that knows of inhibitors runs. Hosts without D-Bus have none."""
    answer = host.ask("systemctl", "is-active", "systemd-logind.service")
    return answer is None or answer.output.strip() not in _STOPPED


def _unquoted(text: str) -> str:
    # Bytes of UTF-8 are told one by one, as octal numbers.
    raw = text.encode("ascii", "replace").decode("unicode_escape", "replace")
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")
