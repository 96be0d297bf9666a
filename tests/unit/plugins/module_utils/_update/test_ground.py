# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._update import ground
from ansible_collections.inflight.jobs.plugins.module_utils._update.ground import Host

from .hosts import Answer, host_of, put, real

MUCH = 10**9

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg-query is not here: install dpkg")
needs_rpm = pytest.mark.skipif(shutil.which("rpm") is None, reason="rpm is not here: install rpm")


def free_on(path: Path) -> int:
    found = shutil.disk_usage(path)
    return found.free // 1000000


class TestSpace:
    def look(self, wanted: dict[str, int]) -> list[str]:
        return ground.free_space(Host(real), wanted)

    def test_enough_is_no_problem(self, tmp_path: Path) -> None:
        assert self.look({str(tmp_path): 0, "/": 0}) == []

    def test_too_little_is_told_with_both_numbers(self, tmp_path: Path) -> None:
        (problem,) = self.look({str(tmp_path): MUCH})
        free = int(problem.split()[0])
        assert abs(free - free_on(tmp_path)) < 1000
        assert problem == f"{free} MB are free on {tmp_path}, and {MUCH} are wanted"

    def test_a_path_that_is_not_there_needs_none(self, tmp_path: Path) -> None:
        put(tmp_path, "file")
        assert self.look({str(tmp_path / "none"): MUCH, str(tmp_path / "file" / "below"): MUCH}) == []

    def test_one_filesystem_is_told_once(self, tmp_path: Path) -> None:
        var = tmp_path / "var"
        var.mkdir()
        (problem,) = self.look({str(tmp_path): MUCH, str(var): MUCH})
        assert f" on {tmp_path}," in problem

    def test_a_path_that_wants_more_than_the_one_before_is_looked_at(self, tmp_path: Path) -> None:
        var = tmp_path / "var"
        var.mkdir()
        (problem,) = self.look({str(tmp_path): 0, str(var): MUCH})
        assert f" on {var}," in problem

    @pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is no filesystem of its own here")
    def test_two_filesystems_are_two_problems(self) -> None:
        assert len(self.look({"/": MUCH, "/dev/shm": MUCH})) == 2

    def test_what_cannot_be_looked_at_is_a_problem(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        (problem,) = self.look({str(tmp_path / "loop"): 1})
        assert problem == f"how much is free on {tmp_path}/loop is not known: Too many levels of symbolic links"


STATES = {
    "whole": "install ok installed",
    "held": "hold ok installed",
    "removed": "deinstall ok config-files",
    "unpacked": "install ok unpacked",
    "boom": "install ok half-configured",
    "broken": "install reinstreq half-installed",
    "waits": "install ok triggers-awaited",
}


def make_dpkg(folder: Path) -> None:
    """A package database of dpkg with a package in each state."""
    text = ""
    for name, status in STATES.items():
        more = "Config-Version: 1.0\n" if name in ("removed", "unpacked", "boom", "waits") else ""
        more += "Triggers-Awaited: whole\n" if name == "waits" else ""
        head = f"Package: {name}\nStatus: {status}\nMaintainer: nobody\nArchitecture: all\nVersion: 1.0\n"
        text += f"{head}{more}Description: a package\n\n"
    put(folder, "var/lib/dpkg/status", text)
    for name in STATES:
        put(folder, f"var/lib/dpkg/info/{name}.list", "")
        put(folder, f"var/lib/dpkg/info/{name}.md5sums", "")


class TestPackages:
    @needs_dpkg
    def test_what_dpkg_has_not_finished_is_told_and_no_problem(self, tmp_path: Path) -> None:
        make_dpkg(tmp_path)
        found = ground.packages(Host(real, str(tmp_path)), "apt")
        assert found == ground.Packages(["boom", "broken", "unpacked", "waits"], None)

    @needs_dpkg
    def test_they_are_those_of_dpkg_audit(self, tmp_path: Path) -> None:
        make_dpkg(tmp_path)
        command = ["dpkg", f"--admindir={tmp_path}/var/lib/dpkg", "--audit"]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        named = {line.split()[0] for line in text.splitlines() if line.startswith(" ")}
        assert set(ground.packages(Host(real, str(tmp_path)), "apt").unfinished) == named

    @needs_dpkg
    def test_a_database_of_dpkg_that_cannot_be_read_is_a_problem(self, tmp_path: Path) -> None:
        put(tmp_path, "var/lib/dpkg/status", "this is no database\n")
        found = ground.packages(Host(real, str(tmp_path)), "apt")
        assert found.unfinished == []
        assert found.problem
        assert found.problem.startswith("the package database of dpkg cannot be read: dpkg-query: error: ")

    @needs_rpm
    @pytest.mark.parametrize("manager", ["dnf", "zypper"])
    def test_a_database_of_rpm_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: str) -> None:
        put(tmp_path, ".rpmmacros", f"%_dbpath {tmp_path}/rpm\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        subprocess.run(["rpm", "--initdb"], check=True)
        assert ground.packages(Host(real), manager) == ground.Packages([], None)

    @needs_rpm
    def test_a_database_of_rpm_that_cannot_be_read_is_a_problem(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(tmp_path, ".rpmmacros", f"%_dbpath {tmp_path}/rpm\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("rpmdb.sqlite", "Packages", "Packages.db"):
            put(tmp_path, f"rpm/{name}", "nonsense " * 1000)
        problem = ground.packages(Host(real), "dnf").problem
        assert problem
        assert problem.startswith("the package database of rpm cannot be read: error: ")

    @pytest.mark.parametrize(("manager", "name"), [("apt", "dpkg"), ("dnf", "rpm"), ("zypper", "rpm")])
    def test_a_host_without_the_program_says_so(self, tmp_path: Path, manager: str, name: str) -> None:
        problem = ground.packages(host_of(tmp_path), manager).problem
        assert problem == f"the package database of {name} cannot be read: {name} is not installed"


# busctl of systemd 252 said this of two locks that were taken with systemd-inhibit, and the third is one of its format.
BUSCTL = (
    'a(ssssuu) 3 "shutdown:sleep" "in \\"flight\\" x" "\\303\\234mlaut\\ttab \\\\ back" "block" 0 11'
    ' "sleep" "NetworkManager" "NetworkManager needs to turn off networks" "delay" 0 612'
    ' "shutdown" "unattended-upgrades" "Unattended Upgrades Shutdown" "delay" 0 700\n'
)


class TestInhibitors:
    def test_those_that_keep_the_host_from_shutdown_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        found = ground.inhibitors(host_of(tmp_path, {"busctl call": (0, BUSCTL)}))
        assert found == [{"who": 'in "flight" x', "why": "Ümlaut tab \\ back"}]

    def test_what_they_say_cannot_write_to_a_terminal_and_is_not_endless(self, tmp_path: Path) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        text = f'a(ssssuu) 1 "shutdown" "x\\033[2Jy\\nz" "{"long " * 1000}" "block" 0 11\n'
        (found,) = ground.inhibitors(host_of(tmp_path, {"busctl call": (0, text)}))
        assert found["who"] == "x [2Jy z"
        assert len(found["why"]) == 200

    def test_no_locks_are_nobody(self, tmp_path: Path) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        assert ground.inhibitors(host_of(tmp_path, {"busctl call": (0, "a(ssssuu) 0\n")})) == []

    @pytest.mark.parametrize("answers", [{}, {"busctl call": (1, "")}])
    @pytest.mark.parametrize("state", ["inactive", "failed", "unknown"])
    def test_without_logind_there_are_none(self, tmp_path: Path, answers: dict[str, Answer], state: str) -> None:
        # As in a container without D-Bus, where logind does not run.
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        asked = {**answers, "systemctl is-active systemd-logind.service": (3, f"{state}\n")}
        assert ground.inhibitors(host_of(tmp_path, asked)) == []

    @pytest.mark.parametrize(
        "answers",
        [
            {},
            {"busctl call": (1, "")},
            {"busctl call": (1, ""), "systemctl": (0, "active\n")},
            {"busctl call": (1, ""), "systemctl": (3, "activating\n")},
            {"busctl call": (1, ""), "systemctl": (1, "")},
            {"systemctl": (0, "active\n")},
            # It answers, and nobody knows what.
            *({"busctl call": (0, text)} for text in ("", "as 0\n", "a(ssssuu) 1\n", f"{BUSCTL[:-20]}\n")),
        ],
    )
    def test_what_logind_does_not_tell_is_not_known(self, tmp_path: Path, answers: dict[str, Answer]) -> None:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        assert ground.inhibitors(host_of(tmp_path, answers)) is None

    def test_without_systemd_nobody_is_asked(self, tmp_path: Path) -> None:
        assert ground.inhibitors(host_of(tmp_path, {"busctl call": (0, BUSCTL)})) == []


def test_a_container_is_what_systemd_says(tmp_path: Path) -> None:
    assert not ground.is_container(host_of(tmp_path))
    put(tmp_path, "run/systemd/container", "lxc\n")
    assert ground.is_container(host_of(tmp_path))
