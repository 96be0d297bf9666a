# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import (
    MANIFEST,
    VERIFICATION,
    Backup,
    BackupError,
    Store,
    check_set_name,
    read_json,
    write_json,
)

from ...conftest import FOREVER, living

Manifest = dict[str, t.Any]

START = 1_795_291_200.0
ID = "20261121T201500Z-3fa9c1"
FILE: Manifest = {
    "name": "files.tar.zst",
    "kind": "tar",
    "compression": "zstd",
    "bytes": 5,
    "sha256": "0" * 64,
    "members": 7,
    "exit_code": 0,
    "content_bytes": 10240,
}
GOOD: Manifest = {
    "set": "etc",
    "host": "web1",
    "engine": "tar",
    "paths": ["/etc"],
    "started_at": "2026-11-21T20:15:00Z",
    "ended_at": "2026-11-21T20:15:01Z",
    "seconds": 1.5,
    "bytes": 5,
    "members": 7,
    "checks": ["checksum", "list"],
    "warnings": [],
    "files": [FILE],
}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One with the folder of the set etc."""
    made = Store(str(tmp_path / "backups"))
    made.prepare("etc")
    return made


@pytest.fixture
def folder(store: Store) -> Path:
    """That of the set etc."""
    return Path(store.directory) / "etc"


def finished(store: Store, started: float = START, **manifest: t.Any) -> Backup:
    return store.begin("etc", started).finish("etc", {**GOOD, **manifest})


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# Names and folders


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/x", "x/y", ".hidden", "-x", "_x", "a\n", "a b", "ä", "a\0", "x" * 101, "x.partial"],
)
def test_names_that_could_be_anything_else_are_refused(name: str, store: Store) -> None:
    for refused in (check_set_name, store.prepare, store.backups):
        with pytest.raises(BackupError, match=r"^the name of a backup set is '") as caught:
            refused(name)
        assert "\n" not in str(caught.value)
    assert names(store.directory) == ["etc"]


def test_names_that_are_plain_are_taken(store: Store) -> None:
    for name in ("a", "0", "web1.example.com_www-data", "x" * 100, "partial"):
        store.prepare(name)
    assert store.sets() == sorted(["etc", "a", "0", "web1.example.com_www-data", "x" * 100, "partial"])


def test_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(str(tmp_path / "backups"))
        store.prepare("etc")
        backup = finished(store)
        with store.lock("etc"):
            pass
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [Path(store.directory), *tmp_path.glob("backups/**/*")]
    }
    assert modes == {"backups": 0o700, "etc": 0o700, ".lock": 0o600, backup.id: 0o700, MANIFEST: 0o600}


@pytest.mark.parametrize("directory", ["", "backups", "../backups", "/tmp/a\0b"])
def test_a_directory_is_a_whole_path(directory: str) -> None:
    with pytest.raises(BackupError, match=r"^directory is .*: give a path that begins with a slash$"):
        Store(directory)


def test_a_symbolic_link_is_no_folder_of_a_set(store: Store, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match=f"^{folder} is a symbolic link: remove it, and give the folder itself"):
        store.prepare("etc")
    assert store.sets() == []
    folder.unlink()
    folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BackupError, match=f"^the folder {folder} cannot be made: File exists$"):
        store.prepare("etc")


def test_the_directory_may_be_reached_by_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir(mode=0o700)
    (tmp_path / "backups").symlink_to("large")
    store = Store(str(tmp_path / "backups"))
    store.prepare("etc")
    assert store.directory == str(tmp_path / "large")


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_refused(mode: int, store: Store, folder: Path) -> None:
    for path in (folder, folder.parent):
        path.chmod(mode)
        with pytest.raises(BackupError, match=f"^others can change what is in {path}: give it to the user"):
            store.prepare("etc")
        path.chmod(0o755)
        store.prepare("etc")


@as_root
def test_a_folder_of_another_user_is_refused(store: Store, folder: Path) -> None:
    os.chown(folder, 12345, 0)
    with pytest.raises(BackupError, match=f"^others can change what is in {folder}: "):
        store.prepare("etc")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match=r"^the folder .*/file/backups cannot be made: Not a directory$"):
        Store(str(tmp_path / "file" / "backups")).prepare("etc")


def test_a_folder_that_cannot_be_written_to_is_told(store: Store, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(BackupError, match=f"^the folder {folder} cannot be written to: No such file or directory$"):
        store.begin("etc", START)
    with (
        pytest.raises(BackupError, match=r"^the lock of the set etc cannot be taken: No such file or directory$"),
        store.lock("etc"),
    ):
        pass


# What is listed


def test_backups_are_listed_oldest_first(store: Store) -> None:
    made = [finished(store, START + days * 86400).id for days in (3, 1, 2, 0)]
    listed = store.backups("etc")
    assert [backup.id for backup in listed] == sorted(made)
    assert [backup.started for backup in listed] == [START + days * 86400 for days in range(4)]
    assert store.sets() == ["etc"]


def test_nothing_but_what_was_finished_is_listed(store: Store, folder: Path) -> None:
    backup = finished(store)
    store.begin("etc", START)
    for name in (
        *(
            f"{ID}.partial",
            f"{ID}.deleted",
            f"{ID}.scratch",
            "lost+found",
            "20261121T201500Z-3FA9C1",
            f"{ID} ",
            f"{ID}\n",
        ),
        *("99999999T999999Z-abcdef", "20260230T000000Z-abcdef", "00000101T000000Z-abcdef", "20261121T201500Z"),
    ):
        (folder / name).mkdir()
    (folder / ID).touch()
    (folder / "20261121T201500Z-000000").symlink_to(backup.path)
    for foreign in ("etc.partial", ".trash", "a b"):
        (folder.parent / foreign).mkdir()
    (folder.parent / "file").touch()
    (folder.parent / "link").symlink_to(folder)
    assert [found.id for found in store.backups("etc")] == [backup.id]
    assert store.sets() == ["etc"]


def test_what_is_not_there_holds_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "nowhere"))
    assert (store.sets(), store.backups("etc"), store.sweep("etc", 0)) == ([], [], [])
    assert not (tmp_path / "nowhere").exists()


def test_a_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match=r"^the folder .*/file cannot be read: Not a directory$"):
        Store(str(tmp_path / "file")).sets()


def test_a_backup_is_found_by_its_id_or_as_the_newest_that_is_verified(store: Store) -> None:
    first, second, third = (
        finished(store, START + day, checks=checks) for day, checks in enumerate((["list"],) * 2 + ([],))
    )
    assert store.find("etc").id == second.id
    assert store.find("etc", third.id).id == third.id
    second.record_verification(["list"], "files.tar.zst is cut")
    assert store.find("etc").id == first.id
    with pytest.raises(
        BackupError, match=f"^id is 'x': the newest backups of the set etc are {first.id}, {second.id}, "
    ):
        store.find("etc", "x")
    first.record_verification(["list"], "it is cut")
    with pytest.raises(BackupError, match=f"^there is no verified backup of the set etc in {store.directory}$"):
        store.find("etc")
    with pytest.raises(BackupError, match=r"^id is '../x': the newest backups of the set www are none$"):
        store.find("www", "../x")


# Manifests


def test_what_the_manifest_says_is_reported(store: Store) -> None:
    backup = finished(store)
    assert store.backups("etc")[0].report() == backup.report()
    assert backup.report() == {
        **{key: value for key, value in GOOD.items() if key != "paths"},
        "id": backup.id,
        "path": backup.path,
        "verified": True,
        "damage": None,
        "snapshot": None,
        "added_bytes": None,
    }
    assert read_json(os.path.join(backup.path, MANIFEST)) == {**GOOD, "version": 1, "id": backup.id}


def test_a_backup_that_passed_no_check_is_not_verified(store: Store) -> None:
    backup = finished(store, checks=[])
    assert (backup.verified, backup.damage) == (False, None)
    backup.record_verification(["list", "checksum"], None)
    assert (backup.verified, store.backups("etc")[0].report()) == (True, backup.report())
    assert backup.report()["checks"] == ["checksum", "list"]


def test_a_damage_that_was_found_later_counts_until_none_is_found(store: Store) -> None:
    finished(store).record_verification(["checksum"], "files.tar.zst has another checksum")
    (backup,) = store.backups("etc")
    assert (backup.verified, backup.damage, backup.bytes) == (False, "files.tar.zst has another checksum", 5)
    backup.record_verification(["checksum"], None)
    (backup,) = store.backups("etc")
    assert (backup.verified, backup.damage) == (True, None)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("files.tar"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def looked_at(file_name: str, content: bytes, more: dict[str, bytes] | None = None) -> Backup:
    """The one backup of a set, where a file of it has this content. Reading it and reporting it does not raise."""
    top = tempfile.mkdtemp()
    try:
        path = Path(top) / "etc" / ID
        path.mkdir(parents=True)
        for name, text in {**(more or {}), file_name: content}.items():
            (path / name).write_bytes(text)
        (backup,) = Store(top).backups("etc")
        report = backup.report()
        json.dumps(report)
        assert (report["verified"], report["bytes"]) == (backup.verified, backup.bytes)
        assert backup.bytes >= 0
        assert backup.manifest or backup.damage
        assert not (backup.damage and backup.verified)
        if backup.damage:
            assert "\n" not in backup.damage
        return backup
    finally:
        shutil.rmtree(top)


def encoded(content: object) -> bytes:
    return json.dumps(content).encode()


WHOLE = {"version": 1, "id": ID, **GOOD}


@settings(deadline=None, max_examples=150)
@given(content=st.binary(max_size=60) | ANYTHING.map(encoded) | st.just(b"[" * 200000) | st.just(b"1" * 5000))
def test_a_manifest_that_is_something_else_is_a_damage(content: bytes) -> None:
    backup = looked_at(MANIFEST, content)
    assert str(backup.damage).startswith("manifest.json is damaged: ")
    assert backup.manifest is None


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_manifest_with_anything_in_it_is_whole_or_damaged(data: st.DataObject) -> None:
    manifest = copy.deepcopy(WHOLE)
    target = data.draw(st.sampled_from([manifest, manifest["files"][0]]))
    key = data.draw(st.sampled_from(sorted(target)))
    if data.draw(st.booleans()):
        del target[key]
    else:
        target[key] = data.draw(ANYTHING)
    backup = looked_at(MANIFEST, encoded(manifest))
    if backup.damage:
        assert backup.manifest is None
        return
    # Whoever uses it need not look again.
    report = backup.report()
    for name, kinds in (("seconds", (int, float)), ("members", int), ("warnings", list), ("host", str)):
        assert report[name] is None or isinstance(report[name], kinds)
    for file in report["files"]:
        assert "/" not in file["name"]
        assert file["compression"] in ("zstd", "gzip", "none")
        assert isinstance(file["bytes"] + len(file["kind"]) + len(file["sha256"]), int)


@settings(deadline=None, max_examples=100)
@given(length=st.integers(0, len(encoded(WHOLE)) - 1))
def test_a_manifest_that_is_cut_is_a_damage(length: int) -> None:
    assert looked_at(MANIFEST, encoded(WHOLE)[:length]).damage == "manifest.json is damaged: it is not JSON"


@settings(deadline=None, max_examples=100)
@given(
    content=st.binary(max_size=60)
    | ANYTHING.map(encoded)
    | st.dictionaries(st.sampled_from(["checks", "damage"]), ANYTHING).map(encoded)
)
def test_a_verification_with_anything_in_it_raises_nothing(content: bytes) -> None:
    backup = looked_at(VERIFICATION, content, {MANIFEST: encoded(WHOLE)})
    assert backup.manifest == WHOLE


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "", ".", "..", ".hidden", "a/b", "a\0b", None, 5, ["files.tar"]]
)
def test_a_manifest_names_nothing_outside_of_its_folder(name: object) -> None:
    backup = looked_at(MANIFEST, encoded({**WHOLE, "files": [{**FILE, "name": name}]}))
    assert backup.damage == f"manifest.json is damaged: it is not that of {ID}"


def test_the_manifest_of_another_backup_is_a_damage() -> None:
    assert looked_at(MANIFEST, encoded({**WHOLE, "id": "20261121T201500Z-000000"})).damage
    assert looked_at(MANIFEST, encoded({**WHOLE, "version": 2})).damage
    assert not looked_at(MANIFEST, encoded(WHOLE)).damage


def make_large(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "manifest.json cannot be read: No such file or directory"),
        (lambda path: path.symlink_to("/dev/zero"), "manifest.json cannot be read: Too many levels of symbolic links"),
        (os.mkfifo, "manifest.json is no file that a backup was made with"),
        (os.mkdir, "manifest.json cannot be read: Is a directory"),
        (make_large, "manifest.json is no file that a backup was made with"),
    ],
)
def test_what_is_no_plain_file_is_no_manifest(make: Callable[[Path], object], reason: str, store: Store) -> None:
    unfinished = store.begin("etc", START)
    path = unfinished.path[: -len(".partial")]
    os.rename(unfinished.path, path)
    make(Path(path) / MANIFEST)
    before = len(os.listdir("/proc/self/fd"))
    assert Backup("etc", path).damage == reason
    assert len(os.listdir("/proc/self/fd")) == before


# Writing


def test_a_backup_has_its_name_only_when_it_is_whole(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    rename = os.rename

    def looking(old: str, new: str) -> None:
        seen.append((names(folder), names(old), read_json(os.path.join(old, MANIFEST))["bytes"], store.backups("etc")))
        rename(old, new)

    unfinished = store.begin("etc", START)
    Path(unfinished.path, "files.tar").write_bytes(b"12345")
    assert names(folder) == [f"{unfinished.id}.partial"]
    monkeypatch.setattr(os, "rename", looking)
    backup = unfinished.finish("etc", GOOD)
    assert seen == [([f"{unfinished.id}.partial"], ["files.tar", MANIFEST], 5, [])]
    assert names(folder) == [unfinished.id]
    assert (backup.path, backup.damage) == (str(folder / unfinished.id), None)
    unfinished.discard()  # too late
    assert names(folder) == [unfinished.id]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_json(str(path), {"a": 1})
    with pytest.raises(TypeError):
        write_json(str(path), {"a": object()})

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space"):
        write_json(str(path), {"a": 2})
    assert names(tmp_path) == ["file.json"]
    assert read_json(str(path)) == {"a": 1}


def test_names_that_are_no_text_are_remembered(tmp_path: Path) -> None:
    path = str(tmp_path / "file.json")
    write_json(path, {"paths": ["/srv/\udcff"]})
    assert read_json(path) == {"paths": ["/srv/\udcff"]}


def test_backups_of_one_second_are_in_order(store: Store) -> None:
    made = [finished(store).id for dummy in range(20)]
    assert len(set(made)) == 20
    assert [backup.id for backup in store.backups("etc")] == made
    assert finished(store, START + 1).id > store.begin("etc", START).id > made[-1]


def test_what_is_removed_is_never_taken_for_a_backup(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup, other = finished(store), finished(store, START + 1)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda dummy: None)  # killed in the middle of it
        store.remove(backup)
    assert [found.id for found in store.backups("etc")] == [other.id]
    assert names(folder) == [f"{backup.id}.deleted", other.id]
    store.remove(other)
    assert store.sweep("etc", max_age=0) == [f"{backup.id}.deleted"]
    assert names(folder) == []


def test_what_runs_have_left_is_swept_when_it_is_old(store: Store, folder: Path) -> None:
    backup = finished(store)
    kept = [backup.id, "notes.partial", ".lock", f"{ID}.partial.txt"]
    for name in kept[1:]:
        (folder / name).touch()
    left = [
        f"20261121T20150{number}Z-3fa9c1.{suffix}" for number, suffix in enumerate(("partial", "deleted", "scratch"))
    ]
    for name in left:
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "file").touch()
    (folder / f"{ID}.scratch").symlink_to(backup.path)
    assert store.sweep("etc", max_age=3600) == []
    old = time.time() - 3600
    os.utime(folder / left[0], (old, old))
    assert store.sweep("etc", max_age=3600) == left[:1]
    assert store.sweep("etc", max_age=0) == left[1:]
    assert names(folder) == sorted([*kept, f"{ID}.scratch"])
    assert names(backup.path) == [MANIFEST]


# Locks


def test_a_lock_keeps_another_process_out_until_it_is_gone(store: Store) -> None:
    held = store.lock("etc")
    with living(held.__enter__) as pid:
        said = "^another run is at work on the set etc: wait for it, or set lock_wait$"
        for wait in (0.0, 0.3):
            with pytest.raises(BackupError, match=said), store.lock("etc", wait):
                pass
        store.prepare("www")
        with store.lock("www"):
            pass
        os.kill(pid, signal.SIGKILL)
        with store.lock("etc", wait=FOREVER):
            pass
    with store.lock("etc"):
        pass


def test_a_run_can_wait_for_another(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held = store.lock("etc")
    waits = []
    with living(held.__enter__) as pid:

        def wait(seconds: float) -> None:
            waits.append(seconds)
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        monkeypatch.setattr(time, "sleep", wait)
        with store.lock("etc", wait=FOREVER):
            pass
    assert len(waits) == 1


def test_programs_that_are_run_meanwhile_do_not_keep_the_lock(store: Store) -> None:
    with store.lock("etc"):
        program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with store.lock("etc"):
        program.communicate()


def test_a_link_in_the_place_of_the_lock_is_refused(store: Store, folder: Path, tmp_path: Path) -> None:
    (folder / ".lock").symlink_to(tmp_path / "made")
    with (
        pytest.raises(BackupError, match=r"^the lock of the set etc cannot be taken: Too many levels"),
        store.lock("etc"),
    ):
        pass
    assert not (tmp_path / "made").exists()
