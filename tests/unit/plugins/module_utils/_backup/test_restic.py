# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Each run of restic takes half a second, as it makes a key of the password. So many tests look at one backup.

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup.restic import Repository, literal, waiting
from ansible_collections.inflight.jobs.plugins.module_utils._backup.restoring import Restored, Restoring
from ansible_collections.inflight.jobs.plugins.module_utils._backup.snapshots import (
    Saving,
    Snapshot,
    SnapshotVerification,
    discard,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, BackupError, Store
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, Program
from ansible_collections.inflight.jobs.plugins.module_utils._backup.tar import Sources
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import Damaged

from .backups import ResticRepository, again, make, needs_restic, needs_root, restic_repository, tree

pytestmark = needs_restic

ALL = ["checksum", "list", "read", "restore_sample"]
MISSING = "/no/where"


@dataclasses.dataclass(frozen=True)
class Made:
    """A backup of a folder that has the backups and the repository in it, and what was to be in it."""

    top: Path
    source: Path
    repository: ResticRepository
    backup: Backup

    @property
    def manifest(self) -> dict[str, t.Any]:
        assert self.backup.manifest is not None
        return self.backup.manifest

    @property
    def snapshot(self) -> Snapshot:
        found = Snapshot.of(self.manifest)
        assert found
        return found

    @property
    def store(self) -> Store:
        return Store(str(self.top / "backups"))

    def copied(self, folder: Path) -> tuple[Snapshot, Path]:
        """The snapshot in a copy of the repository, which can be changed."""
        copy = folder / "copied"
        shutil.copytree(self.repository.path, copy)
        for path in copy.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        return self.snapshot._replace(repository=Repository(str(copy), str(self.repository.password_file))), copy


def fill(source: Path) -> None:
    (source / "folder" / "empty").mkdir(parents=True)
    (source / "large").write_bytes(os.urandom(1_200_000))
    (source / "folder" / "small").write_text("text\n", encoding="utf-8")
    for name in ("new\nline", "a*b", "[x]", "back\\slash", "!not", "blåbær"):
        (source / name).write_text(name, encoding="utf-8")
    os.link(source / "folder" / "small", source / "hard")
    (source / "link").symlink_to("folder/small")
    os.mkfifo(source / "fifo")
    (source / "folder").chmod(0o2750)
    (source / "large").chmod(0o440)
    os.utime(source / "large", ns=(1_600_000_000_123_456_789,) * 2)
    for name in ("left.tmp", "kept.txt"):
        (source / name).write_text(name, encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    top = tmp_path_factory.mktemp("restic") / "top"
    source = top / "source"
    source.mkdir(parents=True)
    fill(source)
    (top / "cache" / "deep").mkdir(parents=True)
    (top / "cache" / "deep" / "file").touch()
    repository = restic_repository(top.parent)
    repository = dataclasses.replace(repository, path=top / "repository")
    more = {"verify": ALL, "exclude": ["*.tmp", f"{top}/cache/", "!not"], "missing_path": "warn", "host": "web1"}
    options = repository.options(copy_to=str(top.parent / "copy"))
    backup = make(top / "backups", engine="restic", restic=options, paths=[f"{top}/", MISSING], **more)
    return Made(top, source, repository, backup)


def listed(made: Made) -> set[str]:
    return {os.path.relpath(b"/" + node.path, os.fsencode(made.top)).decode() for node in made.snapshot.nodes()}


# Backups


def test_a_backup_is_a_snapshot_and_a_manifest(made: Made) -> None:
    (snapshot,) = made.repository.snapshots()
    manifest, report = made.manifest, made.backup.report()
    assert sorted(path.name for path in Path(made.backup.path).iterdir()) == ["manifest.json"]
    assert (snapshot["id"], snapshot["hostname"]) == (manifest["snapshot"], "web1")
    assert snapshot["tags"] == ["etc", made.backup.id]
    assert snapshot["time"] == manifest["started_at"]
    assert snapshot["paths"] == manifest["paths"] == [str(made.top)]
    assert (report["engine"], report["verified"], report["checks"]) == ("restic", True, ALL)
    assert report["snapshot"] == snapshot["id"]
    assert report["warnings"] == [f"{MISSING} is not there"]
    there = [path for path in made.source.rglob("*") if path.name not in ("!not", "left.tmp")]
    assert report["bytes"] == sum(path.lstat().st_size for path in there if path.is_file() and not path.is_symlink())
    assert report["added_bytes"] > 1_000_000


def test_all_is_in_it_but_what_was_to_be_left_out(made: Made) -> None:
    top = os.fsencode(made.top)
    found = listed(made)
    inside = {name for name in found if not name.startswith("..")} - {"."}
    wanted = {os.path.relpath(path, made.top) for path in [made.source, *made.source.rglob("*")]}
    assert inside == wanted - {"source/!not", "source/left.tmp"}
    # The folders that a path is in are in it too.
    assert len(found) - len(inside) == len(top.strip(b"/").split(b"/"))
    assert made.manifest["members"] == len(found)


def test_a_manifest_holds_no_secret(made: Made) -> None:
    assert made.manifest["restic"] == {
        "repository": str(made.repository.path),
        "password_file": str(made.repository.password_file),
        "environment_file": None,
    }
    assert "secret" not in Path(made.backup.path, "manifest.json").read_text(encoding="utf-8")


def test_the_copy_is_in_the_other_repository(made: Made) -> None:
    copy = dataclasses.replace(made.repository, path=made.top.parent / "copy")
    (snapshot,) = copy.snapshots()
    assert (snapshot["original"], snapshot["tags"]) == (made.manifest["snapshot"], ["etc", made.backup.id])


def test_a_copy_that_fails_is_told_with_the_backup(made: Made, tmp_path: Path) -> None:
    target = Repository(str(tmp_path), str(made.repository.password_file))
    with pytest.raises(BackupError) as found:
        made.snapshot.copy(target, False, "web1", made.backup.id, 0)
    assert str(found.value) == (
        f"the backup was made, but not copied to {tmp_path}: there is no repository at {tmp_path}: "
        "make it with restic init, or set init to true"
    )


def saving(made: Made, repository: Repository, paths: list[str], **more: t.Any) -> Saving:
    options = {"exclude": [], "one_file_system": True, "file_changed": "warn", "lock_wait": 0, **more}
    sources = Sources(paths, [], made.store.directory)
    return Saving(repository, sources, made.store.directory, {"restic": made.repository.options(), **options})


def test_a_path_that_goes_away_is_not_passed_over(made: Made, tmp_path: Path) -> None:
    (tmp_path / "going").touch()
    (tmp_path / "staying").touch()
    snapshot, folder = made.copied(tmp_path)
    repository = snapshot.repository
    doing = saving(made, repository, [str(tmp_path / "going"), str(tmp_path / "staying")])
    (tmp_path / "going").unlink()
    with pytest.raises(BackupError, match="went away"):
        doing.run("web1", ["etc", "going"], 1e9)
    assert len(os.listdir(folder / "snapshots")) == 2
    discard(repository, "web1", "going")
    assert os.listdir(folder / "snapshots") == [made.snapshot.id]


UNREADABLE = "/proc/sys/vm/compact_memory"


@pytest.mark.skipif(not os.path.exists(UNREADABLE), reason="there is no file here that root cannot read")
def test_what_cannot_be_read_fails_and_its_snapshot_goes(made: Made, tmp_path: Path) -> None:
    repository = dataclasses.replace(made.repository, path=made.copied(tmp_path)[1])
    with pytest.raises(BackupError, match=f"^restic could not read all files: .*{UNREADABLE}"):
        make(tmp_path / "backups", engine="restic", restic=repository.options(), paths=[UNREADABLE])
    assert repository.ids() == {made.snapshot.id}
    assert list((tmp_path / "backups" / "etc").iterdir()) == [tmp_path / "backups" / "etc" / ".lock"]


@pytest.mark.parametrize("says", ["{{}}", '{{"message": "open {path}: no such file or directory"}}'])
@pytest.mark.parametrize("what", ["warn", "fail", "ok"])
def test_a_file_that_goes_away_while_it_is_read(what: str, says: str, made: Made, tmp_path: Path) -> None:
    # As restic 0.14 and 0.17 tell it. No test can have it happen at the right moment.
    gone, there = tmp_path / "gone", tmp_path / "there"
    there.touch()
    doing = saving(made, made.snapshot.repository, [str(made.source)], file_changed=what)

    def judge(path: Path) -> None:
        error = says.format(path=path)
        line = f'{{"message_type":"error","error":{error},"during":"archival","item":"{path}"}}'
        complaints = f"{line}\nWarning: at least one source file could not be read\n"
        doing.judge(End(Program(["restic"]), 3, complaints))

    with pytest.raises(BackupError, match=f"^restic could not read all files: .*{there}"):
        judge(there)
    if what == "fail":
        with pytest.raises(BackupError, match=f"^restic could not read all files: .*{gone}"):
            judge(gone)
        return
    judge(gone)
    told = f"{gone} went away" if says == "{{}}" else f"open {gone}: no such file or directory"
    assert doing.warnings == ([told] if what == "warn" else [])


def test_what_is_inside_of_the_repository_is_not_backed_up(made: Made) -> None:
    inside = made.repository.path / "config"
    with pytest.raises(BackupError, match="which is inside of the repository"):
        saving(made, made.snapshot.repository, [str(inside)])


# Damages


def verified(snapshot: Snapshot, checks: list[str], scratch: Path) -> tuple[list[str], str | None]:
    """The checks that it passed, and the damage that ended them."""
    verification = SnapshotVerification(snapshot, str(scratch))
    try:
        verification.run(checks)
    except Damaged as ex:
        return verification.done, str(ex)
    return verification.done, None


def packs(repository: Path) -> list[Path]:
    """The files with the content, the largest last."""
    return sorted(
        (path for path in (repository / "data").rglob("*") if path.is_file()), key=lambda one: one.stat().st_size
    )


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_flipped_byte_in_the_content_is_found_when_it_is_read(made: Made, tmp_path: Path) -> None:
    snapshot, copy = made.copied(tmp_path)
    flip_a_byte(packs(copy)[-1])
    done, damage = verified(snapshot, ["checksum", "list", "read"], tmp_path)
    assert done == ["checksum", "list"]
    assert damage
    assert damage.startswith("restic ended with ")
    assert "ciphertext verification failed" in damage


def test_a_flipped_byte_in_a_folder_is_found_by_every_check(made: Made, tmp_path: Path) -> None:
    snapshot, copy = made.copied(tmp_path)
    flip_a_byte(packs(copy)[0])
    for check in ("checksum", "list", "read"):
        done, damage = verified(snapshot, [check], tmp_path)
        assert (done, "ciphertext verification failed" in (damage or "")) == ([], True)
        assert "github.com" not in (damage or "")


@pytest.mark.parametrize("how", ["removed", "truncated"])
def test_a_pack_that_is_not_whole_is_found_without_reading_it(how: str, made: Made, tmp_path: Path) -> None:
    snapshot, copy = made.copied(tmp_path)
    pack = packs(copy)[-1]
    if how == "removed":
        pack.unlink()
    else:
        os.truncate(pack, pack.stat().st_size * 6 // 10)
    done, damage = verified(snapshot, ["checksum"], tmp_path)
    assert done == []
    assert damage
    assert pack.name[:10] in damage


def test_a_snapshot_that_is_gone_is_a_damage(made: Made, tmp_path: Path) -> None:
    done, damage = verified(made.snapshot._replace(id="f" * 64), ["list"], tmp_path)
    assert done == []
    assert damage == f"the snapshot {'f' * 64} is not in the repository any more"


@pytest.mark.parametrize("what", ["repository", "password"])
def test_a_repository_that_cannot_be_got_into_is_no_damage(what: str, made: Made, tmp_path: Path) -> None:
    other = restic_repository(tmp_path)
    other.password_file.write_text("another", encoding="utf-8")
    address = str(other.path if what == "repository" else made.repository.path)
    snapshot = made.snapshot._replace(repository=Repository(address, str(other.password_file)))
    with pytest.raises(BackupError) as found:
        verified(snapshot, ["list"], tmp_path)
    assert not isinstance(found.value, Damaged)
    assert str(found.value) == (
        f"there is no repository at {address}"
        if what == "repository"
        else "restic ended with 1: Fatal: wrong password or no key found"
    )


def test_files_that_changed_since_are_not_compared(made: Made, tmp_path: Path) -> None:
    kept = made.source / "kept.txt"
    before = kept.stat()
    kept.write_text("changed", encoding="utf-8")
    verification = SnapshotVerification(made.snapshot, str(tmp_path / "scratch"), 100)
    try:
        verification.run(["restore_sample"])
    finally:
        kept.write_text("kept.txt", encoding="utf-8")
        os.utime(kept, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verification.warnings == ["restore_sample: 1 of 10 files have changed since, so they were not compared"]
    assert not (tmp_path / "scratch").exists()


# Restoring


def restored(made: Made, dest: Path, **more: t.Any) -> Restored:
    return Restoring(made.store, made.backup, str(dest), **more).run()


def without(found: dict[bytes, tuple[t.Any, ...]], *names: bytes) -> dict[bytes, tuple[t.Any, ...]]:
    return {name: seen for name, seen in found.items() if name not in names}


@needs_root
def test_all_comes_back_as_it_was(made: Made, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    plan = Restoring(made.store, made.backup, str(dest)).plan()
    answer = restored(made, dest)
    assert (answer.members, answer.size) == (plan.members, plan.size)
    assert answer.members == made.manifest["members"]
    assert answer.size == made.manifest["bytes"]
    again_there = Path(f"{dest}{made.source}")
    assert tree(again_there) == without(tree(made.source), b"left.tmp", b"!not")
    assert not Path(f"{dest}{made.repository.path}").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["dest"]


@needs_root
def test_chosen_paths_over_what_is_there(made: Made, tmp_path: Path) -> None:
    dest, names = tmp_path / "dest", ("[x]", "a*b", "new\nline", "folder")
    below = Path(f"{dest}{made.source}")
    below.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("mine", encoding="utf-8")
    os.link(tmp_path / "elsewhere", below / "[x]")
    (below / "a*b").symlink_to(tmp_path / "elsewhere")
    (below / "other").write_text("mine", encoding="utf-8")
    mode = below.stat().st_mode
    with pytest.raises(BackupError, match="is not empty: give another folder, or set overwrite"):
        restored(made, dest)
    with pytest.raises(BackupError, match=r"which the backup .* does not have"):
        restored(made, dest, paths=["/etc/none"], overwrite=True)
    answer = restored(made, dest, paths=[str(made.source / name) for name in names], overwrite=True)
    assert (answer.members, answer.remarks) == (6, [])
    assert (tmp_path / "elsewhere").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in below.iterdir()) == sorted([*names, "other"])
    assert tree(below / "folder") == tree(made.source / "folder")
    assert (below / "[x]").read_text(encoding="utf-8") == "[x]"
    assert below.stat().st_mode == mode
    assert not list(dest.glob(".restoring*"))


@needs_root
def test_all_over_what_is_there(made: Made, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    below = Path(f"{dest}{made.source}")
    below.mkdir(parents=True)
    (below / "large").write_text("older", encoding="utf-8")
    (dest / "other").touch()
    dest.chmod(0o751)
    answer = restored(made, dest, overwrite=True)
    wanted = without(tree(made.source), b"left.tmp", b"!not")
    assert tree(below) == wanted
    assert answer.members == len(wanted) + 1
    assert sorted(path.name for path in dest.iterdir()) == sorted(["other", made.top.parts[1]])
    assert dest.stat().st_mode & 0o777 == 0o751
    (below / "link").unlink()
    (below / "link").mkdir()
    with pytest.raises(BackupError, match=r"dest has a folder .*link', which is none in the backup: remove it"):
        restored(made, dest, overwrite=True)


def test_a_damaged_file_is_no_restored_folder(made: Made, tmp_path: Path) -> None:
    snapshot, copy = made.copied(tmp_path)
    flip_a_byte(packs(copy)[-1])
    manifest = {**made.manifest, "restic": snapshot.repository.record}
    folder = tmp_path / "backups" / "etc" / made.backup.id
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    backup = Backup("etc", str(folder))
    assert backup.damage is None
    restoring = Restoring(Store(str(tmp_path / "backups")), backup, str(tmp_path / "dest"))
    with pytest.raises(BackupError, match=r"; what could be restored is in .*/dest\.restoring-"):
        restoring.run()
    assert restoring.changed
    assert not (tmp_path / "dest").exists()


# Manifests


@pytest.mark.parametrize(
    "more",
    [
        {"snapshot": "--help"},
        {"snapshot": None},
        {"restic": None},
        {"restic": {"repository": "/r"}},
        {"restic": {"repository": "/r", "password_file": "/p", "environment_file": 1}},
        {"members": None},
        {"paths": None},
        {"paths": ["etc"]},
        {"added_bytes": "1"},
    ],
)
def test_a_damaged_manifest_is_noticed(more: dict[str, t.Any], made: Made, tmp_path: Path) -> None:
    folder = tmp_path / made.backup.id
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({**made.manifest, **more}), encoding="utf-8")
    assert Backup("etc", str(folder)).damage == f"manifest.json is damaged: it is not that of {made.backup.id}"
    assert again(made.backup).damage is None


# Repositories


@pytest.mark.parametrize("address", ["rest:https://me:secret@host/", "s3:http://key:se:cret@host/bucket"])
def test_an_address_with_a_password_is_refused_and_not_told(address: str) -> None:
    with pytest.raises(BackupError, match="repository has a password in it") as found:
        Repository(address, "/password")
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("address", ["", "repository", "./here", "Q", "/null\0byte"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(BackupError, match="give a path that begins with a slash, or an address of restic"):
        Repository(address, "/password")


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("/r", "/r"),
        ("local:/r", "/r"),
        ("sftp:me@host:/r", None),
        ("rest:https://me@host:8000/", None),
        ("b2:b:p", None),
    ],
)
def test_an_address_is_a_folder_or_elsewhere(address: str, folder: str | None) -> None:
    assert Repository(address, "/password").folder == folder


def test_variables_for_restic_are_read_from_a_file(tmp_path: Path) -> None:
    password_file, variables = restic_repository(tmp_path).password_file, tmp_path / "environment"
    text = "# of the vault\n\nAWS_SECRET_ACCESS_KEY=a=b c\nexport QUOTED='x y'\nRESTIC_REPOSITORY=/other\n"
    variables.write_text(text, encoding="utf-8")
    variables.chmod(0o600)
    found = Repository("/r", str(password_file), str(variables)).environment
    assert (found["AWS_SECRET_ACCESS_KEY"], found["QUOTED"], found["RESTIC_REPOSITORY"]) == ("a=b c", "x y", "/r")
    variables.write_text("A=1\nsecret\n", encoding="utf-8")
    with pytest.raises(BackupError) as told:
        dict(Repository("/r", str(password_file), str(variables)).environment)
    assert str(told.value) == f"environment_file is {variables}, whose line 2 is not KEY=VALUE: correct it"


@pytest.mark.parametrize("which", ["password_file", "environment_file"])
def test_a_secret_that_others_can_read_is_refused(which: str, tmp_path: Path) -> None:
    files = {"password_file": tmp_path / "password_file", "environment_file": tmp_path / "environment_file"}
    for path in files.values():
        path.touch(0o600)
    files[which].chmod(0o640)
    repository = Repository("/r", *map(str, files.values()))
    with pytest.raises(BackupError, match=f"^{which} is .*, which has the mode 0640: give it 0600"):
        dict(repository.environment)


def test_a_literal_path_stands_for_itself() -> None:
    assert literal("/a*b/[x]/c?/d\\e") == "/a\\*b/\\[x]/c\\?/d\\\\e"


def test_another_restic_is_waited_for(made: Made, tmp_path: Path) -> None:
    dummy, copy = made.copied(tmp_path)
    repository = dataclasses.replace(made.repository, path=copy)
    here = Repository(str(copy), str(repository.password_file))
    with repository.locked() as other:
        with pytest.raises(BackupError, match=f"^another restic is at work on the repository {copy}: wait for it$"):
            here.forget([made.snapshot.id], prune=True)
        other.kill()
        other.wait()
        # What was killed keeps nobody out.
        waiting(60, lambda: here.forget([made.snapshot.id], prune=True))
    assert repository.ids() == set()
