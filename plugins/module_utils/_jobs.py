# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The job directory: names of jobs, safe reading and deleting of job files, the state that a job file tells.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import re
import stat
import time
import typing as t

SUCCEEDED = "succeeded"
FAILED = "failed"
TIMED_OUT = "timed_out"
CANCELLED = "cancelled"
LOST = "lost"
MISSING = "missing"
UNREADABLE = "unreadable"
NOT_STARTED = "not_started"
RUNNING = "running"
QUEUED = "queued"

STATES = (SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, LOST, MISSING, UNREADABLE, NOT_STARTED, RUNNING, QUEUED)
OPEN_STATES = frozenset((RUNNING, QUEUED))

# A file that is not JSON, and was changed less than so many seconds ago, is taken for one that is still being written.
SETTLED_AFTER = 5.0

# What async_wrapper writes a result to before it is the job file; left there when it was killed just then.
TEMPORARY = ".tmp"

# A result that is larger than this is not read: it would have to be held several times over in memory on both sides.
MAX_JOB_FILE_BYTES = 16 * 1024 * 1024

# The years 1 and 9999.
_FIRST_MOMENT = -62135596800.0
_LAST_MOMENT = 253402300799.0

_JOB_ID = re.compile(r"j?[0-9]+\.[0-9]+")
_OPEN_KEYS = frozenset(("started", "finished", "ansible_job_id"))
# What the jobs of a batch write beside those: which process runs them, or 0 while they wait for their turn.
_OUR_OPEN_KEYS = frozenset(("process",))
_TIMED_OUT_KEYS = frozenset(("msg", "failed", "child_pid"))
# What stands in the job file of a job that has no result of its module, because we ended it or it vanished.
_VERDICT_KEYS = frozenset(("failed", "msg", "inflight_state"))


class JobDirectoryError(Exception):
    """The job directory as a whole cannot be used; the message says why and what to do."""


def is_job_id(value: object) -> bool:
    """Whether value is a job id as async_wrapper makes it, and so safe as the name of a file."""
    # \Z by way of fullmatch: '$' would let a newline at the end through.
    return isinstance(value, str) and len(value) <= 64 and _JOB_ID.fullmatch(value) is not None


def is_marker(data: t.Mapping[str, t.Any], jid: str) -> bool:
    """Whether data is what stands in a job file before the result, and not a result that has the same keys."""
    return (
        _OPEN_KEYS.issubset(data)
        and _OUR_OPEN_KEYS.issuperset(set(data) - _OPEN_KEYS)
        and bool(data.get("started"))
        and not data.get("finished")
        and data.get("ansible_job_id", jid) == jid
    )


def marker(jid: str, process: t.Sequence[t.Any] | None = None) -> bytes:
    """What the job file of a job in a batch holds until there is a result; core's async_status reads it as well.

    :param process: what _processes.identity says of the process that runs it; None while it waits for its turn.
    """
    # Always as long as that, so that it can be changed in place, and with all that changes in strings of digits and
    # letters: who reads it just then may get a mixture of both, and that is a marker as well.
    pid, started, boot = process or (0, 0.0, "")
    identity = f'["{pid:010d}", "{started or 0.0:016.2f}", "{boot:36.36}"]'
    return f'{{"started": 1, "finished": 0, "ansible_job_id": "{jid}", "process": {identity}}}'.encode("ascii")


def _process_in(data: t.Mapping[str, t.Any]) -> list[t.Any] | None:
    """The process that a marker names, as marker was given it; None where it names none."""
    try:
        pid, started, boot = data["process"]
        return [int(pid), float(started), boot]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def verdict(state: str, reason: str, result: t.Mapping[str, t.Any] | None = None) -> bytes:
    """What the job file of a job holds that was ended or lost.

    :param result: what its module said all the same, for example when a program was ended and the module was not.
    """
    said = {} if result is None else {"result": result}
    return json.dumps({"failed": True, "msg": reason, "inflight_state": state, **said}).encode()


def is_verdict(result: t.Mapping[str, t.Any]) -> bool:
    """Whether this is no result of a module, but what verdict wrote; what the module said is its result then."""
    return set(result) - {"result"} == _VERDICT_KEYS and result["inflight_state"] in (TIMED_OUT, CANCELLED, LOST)


def state_of_result(result: t.Mapping[str, t.Any]) -> str:
    """The state that a whole result tells: succeeded, failed or timed_out; of a verdict the state that it names."""
    if set(result) == _TIMED_OUT_KEYS and result["msg"] == "Timeout exceeded":
        return TIMED_OUT
    if is_verdict(result):
        return str(result["inflight_state"])
    if result.get("failed"):
        return FAILED
    # Modules that say nothing but a return code: core takes it for a failure as well.
    if "failed" not in result and result.get("rc") not in (None, 0, "0"):
        return FAILED
    return SUCCEEDED


def iso(moment: float) -> str:
    """Seconds of the epoch as an ISO 8601 UTC string with milliseconds."""
    # Some file systems keep times that no calendar has.
    there = datetime.datetime.fromtimestamp(min(max(moment, _FIRST_MOMENT), _LAST_MOMENT), datetime.timezone.utc)
    return there.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JobFile(t.NamedTuple):
    """What one look at a job file found.

    state: any but not_started, going by the file alone.
    reason: why it is missing or unreadable.
    settling: whether it only counts as running because it is no JSON yet and was changed a moment ago.
    text: the file's text, where it holds a result.
    modified: time of the last change in seconds of the epoch by the host's clock; None without a file.
    owner: user id of the file's owner; None without a file.
    process: which process runs it, as _processes.identity says it; None for jobs that async_wrapper runs.
    """

    state: str
    reason: str = ""
    settling: bool = False
    text: str | None = None
    modified: float | None = None
    owner: int | None = None
    process: list[t.Any] | None = None


class JobDirectory:
    """One job directory, opened once; files are reached through its descriptor, so nobody can swap it under us."""

    def __init__(self, path: str) -> None:
        """Open the directory, or remember that there is none.

        :param path: the directory; a leading ~ is expanded as async_wrapper does it.
        :raises JobDirectoryError: when it cannot be opened, or lies where any local user could replace it.
        """
        self._fd: int | None = None
        self.path = os.path.abspath(os.path.expanduser(path))
        self.warnings: list[str] = []
        self.owner: int | None = None
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as ex:
            raise JobDirectoryError(
                f"cannot open the job directory {self.path}: {ex.strerror}; "
                "wait as the user who started the jobs (become_user)"
            ) from ex
        self._look_at_permissions(os.fstat(self._fd))

    def _look_at_permissions(self, found: os.stat_result) -> None:
        self.owner = found.st_uid
        parent = os.path.dirname(os.path.realpath(self.path))
        mode = os.stat(parent).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise JobDirectoryError(
                f"the job directory {self.path} lies in {parent}, which every local user may write to and which has no "
                "sticky bit: anyone could put another directory in its place; set async_dir to a directory of your own"
            )
        if found.st_mode & stat.S_IWOTH:
            self.warnings.append(
                f"Every local user may write to the job directory {self.path}: results could be forged or deleted. "
                "Set its mode to 0700."
            )
        elif found.st_uid not in (0, os.geteuid()):
            self.warnings.append(
                f"The job directory {self.path} belongs to user id {found.st_uid}, not to the user who waits: "
                "its owner could forge results. Wait as the user who started the jobs (become_user)."
            )
        elif found.st_mode & stat.S_IXOTH and _reachable_by_all(parent):
            self.warnings.append(
                f"Every local user may read the results in the job directory {self.path}. Set its mode to 0700."
            )

    @classmethod
    def create(cls, path: str) -> JobDirectory:
        """Open the directory, and make it first where there is none.

        :raises JobDirectoryError: when it cannot be made or used.
        """
        path = os.path.abspath(os.path.expanduser(path))
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as ex:
            raise JobDirectoryError(f"cannot make the job directory {path}: {ex.strerror}; set async_dir") from ex
        return cls(path)

    def descriptors(self) -> list[int]:
        """What a process that was forked from this one must keep open to go on using this object."""
        return [] if self._fd is None else [self._fd]

    def create_marker(self, jid: str) -> None:
        """Make the job file of a job that waits for its turn.

        :raises OSError: when it cannot be made, or there is one already.
        """
        self._write(jid, os.O_EXCL | os.O_CREAT, marker(jid))

    def change_marker(self, jid: str, process: t.Sequence[t.Any] | None) -> None:
        """Note which process runs a job, or that it waits for its turn again.

        In place: ext4 starts to write to the disk whenever a file replaces another, which takes a millisecond.

        :raises OSError: when there is no job file.
        """
        self._write(jid, 0, marker(jid, process))

    def end_marker(self, jid: str, data: bytes) -> None:
        """Put a result that is no longer than a marker in the place of one: a full disk has space for that.

        :raises OSError: when there is no job file, or the result is longer.
        """
        size = len(marker(jid))
        if len(data) > size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._write(jid, 0, data.ljust(size))

    def _write(self, jid: str, flags: int, data: bytes) -> None:
        flags |= os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(jid, flags, 0o600, dir_fd=self._fd)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def write_result(self, jid: str, path: str, data: bytes) -> None:
        """Put a result into a job file, in one step for whoever reads it.

        :param path: a file on the same filesystem to write it to first.
        :raises OSError: when it cannot be written.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)
        self.move_in(jid, path)

    def overrule(self, jid: str, data: bytes) -> None:
        """Put a result into the job file of a job that async_wrapper started, and that has ended without one of ours.

        :raises OSError: when it cannot be written.
        """
        if not is_job_id(jid):
            raise ValueError(f"{jid!r} is no job id")
        temporary = jid + TEMPORARY
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self._fd)  # async_wrapper was killed while it wrote there
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600, dir_fd=self._fd), "wb") as file:
            file.write(data)
        os.rename(temporary, jid, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def move_in(self, jid: str, path: str) -> None:
        """Make a whole file of this filesystem the job file."""
        if not is_job_id(jid):
            raise ValueError(f"{jid!r} is no job id")
        os.rename(path, jid, dst_dir_fd=self._fd)

    def running(self) -> list[str]:
        """Ids of all jobs whose job file says that they run or wait for their turn, oldest first."""
        found = []
        for name in self.ids():
            try:
                # A job file that says no more than "running" is short: results need not be opened.
                if os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_size > 256:
                    continue
            except OSError:
                continue
            job_file = self.read(name)
            if job_file.state in OPEN_STATES:
                found.append((job_file.modified, name))
        return [name for dummy, name in sorted(found)]

    def ids(self) -> list[str]:
        """Ids of all jobs that have a job file, in no order."""
        return [] if self._fd is None else [name for name in os.listdir(self._fd) if is_job_id(name)]

    def read(self, jid: str) -> JobFile:
        """Read one job file without following links and without trusting what it holds.

        :param jid: a job id; anything else is a mistake of the caller.
        :raises ValueError: when jid is no job id.
        """
        if not is_job_id(jid):
            raise ValueError(f"{jid!r} is no job id")
        if self._fd is None:
            return JobFile(MISSING, "there is no job directory " + self.path)
        try:
            # O_NONBLOCK: opening a pipe that somebody left there must not block.
            fd = os.open(jid, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        except FileNotFoundError:
            return JobFile(MISSING, "there is no job file " + self.file(jid))
        except OSError as ex:
            # ELOOP is Linux, EMLINK is FreeBSD
            reason = "a symbolic link" if ex.errno in (errno.ELOOP, errno.EMLINK) else os.strerror(ex.errno or 0)
            return JobFile(UNREADABLE, f"the job file {self.file(jid)} cannot be read: {reason}")
        try:
            return self._read(jid, fd)
        except OSError as ex:
            return JobFile(UNREADABLE, f"the job file {self.file(jid)} cannot be read: {ex.strerror}")
        finally:
            os.close(fd)

    def _read(self, jid: str, fd: int) -> JobFile:
        found = os.fstat(fd)

        def unreadable(reason: str) -> JobFile:
            reason = f"the job file {self.file(jid)} {reason}"
            return JobFile(UNREADABLE, reason, modified=found.st_mtime, owner=found.st_uid)

        def no_result(reason: str) -> JobFile:
            if 0 <= time.time() - found.st_mtime < SETTLED_AFTER:
                return JobFile(RUNNING, settling=True, modified=found.st_mtime, owner=found.st_uid)
            return unreadable(reason)

        if not stat.S_ISREG(found.st_mode):
            return unreadable("is not a regular file")
        if found.st_uid not in (os.geteuid(), self.owner):
            return unreadable(f"belongs to user id {found.st_uid}, who could have forged it")
        if found.st_size > MAX_JOB_FILE_BYTES:
            return unreadable(f"has {found.st_size} bytes, more than the limit of {MAX_JOB_FILE_BYTES}")
        chunks = []
        left = MAX_JOB_FILE_BYTES
        while left > 0:
            chunk = os.read(fd, min(left, 1024 * 1024))
            if not chunk:
                break
            chunks.append(chunk)
            left -= len(chunk)
        text = b"".join(chunks).decode("utf-8", "replace")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return no_result("is empty" if not text else "is not JSON")
        if not isinstance(data, dict):
            return no_result("is JSON, but not an object")
        if is_marker(data, jid):
            process = _process_in(data)
            state = QUEUED if process and process[0] == 0 else RUNNING
            return JobFile(state, modified=found.st_mtime, owner=found.st_uid, process=process)
        return JobFile(state_of_result(data), text=text, modified=found.st_mtime, owner=found.st_uid)

    def is_full(self) -> bool:
        """Whether no result can be written because the filesystem has no space or no inodes left."""
        if self._fd is None:
            return False
        found = os.fstatvfs(self._fd)
        # Some filesystems do not count inodes: they have none in all.
        return not found.f_bavail or (found.f_files > 0 and not found.f_favail)

    def signature(self, jid: str) -> tuple[int, int, int] | None:
        """Something that changes whenever a job file does; None when there is no such file."""
        try:
            found = os.stat(jid, dir_fd=self._fd, follow_symlinks=False) if self._fd is not None else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_mtime_ns, found.st_size)

    def own(self, jid: str, suffix: str = "") -> os.stat_result | None:
        """What is known of a job file that is a regular file of ours; None of anything else, which is never deleted.

        :param suffix: of a file beside the job file.
        """
        if self._fd is None or not is_job_id(jid):
            return None
        try:
            found = os.stat(jid + suffix, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) and found.st_uid in (os.geteuid(), self.owner) else None

    def delete(self, jid: str, suffix: str = "") -> bool:
        """Delete one job file, if it is a regular file of ours; True when it is gone by our hand.

        :param suffix: of a file beside the job file, which is deleted instead.
        """
        if self.own(jid, suffix) is None:
            return False
        try:
            os.unlink(jid + suffix, dir_fd=self._fd)
        except OSError:
            return False
        return True

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def file(self, jid: str) -> str:
        """The path of a job's file."""
        return os.path.join(self.path, jid)


def _reachable_by_all(path: str) -> bool:
    """Whether every local user can walk down to path."""
    while True:
        try:
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return False
        except OSError:
            return False
        parent = os.path.dirname(path)
        if parent == path:
            return True
        path = parent
