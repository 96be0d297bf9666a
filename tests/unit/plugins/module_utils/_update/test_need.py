# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A machine of tests has one kernel, and no newer one: kernels are files in a folder here, and what needrestart and dnf
# say of them is replayed.

from __future__ import annotations

import itertools
import os
import struct
import time
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update.ground import Host
from ansible_collections.inflight.jobs.plugins.module_utils._update.need import (
    Kernel,
    Need,
    Verdict,
    flavour,
    version_key,
)

from .hosts import Answer, Replay, host_of, put

BUILD = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.187-1 (2026-09-07)"
RUNNING = "6.1.0-53-amd64"


def boot(folder: Path, ago: float = -3600) -> None:
    """The host has booted so many seconds ago: by default after all that a test does."""
    put(folder, "proc/stat", f"cpu  1 2 3\nbtime {int(time.time() - ago)}\nprocesses 5\n")


@pytest.fixture(autouse=True)
def booted(tmp_path: Path) -> None:
    boot(tmp_path)


def need(
    folder: Path,
    release: str = RUNNING,
    answers: dict[str, Answer] | None = None,
    container: bool = False,
    build: str = BUILD,
) -> Need:
    return Need(host_of(folder, answers), Kernel(release, build), container)


def install(folder: Path, *releases: str) -> None:
    """Kernels as Debian has them."""
    for release in releases:
        put(folder, f"boot/vmlinuz-{release}", "kernel")
        (folder / "lib/modules" / release).mkdir(parents=True)


def bz_image(release: str, build: str) -> bytes:
    """The header of a kernel for x86: what Debian's 6.1.0-53-cloud-amd64 has, and no more."""
    image = bytearray(0x200 + 17088)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = struct.pack("<H", 17088)
    return bytes(image) + f"{release} (debian-kernel@lists.debian.org) {build}".encode() + b"\0\0\xbb3\0"


class TestMarkers:
    def test_one_that_is_there_is_a_yes_with_the_packages_once(self, tmp_path: Path) -> None:
        put(tmp_path, "run/reboot-required", "*** System restart required ***\n")
        assert need(tmp_path).reboot_required() == Verdict("yes", "/run/reboot-required is there")
        put(tmp_path, "run/reboot-required.pkgs", "linux-image-amd64\nlibc6\n\nlinux-image-amd64\n")
        verdict = need(tmp_path).reboot_required()
        assert verdict == Verdict("yes", "/run/reboot-required is there, by linux-image-amd64, libc6")

    @pytest.mark.parametrize("name", ["var/run/reboot-required", "run/reboot-needed"])
    def test_other_places_count_too(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, name)
        assert need(tmp_path).reboot_required() == Verdict("yes", f"/{name} is there")

    def test_none_says_nothing(self, tmp_path: Path) -> None:
        assert need(tmp_path).reboot_required().answer == "unknown"

    def test_names_cannot_write_to_a_terminal_and_are_not_endless(self, tmp_path: Path) -> None:
        put(tmp_path, "run/reboot-required")
        put(tmp_path, "run/reboot-required.pkgs", "\n".join(["a\x1b[2Jb", "x" * 1000, *map(str, range(20))]))
        reason = need(tmp_path).reboot_required().reason
        assert reason.isprintable()
        assert len(reason) < 200
        assert reason.endswith(" and 17 more")


class TestKernel:
    def test_a_newer_one_that_is_installed_is_a_yes(self, tmp_path: Path) -> None:
        install(tmp_path, "6.1.0-9-amd64", "6.1.0-53-amd64", "6.1.0-100-amd64")
        verdict = need(tmp_path).kernel()
        assert verdict == Verdict("yes", "the kernel 6.1.0-53-amd64 runs, and 6.1.0-100-amd64 is installed")

    def test_the_newest_one_is_a_no(self, tmp_path: Path) -> None:
        install(tmp_path, "6.1.0-9-amd64", RUNNING)
        verdict = need(tmp_path).kernel()
        assert verdict == Verdict("no", "the kernel 6.1.0-53-amd64 runs, and no newer one is installed")

    def test_one_that_was_removed_while_it_runs_is_a_yes(self, tmp_path: Path) -> None:
        install(tmp_path, "6.1.0-54-amd64")
        assert need(tmp_path).kernel().answer == "yes"

    def test_another_flavour_does_not_count(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING, "6.1.0-54-cloud-amd64", "6.1.0-54-rt-amd64")
        assert need(tmp_path).kernel().answer == "no"

    def test_what_is_left_of_a_removed_one_does_not_count(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING)
        put(tmp_path, "boot/vmlinuz-6.1.0-54-amd64")
        put(tmp_path, "boot/vmlinuz-0-rescue-0123456789abcdef")
        (tmp_path / "lib/modules/6.1.0-55-amd64").mkdir()
        assert need(tmp_path).kernel().answer == "no"

    def test_those_of_fedora_are_in_the_folders_of_their_modules(self, tmp_path: Path) -> None:
        for release in ("6.9.5-200.fc40.x86_64", "6.10.3-200.fc40.x86_64", "6.11.0-200.fc40.x86_64+debug"):
            put(tmp_path, f"lib/modules/{release}/vmlinuz")
        assert need(tmp_path, "6.10.3-200.fc40.x86_64").kernel().answer == "no"
        assert need(tmp_path, "6.9.5-200.fc40.x86_64").kernel().answer == "yes"

    def test_one_that_is_not_installed_is_not_known(self, tmp_path: Path) -> None:
        verdict = need(tmp_path).kernel()
        assert verdict == Verdict("unknown", "the kernel 6.1.0-53-amd64 runs, and no kernel is installed")
        install(tmp_path, "6.1.0-54-cloud-amd64", "6.1.0-52-amd64")
        verdict = need(tmp_path).kernel()
        assert verdict.answer == "unknown"
        assert verdict.reason.endswith("the installed ones are 6.1.0-52-amd64, 6.1.0-54-cloud-amd64")

    def test_that_of_a_container_is_not_its_own(self, tmp_path: Path) -> None:
        assert need(tmp_path, container=True).kernel().answer == "no"
        install(tmp_path, "6.1.0-54-amd64")
        assert need(tmp_path, container=True).kernel().answer == "no"

    def test_another_build_by_the_same_name_is_a_yes(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING)
        (tmp_path / f"boot/vmlinuz-{RUNNING}").write_bytes(bz_image(RUNNING, BUILD))
        assert need(tmp_path).kernel().answer == "no"
        verdict = need(tmp_path, build=BUILD.replace("187", "185")).kernel()
        assert verdict.answer == "yes"
        assert "and another build of it is installed: 6.1.0-53-amd64 " in verdict.reason
        assert "6.1.187-1" in verdict.reason

    @pytest.mark.parametrize("image", [b"", b"MZ" + b"\0" * 1000, bz_image("6.1.0-1-amd64", "#9"), b"\0" * 70000])
    def test_an_image_that_does_not_tell_its_build_goes_by_its_age(self, tmp_path: Path, image: bytes) -> None:
        install(tmp_path, RUNNING)
        (tmp_path / f"boot/vmlinuz-{RUNNING}").write_bytes(image)
        assert need(tmp_path).kernel().answer == "no"
        # Whoever rebuilt it may have done so under its name.
        boot(tmp_path, ago=60)
        reason = f"the kernel {RUNNING} runs, and its image may have been replaced after the boot"
        assert need(tmp_path).kernel() == Verdict("unknown", reason)

    @pytest.mark.parametrize("text", ["", "cpu  1 2 3\n", "btime soon\n"])
    def test_it_does_not_where_nobody_knows_when_the_host_has_booted(self, tmp_path: Path, text: str) -> None:
        install(tmp_path, RUNNING)
        put(tmp_path, "proc/stat", text)
        assert need(tmp_path).kernel().answer == "unknown"

    def test_an_image_that_tells_its_build_may_be_of_any_age(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING)
        (tmp_path / f"boot/vmlinuz-{RUNNING}").write_bytes(bz_image(RUNNING, BUILD))
        boot(tmp_path, ago=60)
        assert need(tmp_path).kernel().answer == "no"

    def test_an_image_that_cannot_be_read_says_nothing(self, tmp_path: Path) -> None:
        # Root can read all files, but not a folder as a file.
        install(tmp_path)
        os.makedirs(tmp_path / "lib/modules" / RUNNING / "vmlinuz")
        path = tmp_path / "lib/modules" / RUNNING / "vmlinuz"
        verdict = need(tmp_path).kernel()
        assert verdict.answer == "unknown"
        assert verdict.reason == f"the kernel {RUNNING} runs, and its image {path} cannot be read: Is a directory"
        # A newer one needs none.
        install(tmp_path, "6.1.0-54-amd64")
        assert need(tmp_path).kernel().answer == "yes"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.1.0-26-amd64", "-amd64"),
        ("6.1.0-26-cloud-amd64", "-cloud-amd64"),
        ("6.9.7+bpo-amd64", "-amd64"),
        ("6.12.38+deb13-amd64", "-amd64"),
        ("6.10-rc7-amd64", "-amd64"),
        ("5.15.0-91-generic", "-generic"),
        ("5.15.0-1051-aws", "-aws"),
        ("6.1.0-rpi7-rpi-v8", "-rpi-v8"),
        ("6.6.31+rpt-rpi-v8", "-rpi-v8"),
        ("6.4.0-150600.23.7-default", "-default"),
        ("5.14.0-427.13.1.el9_4.x86_64", ".x86_64"),
        ("5.14.0-427.13.1.el9_4.x86_64+debug", ".x86_64+debug"),
        ("5.14.0-427.13.1.el9_4.aarch64+64k", ".aarch64+64k"),
        ("5.15.0-206.153.7.el9uek.x86_64", ".x86_64uek"),
        ("6.1.94-99.176.amzn2023.x86_64", ".x86_64"),
        ("5.10.0", ""),
        ("odd", "odd"),
    ],
)
def test_kernels_are_compared_with_those_of_their_kind(release: str, expected: str) -> None:
    assert flavour(release) == expected


@pytest.mark.parametrize(
    "rising",
    [
        ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-100-amd64", "6.10.0-1-amd64"],
        ["6.10-rc2-amd64", "6.10-rc7-amd64", "6.10-amd64", "6.10.1-amd64"],
        ["6.1.0-rpi7-rpi-v8", "6.1.0-rpi8-rpi-v8", "6.1.0-rpi10-rpi-v8"],
        ["6.12+deb13-amd64", "6.12.38+deb13-amd64", "6.12.41+deb13-amd64"],
        ["5.14.0-427.el9.x86_64", "5.14.0-427.13.1.el9_4.x86_64", "5.14.0-503.el9.x86_64"],
        ["5.15.0-91-generic", "5.15.0-101-generic", "6.5.0-14-generic"],
        ["6.4.0-150600.21-default", "6.4.0-150600.23.7-default", "6.4.0-150600.23.14-default"],
    ],
)
def test_kernels_are_in_the_order_of_their_versions(rising: list[str]) -> None:
    keys = [version_key(release) for release in rising]
    assert all(low < high for low, high in itertools.pairwise(keys))


def needrestart(state: int | None, expected: str = "6.1.0-54-amd64") -> dict[str, Answer]:
    """What needrestart 3.6 says."""
    text = f"NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: {RUNNING}\n"
    text += f"NEEDRESTART-KEXP: {expected}\n" if state else ""
    text += "" if state is None else f"NEEDRESTART-KSTA: {state}\n"
    return {"needrestart -b -k": (1, text)}


class TestNeedrestart:
    @pytest.mark.parametrize(
        ("state", "answer", "reason"),
        [
            (None, "unknown", "needrestart cannot tell"),
            (0, "unknown", "needrestart cannot tell"),
            (1, "no", "needrestart says that the newest kernel runs"),
            (2, "yes", "needrestart says that another build of the kernel that runs is installed"),
            (3, "yes", "needrestart expects the kernel 6.1.0-54-amd64"),
            (9, "unknown", "needrestart cannot tell"),
        ],
    )
    def test_what_it_says_of_the_kernel(self, tmp_path: Path, state: int | None, answer: str, reason: str) -> None:
        assert need(tmp_path, answers=needrestart(state)).needrestart() == Verdict(answer, reason)

    def test_a_kernel_of_another_flavour_is_not_waited_for(self, tmp_path: Path) -> None:
        verdict = need(tmp_path, answers=needrestart(3, "6.1.0-53-cloud-amd64")).needrestart()
        assert verdict.answer == "unknown"

    def test_it_need_not_be_there(self, tmp_path: Path) -> None:
        assert need(tmp_path).needrestart() == Verdict("unknown", "needrestart is not installed")


# What dnf 4.14 and dnf5 say.
DNF_YES = """\
Core libraries or services have been updated since boot-up:
  * glibc
  * kernel

Reboot is required to fully utilize these updates.
More information: https://access.redhat.com/solutions/27943
"""
DNF_NO = "No core libraries or services have been updated since boot-up.\nReboot should not be necessary.\n"


class TestNeedsRestarting:
    @pytest.mark.parametrize("program", ["dnf", "dnf5"])
    @pytest.mark.parametrize(
        ("said", "answer", "reason"),
        [
            ((1, DNF_YES), "yes", "dnf needs-restarting says so, for glibc, kernel"),
            ((0, DNF_NO), "no", "dnf needs-restarting says that no reboot is needed"),
            ((1, "No such command: needs-restarting.\n"), "unknown", "dnf needs-restarting cannot tell"),
            ((1, ""), "unknown", "dnf needs-restarting cannot tell"),
        ],
    )
    def test_the_text_counts(self, tmp_path: Path, program: str, said: Answer, answer: str, reason: str) -> None:
        found = need(tmp_path, answers={f"{program} needs-restarting": said}).needs_restarting()
        assert found == Verdict(answer, reason)

    def test_without_dnf_it_cannot_tell(self, tmp_path: Path) -> None:
        assert need(tmp_path).needs_restarting().answer == "unknown"


class TestAll:
    def test_one_yes_is_enough(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING)
        put(tmp_path, "run/reboot-required")
        assert need(tmp_path, answers=needrestart(1)).report("apt") == {
            "needed": "yes",
            "reasons": ["/run/reboot-required is there"],
            "sources": {"reboot_required": "yes", "kernel": "no", "needrestart": "no"},
        }

    def test_every_source_that_says_yes_gives_its_reason(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING, "6.1.0-54-amd64")
        found = need(tmp_path, answers=needrestart(3)).report("apt")
        assert found["reasons"] == [
            "the kernel 6.1.0-53-amd64 runs, and 6.1.0-54-amd64 is installed",
            "needrestart expects the kernel 6.1.0-54-amd64",
        ]

    def test_one_no_is_enough_when_nobody_says_yes(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING)
        found = need(tmp_path, answers=needrestart(0)).report("apt")
        assert found["needed"] == "no"
        assert found["reasons"] == ["the kernel 6.1.0-53-amd64 runs, and no newer one is installed"]
        assert found["sources"] == {"reboot_required": "unknown", "kernel": "no", "needrestart": "unknown"}

    def test_who_knows_more_than_the_time_of_an_image_decides(self, tmp_path: Path) -> None:
        install(tmp_path, RUNNING)
        boot(tmp_path, ago=60)
        assert need(tmp_path).report("apt")["needed"] == "unknown"
        for state, expected in ((1, "no"), (2, "yes")):
            found = need(tmp_path, answers=needrestart(state)).report("apt")
            assert (found["needed"], found["sources"]["kernel"]) == (expected, "unknown")

    def test_when_nobody_knows_it_is_not_known_and_all_say_why(self, tmp_path: Path) -> None:
        found = need(tmp_path).report("apt")
        assert found["needed"] == "unknown"
        assert found["reasons"] == [
            "no source could tell whether a reboot is needed",
            "/run/reboot-required is not there",
            "the kernel 6.1.0-53-amd64 runs, and no kernel is installed",
            "needrestart is not installed",
        ]

    def test_dnf_is_asked_on_its_hosts_alone(self, tmp_path: Path) -> None:
        answers = {"dnf needs-restarting": (1, DNF_YES)}
        assert need(tmp_path, answers=answers).report("dnf")["sources"]["needs_restarting"] == "yes"
        for manager in ("apt", "zypper"):
            replay = Replay(answers)
            asked = Need(Host(replay, str(tmp_path)), Kernel(RUNNING, BUILD), False)
            assert "needs_restarting" not in asked.report(manager)["sources"]
            assert not [command for command in replay.asked if command.startswith("dnf")]
