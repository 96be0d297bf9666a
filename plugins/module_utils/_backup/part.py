# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# One file of a backup, and the program that makes it.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import hashlib
import os
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import End, LineCount, Pipeline, Program

Record = t.Dict[str, t.Any]

SUFFIXES = {"zstd": ".zst", "gzip": ".gz", "none": ""}


class Compression:
    """How the files of a backup are compressed: with zstd, gzip, or none."""

    def __init__(self, method: str, level: int = 3, threads: int = 0, rsyncable: bool = False) -> None:
        """
        :param level: 1 to 19 for zstd, 1 to 9 for gzip.
        :param threads: of zstd; 0 for as many as there are CPUs.
        :param rsyncable: whether a small change is to change little of the file.
        """
        highest = {"zstd": 19, "gzip": 9}.get(method)
        if highest and not 1 <= level <= highest:
            raise BackupError(f"compression_level is {level}: {method} takes 1 to {highest}")
        self.method = method
        self._options = [f"-{level}", *(["--rsyncable"] if rsyncable else [])]
        if method == "zstd":
            self._options += [f"-T{threads}", "-q"]

    def programs(self) -> list[Program]:
        """The program that compresses; none when nothing is to be compressed."""
        return [] if self.method == "none" else [Program([self.method, "-c", *self._options])]


def decompression(method: str) -> list[Program]:
    """The program that undoes a compression; none when nothing is compressed."""
    return [] if method == "none" else [Program([method, "-dcq"])]


def is_empty(folder: str, record: Record) -> bool:
    """Whether nothing is in a file of a backup, but for what its compression adds."""
    chain = decompression(record["compression"]) or [Program(["cat"])]
    with Pipeline(chain, source=os.path.join(folder, record["name"])) as pipeline:
        return not next(pipeline.chunks(), b"")


class Part:
    """One file of a backup.

    name: of the file, without the suffix of its compression. kind: what is in it, by which it is verified later.
    program: writes it to its standard output. compress: whether that is worth it.
    """

    def __init__(self, name: str, kind: str, program: Program, compress: bool = True) -> None:
        self.name = name
        self.kind = kind
        self.program = program
        self.compress = compress
        # Counts the members of an archive, where its program can tell them.
        self.counter: LineCount | None = None

    def judge(self, end: End) -> list[str]:
        """What there is to warn of when its program ended like that.

        :raises BackupError: when it failed.
        """
        end.expect_success()
        return []

    def more(self, end: End) -> Record:
        """What else is to be remembered of the file."""
        del end
        return {}

    def write(self, folder: str, compression: Compression) -> tuple[Record, list[str]]:
        """Write the file, and have it on the disk.

        :returns: what the manifest says of it, and warnings.
        :raises BackupError: when that fails; OSError when it cannot be written.
        """
        compressors = compression.programs() if self.compress else []
        method = compression.method if compressors else "none"
        name = self.name + SUFFIXES[method]
        digest, size = hashlib.sha256(), 0
        with open(os.path.join(folder, name), "xb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            with Pipeline([self.program, *compressors], counter=self.counter) as pipeline:
                for chunk in pipeline.chunks():
                    digest.update(chunk)
                    size += len(chunk)
                    _write_all(file.fileno(), chunk)
            os.fsync(file.fileno())
            _forget(file.fileno())
        made = pipeline.ends[0]
        # The program that makes it is told of a compressor that fails by SIGPIPE alone; the reason is at the other end.
        for end in pipeline.ends[1:]:
            end.expect_success()
        warnings = self.judge(made)
        record = {
            "name": name,
            "kind": self.kind,
            "compression": method,
            "bytes": size,
            "sha256": digest.hexdigest(),
            "members": made.lines,
            "exit_code": made.exit_code,
            **self.more(made),
        }
        return record, warnings


def _write_all(fd: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


def _forget(fd: int) -> None:
    """Have the next reader read from the disk, and leave the memory to the programs of the host."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # not every filesystem knows of that
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
