# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The folder that the backups of a host are in: their names, manifests and locks.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import calendar
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import time
import typing as t
import uuid

MANIFEST = "manifest.json"
# The engine whose backups are snapshots in a repository, and have no files here.
RESTIC = "restic"
VERIFICATION = "verification.json"

# A manifest is larger only when somebody else wrote it.
_LARGEST_MANIFEST = 16 * 1024 * 1024

_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
_SNAPSHOT = re.compile(r"[0-9a-f]{64}")


class BackupError(Exception):
    """A backup cannot be made, read or removed; the message says why, in one sentence without a full stop."""


def moment(seconds: float) -> str:
    """A time since the epoch as text, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def check_set_name(name: str, what: str = "the name of a backup set") -> None:
    """
    :param what: what has this name, if it is something else with the same rules.
    :raises BackupError: when this cannot be the name of a backup set.
    """
    if not _is_set_name(name):
        raise BackupError(
            f"{what} is {name!r}: use letters, digits, dots, dashes and underscores, "
            "100 at most, the first of them a letter or a digit, and no .partial, .deleted or .scratch at the end"
        )


def _is_set_name(name: str) -> bool:
    return bool(_SET.fullmatch(name)) and not name.endswith((".partial", ".deleted", ".scratch"))


def _is_id(name: str) -> bool:
    try:
        return bool(_ID.fullmatch(name)) and _started(name) >= 0
    except ValueError:
        return False  # there is no such day


def _started(backup_id: str) -> float:
    return float(calendar.timegm(time.strptime(backup_id[:16], "%Y%m%dT%H%M%SZ")))


def write_json(path: str, content: t.Mapping[str, t.Any]) -> None:
    """Have the content in this file on the disk; no reader ever sees half of it."""
    fresh = f"{path}.{uuid.uuid4().hex}"
    try:
        with open(fresh, "x", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Have the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: str) -> dict[str, t.Any]:
    """
    :raises BackupError: when it is not a JSON object in a file of sane size.
    """
    name = os.path.basename(path)
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(path, "rb", opener=lambda name, dummy: os.open(name, flags)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_MANIFEST:
                raise BackupError(f"{name} is no file that a backup was made with")
            content = json.loads(file.read(_LARGEST_MANIFEST))
    except OSError as ex:
        raise BackupError(f"{name} cannot be read: {ex.strerror}") from ex
    except (ValueError, RecursionError) as ex:
        raise BackupError(f"{name} is damaged: it is not JSON") from ex
    if not isinstance(content, dict):
        raise BackupError(f"{name} is damaged: it holds no object")
    return content


class Backup:
    """A backup that was finished.

    id: the name of its folder. started: seconds since the epoch, from its name. manifest: None when it cannot be read.
    damage: why it is not whole, if that is known.
    """

    def __init__(self, set_name: str, path: str) -> None:
        self.set_name = set_name
        self.path = path
        self.id = os.path.basename(path)
        self.started = _started(self.id)
        self.manifest: dict[str, t.Any] | None = None
        self.damage: str | None = None
        self._checks: list[str] = []
        try:
            self.manifest = self._checked(read_json(os.path.join(path, MANIFEST)))
            self._checks = [str(check) for check in self.manifest["checks"]]
            if os.path.lexists(os.path.join(path, VERIFICATION)):
                last = read_json(os.path.join(path, VERIFICATION))
                if not isinstance(last.get("checks"), list):
                    raise BackupError(f"{VERIFICATION} is damaged: it has no checks")
                self.damage = str(last["damage"]) if last.get("damage") else None
                self._checks = sorted({*self._checks, *map(str, last["checks"])})
        except BackupError as ex:
            self.damage = str(ex)

    def _checked(self, manifest: dict[str, t.Any]) -> dict[str, t.Any]:
        files = manifest.get("files")
        good = (
            manifest.get("version") == 1
            and manifest.get("id") == self.id
            and _is_number(manifest.get("bytes"))
            and isinstance(manifest.get("checks"), list)
            and all(manifest.get(key) is None or isinstance(manifest[key], kind) for key, kind in _TOLD.items())
            and isinstance(files, list)
            and all(isinstance(file, dict) and _is_record(file) for file in files)
            and (manifest.get("engine") != RESTIC or _is_snapshot(manifest))
        )
        if not good:
            raise BackupError(f"{MANIFEST} is damaged: it is not that of {self.id}")
        return manifest

    @property
    def verified(self) -> bool:
        """Whether it passed a check, and no later one found a damage."""
        return bool(self._checks) and not self.damage

    @property
    def bytes(self) -> int:
        """The size of its files, as the manifest tells it; of a snapshot that of what it is of."""
        return int(self.manifest["bytes"]) if self.manifest else 0

    def record_verification(self, checks: t.Iterable[str], damage: str | None) -> None:
        """Remember what a later check of it found."""
        names = sorted(checks)
        found = {"at": moment(time.time()), "checks": names, "damage": damage}
        write_json(os.path.join(self.path, VERIFICATION), found)
        self.damage = damage
        self._checks = sorted({*self._checks, *names})

    def report(self) -> dict[str, t.Any]:
        """What modules tell of it."""
        manifest = self.manifest or {}
        return {
            "set": self.set_name,
            "id": self.id,
            "path": self.path,
            "bytes": self.bytes,
            "verified": self.verified,
            "checks": self._checks,
            "damage": self.damage,
            **{key: manifest.get(key) for key in (*_TOLD, "files")},
        }


# What else a manifest tells of a backup.
_TOLD: dict[str, t.Any] = {
    "host": str,
    "engine": str,
    "started_at": str,
    "ended_at": str,
    "seconds": (int, float),
    "members": int,
    "warnings": list,
    "snapshot": str,
    "added_bytes": int,
}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _is_record(file: dict[str, t.Any]) -> bool:
    return (
        _is_plain(file.get("name"))
        and isinstance(file.get("kind"), str)
        and file.get("compression") in ("zstd", "gzip", "none")
        and _is_number(file.get("bytes"))
        and isinstance(file.get("sha256"), str)
        and (file.get("members") is None or _is_number(file["members"]))
    )


def _is_snapshot(manifest: dict[str, t.Any]) -> bool:
    where, paths, snapshot = (manifest.get(key) for key in ("restic", "paths", "snapshot"))
    return (
        isinstance(where, dict)
        and isinstance(where.get("repository"), str)
        and isinstance(where.get("password_file"), str)
        and (where.get("environment_file") is None or isinstance(where["environment_file"], str))
        # It is an argument of restic.
        and isinstance(snapshot, str)
        and bool(_SNAPSHOT.fullmatch(snapshot))
        and _is_number(manifest.get("members"))
        and isinstance(paths, list)
        and all(isinstance(path, str) and path.startswith("/") and "\0" not in path for path in paths)
    )


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and bool(name) and "/" not in name and "\0" not in name and not name.startswith(".")


class Unfinished:
    """A backup that is being written.

    path: the folder for its files.
    """

    def __init__(self, folder: str, started: float) -> None:
        """
        :param folder: that of its set.
        """
        self.started = started
        second = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))
        # The names tell the order, also that of backups which were begun in one second.
        taken = [int(name[17:23], 16) for name in os.listdir(folder) if _ID.match(name) and name.startswith(second)]
        number = max(taken) + 1 if taken else int(uuid.uuid4().hex[:6], 16) // 2
        self.id = f"{second}-{number:06x}"
        self._final = os.path.join(folder, self.id)
        self.path = f"{self._final}.partial"
        os.mkdir(self.path, 0o700)

    def finish(self, set_name: str, manifest: t.Mapping[str, t.Any]) -> Backup:
        """Give it its final name. Its files are on the disk already."""
        write_json(os.path.join(self.path, MANIFEST), {"version": 1, "id": self.id, **manifest})
        os.rename(self.path, self._final)
        sync_folder(os.path.dirname(self._final))
        return Backup(set_name, self._final)

    def discard(self) -> None:
        """Remove what was written, as far as it is still there."""
        shutil.rmtree(self.path, ignore_errors=True)


class Store:
    """The folder that the backups of a host are in. Each set has a folder in it.

    directory: its path, without symbolic links.
    """

    def __init__(self, directory: str) -> None:
        """
        :raises BackupError: when the path is not absolute.
        """
        if not os.path.isabs(directory) or "\0" in directory:
            raise BackupError(f"directory is {directory!r}: give a path that begins with a slash")
        self.directory = os.path.realpath(directory)

    def prepare(self, set_name: str) -> None:
        """Make the folder of a set.

        :raises BackupError: when it cannot be made, or when others could change what is in it.
        """
        check_set_name(set_name)
        for path in (self.directory, self._folder(set_name)):
            try:
                os.makedirs(path, 0o700, exist_ok=True)
                found = os.lstat(path)
            except OSError as ex:
                raise BackupError(f"the folder {path} cannot be made: {ex.strerror}") from ex
            if stat.S_ISLNK(found.st_mode):
                raise BackupError(f"{path} is a symbolic link: remove it, and give the folder itself as directory")
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise BackupError(
                    f"others can change what is in {path}: give it to the user that makes the backups, with mode 0700"
                )

    def sets(self) -> list[str]:
        """The names of the sets that there are."""
        return [name for name in self._listed(self.directory) if _is_set_name(name) and self._is_folder(name)]

    def backups(self, set_name: str) -> list[Backup]:
        """The finished backups of a set, the oldest first; none of a set that is not there."""
        check_set_name(set_name)
        return [
            Backup(set_name, os.path.join(self._folder(set_name), name))
            for name in self._listed(self._folder(set_name))
            if _is_id(name) and self._is_folder(os.path.join(set_name, name))
        ]

    def find(self, set_name: str, backup_id: str | None = None) -> Backup:
        """A backup of a set, the newest that was verified when it is not named.

        :raises BackupError: when it is not there.
        """
        backups = self.backups(set_name)
        if backup_id is None:
            verified = [backup for backup in backups if backup.verified]
            if not verified:
                raise BackupError(f"there is no verified backup of the set {set_name} in {self.directory}")
            return verified[-1]
        for backup in backups:
            if backup.id == backup_id:
                return backup
        known = ", ".join(backup.id for backup in backups[-3:]) or "none"
        raise BackupError(f"id is {backup_id!r}: the newest backups of the set {set_name} are {known}")

    def begin(self, set_name: str, started: float) -> Unfinished:
        """Begin a backup of a set whose folder is there.

        :raises BackupError: when nothing can be written there.
        """
        try:
            return Unfinished(self._folder(set_name), started)
        except OSError as ex:
            raise BackupError(f"the folder {self._folder(set_name)} cannot be written to: {ex.strerror}") from ex

    def sweep(self, set_name: str, max_age: float) -> list[str]:
        """Remove what interrupted runs have left of a set.

        :param max_age: how old it must be, in seconds.
        :returns: what was removed.
        """
        removed = []
        for name in self._listed(self._folder(set_name)):
            stem, dummy, suffix = name.rpartition(".")
            path = os.path.join(self._folder(set_name), name)
            if suffix in ("partial", "deleted", "scratch") and _ID.fullmatch(stem):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - os.lstat(path).st_mtime >= max_age:
                        shutil.rmtree(path, ignore_errors=True)
                        if not os.path.lexists(path):
                            removed.append(name)
        return removed

    def remove(self, backup: Backup) -> None:
        """Remove a backup. Half of it is never taken for a whole one."""
        gone = f"{backup.path}.deleted"
        os.rename(backup.path, gone)
        # Else a crash could bring half of it back under its good name.
        sync_folder(os.path.dirname(gone))
        shutil.rmtree(gone)

    @contextlib.contextmanager
    def lock(self, set_name: str, wait: float = 0.0) -> t.Iterator[None]:
        """Keep others from changing a set whose folder is there.

        :param wait: how long to wait for them, in seconds.
        :raises BackupError: when they have not ended by then.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(os.path.join(self._folder(set_name), ".lock"), flags, 0o600)
        except OSError as ex:
            raise BackupError(f"the lock of the set {set_name} cannot be taken: {ex.strerror}") from ex
        try:
            end = time.monotonic() + wait
            while not _locked(fd):
                if time.monotonic() >= end:
                    raise BackupError(f"another run is at work on the set {set_name}: wait for it, or set lock_wait")
                time.sleep(0.2)
            yield
        finally:
            os.close(fd)

    def _folder(self, set_name: str) -> str:
        return os.path.join(self.directory, set_name)

    def _listed(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except OSError as ex:
            raise BackupError(f"the folder {path} cannot be read: {ex.strerror}") from ex

    def _is_folder(self, name: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(os.path.join(self.directory, name)).st_mode)
        except OSError:
            return False


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as ex:
        if ex.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True
