# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Restores a backup to a folder of choice.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import stat
import tempfile
import typing as t
import uuid

from ansible_collections.inflight.jobs.plugins.module_utils._backup import tar
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import SUFFIXES, Record, decompression
from ansible_collections.inflight.jobs.plugins.module_utils._backup.snapshots import UNKNOWN, Snapshot
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import (
    Backup,
    BackupError,
    Store,
    sync_folder,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, Pipeline, Program, run
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import Damaged, Verification

# Looked at before anything is restored.
_CHECKS = ("checksum", "list")
# tar could not do something, and went on with the next member.
_FAILED = 2
# What restic says when it did the same.
_SOME_ERRORS = "Fatal: There were "
# What it says when a filesystem is full.
_FULL = ("No space left on device", "Wrote only", "Disk quota exceeded")
# How many of the complaints of tar are told.
_SHOWN = 10
# So many folders that were looked at are remembered: the members of a folder are beside each other in an archive.
_REMEMBERED = 4096


class Restored(t.NamedTuple):
    """What was restored, or would be.

    members: how many files and folders. size: of the files, in bytes; None when it is not known. remarks: what tar
    complained about. commands: those that load the dumps into a database.
    """

    members: int
    size: int | None
    remarks: list[str]
    commands: list[str]


class Restoring:
    """The restoring of one backup.

    backup: the one that is restored. dest: where to, without symbolic links. changed: whether anything was written that
    is still there, also when it failed.
    """

    def __init__(
        self,
        store: Store,
        backup: Backup,
        dest: str,
        paths: t.Sequence[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """
        :param paths: what to restore of an archive, as it was called when it was backed up; all when left out.
        :param overwrite: whether to restore over what is in dest.
        :raises BackupError: when this cannot be restored, or not there.
        """
        if backup.manifest is None or backup.damage:
            raise _damaged(backup, str(backup.damage))
        self.backup = backup
        self.changed = False
        self._files: list[Record] = backup.manifest["files"]
        self._snapshot = Snapshot.of(backup.manifest)
        self._paths: list[str] = backup.manifest["paths"] if self._snapshot else []
        self._chosen = _Chosen.of(paths or ())
        has_members = self._snapshot or any(record.get("kind") == tar.KIND for record in self._files)
        if paths and not has_members:
            raise BackupError(f"paths is for archives, and the backup {backup.id} has none: leave it out")
        if not os.path.isabs(dest) or "\0" in dest:
            raise BackupError(f"dest is {dest!r}: give a path that begins with a slash")
        self.dest = os.path.realpath(dest)
        self._in_place = self._expect_room(store, overwrite)

    def _expect_room(self, store: Store, overwrite: bool) -> bool:
        """Whether to restore over what is there."""
        dest = self.dest
        if os.path.commonpath([dest, store.directory]) == store.directory:
            raise BackupError(f"dest is {dest}, which is inside of {store.directory}, where the backups are")
        _expect_safe(dest, os.path.dirname(dest))
        try:
            found = os.lstat(dest)
        except FileNotFoundError:
            if not os.path.isdir(os.path.dirname(dest)):
                raise BackupError(f"dest is {dest}, and the folder for it is not there: make it") from None
            return False
        if not stat.S_ISDIR(found.st_mode):
            raise BackupError(f"dest is {dest}, which is no folder: give a folder, or a path that is not there")
        with os.scandir(dest) as entries:
            is_empty = next(entries, None) is None
        if is_empty and not os.path.ismount(dest):
            return False
        if not overwrite:
            what = "cannot be replaced, as it is a mount point" if is_empty else "is not empty"
            raise BackupError(f"dest is {dest}, which {what}: give another folder, or set overwrite")
        # Beside a folder that is restored anew nobody else can write; into this one its owner can.
        _expect_safe(dest, dest)
        return True

    def plan(self) -> Restored:
        """Look whether it can be restored, and what. Changes nothing.

        :raises BackupError: when it cannot be restored.
        """
        if self._snapshot:
            return self._plan_snapshot(self._snapshot)
        try:
            Verification(self.backup.path, self._files, "").run(_CHECKS)
        except Damaged as ex:
            raise _damaged(self.backup, str(ex)) from ex
        members, size, known = 0, 0, True
        for record in self._files:
            if record["kind"] != tar.KIND:
                self._expect_no_folder(record)
                members += 1
                known = known and record["compression"] == "none"
                size += record["bytes"]
            elif self._chosen or self._in_place:
                found = self._look(record)
                members, size = members + found[0], size + found[1]
            else:
                members, known = members + record["members"], False
        return Restored(members, size if known else None, [], self._commands())

    def _plan_snapshot(self, snapshot: Snapshot) -> Restored:
        """Like plan(). When it restores, restic itself compares all that it reads with its checksums."""
        seen = 0

        def nodes() -> t.Iterator[tar.Member]:
            nonlocal seen
            for node in snapshot.nodes():
                seen += 1
                if self._in_place and UNKNOWN.encode() in node.name:
                    raise BackupError(f"{_shown(node.name)} is called otherwise, not in UTF-8: restore to a new folder")
                yield node

        try:
            members, size = self._counted(nodes())
            if seen != snapshot.members:
                raise Damaged(f"the snapshot lists {seen} files and folders, and {snapshot.members} were written")
        except Damaged as ex:
            raise _damaged(self.backup, str(ex)) from ex
        if self._chosen:
            self._chosen.expect_all(self.backup.id)
        return Restored(members, size, [], [])

    def run(self) -> Restored:
        """Restore it.

        :raises BackupError: when that fails; OSError when something cannot be written.
        """
        plan = self.plan()
        if self._in_place:
            self.changed = not self._snapshot
            return self._restore_to(self.dest)
        # One that is interrupted must not look as if all was there.
        fresh = f"{self.dest}.restoring-{uuid.uuid4().hex[:6]}"
        os.mkdir(fresh, 0o700)
        try:
            restored = self._restore_to(fresh)
            if self._snapshot:
                restored = restored._replace(members=plan.members, size=plan.size)
            run(Program(["sync", "-f", fresh]))
            _make_alike(self.dest, fresh)
            os.rename(fresh, self.dest)
            self.changed = True
        except _Incomplete as ex:
            self.changed = True
            raise BackupError(f"{ex}; what could be restored is in {fresh}") from ex
        except BaseException:
            _discard(fresh)
            raise
        sync_folder(os.path.dirname(self.dest))
        return restored

    def _restore_to(self, folder: str) -> Restored:
        if self._snapshot:
            return self._restore_over(self._snapshot) if self._in_place else self._restore_fresh(self._snapshot, folder)
        members, size = 0, 0
        remarks: list[str] = []
        for record in self._files:
            if record["kind"] == tar.KIND:
                found, found_size, complaints = self._extract(record, folder)
                members, size = members + found, size + found_size
                remarks += complaints
            else:
                members, size = members + 1, size + self._unpack(record, folder)
        return Restored(members, size, remarks, self._commands())

    def _restore_fresh(self, snapshot: Snapshot, folder: str) -> Restored:
        end = snapshot.restore(
            folder, [os.fsdecode(b"/" + name) for name in self._chosen.found] if self._chosen else []
        )
        if end.exit_code and any(words in end.complaints for words in _FULL):
            raise BackupError(f"there is no room for the files in {folder}: {snapshot.repository.error(end)}")
        if end.exit_code:
            raise (_Incomplete if _SOME_ERRORS in end.complaints else BackupError)(str(snapshot.repository.error(end)))
        return Restored(0, None, [], [])

    def _restore_over(self, snapshot: Snapshot) -> Restored:
        """Restore it beside what is there, and have tar put it over that.

        restic itself would write through links.
        """
        fresh = os.path.join(self.dest, f".restoring-{uuid.uuid4().hex[:6]}")
        os.mkdir(fresh, 0o700)
        try:
            self._restore_fresh(snapshot, fresh)
            paths = [tar.path_of(os.fsencode(path)) for path in self._paths]
            names = [name for name in (self._chosen.found if self._chosen else paths) if _is_below(fresh, name)]
            self.changed = True
            with Pipeline([tar.copying(fresh, names), tar.extracting(self.dest)]) as pipeline:
                return Restored(*self._extracted(pipeline, self.dest), [])
        finally:
            _discard(fresh)

    def _opened(self, record: Record, *programs: Program) -> Pipeline:
        chain = [*decompression(record["compression"]), *programs] or [Program(["cat"])]
        return Pipeline(chain, source=os.path.join(self.backup.path, record["name"]))

    def _look(self, record: Record) -> tuple[int, int]:
        """How many members of an archive are to be restored, and their size.

        :raises BackupError: when one cannot be.
        """
        with self._opened(record, tar.detailed_listing()) as pipeline:
            count, size = self._counted(tar.members(pipeline))
        _expect_success(pipeline)
        if self._chosen:
            self._chosen.expect_all(self.backup.id)
        return count, size

    def _counted(self, members: t.Iterable[tar.Member]) -> tuple[int, int]:
        count, size = 0, 0
        ground = _Ground(self.dest) if self._in_place else None
        for member in members:
            if self._chosen and not self._chosen.has(member):
                continue
            if ground:
                ground.expect_room_for(member)
            count += 1
            size += member.size if member.kind == "-" else 0
        return count, size

    def _extract(self, record: Record, folder: str) -> tuple[int, int, list[str]]:
        with tempfile.NamedTemporaryFile() as names:
            if self._chosen:
                names.write(b"".join(name + b"\0" for name in self._chosen.found))
                names.flush()
            with self._opened(record, tar.extracting(folder, names.name if self._chosen else None)) as pipeline:
                return self._extracted(pipeline, folder)

    def _extracted(self, pipeline: Pipeline, folder: str) -> tuple[int, int, list[str]]:
        """See to it that tar extracts an archive; how many members, their size, and what it complained about."""
        count, size = 0, 0
        for member in tar.members(pipeline):
            count += 1
            size += member.size if member.kind == "-" else 0
        made = pipeline.ends[-1]
        if made.exit_code and any(words in made.complaints for words in _FULL):
            raise BackupError(f"there is no room for the files in {folder}: {made.reason()}")
        _expect_success(pipeline, _Incomplete if made.exit_code == _FAILED else BackupError)
        return count, size, _told(made)

    def _unpack(self, record: Record, folder: str) -> int:
        """Write what is in a file that is no archive; how many bytes that were."""
        path = os.path.join(folder, _plain_name(record))
        fresh = f"{path}.restoring-{uuid.uuid4().hex[:6]}"
        size = 0
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                with self._opened(record) as pipeline:
                    for chunk in pipeline.chunks():
                        size += file.write(chunk)
                _expect_success(pipeline)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
        return size

    def _expect_no_folder(self, record: Record) -> None:
        path = os.path.join(self.dest, _plain_name(record))
        if os.path.isdir(path) and not os.path.islink(path):
            raise BackupError(f"{path} is a folder, and a file in the backup: remove it, or give another dest")

    def _commands(self) -> list[str]:
        found = (_command(record, os.path.join(self.dest, _plain_name(record))) for record in self._files)
        return [command for command in found if command]


class _Incomplete(BackupError):
    """Some members could not be restored, all others were."""


class _Chosen:
    """Those members of an archive that are at some paths, or below them.

    found: the names by which tar knows those paths.
    """

    def __init__(self, paths: t.Mapping[bytes, str]) -> None:
        """
        :param paths: as they are in the archive, and as they were given.
        """
        self._paths = paths
        self._missing = dict(paths)
        self.found: set[bytes] = set()

    @classmethod
    def of(cls, paths: t.Sequence[str]) -> _Chosen | None:
        """
        :returns: None when all members are to be restored.
        :raises BackupError: when this cannot be a path.
        """
        for path in paths:
            if not os.path.isabs(path) or "\0" in path:
                raise BackupError(f"paths has {path!r}: give paths that begin with a slash")
        found = {tar.path_of(os.fsencode(os.path.normpath(path))): path for path in paths}
        return cls(found) if found and b"" not in found else None

    def _above(self, path: bytes) -> list[bytes]:
        """Those of the paths that this path is at or below, the nearest to it first."""
        parts = path.split(b"/")
        names = (b"/".join(parts[:count]) for count in range(len(parts), 0, -1))
        return [name for name in names if name in self._paths]

    def has(self, member: tar.Member) -> bool:
        """Whether this member is among them.

        :raises BackupError: when it is a hard link to a file that is not.
        """
        above = self._above(member.path)
        if not above:
            return False
        if member.target is not None and not self._above(tar.path_of(member.target)):
            raise BackupError(
                f"{_shown(b'/' + member.path)} is a hard link to {_shown(b'/' + tar.path_of(member.target))} "
                "in the backup: give that in paths too"
            )
        for name in above:
            self._missing.pop(name, None)
        # tar counts a member for one of the names only, and complains about the others.
        self.found.add((b"./" if member.name.startswith(b"./") else b"") + above[-1])
        return True

    def expect_all(self, backup_id: str) -> None:
        """
        :raises BackupError: when one of the paths is not in the archive.
        """
        for path in self._missing.values():
            raise BackupError(f"paths has {path!r}, which the backup {backup_id} does not have")


class _Ground:
    """A folder that an archive is extracted to, with what is in it.

    tar goes through a symbolic link that it finds where an archive has a folder, unless the archive has that folder as
    a member of its own.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.fsencode(folder)
        self._mode = functools.lru_cache(maxsize=_REMEMBERED)(self._look)

    def _look(self, path: bytes) -> int | None:
        try:
            return os.lstat(os.path.join(self._folder, path)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None

    def expect_room_for(self, member: tar.Member) -> None:
        """
        :raises BackupError: when a member cannot take its place without that something else is lost, or would be
            written elsewhere.
        """
        path = member.path
        folders = [path[:index] for index, letter in enumerate(path) if letter == ord("/")]
        if member.kind == "d" and path:
            folders.append(path)
        for folder in folders:
            mode = self._mode(folder)
            if mode is not None and not stat.S_ISDIR(mode):
                what = "symbolic link" if stat.S_ISLNK(mode) else "file"
                raise BackupError(f"dest has a {what} {_shown(folder)}, which is a folder in the backup: remove it")
        mode = self._mode(path) if path else None
        if member.kind != "d" and mode is not None and stat.S_ISDIR(mode):
            raise BackupError(f"dest has a folder {_shown(path)}, which is none in the backup: remove it")


def _damaged(backup: Backup, why: str) -> BackupError:
    return BackupError(f"the backup {backup.id} of the set {backup.set_name} is damaged and is not restored: {why}")


def _shown(path: bytes) -> str:
    """A path in a message. It may hold anything."""
    return repr(path.decode("utf-8", "backslashreplace"))


def _expect_success(pipeline: Pipeline, error: type[BackupError] = BackupError) -> None:
    failed = [end for end in reversed(pipeline.ends) if end.exit_code]
    if failed:
        raise error(failed[0].reason())


def _told(end: End) -> list[str]:
    lines = tar.complaints(end)
    return lines[:_SHOWN] + ([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])


def _make_alike(model: str, folder: str) -> None:
    """Give a folder the owner and mode of another, if that is there."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.lstat(model)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, found.st_uid, found.st_gid)
        os.fchmod(fd, stat.S_IMODE(found.st_mode))
    except FileNotFoundError:
        pass
    finally:
        os.close(fd)


def _expect_safe(dest: str, path: str) -> None:
    """
    :param path: the first folder to look at; those that it is in follow.
    :raises BackupError: when others could put something else in the place of a folder while it is restored.
    """
    above = ""
    while path != above:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(path)
            foreign = found.st_uid not in (0, os.geteuid())
            # The group of a user alone has the number of that user.
            rights = 0o002 if found.st_gid in (0, found.st_uid) else 0o022
            if foreign or (found.st_mode & rights and not found.st_mode & stat.S_ISVTX):
                instead = "become the user that it belongs to" if foreign else "take the right to write from others"
                raise BackupError(
                    f"dest is {dest}, and others can change what is in {path}: restore to another folder, or {instead}"
                )
        path, above = os.path.dirname(path), path


def _discard(folder: str) -> None:
    """Remove what was restored. It may have folders that their owner cannot write to."""
    for path, folders, dummy in os.walk(folder):
        for name in folders:
            below = os.path.join(path, name)
            if not os.path.islink(below):
                with contextlib.suppress(OSError):
                    os.chmod(below, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _is_below(folder: str, name: bytes) -> bool:
    return os.path.lexists(os.path.join(os.fsencode(folder), name))


def _plain_name(record: Record) -> str:
    """The name of a file of a backup when it is not compressed any more."""
    name, suffix = str(record["name"]), SUFFIXES[record["compression"]]
    return name[: -len(suffix)] if suffix and name.endswith(suffix) else name


def _command(record: Record, path: str) -> str | None:
    """What loads a dump into a database; None when it is not one, or a database itself."""
    quoted, name = shlex.quote(path), shlex.quote(str(record.get("database") or "NAME"))
    commands = {
        "pg_dump": f"pg_restore --create --dbname=postgres {quoted}",
        "globals": f"psql --dbname=postgres --file={quoted}",
        "sql": f"mariadb {name} < {quoted}",
    }
    return commands.get(record["kind"])
