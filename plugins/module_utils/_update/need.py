# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whether a host needs a reboot, by what several sources say.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._update.ground import Host, Record, listed, shown

YES = "yes"
NO = "no"
UNKNOWN = "unknown"

# Written by packages that want a reboot. The last one is that of SUSE.
_MARKERS = ("/run/reboot-required", "/var/run/reboot-required", "/run/reboot-needed")

_IMAGES = ("vmlinuz", "vmlinux", "Image", "image")
# 6.1.0-28-cloud-amd64, 5.14.0-427.13.1.el9_4.x86_64+debug: what comes behind the numbers. A release candidate of a
# kernel, and a build for the Raspberry Pi, have letters before it.
_FORM = re.compile(
    r"(?P<version>[0-9].*?)"
    r"(?P<flavour>(?:-(?!rc[0-9]|rpi[0-9])[A-Za-z].*"
    r"|\.(?:x86_64|aarch64|i[3-6]86|ppc64le|ppc64|s390x|armv7hl|riscv64|loongarch64)\b.*)?)"
)
# Kernels beside those of the distribution. A host may have both, and boot either.
_OTHER = re.compile("uek|elrepo")

_KSTA = {"1": NO, "2": YES, "3": YES}


class Verdict(t.NamedTuple):
    """What one source says, and why."""

    answer: str
    reason: str


class Kernel(t.NamedTuple):
    """The one that runs: its release, as by uname -r, and its build, as by uname -v."""

    release: str
    build: str

    @classmethod
    def running(cls) -> Kernel:
        found = os.uname()
        return cls(found.release, found.version)


class Need:
    """Asks the sources of one host."""

    def __init__(self, host: Host, kernel: Kernel, container: bool) -> None:
        """
        :param container: whether the host is one: its kernel is that of another host.
        """
        self._host = host
        self._kernel = kernel
        self._container = container

    def report(self, manager: str) -> Record:
        """Whether a reboot is needed, the reasons, and what each source says."""
        found = {
            "reboot_required": self.reboot_required(),
            "kernel": self.kernel(),
            "needrestart": self.needrestart(),
        }
        if manager == "dnf":
            found["needs_restarting"] = self.needs_restarting()
        answers = [verdict.answer for verdict in found.values()]
        needed = next((answer for answer in (YES, NO) if answer in answers), UNKNOWN)
        reasons = [verdict.reason for verdict in found.values() if verdict.answer == needed]
        if needed == UNKNOWN:
            reasons.insert(0, "no source could tell whether a reboot is needed")
        return {
            "needed": needed,
            "reasons": reasons,
            "sources": {name: verdict.answer for name, verdict in found.items()},
        }

    def reboot_required(self) -> Verdict:
        """What packages have left. Nothing there says nothing: not every package that should does."""
        for marker in _MARKERS:
            if os.path.exists(self._host.path(marker)):
                lines = (self._host.read(f"{marker}.pkgs") or "").split("\n")
                names = list(dict.fromkeys(filter(None, map(str.strip, lines))))
                return Verdict(YES, f"{marker} is there" + (f", by {listed(names)}" if names else ""))
        return Verdict(UNKNOWN, f"{_MARKERS[0]} is not there")

    def kernel(self) -> Verdict:
        """Whether a newer kernel is installed than the one that runs."""
        release = self._kernel.release
        runs = f"the kernel {shown(release)} runs"
        if self._container:
            return Verdict(NO, f"{runs}, which is that of another host: this one is a container")
        installed = self._installed()
        same = sorted((one for one in installed if flavour(one) == flavour(release)), key=version_key)
        if same and version_key(same[-1]) > version_key(release):
            return Verdict(YES, f"{runs}, and {shown(same[-1])} is installed")
        if release not in same:
            others = f"the installed ones are {listed(sorted(installed))}" if installed else "no kernel is installed"
            return Verdict(UNKNOWN, f"{runs}, and {others}")
        try:
            build = build_of(installed[release], release)
            changed_at = os.stat(installed[release]).st_ctime
        except OSError as ex:
            why = f"its image {shown(installed[release])} cannot be read: {ex.strerror}"
            return Verdict(UNKNOWN, f"{runs}, and {why}")
        if build is None:
            booted_at = self._booted_at()
            # No yes: that is also the time of a change of its mode or its owner.
            if booted_at is None or changed_at >= booted_at:
                return Verdict(UNKNOWN, f"{runs}, and its image may have been replaced after the boot")
        elif self._kernel.build not in build:
            return Verdict(YES, f"{runs}, and another build of it is installed: {shown(build)}")
        return Verdict(NO, f"{runs}, and no newer one is installed")

    def _booted_at(self) -> int | None:
        """When the host has booted, by the clock that files have their times from; None when that is not known."""
        found = re.search(r"^btime (\d+)$", self._host.read("proc/stat") or "", re.MULTILINE)
        return int(found.group(1)) if found else None

    def _installed(self) -> dict[str, str]:
        """The releases of all kernels that could be booted, with their images."""
        found = {}
        for name in _IMAGES:
            for path in self._host.find(f"lib/modules/*/{name}"):
                found[os.path.basename(os.path.dirname(path))] = path
            for path in self._host.find(f"boot/{name}-*"):
                release = os.path.basename(path)[len(name) + 1 :]
                if os.path.isdir(self._host.path(f"lib/modules/{release}")):
                    found[release] = path
        return found

    def needrestart(self) -> Verdict:
        """What needrestart says of the kernel."""
        answer = self._host.ask("needrestart", "-b", "-k")
        if answer is None:
            return Verdict(UNKNOWN, "needrestart is not installed")
        told = dict(re.findall(r"^NEEDRESTART-(KSTA|KEXP|KCUR): *(\S+)", answer.output, re.MULTILINE))
        verdict = _KSTA.get(told.get("KSTA", ""), UNKNOWN)
        expected = told.get("KEXP", "")
        if verdict == UNKNOWN:
            return Verdict(UNKNOWN, "needrestart cannot tell")
        if verdict == NO:
            return Verdict(NO, "needrestart says that the newest kernel runs")
        if told["KSTA"] == "2":
            return Verdict(YES, "needrestart says that another build of the kernel that runs is installed")
        # It takes the highest number of all flavours, so that a host with two of them would need a reboot for ever.
        if expected and flavour(expected) != flavour(self._kernel.release):
            return Verdict(UNKNOWN, f"needrestart expects {shown(expected)}, which is a kernel of another kind")
        return Verdict(YES, f"needrestart expects the kernel {shown(expected) or 'to be a newer one'}")

    def needs_restarting(self) -> Verdict:
        """What dnf says. Its exit code is 1 for a reboot that is needed, and for what it could not do."""
        # Not from the network: dnf5 looks into advisories.
        command = ("needs-restarting", "--cacheonly", "-r")
        answer = self._host.ask("dnf", *command) or self._host.ask("dnf5", *command)
        if answer is None:
            return Verdict(UNKNOWN, "dnf is not installed")
        if "Reboot is required" in answer.output:
            names = re.findall(r"^ *\* +(\S+)", answer.output, re.MULTILINE)
            return Verdict(YES, "dnf needs-restarting says so" + (f", for {listed(names)}" if names else ""))
        if "Reboot should not be necessary" in answer.output:
            return Verdict(NO, "dnf needs-restarting says that no reboot is needed")
        return Verdict(UNKNOWN, "dnf needs-restarting cannot tell")


def flavour(release: str) -> str:
    """Which kind of kernel it is: two kinds are not compared."""
    found = _FORM.fullmatch(release)
    other = _OTHER.search(release)
    return (found.group("flavour") if found else release) + (other.group() if other else "")


def version_key(release: str) -> list[tuple[int, int, str]]:
    """What sorts kernels by their versions, as rpm does and dpkg does for these."""
    # 6.10-rc7 comes before 6.10.
    parts = re.findall(r"[0-9]+|[a-z]+|~", re.sub(r"-rc([0-9])", r"~rc\1", _numbers(release).lower()))
    key = [(2, int(part), "") if part.isdigit() else (1, 0, part) if part != "~" else (-1, 0, "") for part in parts]
    return [*key, (0, 0, "")]


def _numbers(release: str) -> str:
    """A release without the flavour."""
    found = _FORM.fullmatch(release)
    return found.group("version") if found else release


def build_of(image: str, release: str) -> str | None:
    """The release and the build that a kernel for x86 has in its header; None when it has none.

    :raises OSError: when the image cannot be read.
    """
    with open(image, "rb") as file:
        head = file.read(0x210)
        if head[0x202:0x206] != b"HdrS":
            return None
        file.seek(0x200 + int.from_bytes(head[0x20E:0x210], "little"))
        text = file.read(256).partition(b"\0")[0].decode("ascii", "replace")
    return text if text.startswith(f"{release} ") else None
