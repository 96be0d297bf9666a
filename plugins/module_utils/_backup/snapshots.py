# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes backups that are snapshots of restic, copies them, and proves that they can be restored.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup import tar
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Record
from ansible_collections.inflight.jobs.plugins.module_utils._backup.restic import (
    READ_ONLY,
    Repository,
    error_text,
    literal,
    messages,
    waiting,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import RESTIC, BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import KEPT, End
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import (
    Damaged,
    Verification,
    compare,
    not_compared,
)

# Some of what was to be backed up could not be read.
_INCOMPLETE = 3
# How many of the files that could not be read are told.
_SHOWN = 3
# A line that is longer is none of restic.
_LONGEST_LINE = 16 * 1024 * 1024

# An id in the summary of 0.14, and in a manifest.
_SHORT = re.compile(r"[0-9a-f]{8,64}")
_WHOLE = re.compile(r"[0-9a-f]{64}")

_KINDS = {"dir": "d", "file": "-", "symlink": "l"}
# restic writes this for what is not UTF-8 in a name.
UNKNOWN = "\ufffd"


class Snapshot(t.NamedTuple):
    """A snapshot in a repository.

    id: all 64 digits of it. members: how many files and folders are in it, with the folders that its paths are in.
    size: of the files, in bytes.
    """

    repository: Repository
    id: str
    members: int
    size: int

    @classmethod
    def of(cls, manifest: t.Mapping[str, t.Any]) -> Snapshot | None:
        """That of a backup, whose manifest was looked at by the store; None when it is not one of restic.

        :raises BackupError: when the manifest names a repository that cannot be.
        """
        if manifest.get("engine") != RESTIC:
            return None
        return cls(Repository.of(manifest), manifest["snapshot"], manifest["members"], manifest["bytes"])

    def nodes(self) -> t.Iterator[tar.Member]:
        """What is in it, as a member of an archive would be told.

        :raises Damaged: when that cannot be read to the end; BackupError when the repository cannot be read at all.
        """
        for line in self.node_lines():
            node = json.loads(line)
            yield tar.Member(
                node["path"].encode("utf-8", "replace"), _KINDS.get(node["type"], "?"), int(node.get("size", 0))
            )

    def node_lines(self) -> t.Iterator[bytes]:
        """The same as restic tells it."""
        lines = self.lines()
        next(lines, None)
        return lines

    def lines(self) -> t.Iterator[bytes]:
        """The same, behind what restic tells of the snapshot itself."""
        nothing = True
        with self.repository.opened("ls", "--json", self.id, *READ_ONLY) as pipeline:
            for line in _lines(pipeline.chunks()):
                nothing = False
                yield line
        self.expect_sound(pipeline.ends[0])
        if nothing:  # 0.14 takes that for no error
            raise Damaged(f"the snapshot {self.id} is not in the repository any more")

    def expect_sound(self, end: End) -> None:
        """
        :raises Damaged: when restic failed, and not for a repository that cannot be read now.
        """
        if end.exit_code:
            self.repository.probe()
            raise Damaged(str(self.repository.error(end)))

    def restore(self, folder: str, paths: t.Iterable[str]) -> End:
        """Restore it to a folder.

        :param paths: what of it; all when there are none.
        :returns: how restic ended.
        """
        chosen = [f"--include={literal(path)}" for path in paths]
        with self.repository.opened("restore", "--no-lock", f"--target={folder}", *chosen, self.id) as pipeline:
            for dummy in pipeline.chunks():
                pass
        return pipeline.ends[0]

    def copy(self, target: Repository, init: bool, host: str, tag: str, wait: float) -> None:
        """Copy it to another repository, and look whether all of it is there.

        :param tag: one that no other snapshot has.
        :raises BackupError: when it did not arrive.
        """
        try:
            waiting(wait, lambda: target.prepare(init, self.repository))
            waiting(wait, lambda: target.run("copy", self.id, more=self.repository.as_source()))
            there = [one["id"] for one in target.snapshots(f"--host={host}", f"--tag={tag}")]
            if not there:
                raise BackupError("it is not there after it was copied")
            members = sum(1 for dummy in self._replace(repository=target, id=there[-1]).node_lines())
            if members != self.members:
                raise BackupError(f"the copy lists {members} files and folders, and not {self.members}")
        except BackupError as ex:
            raise BackupError(f"the backup was made, but not copied to {target.address}: {ex}") from ex


class Saving:
    """The making of one snapshot.

    warnings: what there is to say of it.
    """

    def __init__(self, repository: Repository, sources: tar.Sources, destination: str, options: Record) -> None:
        """
        :param destination: the folder that all backups are in.
        :param options: those of the module backup_set.
        :raises BackupError: when the paths cannot be in that repository.
        """
        self._repository = repository
        self._sources = sources
        self._options = options
        self._never = [destination, *filter(None, [repository.folder, _cache_of(repository)])]
        self.warnings = sources.warnings
        for path in sources.paths:
            folder = repository.folder
            if folder and os.path.commonpath([os.path.realpath(path), folder]) == folder:
                raise BackupError(f"paths has {path}, which is inside of the repository {folder}")

    def plan(self) -> None:
        """Look whether it could be made. Changes nothing.

        :raises BackupError: when not.
        """
        self._repository.plan(self._options["restic"]["init"])

    def run(self, host: str, tags: t.Sequence[str], started: float) -> tuple[Snapshot, Record]:
        """Make it.

        :param tags: by the last one it is found.
        :param started: seconds since the epoch.
        :returns: the snapshot, and what a manifest tells of it.
        :raises BackupError: when that fails.
        """
        wait = self._options["lock_wait"]
        self._repository.prepare(self._options["restic"]["init"])
        summary = waiting(wait, lambda: self._back_up(host, tags, started))
        snapshot = Snapshot(self._repository, _id(summary, _SHORT), 0, _number(summary, "total_bytes_processed"))
        lines = snapshot.lines()
        told = next(messages(next(lines, b"").decode("utf-8", "replace")), {})
        # 0.14 leaves out what went away since it was looked for, and says nothing.
        if len(set(told.get("paths", ()))) != len({*self._sources.paths}):
            raise BackupError("restic left out some of the paths: they went away just now")
        members = files = 0
        for line in lines:
            members += 1
            files += b'"type":"file"' in line
        if files != _number(summary, "total_files_processed"):
            raise Damaged(f"the snapshot lists {files} files, and {summary['total_files_processed']} were written")
        snapshot = snapshot._replace(id=_id({"snapshot_id": told.get("id")}, _WHOLE), members=members)
        return snapshot, {
            "snapshot": snapshot.id,
            "restic": self._repository.record,
            "repository_id": self._repository.identity(),
            "paths": self._sources.paths,
            "bytes": snapshot.size,
            "added_bytes": _number(summary, "data_added"),
            "members": members,
            "files": [],
        }

    def _back_up(self, host: str, tags: t.Sequence[str], started: float) -> Record:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(started))
        never = [literal(name) for path in self._never for name in self._sources.names_of(path)]
        arguments = [
            *("backup", "--json", f"--host={host}", *(f"--tag={tag}" for tag in tags), f"--time={moment}"),
            *(["--one-file-system"] if self._options["one_file_system"] else []),
            *(f"--exclude={pattern}" for pattern in [*never, *_patterns(self._options["exclude"])]),
            "--files-from-raw=-",
        ]
        paths = b"".join(os.fsencode(path) + b"\0" for path in self._sources.paths)
        summary: Record = {}
        with self._repository.opened(*arguments, given=paths) as pipeline:
            for line in _lines(pipeline.chunks()):
                if b'"summary"' in line:
                    summary = next((one for one in messages(line.decode("utf-8", "replace")) if _is_summary(one)), {})
        self.judge(pipeline.ends[0])
        if not summary:
            raise BackupError("restic ended without a summary of the backup")
        return summary

    def judge(self, end: End) -> None:
        """Warn of files that went away while they were read.

        :raises BackupError: when something else could not be read.
        """
        if end.exit_code != _INCOMPLETE:
            self._repository.expect_success(end)
            return
        wrong = {str(one.get("item")): error_text(one) for one in messages(end.complaints) if "error" in one}
        # Of a long complaint the middle is not known.
        known = wrong and len(end.complaints) < KEPT
        gone = known and all(os.path.isabs(path) and not os.path.lexists(path) for path in wrong)
        told = [error or (f"{path} went away" if gone else f"{path} cannot be read") for path, error in wrong.items()]
        more = f", and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        text = "; ".join(told[:_SHOWN]) + more
        if not wrong:
            raise self._repository.error(end)
        if not gone or self._options["file_changed"] == "fail":
            raise BackupError(f"restic could not read all files: {text}")
        if self._options["file_changed"] == "warn":
            self.warnings.append(text)


def discard(repository: Repository, host: str, tag: str) -> None:
    """Remove the snapshot of a run that was not finished, as far as that can be done now.

    Its data goes with the next backups that are removed.

    :param tag: the one by which the snapshot is found.
    """
    with contextlib.suppress(BackupError):
        found = repository.snapshots(f"--host={host}", f"--tag={tag}")
        repository.forget([one["id"] for one in found], prune=False)


class SnapshotVerification:
    """The checks of one snapshot, as those of Verification are of files."""

    def __init__(self, snapshot: Snapshot, scratch: str, sample_files: int = 10, listed: bool = False) -> None:
        """
        :param scratch: a folder that is made for what is restored, and removed.
        :param sample_files: how many files restore_sample looks at.
        :param listed: whether its files and folders have just been counted.
        """
        self._listed = listed
        self._snapshot = snapshot
        self._scratch = scratch
        self._sample_files = sample_files
        self.done: list[str] = []
        self.warnings: list[str] = []

    def run(self, checks: t.Sequence[str], database: Record | None = None) -> None:
        """
        :param database: is for others.
        :raises Damaged: at the first damage that is found; BackupError when it cannot be looked for.
        """
        del database
        of_all: dict[str, t.Callable[[], None]] = {
            "checksum": self._checksum,
            "list": self._list,
            "read": self._read,
            "restore_sample": self._restore_sample,
        }
        for name, check in of_all.items():
            if name in checks:
                check()
                self.done.append(name)

    def _checksum(self) -> None:
        self._read_through("check", "--no-lock")

    def _list(self) -> None:
        if self._listed:
            return
        members = sum(1 for dummy in self._snapshot.node_lines())
        if members != self._snapshot.members:
            raise Damaged(f"the snapshot lists {members} files and folders, and {self._snapshot.members} were written")
        self._listed = True

    def _read(self) -> None:
        # 0.14 says nothing of a folder that it cannot read when it writes an archive.
        self._list()
        size = self._read_through("dump", "--archive=tar", *READ_ONLY, self._snapshot.id, "/")
        if size < self._snapshot.size:
            raise Damaged(f"the snapshot has {size} bytes, and {self._snapshot.size} were written")

    def _read_through(self, *arguments: str) -> int:
        """Have restic read something; how many bytes it wrote."""
        with self._snapshot.repository.opened(*arguments) as pipeline:
            size = sum(map(len, pipeline.chunks()))
        self._snapshot.expect_sound(pipeline.ends[0])
        return size

    def _restore_sample(self) -> None:
        # By a name that is not told as it is nothing is found.
        known = (node for node in self._snapshot.nodes() if UNKNOWN.encode() not in node.name)
        paths = tar.sample(known, self._sample_files)
        if not paths:
            return
        shutil.rmtree(self._scratch, ignore_errors=True)
        os.mkdir(self._scratch, 0o700)
        try:
            self._snapshot.expect_sound(self._snapshot.restore(self._scratch, map(os.fsdecode, paths)))
            same = sum(compare(os.fsencode(self._scratch) + path, path) for path in paths)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self.warnings += not_compared(same, len(paths))


def verification_of(
    manifest: t.Mapping[str, t.Any], folder: str, scratch: str, sample_files: int = 10
) -> Verification | SnapshotVerification:
    """The checks of a backup, whatever it was made with.

    :raises BackupError: when its manifest names a repository that cannot be.
    """
    snapshot = Snapshot.of(manifest)
    if snapshot:
        return SnapshotVerification(snapshot, scratch, sample_files)
    return Verification(folder, manifest["files"], scratch, sample_files)


def _patterns(exclude: t.Iterable[str]) -> list[str]:
    """The same patterns for restic. Unlike with tar, a star in them does not stand for a slash."""
    found = [pattern.rstrip("/") for pattern in exclude]
    # With this in front, a pattern says what is not to be left out.
    return [f"\\{pattern}" if pattern.startswith("!") else pattern for pattern in found if pattern]


def _cache_of(repository: Repository) -> str | None:
    """The folder that restic changes while it reads."""
    known = {**os.environ, **repository.environment}
    if known.get("RESTIC_CACHE_DIR"):
        return os.path.realpath(known["RESTIC_CACHE_DIR"])
    home = known.get("XDG_CACHE_HOME") or (os.path.join(known["HOME"], ".cache") if known.get("HOME") else None)
    return os.path.realpath(os.path.join(home, "restic")) if home else None


def _lines(chunks: t.Iterable[bytes]) -> t.Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > _LONGEST_LINE:
            raise BackupError("restic wrote a line that is too long")
    if rest:
        yield rest


def _is_summary(message: Record) -> bool:
    return message.get("message_type") == "summary"


def _id(summary: Record, form: t.Pattern[str]) -> str:
    value = summary.get("snapshot_id")
    if not isinstance(value, str) or not form.fullmatch(value):
        raise BackupError("restic does not tell the id of the snapshot")
    return value


def _number(summary: Record, name: str) -> int:
    value = summary.get(name)
    if not isinstance(value, int):
        raise BackupError(f"restic does not tell {name} of the backup")
    return value
