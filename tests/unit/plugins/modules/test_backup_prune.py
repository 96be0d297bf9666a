# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils._backup import store as store_module
from ansible_collections.inflight.jobs.plugins.module_utils._backup.retention import Rules, Span
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, Store
from ansible_collections.inflight.jobs.plugins.modules import backup_prune
from ansible_collections.inflight.jobs.plugins.modules.backup_prune import Prune, message_of

from ..conftest import fork
from ..module_utils._backup.backups import ResticRepository, needs_restic, restic_repository

Answer = dict[str, t.Any]
Run = t.Callable[..., Answer]

DAY = 86400.0
CONTENT = b"archive"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "backups"))


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the module with these options, in a process of its own as on a host; the answer has its warnings."""

    def run(check_mode: bool = False, **options: t.Any) -> Answer:
        arguments = {"directory": store.directory, "_ansible_check_mode": check_mode, **options}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        monkeypatch.setattr(sys, "argv", ["backup_prune"])
        # Where core is installed whole, as here, a warning goes to the terminal and not into the result.
        monkeypatch.setattr(basic.AnsibleModule, "warn", lambda dummy, text: print(text, file=sys.stderr))  # noqa: T201
        os.waitpid(fork(backup_prune.main), 0)
        said = capfd.readouterr()
        return {**json.loads(said.out), "warnings": said.err.splitlines()}

    return run


def backup(store: Store, days: float, set_name: str = "etc", verified: bool = True) -> Backup:
    """A backup that was begun so many days ago."""
    store.prepare(set_name)
    unfinished = store.begin(set_name, time.time() - days * DAY)
    Path(unfinished.path, "files.tar").write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    file = {"name": "files.tar", "kind": "tar", "compression": "none", "bytes": len(CONTENT), "sha256": sha256}
    manifest = {"bytes": len(CONTENT), "checks": ["checksum"] if verified else [], "files": [file]}
    return unfinished.finish(set_name, manifest)


def size_of(one: Backup) -> int:
    return sum(path.stat().st_size for path in Path(one.path).iterdir())


def tree(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.directory)) for path in Path(store.directory).rglob("*"))


def ids(store: Store, set_name: str = "etc") -> list[str]:
    return [one.id for one in store.backups(set_name)]


def the_set(answer: Answer) -> Answer:
    (found,) = answer["sets"]
    return t.cast("Answer", found)


# The rules


def test_what_no_rule_keeps_is_deleted_and_a_second_run_changes_nothing(store: Store, run: Run) -> None:
    fourth, third, second, first = (backup(store, days) for days in (9, 5, 3, 1))
    answer = run(keep_last=1, keep_within="3d")
    assert the_set(answer) == {
        "set": "etc",
        "kept": [{"id": first.id, "reasons": ["within", "last"]}, {"id": second.id, "reasons": ["within"]}],
        "left": [],
        "deleted": [fourth.id, third.id],
        "skipped": None,
    }
    assert (answer["changed"], answer["failed"], answer["deleted"]) == (True, False, 2)
    assert answer["msg"] == "deleted 2 of 4 backups, 1 kB"
    assert ids(store) == [second.id, first.id]
    again = run(keep_last=1, keep_within="3d")
    assert (again["changed"], again["deleted"], again["freed_bytes"]) == (False, 0, 0)
    assert again["msg"] == "nothing to delete"
    assert the_set(again)["kept"] == the_set(answer)["kept"]


def test_check_mode_tells_the_same_and_writes_nothing(store: Store, run: Run) -> None:
    old = [backup(store, days) for days in (9, 5)]
    backup(store, 1)
    Path(f"{old[0].path[:-1]}z.deleted").mkdir()  # not ours
    shutil.copytree(old[0].path, f"{old[0].path[:-6]}aaaaaa.deleted")
    before = tree(store)
    would = run(check_mode=True, keep_last=1)
    assert tree(store) == before
    assert would["freed_bytes"] == size_of(old[0]) * 2 + size_of(old[1])
    answer = run(keep_last=1)
    assert answer.pop("msg") == "deleted 2 of 3 backups, 1 kB"
    assert would.pop("msg") == "would delete 2 of 3 backups, 1 kB"
    assert would == answer


def test_sets_are_looked_at_one_by_one(store: Store, run: Run) -> None:
    for name in ("home", "etc", "var"):
        for days in (3, 2, 1):
            backup(store, days, name)
    answer = run(sets=["var", "home", "var"], keep_last=2)
    assert [found["set"] for found in answer["sets"]] == ["var", "home"]
    assert [len(ids(store, name)) for name in ("etc", "home", "var")] == [3, 2, 2]
    assert [found["set"] for found in run(keep_last=1)["sets"]] == ["etc", "home", "var"]
    assert [len(ids(store, name)) for name in ("etc", "home", "var")] == [1, 1, 1]


def test_without_a_rule_nothing_is_deleted_and_that_is_said(store: Store, run: Run) -> None:
    for days in (3, 2, 1):
        backup(store, days)
    for options in ({}, {"keep_within": "0d", "keep_last": 0}):
        answer = run(**options)
        assert not answer["changed"]
        assert not answer["failed"]
        assert "no rule says what to keep" in answer["msg"]
        assert the_set(answer)["skipped"] == backup_prune.NO_RULE
        assert [one["reasons"] for one in the_set(answer)["kept"]] == [[], [], []]
    assert len(ids(store)) == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"keep_daily": -1}, "keep_daily is -1: give 0, or "),
        ({"keep_within": "2w"}, "keep_within is '2w': give "),
        ({"keep_last": 1, "sets": ["../etc"]}, "the name of a backup set is '../etc': use "),
        ({"keep_last": 1, "directory": "backups"}, "directory is 'backups': give "),
    ],
)
def test_what_makes_no_sense_is_refused(store: Store, run: Run, options: Answer, reason: str) -> None:
    backup(store, 2)
    backup(store, 1)
    answer = run(**options)
    assert answer["failed"] is True
    assert answer["msg"].startswith(reason)
    assert len(ids(store)) == 2


def test_where_there_are_no_backups_there_is_nothing_to_delete(store: Store, run: Run) -> None:
    assert run(keep_last=1)["sets"] == []
    answer = run(keep_last=1, sets=["etc"])
    assert the_set(answer)["skipped"] == f"there are no backups of it in {store.directory}"
    assert (answer["failed"], answer["changed"], answer["msg"]) == (False, False, "nothing to delete")
    assert answer["warnings"] == []
    assert not os.path.exists(store.directory)


# What counts


def test_what_was_not_verified_or_is_damaged_is_left_alone_and_counts_for_nothing(store: Store, run: Run) -> None:
    unverified = backup(store, 9, verified=False)
    oldest = backup(store, 8)
    damaged, unreadable, cut, missing = (backup(store, days) for days in (7, 6, 5, 4))
    damaged.record_verification(["checksum"], "files.tar has another checksum")
    Path(unreadable.path, "manifest.json").write_text("{", encoding="utf-8")
    Path(cut.path, "files.tar").write_bytes(CONTENT[:-1])
    Path(missing.path, "files.tar").unlink()
    second, newest = backup(store, 3), backup(store, 1)
    found = the_set(run(keep_last=2))
    assert found["deleted"] == [oldest.id]
    assert [one["id"] for one in found["kept"]] == [newest.id, second.id]
    assert [(one["id"], one["reason"]) for one in found["left"]] == [
        (missing.id, "files.tar cannot be looked at: No such file or directory"),
        (cut.id, "files.tar has 6 bytes, and not 7 as manifest.json says"),
        (unreadable.id, "manifest.json is damaged: it is not JSON"),
        (damaged.id, "files.tar has another checksum"),
        (unverified.id, "it was not verified"),
    ]
    assert [os.path.isdir(one.path) for one in (unverified, damaged, unreadable, cut, missing)] == [True] * 5


@pytest.mark.parametrize("what", ["not verified", "damaged", "cut"])
def test_when_the_newest_is_no_good_nothing_of_the_set_is_deleted(store: Store, run: Run, what: str) -> None:
    for name in ("etc", "home"):
        for days in (3, 2):
            backup(store, days, name)
    newest = backup(store, 1, verified=what != "not verified")
    if what == "damaged":
        newest.record_verification(["checksum"], "it is damaged")
    elif what == "cut":
        Path(newest.path, "files.tar").write_bytes(b"")
    answer = run(keep_last=1)
    etc, home = answer["sets"]
    assert newest.id in etc["skipped"]
    assert etc["left"][0]["id"] == newest.id
    assert (etc["deleted"], len(ids(store))) == ([], 3)
    assert len(home["deleted"]) == 1
    assert answer["msg"] == "deleted 1 of 5 backups, 1 kB; skipped 1 of 2 sets"
    (warning,) = answer["warnings"]
    assert warning.startswith("Nothing of the backup set etc was deleted: ")


@pytest.mark.parametrize("verified", [True, False])
def test_when_the_clock_is_wrong_nothing_is_deleted(store: Store, run: Run, verified: bool) -> None:
    for days in (30, 2, 1):
        backup(store, days)
    newest = backup(store, -1, verified=verified)
    answer = run(keep_last=1, keep_within="1d")
    assert (
        the_set(answer)["skipped"] == f"the newest backup {newest.id} is of the future: set the clock of the host right"
    )
    assert not answer["changed"]
    assert len(ids(store)) == 4
    (warning,) = answer["warnings"]
    assert "clock" in warning


# Other runs


def test_while_another_run_is_at_work_on_a_set_nothing_of_it_is_deleted(store: Store, run: Run) -> None:
    for name in ("etc", "home"):
        for days in (2, 1):
            backup(store, days, name)
    with store.lock("etc"):
        answer = run(keep_last=1)
    etc, home = answer["sets"]
    assert etc["skipped"].startswith("another run is at work on the set etc")
    assert len(etc["kept"]) == len(ids(store)) == 2
    assert len(home["deleted"]) == 1
    assert not answer["failed"]
    assert len(answer["warnings"]) == 1
    assert len(the_set(run(keep_last=1, sets=["etc"]))["deleted"]) == 1


def test_a_set_that_cannot_be_locked_at_all_is_an_error(store: Store, run: Run) -> None:
    for days in (2, 1):
        backup(store, days)
    Path(store.directory, "etc", ".lock").symlink_to("elsewhere")
    answer = run(keep_last=1)
    assert answer["failed"] is True
    assert answer["msg"].startswith("the lock of the set etc cannot be taken: ")
    assert len(ids(store)) == 2


def test_a_folder_with_the_name_of_no_moment_is_no_backup(store: Store, run: Run) -> None:
    for days in (2, 1):
        backup(store, days)
    Path(store.directory, "etc", "20269999T999999Z-3fa9c1").mkdir()
    assert len(the_set(run(keep_last=1))["deleted"]) == 1


def test_what_an_interrupted_run_has_left_is_deleted_and_other_files_are_not(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = backup(store, 2), backup(store, 1)
    unfinished = store.begin("etc", time.time())
    folder = Path(store.directory, "etc")
    for name in ("notes.deleted", "20261121T201500Z-3fa9c1.deleted.txt"):
        (folder / name).write_text("mine", encoding="utf-8")
    size = size_of(old)

    def full_of_errors(path: str) -> None:
        raise OSError(5, "Input/output error", path)

    with monkeypatch.context() as patch:
        patch.setattr(store_module.shutil, "rmtree", full_of_errors)
        answer = run(keep_last=1)
    assert answer["failed"] is True
    assert "Input/output error" in answer["msg"]
    assert old.path in answer["msg"]
    # It is no backup any more: nobody takes the half of it for a whole one.
    assert the_set(answer)["deleted"] == [old.id]
    assert ids(store) == [new.id]
    again = run(keep_last=1)
    assert (again["changed"], again["deleted"], again["freed_bytes"]) == (True, 0, size)
    left = {new.id, os.path.basename(unfinished.path), ".lock", "notes.deleted", "20261121T201500Z-3fa9c1.deleted.txt"}
    assert set(os.listdir(folder)) == left
    assert not run(keep_last=1)["changed"]


def test_an_error_with_one_set_is_told_and_the_others_are_looked_at(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etc", "home"):
        for days in (2, 1):
            backup(store, days, name)
    remove = Store.remove

    def remove_or_fail(self: Store, one: Backup) -> None:
        if one.set_name == "etc":
            raise PermissionError(1, "Operation not permitted", one.path)
        remove(self, one)

    monkeypatch.setattr(Store, "remove", remove_or_fail)
    answer = run(keep_last=1)
    assert (answer["failed"], answer["changed"], answer["deleted"]) == (True, True, 1)
    assert answer["msg"].startswith("the set etc cannot be pruned: Operation not permitted: ")
    etc, home = answer["sets"]
    assert ([len(etc[key]) for key in ("kept", "deleted")], len(ids(store))) == ([2, 0], 2)
    assert [len(home[key]) for key in ("kept", "deleted")] == [1, 1]


# Whatever there is


NUMBER = st.sampled_from([0, 0, 1, 2, 5])
RULES = st.builds(Rules, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, st.integers(0, 5).map(lambda days: Span(days=days)))
KINDS = st.sampled_from(["good", "good", "good", "unverified", "damaged"])


@settings(deadline=None, max_examples=40)
@given(kinds=st.lists(st.tuples(st.integers(-1, 20), KINDS), max_size=8), rules=RULES)
def test_the_newest_verified_backup_stays_and_a_second_run_deletes_nothing(
    kinds: list[tuple[int, str]], rules: Rules
) -> None:
    top = tempfile.mkdtemp()
    try:
        store = Store(top)
        for days, kind in kinds:
            made = backup(store, days + 0.5, verified=kind != "unverified")
            if kind == "damaged":
                made.record_verification(["checksum"], "it is damaged")
        good = [one.id for one in store.backups("etc") if one.verified]
        others = {one.id for one in store.backups("etc")} - set(good)
        before = tree(store)
        would = Prune(store, rules, only_look=True).run("etc")
        assert tree(store) == before
        found = Prune(store, rules, only_look=False).run("etc")
        assert found.report() == would.report()
        assert set(ids(store)) == {*good, *others} - set(found.deleted)
        assert {one for one, dummy in found.kept} | set(found.deleted) == set(good)
        assert found.deleted == [] or found.skipped is None
        assert good == [] or good[-1] in ids(store)
        again = Prune(store, rules, only_look=False).run("etc")
        assert (again.deleted, again.freed_bytes, again.kept) == ([], 0, found.kept)
        assert message_of([again], check_mode=False).startswith("nothing to delete")
    finally:
        shutil.rmtree(top)


# Snapshots of restic


def snapshot(store: Store, repository: ResticRepository, days: float) -> Backup:
    """A backup by restic that was begun so many days ago."""
    store.prepare("etc")
    unfinished = store.begin("etc", time.time() - days * DAY)
    before = repository.ids()
    repository.run("backup", "--quiet", __file__)
    (found,) = repository.ids() - before
    where = {"repository": str(repository.path), "password_file": str(repository.password_file)}
    told = {"engine": "restic", "snapshot": found, "restic": where, "paths": [__file__], "members": 1}
    told["repository_id"] = json.loads(repository.run("cat", "config"))["id"]
    return unfinished.finish("etc", {"bytes": 1, "checks": ["list"], "files": [], **told})


@needs_restic
def test_snapshots_go_with_their_backups_or_not_at_all(store: Store, run: Run, tmp_path: Path) -> None:
    repository = restic_repository(tmp_path)
    repository.run("init")
    fourth, third, second, first = (snapshot(store, repository, days) for days in (9, 5, 3, 1))
    before = repository.ids()

    would = run(check_mode=True, keep_last=2)
    assert the_set(would)["deleted"] == [fourth.id, third.id]
    with repository.locked():
        answer = run(keep_last=2)
    reason = f"another restic is at work on the repository {repository.path}: wait for it"
    assert (answer["changed"], answer["failed"], the_set(answer)["skipped"]) == (False, False, reason)
    assert answer["warnings"] == [f"Nothing of the backup set etc was deleted: {reason}"]
    assert ids(store) == [fourth.id, third.id, second.id, first.id]
    assert repository.ids() == before

    # Somebody has removed one, or a run was killed behind that; and the lock of the other restic is still there.
    (repository.path / "snapshots" / str(third.report()["snapshot"])).unlink()
    answer = run(keep_last=2)
    assert the_set(answer) == {**the_set(would), "left": []}
    assert (answer["msg"], answer["warnings"]) == (f"deleted 2 of 4 backups, {kilobytes(answer)} kB", [])
    assert ids(store) == [second.id, first.id]
    assert repository.ids() == {one.report()["snapshot"] for one in (second, first)}

    (repository.path / "snapshots" / str(first.report()["snapshot"])).unlink()
    answer = run(keep_last=1)
    gone = "its snapshot is not in the repository any more"
    assert the_set(answer)["skipped"] == f"something is wrong with the newest backup {first.id}: {gone}"
    repository.path.rename(tmp_path / "elsewhere")
    answer = run(keep_last=1)
    assert the_set(answer)["left"] == [
        {"id": one.id, "reason": f"its repository cannot be looked at: there is no repository at {repository.path}"}
        for one in (first, second)
    ]
    assert ids(store) == [second.id, first.id]


@needs_restic
def test_snapshots_in_a_repository_that_is_not_mounted_are_not_taken_for_lost(
    store: Store, run: Run, tmp_path: Path
) -> None:
    repository = restic_repository(tmp_path)
    repository.run("init")
    old = [snapshot(store, repository, days) for days in (3, 2)]
    repository.path.rename(tmp_path / "not mounted")
    repository.run("init")
    new = snapshot(store, repository, 1)
    answer = run(keep_last=1)
    reason = "its snapshot is in another repository than the one that is at its address now: see that it is mounted"
    assert the_set(answer)["left"] == [{"id": one.id, "reason": reason} for one in reversed(old)]
    assert ids(store) == [*(one.id for one in old), new.id]


def kilobytes(answer: Answer) -> int:
    return -(-int(answer["freed_bytes"]) // 1000)
