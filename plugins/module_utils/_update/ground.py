# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What stands in the way of an update or a reboot: space, the package database, an encrypted root, inhibitors.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
import shlex
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

_NO_KEY = ("", "none", "-")
_YES = ("", "1", "yes", "y", "true", "t", "on")
# Those of clevis that need nobody. A pin of PKCS #11 may ask for its PIN.
_CLEVIS = re.compile(r"^[0-9]+: (tang|tpm2|sss)\b", re.MULTILINE)
# What lets a person type the passphrase by SSH, by the file that it has on the host.
_BY_SSH = {
    "dropbear-initramfs": "usr/share/initramfs-tools/hooks/dropbear",
    "tinysshd-initramfs": "usr/share/initramfs-tools/hooks/tinysshd",
    "dracut-sshd": "usr/lib/dracut/modules.d/*sshd",
}


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
        why = f"{name} is not installed" if answer is None else _first_line(answer)
        return Packages([], f"the package database of {name} cannot be read: {why}")
    return Packages([shown(line[4:]) for line in answer.output.splitlines() if _is_unfinished(line)], None)


def _is_unfinished(line: str) -> bool:
    # The third letter is R for one that has to be installed again.
    return line[1:2] in tuple(_UNFINISHED) or line[2:3] == "R"


def _first_line(answer: Answer) -> str:
    """Why a program failed."""
    lines = (answer.complaints.strip() or answer.output.strip()).splitlines()
    return shown(lines[0]) if lines else f"exit code {answer.exit_code}"


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


def encrypted_root(host: Host) -> Record:
    """Whether the root filesystem is encrypted, and whether it is unlocked without a person when the host boots.

    In doubt it is encrypted: a host that waits for a passphrase does not come back.
    """
    if is_container(host):
        return _root(False, False, "the host is a container: what its root filesystem is on is unlocked already")
    source = host.ask("findmnt", "--noheadings", "--output", "SOURCE", "/")
    if source is None or source.exit_code:
        return _unclear("what the root filesystem is on", _why_not("findmnt", source))
    # Of btrfs the subvolume is told behind the device. Of two mounts on / the last one counts.
    device = (source.output.split() or [""])[-1].partition("[")[0]
    if not device.startswith("/dev/"):
        return _unclear("whether the root filesystem is encrypted", f"it is on {shown(device) or 'nothing'}, no device")
    answer = host.ask("lsblk", "--inverse", "--json", "--paths", "--output", "NAME,TYPE", device)
    if answer is None or answer.exit_code:
        return _unclear(f"what {shown(device)} of the root filesystem is on", _why_not("lsblk", answer))
    try:
        nodes = json.loads(answer.output)["blockdevices"]
        found = list(_encrypted(nodes))
    except (ValueError, KeyError, TypeError, AttributeError):
        nodes = []
    if not nodes:
        return _unclear(f"what {shown(device)} of the root filesystem is on", "lsblk is odd")
    if not found:
        return _root(False, False, f"the root filesystem is on {shown(device)}, which is not encrypted")
    unlocking = Unlocking(host)
    ways = [(mapping, unlocking.way(os.path.basename(mapping), below)) for mapping, below in dict(found).items()]
    text = "; ".join(f"{shown(mapping)} {text}" for mapping, (dummy, text) in ways)
    itself = all(way for dummy, (way, dummy_text) in ways)
    by_ssh = [name for name, pattern in _BY_SSH.items() if host.find(pattern)]
    if by_ssh and not itself:
        text = f"{text}; somebody can unlock it by SSH ({by_ssh[0]})"
    return _root(True, itself, f"the root filesystem is encrypted: {text}")


def _root(encrypted: bool, unlocks_itself: bool, message: str) -> Record:
    return {"encrypted": encrypted, "unlocks_itself": unlocks_itself, "msg": message}


def _unclear(what: str, reason: str) -> Record:
    return _root(True, False, f"{what} is not known: {reason}")


def _why_not(name: str, answer: Answer | None) -> str:
    return f"{name} is not installed" if answer is None else _first_line(answer)


def _encrypted(nodes: t.Iterable[Record]) -> t.Iterator[tuple[str, str]]:
    """The encrypted devices among these and all that they are on, each with the device that it is on."""
    for node in nodes:
        below = node.get("children") or []
        if node["type"] == "crypt":
            yield node["name"], below[0]["name"] if below else ""
        yield from _encrypted(below)


class Unlocking:
    """How the encrypted devices of a host are unlocked when it boots.

    In doubt it says that a person is needed: a host that waits for one does not come back.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        # Without dracut, initramfs-tools unlocks the root filesystem.
        by_hook = bool(host.find("usr/share/initramfs-tools/hooks/cryptroot"))
        self._initramfs_tools = by_hook and not host.find("usr/bin/dracut")

    def way(self, name: str, device: str) -> tuple[bool, str]:
        """Whether a device unlocks itself, and how, or why not.

        :param name: as /etc/crypttab has it.
        :param device: the one that it is on.
        """
        key, options = self._entry(name)
        reasons = []
        if "keyscript" in options:
            reasons.append(f"of its keyscript {shown(options['keyscript'])} it is not known whether it asks somebody")
        elif key not in _NO_KEY:
            wrong = self._wrong_with(key)
            if wrong is None:
                return True, f"is unlocked by the key file {shown(key)}"
            reasons.append(wrong)
        elif "tpm2-device" in options:
            if self._initramfs_tools:
                reasons.append("initramfs-tools does not know its option tpm2-device")
            elif options.get("tpm2-pin", "no").lower() in _YES:
                reasons.append("its TPM wants a PIN")
            else:
                return True, "is unlocked by the TPM of the host"
        elif "fido2-device" in options:
            reasons.append("its FIDO2 token wants to be touched")
        bound = self._bound(device)
        if bound is not None and self._has_clevis():
            return True, f"is unlocked by clevis ({bound})"
        if bound is not None:
            reasons.append("it is bound to clevis, which is not in the initramfs")
        why = f" ({', '.join(reasons)})" if reasons else ""
        return False, f"waits for a passphrase when the host boots{why}"

    def _entry(self, name: str) -> tuple[str, dict[str, str]]:
        """The key of a device in /etc/crypttab, and its options."""
        for line in (self._host.read("etc/crypttab") or "").splitlines():
            fields = line.split()
            if fields and fields[0] == name:
                found = [*fields, "", "", ""]
                options = (option.partition("=") for option in found[3].split(","))
                return found[2], {option: value for option, dummy, value in options}
        return "", {}

    def _wrong_with(self, key: str) -> str | None:
        """Why a key file does not unlock the root filesystem; None when it does."""
        if not os.path.exists(self._host.path(key)):
            return f"its key file {shown(key)} is not there"
        if self._initramfs_tools and not fnmatch.fnmatchcase(key, self._key_files()):
            return f"its key file {shown(key)} is none that KEYFILE_PATTERN puts into the initramfs"
        return None

    def _key_files(self) -> str:
        """The pattern of those that initramfs-tools takes; it takes none when there is no pattern."""
        pattern = ""
        for line in (self._host.read("etc/cryptsetup-initramfs/conf-hook") or "").splitlines():
            if line.strip().startswith("KEYFILE_PATTERN="):
                try:
                    words = shlex.split(line, comments=True)
                except ValueError:
                    words = []
                pattern = words[0].partition("=")[2] if words else ""
        return pattern

    def _bound(self, device: str) -> str | None:
        """What clevis has bound a device to; None when nothing is known."""
        answer = self._host.ask("clevis", "luks", "list", "-d", device) if device else None
        found = _CLEVIS.search(answer.output) if answer is not None else None
        return found.group(1) if found else None

    def _has_clevis(self) -> bool:
        if self._initramfs_tools:
            return bool(self._host.find("usr/share/initramfs-tools/hooks/clevis"))
        return bool(self._host.find("usr/lib/dracut/modules.d/*clevis"))
