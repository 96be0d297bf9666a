# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import sqlite3
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import streams
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, Store
from ansible_collections.inflight.jobs.plugins.modules import backup_verify

from ..module_utils._backup.backups import (
    again,
    file_of,
    flip_a_byte,
    listing,
    make,
    needs_restic,
    restic_repository,
)
from .backup_modules import Run, expect_documented, returned, runner


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(backup_verify, monkeypatch, capfd)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "file").write_bytes(os.urandom(3000))
    return path


def several(tmp_path: Path, source: Path, number: int, **more: t.Any) -> list[Backup]:
    """The oldest first."""
    made = [make(tmp_path / "backups", paths=[str(source)], **more) for dummy in range(number)]
    return sorted(made, key=lambda backup: backup.id)


def test_the_newest_backup_of_each_set_is_looked_at(run: Run, tmp_path: Path, source: Path) -> None:
    first, second = several(tmp_path, source, 2, verify=["list"])
    other = make(tmp_path / "backups", name="app", command="echo x")
    answer = run({"directory": str(tmp_path / "backups"), "checks": ["checksum", "read"]})
    assert not answer.get("failed")
    good = {"damage": None, "error": None, "warnings": []}
    assert answer["backups"] == [
        {"set": "app", "id": other.id, "checks": ["checksum", "read"], **good},
        {"set": "etc", "id": second.id, "checks": ["checksum", "read"], **good},
    ]
    assert answer["msg"] == "2 backups are good"
    assert answer["changed"] is False
    assert again(second).report()["checks"] == ["checksum", "list", "read"]
    assert again(first).report()["checks"] == ["list"]
    every = run({"directory": str(tmp_path / "backups"), "sets": ["etc"], "which": "all"})
    assert [found["id"] for found in every["backups"]] == [first.id, second.id]
    expect_documented(backup_verify)
    assert {*returned(backup_verify), "changed"} == set(every)
    assert set(returned(backup_verify)["backups"]["contains"]) == set(every["backups"][0])


def test_a_backup_that_was_not_verified_becomes_so(run: Run, tmp_path: Path, source: Path) -> None:
    (made,) = several(tmp_path, source, 1, verify=[])
    assert not made.verified
    would = run({"directory": str(tmp_path / "backups")}, check_mode=True)
    assert would["changed"] is True
    assert not again(made).verified
    assert run({"directory": str(tmp_path / "backups")})["changed"] is True
    assert again(made).verified
    assert run({"directory": str(tmp_path / "backups")})["changed"] is False


def test_all_backups_are_looked_at_before_the_damaged_ones_are_told(run: Run, tmp_path: Path, source: Path) -> None:
    made = several(tmp_path, source, 4)
    flip_a_byte(file_of(made[0]))
    os.truncate(file_of(made[2]), 10)
    answer = run({"directory": str(tmp_path / "backups"), "which": "all"})
    assert answer["failed"]
    assert answer["changed"] is True
    damages = [found["damage"] for found in answer["backups"]]
    assert damages == [again(backup).damage for backup in made]
    assert [bool(damage) for damage in damages] == [True, False, True, False]
    assert answer["msg"] == (
        f"2 of 4 backups are damaged: etc {made[0].id}: {damages[0]}; etc {made[2].id}: {damages[2]}"
    )
    assert "has 10 bytes" in damages[2]
    assert [again(backup).verified for backup in made] == [False, True, False, True]
    assert run({"directory": str(tmp_path / "backups"), "which": "all"})["changed"] is False


def test_a_damaged_backup_stays_so_until_it_is_whole_again(run: Run, tmp_path: Path, source: Path) -> None:
    (made,) = several(tmp_path, source, 1, compression="none")
    content = file_of(made).read_bytes()
    flip_a_byte(file_of(made))
    assert run({"directory": str(tmp_path / "backups")})["failed"]
    # A check that cannot find it does not make it good.
    assert run({"directory": str(tmp_path / "backups"), "checks": ["list"]})["failed"]
    assert again(made).damage
    file_of(made).write_bytes(content)
    answer = run({"directory": str(tmp_path / "backups"), "checks": ["list"]})
    assert not answer.get("failed")
    assert answer["changed"] is True
    assert answer["backups"][0]["checks"] == ["checksum", "list", "read"]
    assert again(made).verified


def test_a_manifest_that_cannot_be_read_is_a_damage(run: Run, tmp_path: Path, source: Path) -> None:
    first, second = several(tmp_path, source, 2)
    Path(first.path, "manifest.json").unlink()
    answer = run({"directory": str(tmp_path / "backups"), "which": "all"})
    assert answer["msg"] == (
        f"1 of 2 backups are damaged: etc {first.id}: manifest.json cannot be read: No such file or directory"
    )
    manifest = json.loads(Path(second.path, "manifest.json").read_text(encoding="utf-8"))
    manifest["files"] = [{"name": "files.tar.zst"}]
    Path(second.path, "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "manifest.json is damaged" in run({"directory": str(tmp_path / "backups")})["msg"]


def test_check_mode_remembers_nothing(run: Run, tmp_path: Path, source: Path) -> None:
    made = several(tmp_path, source, 2)
    flip_a_byte(file_of(made[1]))
    store = tmp_path / "backups"
    (store / "etc" / ".lock").unlink()
    before = {path: found for path, found in listing(store).items() if path != f"{store}/etc"}
    checks = ["checksum", "restore_sample"]
    answer = run({"directory": str(store), "which": "all", "checks": checks}, check_mode=True)
    assert answer["failed"]
    assert answer["changed"] is True
    assert [bool(found["damage"]) for found in answer["backups"]] == [False, True]
    # The folder of the set had a scratch folder in it for a while.
    assert {path: found for path, found in listing(store).items() if path != f"{store}/etc"} == before


def test_what_keeps_it_from_looking_is_no_damage(
    run: Run, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = several(tmp_path, source, 1)
    monkeypatch.setattr(streams, "_PATH", str(tmp_path))
    answer = run({"directory": str(tmp_path / "backups")})
    assert answer["failed"]
    (found,) = answer["backups"]
    assert found["damage"] is None
    assert found["error"] == "zstd is not on this host: install the package zstd"
    assert found["checks"] == ["checksum"]
    assert answer["msg"] == f"not all backups could be looked at: etc {made.id}: {found['error']}"
    assert again(made).verified
    assert not Path(made.path, "verification.json").exists()


def test_another_run_that_is_at_work_is_waited_for(run: Run, tmp_path: Path, source: Path) -> None:
    several(tmp_path, source, 1)
    make(tmp_path / "backups", name="app", command="echo x")
    with Store(str(tmp_path / "backups")).lock("app"):
        answer = run({"directory": str(tmp_path / "backups"), "lock_wait": 0.3})
    assert answer["failed"]
    assert [(found["set"], found["id"] is None) for found in answer["backups"]] == [("app", True), ("etc", False)]
    assert answer["msg"] == (
        "not all backups could be looked at: app: another run is at work on the set app: wait for it, or set lock_wait"
    )


def test_where_there_is_nothing_to_look_at(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    answer = run({"directory": str(directory)})
    assert not answer.get("failed")
    assert answer["msg"] == f"there is no backup in {directory}"
    named = run({"directory": str(directory), "sets": ["etc", "../x"]})
    assert named["failed"]
    assert named["backups"][0]["error"] == f"there is no backup in {directory}"
    assert named["backups"][1]["error"].startswith("the name of a backup set is '../x'")
    make(directory, command="echo x")
    answer = run({"directory": str(directory), "checks": ["list"]})
    assert answer["failed"]
    assert "none of the checks is for what is in it" in answer["msg"]


def test_dumps_are_restored_only_when_it_is_known_where(run: Run, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "app.db").close()
    database = {"type": "sqlite", "path": str(tmp_path / "app.db"), "names": [], "options": []}
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute("create table words (word)")
    connection.commit()
    connection.close()
    make(tmp_path / "backups", database=database)
    (tmp_path / "source").mkdir()
    make(tmp_path / "backups", name="paths", paths=[str(tmp_path / "source")])
    asked = {"directory": str(tmp_path / "backups"), "checks": ["checksum", "database_restore"]}
    answer = run(asked)
    # Only for the dumps.
    assert [found["error"] for found in answer["backups"]] == [
        "checks has database_restore: say with database how to reach the server",
        None,
    ]
    answer = run({**asked, "database": {"type": "sqlite", "path": str(tmp_path / "app.db")}})
    assert not answer.get("failed")
    assert answer["backups"][0]["checks"] == ["checksum", "database_restore"]


@needs_restic
def test_a_snapshot_is_looked_at_as_an_archive_is(run: Run, tmp_path: Path, source: Path) -> None:
    repository = restic_repository(tmp_path)
    (made,) = several(tmp_path, source, 1, engine="restic", restic=repository.options(), verify=["list"])
    wanted = {"directory": str(tmp_path / "backups"), "checks": ["read", "database_read"]}
    (found,) = run(wanted)["backups"]
    assert (found["checks"], found["damage"], found["error"]) == (["read"], None, None)
    assert again(made).report()["checks"] == ["list", "read"]

    pack = max((repository.path / "data").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    pack.chmod(0o600)
    content = pack.read_bytes()
    pack.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    answer = run(wanted)
    assert answer["failed"]
    assert "ciphertext verification failed" in answer["msg"]
    assert again(made).damage == answer["backups"][0]["damage"]

    pack.write_bytes(content)
    repository.password_file.chmod(0o644)
    answer = run(wanted)
    assert answer["backups"][0]["error"].startswith(f"password_file is {repository.password_file}, which has the mode ")
    assert again(made).damage
    repository.password_file.chmod(0o600)
    assert run(wanted)["changed"]
    assert again(made).verified
