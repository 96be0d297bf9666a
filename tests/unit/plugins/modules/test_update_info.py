# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The module at work on the machine of the tests, whose disks and kernel are what they are.

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.modules import update_info

from .backup_modules import Answer, Run, expect_documented, returned, runner


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(update_info, monkeypatch, capfd)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that has the only programs that are found, beside those of the administrator."""
    if any(os.path.exists(f"{folder}/{name}") for folder in ("/sbin", "/usr/local/sbin") for name in NAMES):
        pytest.skip("this machine has package managers among the programs of the administrator")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


NAMES = [name for names in update_info.PROGRAMS.values() for name in names]


def have(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        path.chmod(0o755)


class TestManager:
    @pytest.mark.parametrize(
        ("there", "expected"),
        [
            (["apt-get", "dnf", "zypper"], "apt"),
            (["dnf", "zypper"], "dnf"),
            (["dnf5"], "dnf"),
            (["zypper"], "zypper"),
        ],
    )
    def test_the_first_that_is_there_is_taken(self, run: Run, programs: Path, there: list[str], expected: str) -> None:
        have(programs, *there)
        assert run({})["manager"] == expected

    def test_apt_without_packages_is_only_a_tool(self, tmp_path: Path) -> None:
        status = tmp_path / "status"
        there = {"apt-get": "/usr/bin/apt-get", "dnf": "/usr/bin/dnf"}
        for content, expected in ((None, "dnf"), ("", "dnf"), ("Package: a\n", "apt")):
            if content is not None:
                status.write_text(content, encoding="ascii")
            assert update_info.manager_of("auto", there.get, str(status)) == expected
            assert update_info.manager_of("apt", there.get, str(status)) == "apt"

    def test_another_one_can_be_named(self, run: Run, programs: Path) -> None:
        have(programs, "apt-get", "dnf")
        assert run({"manager": "dnf"})["manager"] == "dnf"

    def test_none_is_a_failure(self, run: Run, programs: Path) -> None:
        answer = run({})
        assert answer["failed"]
        assert answer["msg"].startswith("this host has none of apt-get, dnf5, dnf and zypper: ")

    def test_one_that_is_not_there_is_a_failure(self, run: Run, programs: Path) -> None:
        have(programs, "apt-get")
        answer = run({"manager": "dnf"})
        assert answer["failed"]
        assert answer["msg"] == "manager is dnf, and this host has no dnf5 or dnf: set it to auto"


class TestSpace:
    def test_too_little_is_a_problem_and_no_failure(self, run: Run, tmp_path: Path, somehow: Answer) -> None:
        answer = run({**somehow, "min_free_mb": {str(tmp_path): 10**9}})
        assert not answer.get("failed")
        (problem,) = [text for text in answer["problems"] if " MB are free on " in text]
        assert problem.endswith(f" MB are free on {tmp_path}, and {10**9} are wanted")
        assert problem in answer["msg"]

    def test_a_number_may_come_as_text(self, run: Run, tmp_path: Path, somehow: Answer) -> None:
        answer = run({**somehow, "min_free_mb": {str(tmp_path): "1", "/": "1000000000"}})
        assert [text for text in answer["problems"] if text.endswith(" MB are free on /, and 1000000000 are wanted")]

    @pytest.mark.parametrize("value", [-1, 1.5, "much", True, None, [1], ""])
    def test_what_is_no_number_is_refused(self, run: Run, value: object) -> None:
        answer = run({"min_free_mb": {"/var": value}})
        assert answer["failed"]
        assert answer["msg"] == f"min_free_mb has {value!r} for /var: give a whole number of MB that is not negative"

    def test_a_path_that_is_not_absolute_is_refused(self, run: Run) -> None:
        answer = run({"min_free_mb": {"var": 1}})
        assert answer["failed"]
        assert answer["msg"] == "min_free_mb has the path 'var': give an absolute one"


@pytest.fixture
def somehow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answer:
    """Options with which the module runs on any machine."""
    folder = tmp_path / "programs"
    folder.mkdir()
    have(folder, "zypper")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return {"manager": "zypper"}


def test_the_machine_is_told_as_it_is(run: Run, somehow: Answer) -> None:
    answer = run(somehow)
    assert answer["kernel"] == os.uname().release
    boot = Path("/proc/sys/kernel/random/boot_id")
    assert answer["boot_id"] == (boot.read_text(encoding="ascii").strip() if boot.exists() else "")
    assert answer["is_container"] == os.path.exists("/run/systemd/container")
    assert answer["reboot"]["needed"] in ("yes", "no", "unknown")
    assert answer["reboot"]["reasons"]
    assert answer["changed"] is False


def test_inhibitors_that_are_not_known_are_left_out(run: Run, somehow: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_info.ground, "inhibitors", lambda dummy_host: None)
    answer = run(somehow)
    assert "inhibitors" not in answer
    assert answer["msg"].endswith("; systemd-logind does not tell who keeps the host from being shut down")


def test_check_mode_says_the_same(run: Run, somehow: Answer) -> None:
    assert run(somehow, check_mode=True) == run(somehow)


def test_the_documentation_says_what_the_code_does(run: Run, somehow: Answer) -> None:
    expect_documented(update_info)
    answer = run(somehow)
    wanted = returned(update_info)
    assert {*wanted, "changed"} == set(answer)
    for name in ("reboot", "encrypted_root"):
        assert set(wanted[name]["contains"]) == set(answer[name])
