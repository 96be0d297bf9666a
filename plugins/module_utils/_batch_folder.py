# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The folder of a batch in the job directory: which jobs it has, whether its supervisor lives, what its jobs log.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs, _processes

# Beside the job files, where async_wrapper never looks. Below it are one folder for each batch, and one for the ids.
FOLDER = ".inflight"
_IDS = "ids"
# What the names of orders to its supervisor end in.
_ORDER = ".order"

_NUMBER = re.compile(r"j[0-9]{1,20}")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,99}")
_JOB_KEYS = frozenset(("jid", "key", "name", "item"))
_MAX_MANIFEST_BYTES = 256 * 1024 * 1024


class BatchError(Exception):
    """A batch cannot be started or found; the message says why and what to do."""


class NoSuchBatch(BatchError):
    """There is no batch of this name."""


def is_batch_id(value: object) -> bool:
    """Whether value can name a batch, and so is safe as the name of a file."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def number_of(jid: str) -> str:
    """The number of the batch that a job with this id would belong to: what stands in front of the dot."""
    return jid.split(".", maxsplit=1)[0]


class BatchFolder:
    """The folder of one batch.

    It holds batch.json (the manifest: what the batch was asked for), lock (held by the supervisor as long as it lives),
    log (a JSON line for each attempt that ended), and what running jobs print.
    """

    def __init__(self, directory: str, number: str) -> None:
        """
        :param directory: the job directory, opened and found good before (JobDirectory).
        :param number: j and digits; the ids of its jobs begin with it.
        """
        if not _NUMBER.fullmatch(number):
            raise ValueError(f"{number!r} is no number of a batch")
        self.directory = directory
        self.number = number
        self.path = os.path.join(directory, FOLDER, number)
        self._ended: dict[str, dict[str, t.Any]] = {}
        self._offset = 0

    @classmethod
    def of_job(cls, directory: str, jid: str) -> BatchFolder | None:
        """The folder of the batch that a job belongs to; None when it belongs to none."""
        number = number_of(jid)
        if not _NUMBER.fullmatch(number):
            return None
        folder = cls(directory, number)
        return folder if folder.exists() else None

    def exists(self) -> bool:
        """Whether there is such a folder, and nobody else could have put it there."""
        return all(_is_ours(path) for path in (os.path.dirname(self.path), self.path))

    def make(self, manifest: dict[str, t.Any]) -> None:
        """Make the folder.

        :param manifest: what Batches.manifest returns later; of JSON types.
        :raises BatchError: when there is one already, or it cannot be made.
        """
        try:
            _make_private(os.path.dirname(self.path))
            os.mkdir(self.path, 0o700)
            with open(self._open("batch.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
                json.dump(manifest, file)
        except OSError as ex:
            raise BatchError(f"cannot make the folder of the batch {self.path}: {ex.strerror}") from ex

    def manifest(self) -> dict[str, t.Any]:
        """What the batch was asked for.

        :raises BatchError: when that cannot be read.
        """
        try:
            with open(self._open("batch.json", os.O_RDONLY), "rb") as file:
                if os.fstat(file.fileno()).st_size > _MAX_MANIFEST_BYTES:
                    raise ValueError
                manifest = json.load(file)
        except OSError as ex:
            raise BatchError(f"cannot read {self.file('batch.json')}: {ex.strerror}") from ex
        except (ValueError, RecursionError):
            manifest = None
        jobs = manifest.get("jobs") if isinstance(manifest, dict) else None
        if not isinstance(jobs, list) or not all(_is_job(job) for job in jobs):
            raise BatchError(f"{self.file('batch.json')} is damaged: give the batch another id")
        return t.cast("dict[str, t.Any]", manifest)

    def supervise(self, *, wait: bool = True) -> int:
        """Become the supervisor, for as long as the returned descriptor, or a copy of it, is open.

        :param wait: whether to wait for whoever is; who only asks for the supervisor is it for a moment as well.
        :raises BlockingIOError: when somebody else is, and we are not to wait.
        :raises OSError: when the file system knows no locks.
        """
        fd = self._open("lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            pid = str(os.getpid()).encode()
            os.ftruncate(fd, 0)
            os.write(fd, pid)
        except OSError:
            os.close(fd)
            raise
        return fd

    def supervisor(self) -> int | None:
        """The pid of the supervisor; None when it does not live."""
        try:
            fd = self._open("lock", os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as ex:
            text = os.read(fd, 32)
            # A lock that cannot be asked for says nothing: then the supervisor counts as alive, and its jobs as open.
            return int(text) if ex.errno in (errno.EAGAIN, errno.EACCES) and text.isdigit() else 0
        finally:
            os.close(fd)
        return None

    def wake_supervisor(self) -> None:
        """Tell the supervisor that there is an order for it."""
        pid = self.supervisor()
        # The pid of the one before stands there until the new one has written its own.
        if pid and _processes.has_open(pid, self.file("lock")):
            _processes.wake(pid)

    def leave_order(self, order: dict[str, t.Any]) -> str:
        """Leave an order for the supervisor, which takes it when it is woken.

        :param order: of JSON types.
        :return: the name of its file, which is there until it is taken.
        :raises OSError: when it cannot be written.
        """
        name = os.urandom(8).hex()
        with open(self._open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
            json.dump(order, file)
        os.rename(self.file(f"{name}.new"), self.file(name + _ORDER))
        return name + _ORDER

    def take_orders(self) -> list[dict[str, t.Any]]:
        """The orders that were left for the supervisor, which are removed. What is none is left out."""
        orders = []
        for name in sorted(os.listdir(self.path)):
            if name.endswith(_ORDER):
                try:
                    with open(self._open(name, os.O_RDONLY), "rb") as file:
                        order = json.load(file)
                except (OSError, ValueError, RecursionError):
                    order = None
                if isinstance(order, dict):
                    orders.append(order)
                self.delete_file(name)
        return orders

    def log(self, jid: str, **fields: t.Any) -> None:
        """Note how an attempt of a job ended; the last line of a job counts."""
        line = json.dumps({"jid": jid, **fields}) + "\n"
        fd = self._open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, line.encode())  # in one piece: other jobs of the batch do the same
        finally:
            os.close(fd)

    def logged(self, jid: str) -> dict[str, t.Any]:
        """What was noted of the last attempt of a job; empty when nothing was."""
        self._read_log()  # also when there is something: there may have been another attempt since
        return self._ended.get(jid, {})

    def _read_log(self) -> None:
        try:
            with open(self._open("log", os.O_RDONLY), "rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    try:
                        entry = json.loads(line)
                        self._ended[entry["jid"]] = entry
                    except (ValueError, TypeError, KeyError, RecursionError):
                        continue
        except OSError:
            return

    def stop_file(self, jid: str) -> str:
        """The path of a file that is there while a job that was told to end has not ended with all of its processes."""
        return self.file(f"{jid}.stop")

    def output_file(self, jid: str) -> str:
        """The path of a file that holds the end of what the program of a running job has printed, if that is kept."""
        return self.file(f"{jid}.output")

    def status_file(self, jid: str) -> str:
        """The path of a file that a job, or whoever works for it, writes to how far it is; the last line counts."""
        return self.file(f"{jid}.status")

    def is_stopped(self, jid: str) -> bool:
        """Whether a job was told to end, and the supervisor will say what became of it."""
        return os.path.lexists(self.stop_file(jid))

    def file(self, name: str) -> str:
        """The path of a file in the folder."""
        return os.path.join(self.path, name)

    def _open(self, name: str, flags: int) -> int:
        # O_NONBLOCK: opening a pipe that somebody left there must not block.
        return os.open(self.file(name), flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)

    def changed_at(self) -> float | None:
        """When a file was last made or deleted in the folder, in seconds of the epoch; None without a folder."""
        try:
            return os.lstat(self.path).st_mtime
        except OSError:
            return None

    def files(self, jids: t.Container[str] | None = None) -> dict[str, int]:
        """Names and sizes in bytes of the files in the folder.

        :param jids: only those that belong to one of these jobs, such as what they printed.
        """
        found = {}
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if jids is None or entry.name.rpartition(".")[0] in jids:
                    with contextlib.suppress(OSError):
                        found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def delete_file(self, name: str) -> None:
        """Delete a file in the folder that nobody needs any more."""
        with contextlib.suppress(OSError):
            os.unlink(self.file(name))

    def delete(self) -> None:
        """Delete the folder of a batch that has ended."""
        if self.exists():
            shutil.rmtree(self.path, ignore_errors=True)


class BatchId:
    """The name of a batch on this host; locked while it is open, so that two runs do not both start it."""

    def __init__(self, directory: str, name: str, keep: bool) -> None:
        """
        :param name: the id that the user gave, or the number of the batch.
        :param keep: whether the name is to be found later; else it serves as a lock alone.
        :raises BatchError: when the name cannot be used, or its file cannot.
        """
        if not is_batch_id(name):
            raise BatchError(f"{name!r} is no id of a batch")
        self._directory = directory
        self._keep = keep
        folder = os.path.join(directory, FOLDER, _IDS)
        self._path = os.path.join(folder, name)
        try:
            _make_private(os.path.dirname(folder))
            _make_private(folder)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as ex:
            raise BatchError(f"cannot use {self._path}: {ex.strerror}") from ex

    def latest(self) -> BatchFolder | None:
        """The last batch of this name; None when there is none."""
        try:
            number = os.pread(self._fd, 64, 0).decode("ascii", "replace")
        except OSError:  # it is no file
            return None
        if not _NUMBER.fullmatch(number):
            return None
        folder = BatchFolder(self._directory, number)
        return folder if folder.exists() else None

    def set_latest(self, folder: BatchFolder) -> None:
        """Make this the last batch of this name."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, folder.number.encode(), 0)

    def __enter__(self) -> BatchId:
        return self

    def __exit__(self, *dummy_exception: object) -> None:
        if not self._keep:
            with contextlib.suppress(FileNotFoundError):  # another run waited for the lock, and was faster
                os.unlink(self._path)
        os.close(self._fd)


def numbers(directory: str) -> set[str]:
    """The numbers of all batches that have a folder in a job directory."""
    try:
        return {name for name in os.listdir(os.path.join(directory, FOLDER)) if _NUMBER.fullmatch(name)}
    except OSError:
        return set()


def find(directory: str, name: str) -> BatchFolder:
    """The last batch of this name.

    :raises BatchError: when there is none.
    """
    if not is_batch_id(name):
        raise BatchError(f"{name!r} is no id of a batch")
    path = os.path.join(directory, FOLDER, _IDS, name)
    if os.path.lexists(path):
        with BatchId(directory, name, keep=True) as batch_id:
            folder = batch_id.latest()
        if folder is not None:
            return folder
    raise NoSuchBatch(f"there is no batch {name!r} in the job directory {directory}")


def _is_job(value: object) -> bool:
    return isinstance(value, dict) and _JOB_KEYS.issubset(value) and _jobs.is_job_id(value["jid"])


def _make_private(path: str) -> None:
    """Make a folder that nobody else can enter, if there is none.

    :raises BatchError: when there is one that somebody else could write to.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if not _is_ours(path):
        raise BatchError(f"{path} belongs to somebody else, or others may write to it: remove it")


def _is_ours(path: str) -> bool:
    """Whether path is a folder of ours (or of the owner of the job directory) that nobody else can write to."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    owner = os.stat(os.path.dirname(path)).st_uid
    private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), owner) and private
