# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.modules import backup_info

from ..module_utils._backup.backups import listing, make
from .backup_modules import Run, expect_documented, returned, runner


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(backup_info, monkeypatch, capfd)


def test_a_folder_that_is_not_there_has_no_backups(run: Run, tmp_path: Path) -> None:
    answer = run({"directory": str(tmp_path / "none")})
    assert not answer.get("failed")
    assert (answer["backups"], answer["sets"], answer["free_bytes"]) == ([], {}, None)
    assert answer["msg"] == "0 backups of 0 sets, 0.0 MB"
    assert answer["changed"] is False
    named = run({"directory": str(tmp_path / "none"), "sets": ["etc"]})
    assert named["sets"] == {"etc": {"count": 0, "newest_verified": None, "bytes": 0}}


def test_backups_are_listed_by_set_the_oldest_first(run: Run, tmp_path: Path) -> None:
    made = [make(tmp_path / "backups", name="etc", command="echo x") for dummy in range(2)]
    other = make(tmp_path / "backups", name="app", command="echo x")
    made.sort(key=lambda backup: backup.id)
    (tmp_path / "backups" / "etc" / f"{made[0].id}.partial").mkdir()
    before = listing(tmp_path)
    answer = run({"directory": str(tmp_path / "backups")})
    assert listing(tmp_path) == before
    assert [backup["id"] for backup in answer["backups"]] == [other.id, *(backup.id for backup in made)]
    assert answer["backups"][0] == other.report()
    size = other.bytes
    assert answer["sets"] == {
        "app": {"count": 1, "newest_verified": other.id, "bytes": size},
        "etc": {"count": 2, "newest_verified": made[1].id, "bytes": 2 * size},
    }
    found = os.statvfs(tmp_path)
    assert abs(answer["free_bytes"] - found.f_bavail * found.f_frsize) < 1_000_000_000
    assert answer["msg"] == "3 backups of 2 sets, 0.0 MB"
    only = run({"directory": str(tmp_path / "backups"), "sets": ["app"]})
    assert [backup["id"] for backup in only["backups"]] == [other.id]
    assert list(only["sets"]) == ["app"]


def test_what_is_damaged_is_listed_and_does_not_count_as_verified(run: Run, tmp_path: Path) -> None:
    first, second = sorted((make(tmp_path, command="echo x") for dummy in range(2)), key=lambda backup: backup.id)
    second.record_verification(["list"], "it fell down")
    answer = run({"directory": str(tmp_path)})
    assert [backup["damage"] for backup in answer["backups"]] == [None, "it fell down"]
    assert answer["sets"]["etc"]["newest_verified"] == first.id
    Path(first.path, "manifest.json").write_text("nonsense", encoding="utf-8")
    answer = run({"directory": str(tmp_path)})
    assert answer["backups"][0]["damage"] == "manifest.json is damaged: it is not JSON"
    assert answer["sets"]["etc"]["newest_verified"] is None


def test_the_name_of_a_set_is_no_path(run: Run, tmp_path: Path) -> None:
    answer = run({"directory": str(tmp_path), "sets": ["../etc"]})
    assert answer["failed"]
    assert answer["msg"].startswith("the name of a backup set is '../etc': ")


def test_the_documentation_says_what_the_code_does(run: Run, tmp_path: Path) -> None:
    expect_documented(backup_info)
    make(tmp_path, command="echo x")
    answer = run({"directory": str(tmp_path)})
    wanted = returned(backup_info)
    assert {*wanted, "changed"} == set(answer)
    assert set(wanted["sets"]["contains"]) == set(answer["sets"]["etc"])
    assert set(wanted["backups"]["contains"]) <= set(answer["backups"][0])
