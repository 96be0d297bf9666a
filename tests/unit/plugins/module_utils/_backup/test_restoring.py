# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import os
import shlex
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._backup import restoring
from ansible_collections.inflight.jobs.plugins.module_utils._backup.restoring import Restored, Restoring
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, BackupError, Store

from ...conftest import exit_code, fork
from .backups import (
    COMPRESSIONS,
    NOBODY,
    again,
    as_plain_user,
    file_of,
    flip_a_byte,
    listing,
    make,
    mounted,
    needs,
    needs_root,
    open_folder,
    put_archive,
    tree,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    for name in ("etc/a", "etc/b", "var/c"):
        put(path / name, name)
    return path


@pytest.fixture
def backup(tmp_path: Path, source: Path) -> Backup:
    return make(tmp_path / "backups", paths=[str(source)])


def put(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def opened(backup: Backup, dest: Path | str, *paths: Path | str, overwrite: bool = False) -> Restoring:
    store = Store(str(Path(backup.path).parent.parent))
    return Restoring(store, backup, str(dest), [str(path) for path in paths], overwrite)


def restore(backup: Backup, dest: Path | str, *paths: Path | str, overwrite: bool = False) -> Restored:
    return opened(backup, dest, *paths, overwrite=overwrite).run()


def refusal(backup: Backup, dest: Path | str, *paths: Path | str, overwrite: bool = False) -> str:
    """Why something is not restored. Nothing may have been written for that."""
    place = Path(backup.path).parent.parent.parent
    before = listing(place)
    for way in ("plan", "run"):
        with pytest.raises(BackupError) as error:
            getattr(opened(backup, dest, *paths, overwrite=overwrite), way)()
    assert listing(place) == before
    return str(error.value)


def below(dest: Path, path: Path) -> Path:
    """Where a path is after it was restored."""
    return Path(f"{dest}{path}")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }


# All that a file has


def make_hostile_names(top: Path) -> None:
    folder = os.fsencode(top)
    names = (
        *(b"new\nline", b"\xff\xfe", "grün ☃".encode(), b"-dash", b"--remove-files", b"back\\slash", b"back\\nslash"),
        *(b"space ", b" ", b"x -> y", b"x link to y", b"*", b"[a]", b"'", b'"', b"\t", b"\x7f", b"\x01", b"n" * 255),
    )
    for name in names:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(name)
    deep = folder
    for dummy in range(15):
        deep = os.path.join(deep, b"d" * 200)
        os.mkdir(deep)
    Path(os.fsdecode(os.path.join(deep, b"end"))).write_bytes(b"x")


def make_everything(top: Path) -> None:
    """Everything that a file can be or have, as far as this user may make it."""
    top.mkdir()
    (top / "names").mkdir()
    make_hostile_names(top / "names")
    put(top / "modes" / "set").chmod(0o6755)
    # Only root can read a file that nobody may read.
    put(top / "modes" / "none").chmod(0o400 if os.geteuid() else 0)
    (top / "modes" / "sticky").mkdir()
    (top / "modes" / "sticky").chmod(0o1777)
    put(top / "modes" / "shut" / "x")
    put(top / "links" / "first", "linked")
    (top / "links" / "second").hardlink_to(top / "links" / "first")
    (top / "else").mkdir()
    (top / "else" / "third").hardlink_to(top / "links" / "first")
    (top / "links" / "relative").symlink_to("first")
    (top / "links" / "absolute").symlink_to("/etc/passwd")
    (top / "links" / "upwards").symlink_to("../../..")
    (top / "links" / "dangling").symlink_to("x\ny")
    os.mkfifo(top / "links" / "pipe", 0o640)
    (top / "empty").mkdir()
    put(top / "empty file", "")
    with put(top / "sparse").open("wb") as file:
        file.seek(20_000_000)
        file.write(b"end")
        file.truncate(30_000_000)
    os.utime(top / "links" / "first", ns=(1, 981_173_106_123_456_789))
    os.utime(top / "links" / "relative", ns=(1, 5_000_000_001), follow_symlinks=False)
    if os.geteuid() == 0:
        os.chown(top / "modes" / "none", 12345, 54321)
        os.chown(top / "links" / "relative", 12345, 54321, follow_symlinks=False)
        os.mknod(top / "links" / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (top / "modes" / "shut").chmod(0o555)
    os.utime(top / "modes", ns=(1, 1_000_000_000_000_000_001))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_restored_is_what_was_backed_up(tmp_path: Path, compression: str) -> None:
    source = tmp_path / "source"
    make_everything(source)
    backup = make(tmp_path / "backups", paths=[str(source)], compression=compression)
    dest = tmp_path / "dest"
    restored = restore(backup, dest)
    assert tree(below(dest, source)) == tree(source)
    assert restored.members == len(tree(source))
    assert restored.remarks == []
    assert backup.manifest is not None
    assert restored.members == backup.manifest["members"]
    assert below(dest, source / "sparse").stat().st_blocks * 512 < 1_000_000
    assert below(dest, source / "links" / "second").stat().st_nlink == 3
    # diff takes any two pipes and devices for different.
    skip = ["--exclude=pipe", "--exclude=device"]
    assert subprocess.run(["diff", "-r", "--no-dereference", *skip, source, below(dest, source)], check=True)


@needs("setfacl", "acl")
@needs("setfattr", "attr")
def test_acls_and_extended_attributes_are_restored(tmp_path: Path) -> None:
    source = tmp_path / "source"
    put(source / "file")
    put(source / "folder" / "x")
    try:
        os.setxattr(source / "file", "user.empty", b"")
    except OSError as ex:
        pytest.skip(f"this filesystem has no extended attributes: {ex.strerror}")
    subprocess.run(["setfattr", "-n", "user.origin", "-v", "0x00ff0a", source / "file"], check=True)
    subprocess.run(["setfattr", "-n", "user.name", "-v", "grün", source / "folder"], check=True)
    subprocess.run(["setfacl", "-m", "u:12345:rw,g:54321:r", source / "file"], check=True)
    subprocess.run(["setfacl", "-m", "d:u:12345:rwx", source / "folder"], check=True)
    if os.geteuid() == 0:
        # What a file with capabilities has: cap_net_raw.
        os.setxattr(source / "file", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    backup = make(tmp_path / "backups", paths=[str(source)])
    restore(backup, tmp_path / "dest")
    found = tree(source)
    assert {"system.posix_acl_access", "user.empty", "user.origin"} <= set(found[b"file"][-1])
    assert {"system.posix_acl_default", "user.name"} <= set(found[b"folder"][-1])
    assert tree(below(tmp_path / "dest", source)) == found


@needs_root
def test_a_plain_user_gets_all_but_the_owners() -> None:
    with open_folder() as folder:
        folder.chmod(0o1777)  # as /tmp

        def body() -> None:
            os.umask(0o077)
            source = folder / "source"
            make_everything(source)
            backup = make(folder / "backups", paths=[str(source)])
            dest = folder / "dest"
            restore(backup, dest)
            assert tree(below(dest, source)) == tree(source)

        as_plain_user(body)


@needs_root
def test_a_plain_user_becomes_the_owner_of_what_others_had() -> None:
    with open_folder() as folder:
        folder.chmod(0o1777)  # as /tmp
        put(folder / "source" / "file").chmod(0o664)
        backup = make(folder / "backups", paths=[str(folder / "source")])
        subprocess.run(["chown", "-R", str(NOBODY), folder / "backups"], check=True)
        as_plain_user(lambda: restore(backup, folder / "dest"))
        found = below(folder / "dest", folder / "source" / "file").stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o664)


@needs_root
def test_what_cannot_be_restored_does_not_keep_the_rest_from_it() -> None:
    with open_folder() as folder:
        folder.chmod(0o1777)  # as /tmp
        put(folder / "source" / "file", "good")
        os.mknod(folder / "source" / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        backup = make(folder / "backups", paths=[str(folder / "source")])
        subprocess.run(["chown", "-R", str(NOBODY), folder / "backups"], check=True)

        def body() -> None:
            attempt = opened(backup, folder / "dest")
            with pytest.raises(BackupError, match=r"^tar ended with 2: .*device: Cannot mknod") as error:
                attempt.run()
            # What may be incomplete has not the name that was asked for.
            assert not (folder / "dest").exists()
            (left,) = folder.glob("dest.restoring-*")
            assert str(error.value).endswith(f"; what could be restored is in {left}")
            assert below(left, folder / "source" / "file").read_text(encoding="utf-8") == "good"
            assert attempt.changed

        as_plain_user(body)


# Where to


def test_a_new_folder_is_closed_to_others_and_an_empty_one_stays_as_it_was(
    tmp_path: Path, source: Path, backup: Backup
) -> None:
    restore(backup, tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty").chmod(0o751)
    if os.geteuid() == 0:
        os.chown(tmp_path / "empty", 12345, 54321)
    before = (tmp_path / "empty").stat()
    restore(backup, tmp_path / "empty")
    after = (tmp_path / "empty").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert contents(below(tmp_path / "empty", source)) == contents(source)
    assert not list(tmp_path.glob("*.restoring-*"))


def test_a_symbolic_link_to_a_folder_is_as_good_as_the_folder(tmp_path: Path, source: Path, backup: Backup) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    attempt = opened(backup, tmp_path / "link")
    attempt.run()
    assert attempt.dest == str(tmp_path / "real")
    assert contents(below(tmp_path / "real", source)) == contents(source)
    assert (tmp_path / "link").is_symlink()


def test_a_folder_that_is_not_empty_is_left_alone_unless_told_otherwise(
    tmp_path: Path, source: Path, backup: Backup
) -> None:
    dest = tmp_path / "dest"
    put(dest / "mine")
    why = f"dest is {dest}, which is not empty: give another folder, or set overwrite"
    assert refusal(backup, dest) == why
    restore(backup, dest, overwrite=True)
    assert contents(below(dest, source)) == contents(source)
    assert (dest / "mine").exists()


def test_places_that_are_none_are_refused(tmp_path: Path, backup: Backup) -> None:
    put(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "backups")
    assert refusal(backup, "dest") == "dest is 'dest': give a path that begins with a slash"
    assert (
        refusal(backup, tmp_path / "a" / "b") == f"dest is {tmp_path}/a/b, and the folder for it is not there: make it"
    )
    assert refusal(backup, tmp_path / "file", overwrite=True) == (
        f"dest is {tmp_path}/file, which is no folder: give a folder, or a path that is not there"
    )
    where = f"which is inside of {tmp_path}/backups, where the backups are"
    for dest in ("backups", "backups/etc", "backups/new", "link/new"):
        real = str(tmp_path / dest).replace("link", "backups")
        assert refusal(backup, tmp_path / dest, overwrite=True) == f"dest is {real}, {where}"


@needs_root
def test_a_mount_point_is_restored_to_only_in_place(tmp_path: Path, source: Path, backup: Backup) -> None:
    with mounted(tmp_path / "mount") as dest:
        why = "which cannot be replaced, as it is a mount point: give another folder, or set overwrite"
        assert refusal(backup, dest) == f"dest is {dest}, {why}"
        restore(backup, dest, overwrite=True)
        assert contents(below(dest, source)) == contents(source)


@needs_root
def test_a_full_filesystem_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    source = tmp_path / "source"
    put(source / "large").write_bytes(os.urandom(2_000_000))
    backup = make(tmp_path / "backups", paths=[str(source)])
    with mounted(tmp_path / "mount") as place:
        with pytest.raises(BackupError, match="there is no room for the files in "):
            restore(backup, place / "dest")
        assert list(place.iterdir()) == []
    output = make(tmp_path / "backups", command=f"cat {source}/large")
    with mounted(tmp_path / "mount") as place:
        with pytest.raises(OSError, match="No space left on device") as error:
            restore(output, place / "dest")
        assert error.value.errno == errno.ENOSPC
        assert list(place.iterdir()) == []


# Some paths


def test_some_paths_of_an_archive_are_restored(tmp_path: Path, source: Path, backup: Backup) -> None:
    dest = tmp_path / "dest"
    restored = restore(backup, dest, source / "etc", f"{source}/var/../var/c")
    assert contents(below(dest, source)) == contents(source)
    assert (restored.members, restored.size) == (4, 3 * len("etc/a"))
    assert restore(backup, tmp_path / "one", source / "etc" / "b").members == 1
    assert contents(below(tmp_path / "one", source)) == {"etc/b": "etc/b"}
    # A folder above the one that was backed up, one inside of another, and everything.
    assert restore(backup, tmp_path / "above", tmp_path).members == 6
    assert restore(backup, tmp_path / "both", source, source / "etc").members == 6
    assert restore(backup, tmp_path / "all", "/").members == 6


def test_a_path_that_is_not_in_the_archive_is_refused_before_anything_is_written(
    tmp_path: Path, source: Path, backup: Backup
) -> None:
    for name in ("missing", "et", "etc/a/x", "etc/*"):
        path = source / name
        why = f"paths has {str(path)!r}, which the backup {backup.id} does not have"
        assert refusal(backup, tmp_path / "dest", source / "var", path) == why
    assert refusal(backup, tmp_path / "dest", "etc") == "paths has 'etc': give paths that begin with a slash"


def test_paths_of_any_name_are_restored(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    make_hostile_names(source)
    backup = make(tmp_path / "backups", paths=[str(source)])
    names = [path for path in source.iterdir() if path.is_file()]
    for number, path in enumerate(names):
        dest = tmp_path / f"dest{number}"
        assert restore(backup, dest, path).members == 1
        assert below(dest, path).read_bytes() == path.read_bytes()


def test_a_hard_link_is_not_restored_without_its_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    put(source / "a" / "one", "linked")
    (source / "b").mkdir()
    (source / "b" / "two").hardlink_to(source / "a" / "one")
    backup = make(tmp_path / "backups", paths=[str(source / "a"), str(source / "b")])
    link, file = (str(source / name) for name in ("b/two", "a/one"))
    assert refusal(backup, tmp_path / "dest", source / "b") == (
        f"{link!r} is a hard link to {file!r} in the backup: give that in paths too"
    )
    restore(backup, tmp_path / "dest", source / "b", source / "a" / "one")
    assert below(tmp_path / "dest", source / "b" / "two").read_text(encoding="utf-8") == "linked"


def test_paths_of_a_backup_of_the_root_folder_are_restored(tmp_path: Path, source: Path, backup: Backup) -> None:
    archive = subprocess.check_output(["tar", "--create", "--format=posix", "--directory", source, "."])
    backup = put_archive(backup, archive, 6)
    restore(backup, tmp_path / "dest", "/etc", "/var/c")
    assert contents(tmp_path / "dest") == contents(source)
    restore(backup, tmp_path / "all")
    assert tree(tmp_path / "all") == tree(source)
    put(tmp_path / "over" / "etc" / "a", "old")
    restore(backup, tmp_path / "over", "/etc/a", overwrite=True)
    assert contents(tmp_path / "over") == {"etc/a": "etc/a"}


def test_paths_are_for_archives(tmp_path: Path) -> None:
    backup = make(tmp_path / "backups", command="echo x")
    why = f"paths is for archives, and the backup {backup.id} has none: leave it out"
    assert refusal(backup, tmp_path / "dest", "/x") == why


# Over what is there


def test_files_are_replaced_and_what_the_backup_does_not_have_stays(
    tmp_path: Path, source: Path, backup: Backup
) -> None:
    dest = tmp_path / "dest"
    there = below(dest, source)
    put(there / "etc" / "a", "old").chmod(0o400)
    put(there / "etc" / "mine", "mine")
    put(tmp_path / "elsewhere", "elsewhere")
    # Another name of a file, and what a symbolic link leads to, are not what is replaced.
    (there / "etc" / "b").hardlink_to(tmp_path / "elsewhere")
    (there / "var").mkdir()
    (there / "var" / "c").symlink_to(tmp_path / "elsewhere")
    attempt = opened(backup, dest, overwrite=True)
    plan = attempt.plan()
    restored = attempt.run()
    assert (plan.members, plan.size) == (restored.members, restored.size)
    assert contents(there) == {**contents(source), "etc/mine": "mine"}
    assert (tmp_path / "elsewhere").read_text(encoding="utf-8") == "elsewhere"
    assert not (there / "var" / "c").is_symlink()
    assert stat.S_IMODE((there / "etc" / "a").stat().st_mode) == stat.S_IMODE((source / "etc" / "a").stat().st_mode)
    assert not list(tmp_path.glob("*.restoring-*"))


@pytest.mark.parametrize("paths", [[], ["etc/a"]])
def test_a_symbolic_link_in_the_place_of_a_folder_is_never_followed(
    tmp_path: Path, source: Path, backup: Backup, paths: list[str]
) -> None:
    dest = tmp_path / "dest"
    there = below(dest, source)
    there.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (there / "etc").symlink_to(tmp_path / "elsewhere")
    shown = repr(str(source / "etc")[1:])
    why = f"dest has a symbolic link {shown}, which is a folder in the backup: remove it"
    assert refusal(backup, dest, *(source / path for path in paths), overwrite=True) == why
    # It is in the way of nothing here.
    restore(backup, dest, source / "var", overwrite=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_above_all_members_is_not_followed_either(tmp_path: Path, source: Path, backup: Backup) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (dest / source.parts[1]).symlink_to(tmp_path / "elsewhere")
    assert "dest has a symbolic link" in refusal(backup, dest, overwrite=True)


def test_a_folder_and_a_file_never_take_the_place_of_each_other(tmp_path: Path, source: Path, backup: Backup) -> None:
    dest = tmp_path / "dest"
    there = below(dest, source)
    put(there / "etc", "a file")
    assert "dest has a file" in refusal(backup, dest, overwrite=True)
    (there / "etc").unlink()
    (there / "etc" / "a").mkdir(parents=True)
    assert "dest has a folder" in refusal(backup, dest, overwrite=True)


def test_a_hostile_archive_writes_nothing_outside(tmp_path: Path, source: Path, backup: Backup) -> None:
    put(tmp_path / "in" / "x", "evil")
    create = ["tar", "--create", "--format=posix", "--absolute-names", "--directory", tmp_path / "in"]

    def archive(name: str) -> bytes:
        return subprocess.check_output([*create, f"--transform=s|^x$|{name}|", "x"])

    with pytest.raises(BackupError, match=r"Member name contains '\.\.'"):
        restore(put_archive(backup, archive("../escaped"), 1), tmp_path / "dest")
    assert not list(tmp_path.glob("**/escaped"))
    dest = tmp_path / "another"
    restore(put_archive(backup, archive(f"{tmp_path}/escaped"), 1), dest)
    assert list(tmp_path.glob("**/escaped")) == [below(dest, tmp_path / "escaped")]


# Damage and interruption


def test_a_damaged_backup_is_not_restored(tmp_path: Path, source: Path, backup: Backup) -> None:
    start = f"the backup {backup.id} of the set etc is damaged and is not restored: "
    content = file_of(backup).read_bytes()
    flip_a_byte(file_of(backup))
    assert refusal(backup, tmp_path / "dest").startswith(f"{start}files.tar.zst has the checksum ")
    os.truncate(file_of(backup), 10)
    size = f"files.tar.zst has 10 bytes, and had {len(content)} when it was written"
    assert refusal(backup, tmp_path / "dest") == start + size
    file_of(backup).write_bytes(content)
    assert refusal(put_archive(backup, b"\0" * 10240, 6), tmp_path / "dest").startswith(f"{start}files.tar.zst lists 0")
    backup.record_verification([], "it fell down")
    assert refusal(again(backup), tmp_path / "dest") == f"{start}it fell down"
    Path(backup.path, "verification.json").unlink()
    Path(backup.path, "manifest.json").write_text("{}", encoding="utf-8")
    assert refusal(again(backup), tmp_path / "dest").startswith(f"{start}manifest.json is damaged")


def test_an_interrupted_restore_never_looks_finished(
    tmp_path: Path, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "dest"

    def end_here(*dummy: object) -> t.NoReturn:
        os._exit(9)

    def body() -> None:
        monkeypatch.setattr(restoring.os, "rename", end_here)
        restore(backup, dest)

    # Like kill -9, when all is there but for the name.
    assert exit_code(fork(body)) == 9
    assert not dest.exists()
    assert len(list(tmp_path.glob("dest.restoring-*"))) == 1

    # It is in the way of nothing.
    restore(backup, dest)


def test_what_was_begun_is_removed_when_it_is_told_to_end(
    tmp_path: Path, backup: Backup, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "etc").chmod(0o500)
    dest = tmp_path / "dest"

    def end_here(*dummy: object) -> t.NoReturn:
        assert list(tmp_path.glob("dest.restoring-*"))
        raise SystemExit(143)

    monkeypatch.setattr(restoring.os, "rename", end_here)
    with pytest.raises(SystemExit):
        restore(backup, dest)
    assert not list(tmp_path.glob("dest*"))


def test_a_plan_writes_nothing(tmp_path: Path, source: Path, backup: Backup) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "full" / "x")
    before = listing(tmp_path)
    assert opened(backup, tmp_path / "dest").plan().members == 6
    assert opened(backup, tmp_path / "empty").plan().size is None
    plan = opened(backup, tmp_path / "dest", source / "etc").plan()
    assert (plan.members, plan.size) == (3, 10)
    assert opened(backup, tmp_path / "full", overwrite=True).plan().members == 6
    assert listing(tmp_path) == before


# Dumps


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_a_command_wrote_becomes_a_file(tmp_path: Path, compression: str) -> None:
    backup = make(tmp_path / "backups", command="seq 100000", compression=compression)
    wanted = "".join(f"{number}\n" for number in range(1, 100001))
    restored = restore(backup, tmp_path / "dest")
    assert contents(tmp_path / "dest") == {"output": wanted}
    assert restored == Restored(1, len(wanted), [], [])
    assert stat.S_IMODE((tmp_path / "dest" / "output").stat().st_mode) == 0o600
    put(tmp_path / "over" / "output", "old").chmod(0o644)
    put(tmp_path / "over" / "mine", "mine")
    assert "which is not empty" in refusal(backup, tmp_path / "over")
    restore(backup, tmp_path / "over", overwrite=True)
    assert contents(tmp_path / "over") == {"output": wanted, "mine": "mine"}
    assert stat.S_IMODE((tmp_path / "over" / "output").stat().st_mode) == 0o600
    (tmp_path / "folder" / "output").mkdir(parents=True)
    assert "output is a folder, and a file in the backup" in refusal(backup, tmp_path / "folder", overwrite=True)


def test_a_dump_never_goes_through_a_symbolic_link(tmp_path: Path) -> None:
    backup = make(tmp_path / "backups", command="echo x")
    put(tmp_path / "elsewhere", "elsewhere")
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest" / "output").symlink_to(tmp_path / "elsewhere")
    restore(backup, tmp_path / "dest", overwrite=True)
    assert (tmp_path / "elsewhere").read_text(encoding="utf-8") == "elsewhere"
    assert contents(tmp_path / "dest") == {"output": "x\n"}


def test_the_commands_that_load_dumps_are_told(tmp_path: Path) -> None:
    backup = make(tmp_path / "backups", command="echo x", compression="gzip")
    assert backup.manifest is not None
    (record,) = backup.manifest["files"]
    name = "it's; $(x) `y`\n"
    files = []
    for file, kind in (("globals.sql", "globals"), ("a b.dump", "pg_dump"), ("c.sql", "sql"), ("d", "sqlite")):
        Path(backup.path, f"{file}.gz").write_bytes(file_of(backup).read_bytes())
        files.append({**record, "name": f"{file}.gz", "kind": kind, "database": name})
    manifest = {**backup.manifest, "files": files}
    Path(backup.path, "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    dest = tmp_path / "to load"
    restored = restore(again(backup), dest)
    assert [shlex.split(command) for command in restored.commands] == [
        ["psql", "--dbname=postgres", f"--file={dest}/globals.sql"],
        ["pg_restore", "--create", "--dbname=postgres", f"{dest}/a b.dump"],
        ["mariadb", name, "<", f"{dest}/c.sql"],
    ]
    assert set(contents(dest)) == {"globals.sql", "a b.dump", "c.sql", "d"}
    assert restored.members == 4


def test_a_folder_that_others_can_swap_is_refused(tmp_path: Path, backup: Backup) -> None:
    shared = tmp_path / "shared"
    (shared / "below").mkdir(parents=True)
    shared.chmod(0o777)
    for dest in (shared / "dest", shared / "below" / "dest"):
        assert refusal(backup, dest).startswith(f"dest is {dest}, and others can change what is in {shared}: ")
    # As it is not empty, it would be restored in place.
    told = refusal(backup, shared, overwrite=True)
    assert told.startswith(f"dest is {shared}, and others can change what is in {shared}: ")
    assert told.endswith("restore to another folder, or take the right to write from others")
    if os.geteuid() == 0:
        os.chown(shared, -1, 4711)
        shared.chmod(0o775)
        assert "others can change" in refusal(backup, shared, overwrite=True)
    shared.chmod(0o1777)
    restore(backup, shared / "dest")
