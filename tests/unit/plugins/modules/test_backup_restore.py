# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup.restoring import Restored, Restoring
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Store
from ansible_collections.inflight.jobs.plugins.modules import backup_restore

from ..module_utils._backup.backups import file_of, flip_a_byte, listing, make, mounted, needs_root, tree
from .backup_modules import Answer, Run, expect_documented, returned, runner

# What Ansible adds for a result that has a path.
OF_THE_PATH = {"gid", "group", "mode", "owner", "size", "state", "uid", "changed"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(backup_restore, monkeypatch, capfd)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "etc").mkdir(parents=True)
    (path / "etc" / "hosts").write_text("x" * 2_500_000, encoding="utf-8")
    return path


def arguments(tmp_path: Path, **more: object) -> Answer:
    return {"directory": str(tmp_path / "backups"), "set": "etc", "dest": str(tmp_path / "dest"), **more}


def test_the_newest_verified_backup_is_restored(run: Run, tmp_path: Path, source: Path) -> None:
    ids = sorted(make(tmp_path / "backups", paths=[str(source)]).id for dummy in range(3))
    Store(str(tmp_path / "backups")).find("etc", ids[2]).record_verification([], "it fell down")
    answer = run(arguments(tmp_path, id=""))
    assert answer["changed"] is True
    assert answer["backup"]["id"] == ids[1]
    assert answer["dest"] == str(tmp_path / "dest")
    assert (answer["members"], answer["bytes"], answer["remarks"], answer["commands"]) == (3, 2_500_000, [], [])
    assert answer["msg"] == f"restored 3 files and folders (2.5 MB) of {ids[1]} to {tmp_path}/dest"
    assert tree(f"{tmp_path}/dest{source}") == tree(source)
    expect_documented(backup_restore)
    assert set(returned(backup_restore)) == set(answer) - OF_THE_PATH


def test_a_backup_is_restored_by_its_id_and_some_of_it_by_its_path(run: Run, tmp_path: Path, source: Path) -> None:
    first, second = sorted(make(tmp_path / "backups", paths=[str(source)]).id for dummy in range(2))
    answer = run(arguments(tmp_path, id=first, paths=[f"{source}/etc/hosts"]))
    assert answer["backup"]["id"] == first
    assert answer["msg"] == f"restored 1 file or folder (2.5 MB) of {first} to {tmp_path}/dest"
    again = run(arguments(tmp_path))
    assert again["failed"]
    assert again["changed"] is False
    assert again["msg"] == f"dest is {tmp_path}/dest, which is not empty: give another folder, or set overwrite"
    assert not run(arguments(tmp_path, overwrite=True)).get("failed")
    unknown = run(arguments(tmp_path, id="20200101T000000Z-abcdef"))
    assert unknown["msg"] == (
        f"id is '20200101T000000Z-abcdef': the newest backups of the set etc are {first}, {second}"
    )


def test_check_mode_says_what_it_would_do(run: Run, tmp_path: Path, source: Path) -> None:
    made = make(tmp_path / "backups", paths=[str(source)])
    before = listing(tmp_path)
    answer = run(arguments(tmp_path), check_mode=True)
    assert answer["changed"] is True
    assert answer["msg"] == f"would restore 3 files and folders of {made.id} to {tmp_path}/dest"
    assert (answer["members"], answer["bytes"]) == (3, None)
    some = run(arguments(tmp_path, paths=[str(source / "etc")]), check_mode=True)
    assert some["msg"] == f"would restore 2 files and folders (2.5 MB) of {made.id} to {tmp_path}/dest"
    assert listing(tmp_path) == before
    flip_a_byte(file_of(made))
    assert run(arguments(tmp_path), check_mode=True)["failed"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_damaged_backup_is_refused(run: Run, tmp_path: Path, source: Path, check_mode: bool) -> None:
    made = make(tmp_path / "backups", paths=[str(source)])
    os.truncate(file_of(made), 100)
    answer = run(arguments(tmp_path), check_mode=check_mode)
    assert answer["failed"]
    assert answer["changed"] is False
    assert answer["msg"] == (
        f"the backup {made.id} of the set etc is damaged and is not restored: "
        f"files.tar.zst has 100 bytes, and had {made.bytes} when it was written"
    )
    assert answer["backup"]["id"] == made.id
    assert not (tmp_path / "dest").exists()


def test_a_set_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    answer = run(arguments(tmp_path))
    assert answer["msg"] == f"there is no verified backup of the set etc in {tmp_path}/backups"


@needs_root
def test_a_filesystem_that_is_full_is_told(run: Run, tmp_path: Path, source: Path) -> None:
    make(tmp_path / "backups", command=f"cat {source}/etc/hosts")
    with mounted(tmp_path / "mount") as place:
        answer = run(arguments(tmp_path, dest=str(place / "dest")))
        assert answer["msg"] == f"{place}/dest cannot be restored to: No space left on device"
        assert answer["changed"] is False
        assert list(place.iterdir()) == []


def test_the_message_names_the_commands_that_load_dumps(tmp_path: Path) -> None:
    made = make(tmp_path / "backups", command="echo x")
    restoring = Restoring(Store(str(tmp_path / "backups")), made, str(tmp_path / "dest"))
    one = backup_restore.message(restoring, Restored(1, 2_000_000, [], ["load a"]), False)
    assert one == f"restored 1 file or folder (2.0 MB) of {made.id} to {tmp_path}/dest, to be loaded with: load a"
    many = backup_restore.message(restoring, Restored(5, None, [], [f"load {name}" for name in "abcde"]), True)
    assert many == (
        f"would restore 5 files and folders of {made.id} to {tmp_path}/dest, "
        "to be loaded with: load a; load b; load c; and 2 more"
    )
