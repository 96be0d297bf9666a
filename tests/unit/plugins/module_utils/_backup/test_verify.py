# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sqlite3
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils._backup import streams
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import CHECKS, Damaged, Verification

from .backups import (
    COMPRESSIONS,
    as_plain_user,
    compressed,
    decompressed,
    file_of,
    flip_a_byte,
    listing,
    make,
    needs_root,
    open_folder,
    rewrite_manifest,
)

# Of a member, in an archive: its header and so much of its content.
BLOCK = 512


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Some files, one of them large."""
    path = tmp_path / "source"
    path.mkdir()
    for number in range(5):
        (path / f"small{number}").write_text(f"{number}\n" * 50, encoding="utf-8")
    (path / "large").write_bytes(os.urandom(300_000))
    (path / "hard").hardlink_to(path / "small0")
    (path / "link").symlink_to("small0")
    (path / "folder").mkdir()
    return path


def verify(backup: Backup, *checks: str, sample_files: int = 10, database: t.Any = None) -> Verification:
    assert backup.manifest is not None
    verification = Verification(backup.path, backup.manifest["files"], f"{backup.path}.scratch", sample_files)
    verification.run(checks, database)
    return verification


def damage(backup: Backup, *checks: str, sample_files: int = 10) -> str | None:
    try:
        verify(backup, *checks, sample_files=sample_files)
    except Damaged as ex:
        return str(ex)
    return None


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_good_backup_passes_all_checks(tmp_path: Path, source: Path, compression: str) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression=compression)
    before = listing(tmp_path)
    verification = verify(backup, *CHECKS)
    # There are no databases in it.
    assert verification.done == ["checksum", "list", "read", "restore_sample"]
    assert verification.warnings == []
    assert {path: found for path, found in listing(tmp_path).items() if "backups/etc" not in path} == {
        path: found for path, found in before.items() if "backups/etc" not in path
    }
    assert sorted(os.listdir(tmp_path / "backups" / "etc")) == [".lock", backup.id]


# The damages. Each must be found also when the size that the manifest tells is that of the damaged file: the check that
# is named is the only one.

FINDS_A_FLIPPED_BYTE = [
    ("checksum", "zstd"),
    ("list", "zstd"),
    ("read", "zstd"),
    ("restore_sample", "zstd"),
    ("checksum", "gzip"),
    ("list", "gzip"),
    ("read", "gzip"),
    ("restore_sample", "gzip"),
    # Nothing but a checksum knows what a byte in the content of a file was, unless the file is there to compare it.
    ("checksum", "none"),
    ("restore_sample", "none"),
]


@pytest.mark.parametrize(("check", "compression"), FINDS_A_FLIPPED_BYTE)
def test_one_flipped_byte_is_found(tmp_path: Path, source: Path, check: str, compression: str) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression=compression)
    flip_a_byte(file_of(backup))
    assert damage(backup, check)


@pytest.mark.parametrize("check", ["list", "read"])
def test_one_flipped_byte_in_plain_content_is_beyond_list_and_read(tmp_path: Path, source: Path, check: str) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression="none")
    flip_a_byte(file_of(backup))
    assert damage(backup, check) is None


@pytest.mark.parametrize("check", ["list", "read"])
def test_one_flipped_byte_in_a_plain_header_is_found(tmp_path: Path, source: Path, check: str) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression="none")
    content = bytearray(file_of(backup).read_bytes())
    content[content.index(b"small3")] ^= 0xFF
    file_of(backup).write_bytes(content)
    assert damage(backup, check)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("check", CHECKS[:4])
def test_a_cut_is_found_by_the_size_whatever_the_check(
    tmp_path: Path, source: Path, check: str, compression: str
) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression=compression)
    size = file_of(backup).stat().st_size
    os.truncate(file_of(backup), size * 6 // 10)
    assert damage(backup, check) == (
        f"{file_of(backup).name} has {size * 6 // 10} bytes, and had {size} when it was written"
    )


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("check", ["list", "read", "restore_sample"])
def test_a_cut_is_found_also_when_the_manifest_tells_the_size_of_what_is_left(
    tmp_path: Path, source: Path, check: str, compression: str
) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression=compression)
    os.truncate(file_of(backup), file_of(backup).stat().st_size * 6 // 10)
    assert "cannot be read to its end" in str(damage(rewrite_manifest(backup), check))


def boundaries(archive: bytes) -> list[int]:
    """Where the members of an archive end, which tar takes for the end of the archive too."""
    found, place = [], 0
    while archive[place : place + BLOCK].strip(b"\0"):
        size = int(archive[place + 124 : place + 136].strip(b"\0 "), 8)
        kind = archive[place + 156 : place + 157]
        place += BLOCK + -(-size // BLOCK) * BLOCK
        if kind != b"x":
            found.append(place)
    return found


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_cut_at_the_boundary_of_a_member_is_found_by_the_list_alone(
    tmp_path: Path, source: Path, compression: str
) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression=compression)
    archive = decompressed(file_of(backup).read_bytes(), compression)
    *places, end = boundaries(archive)
    assert len(places) > 5
    for place in places:
        file_of(backup).write_bytes(compressed(archive[:place], compression))
        cut = rewrite_manifest(backup)
        # The naive check passes.
        assert damage(cut, "checksum") is None
        members = places.index(place) + 1
        assert (
            damage(cut, "list") == f"{file_of(backup).name} lists {members} members, and {len(places) + 1} were written"
        )
    file_of(backup).write_bytes(compressed(archive[:end], compression))
    assert damage(rewrite_manifest(backup), "list") is None


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_what_was_written_behind_the_end_is_found(tmp_path: Path, source: Path, compression: str) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)], compression=compression)
    with file_of(backup).open("ab") as file:
        file.write(b"garbage")
    assert "bytes, and had" in str(damage(backup, "list"))
    assert damage(rewrite_manifest(backup), "list")


@pytest.mark.parametrize("replacement", ["nothing", "a link", "a folder", "a pipe"])
def test_a_file_that_is_not_there_or_is_none_is_found(tmp_path: Path, source: Path, replacement: str) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)])
    path = file_of(backup)
    path.rename(tmp_path / "moved")
    if replacement == "a link":
        path.symlink_to(tmp_path / "moved")
    elif replacement == "a folder":
        path.mkdir()
    elif replacement == "a pipe":
        os.mkfifo(path)
    for check in CHECKS[:4]:
        assert damage(backup, check)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Backup:
    path = tmp_path_factory.mktemp("kept")
    (path / "source").mkdir()
    return make(path / "backups", paths=[str(path / "source")])


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(change=st.dictionaries(st.sampled_from(["kind", "compression", "bytes", "sha256", "members"]), JSON, min_size=1))
def test_a_manifest_that_says_anything_is_a_damage_and_no_traceback(kept: Backup, change: dict[str, t.Any]) -> None:
    assert kept.manifest is not None
    (record,) = kept.manifest["files"]
    verification = Verification(kept.path, [{**record, **change}], f"{kept.path}.scratch")
    unchanged = all(record[key] == value for key, value in change.items())
    try:
        verification.run(["checksum", "list", "read"])
    except Damaged:
        assert not unchanged
    else:
        assert unchanged or set(change) == {"kind"}


def test_a_program_that_is_not_there_is_no_damage(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)])
    monkeypatch.setattr(streams, "_PATH", str(tmp_path))
    for check in ("list", "read", "restore_sample"):
        with pytest.raises(BackupError, match="is not on this host: install the package") as error:
            verify(backup, check)
        assert not isinstance(error.value, Damaged)
    assert verify(backup, "checksum").done == ["checksum"]


# Samples


def test_a_sample_finds_content_that_changed_though_its_time_did_not(tmp_path: Path, source: Path) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)])
    verify(backup, "restore_sample")
    path = source / "small3"
    before = path.stat()
    path.write_text("4\n" * 50, encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    # What was compared before in this process does not count.
    assert damage(backup, "restore_sample") == f"{path} is not what was restored, though its time and mode are"
    assert damage(backup, "checksum", "list", "read") is None
    assert not Path(f"{backup.path}.scratch").exists()


def test_files_that_have_changed_since_are_not_compared(tmp_path: Path, source: Path) -> None:
    backup = make(tmp_path / "backups", paths=[str(source)])
    (source / "small1").write_text("new", encoding="utf-8")
    (source / "small2").unlink()
    (source / "small3").chmod(0o600)
    (source / "link").unlink()
    (source / "link").symlink_to("small1")
    verification = verify(backup, "restore_sample", sample_files=100)
    # All files and symbolic links, but for the second name of one.
    assert verification.warnings == ["restore_sample: 4 of 7 files have changed since, so they were not compared"]
    assert verification.done == ["restore_sample"]


def test_a_sample_never_has_a_hard_link_without_its_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x", encoding="utf-8")
    for number in range(20):
        (source / f"hard{number}").hardlink_to(source / "file")
    backup = make(tmp_path / "backups", paths=[str(source)])
    for dummy in range(5):
        assert verify(backup, "restore_sample", sample_files=1).warnings == []


def test_a_sample_of_nothing_is_good(tmp_path: Path) -> None:
    (tmp_path / "source" / "empty").mkdir(parents=True)
    backup = make(tmp_path / "backups", paths=[str(tmp_path / "source")])
    assert verify(backup, "restore_sample").done == ["restore_sample"]


def test_a_sample_has_any_name(tmp_path: Path) -> None:
    top = os.fsencode(tmp_path / "source")
    os.mkdir(top)
    for name in (b"a\nb", b"\xff\xfe", b"-C", b"a\\nb", b"end ", b"*", "ü".encode(), b"x -> y", b"\\", b"[a]"):
        Path(os.fsdecode(os.path.join(top, name))).write_bytes(name)
    backup = make(tmp_path / "backups", paths=[os.fsdecode(top)])
    assert verify(backup, "restore_sample", sample_files=20).warnings == []


@needs_root
def test_a_sample_of_a_plain_user_has_the_modes_of_the_files() -> None:
    with open_folder() as folder:
        folder.chmod(0o777)

        def body() -> None:
            os.umask(0o077)
            source = folder / "source"
            source.mkdir()
            (source / "open").write_text("x", encoding="utf-8")
            (source / "open").chmod(0o666)
            backup = make(folder / "backups", paths=[str(source)])
            assert verify(backup, "restore_sample").warnings == []

        as_plain_user(body)


# Databases, of which the tests of each kind tell more


def test_a_dump_is_read_by_its_database(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("create table words (word)")
    connection.executemany("insert into words values (?)", [(f"word {number}" * 20,) for number in range(500)])
    connection.commit()
    connection.close()
    backup = make(
        tmp_path / "backups",
        database={"type": "sqlite", "path": str(path), "names": [], "options": []},
        compression="none",
    )
    assert verify(backup, *CHECKS, database=None).done == ["checksum", "read", "database_read", "database_restore"]
    size = file_of(backup).stat().st_size
    with file_of(backup).open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    assert str(damage(rewrite_manifest(backup), "database_read")).startswith(f"{file_of(backup).name}: ")
    assert damage(backup, "checksum")
    os.truncate(file_of(backup), size * 6 // 10)
    assert damage(rewrite_manifest(backup), "database_read")
    assert sorted(os.listdir(tmp_path / "backups" / "etc")) == [".lock", backup.id]
