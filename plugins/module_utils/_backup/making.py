# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes one backup of one set: from the free space that it needs to the copy on another server.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os
import socket
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup import mariadb, postgresql, sqlite
from ansible_collections.inflight.jobs.plugins.module_utils._backup.copying import Copier
from ansible_collections.inflight.jobs.plugins.module_utils._backup.hooks import Guard, run_commands
from ansible_collections.inflight.jobs.plugins.module_utils._backup.inhibit import inhibited
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import (
    Backup,
    BackupError,
    Store,
    Unfinished,
    check_set_name,
    moment,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import Program
from ansible_collections.inflight.jobs.plugins.module_utils._backup.tar import Archive
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import Verification

Options = t.Mapping[str, t.Any]

_MEGABYTE = 1_000_000
_DATABASES: dict[str, t.Any] = {
    "postgresql": postgresql.PostgreSQL,
    "mariadb": mariadb.MariaDB,
    "sqlite": sqlite.SQLite,
}


class Making:
    """The making of one backup.

    report: what is known of the backup as soon as there is one, also when something fails after that.
    """

    def __init__(self, options: Options) -> None:
        """
        :param options: those of the module backup_set.
        :raises BackupError: when they make no sense.
        """
        self._options = options
        self._set: str = options["name"]
        check_set_name(self._set)
        self._host: str = options["host"] or socket.gethostname()
        # A folder at the other end has this name.
        check_set_name(self._host, "host")
        if not (options["paths"] or options["database"] or options["command"]):
            raise BackupError("there is nothing to back up: paths or command is empty")
        self._store = Store(options["directory"])
        self._compression = Compression(
            options["compression"],
            options["compression_level"],
            options["compression_threads"],
            options["compression_rsyncable"],
        )
        self._copier = (
            Copier(options["copy_to"], self._host, options["copy_key_file"], options["copy_bwlimit"])
            if options["copy_to"]
            else None
        )
        self._warnings: list[str] = []
        self._previous: Backup | None = None
        self.report: dict[str, t.Any] | None = None

    @property
    def engine(self) -> str:
        """What the backup is made with."""
        database = self._options["database"]
        return str(database["type"]) if database else "command" if self._options["command"] else "tar"

    def plan(self) -> str:
        """Look whether the backup could be made, and say what would be in it. Changes nothing.

        :raises BackupError: when it could not be made.
        """
        self._look_back()
        names = [part.name for part in self._parts()]
        if os.path.isdir(self._store.directory):
            self._expect_space()
        what = ", ".join(self._options["paths"] or names)
        return f"would back up {what} to {self._store.directory}/{self._set}"

    def run(self) -> dict[str, t.Any]:
        """Make the backup.

        :returns: the report of it.
        :raises BackupError: when it could not be made, or not copied, or a command before or after it failed.
        """
        self._store.prepare(self._set)
        with self._store.lock(self._set, self._options["lock_wait"]), inhibited(f"backup of {self._set}"):
            # Nobody writes them any more, as the lock is ours.
            self._store.sweep(self._set, max_age=0)
            self._look_back()
            with Guard(self._options["post_commands"], self._options["fail_commands"]) as guard:
                run_commands(self._options["pre_commands"], "pre_commands")
                backup = self._make()
                self.report = self._report_of(backup)
                guard.good()
            if self._copier:
                self._copier.copy(backup)
                self.report["copied_to"] = self._copier.target
        return self.report

    def _look_back(self) -> None:
        backups = [backup for backup in self._store.backups(self._set) if backup.verified]
        self._previous = backups[-1] if backups else None

    def _parts(self) -> list[Part]:
        options = self._options
        database = options["database"]
        if database:
            count_rows = "database_restore" in options["verify"]
            return list(_DATABASES[database["type"]](database, count_rows=count_rows).parts())
        if options["command"]:
            return [Part("output", "command", Program(["/bin/sh", "-c", options["command"]]))]
        archive = Archive(
            options["paths"],
            options["exclude"],
            self._store.directory,
            one_file_system=options["one_file_system"],
            missing_path=options["missing_path"],
            file_changed=options["file_changed"],
        )
        return [archive]

    def _expect_space(self) -> None:
        found = os.statvfs(self._store.directory)
        free = found.f_bavail * found.f_frsize
        reserve = max(
            self._options["min_free_mb"] * _MEGABYTE,
            self._options["min_free_percent"] / 100 * found.f_blocks * found.f_frsize,
        )
        needed = self._options["size_factor"] * self._previous.bytes if self._previous else 0
        if free < needed + reserve:
            last = f"{_shown(needed)} for a backup like the last one and " if needed else ""
            raise BackupError(
                f"{self._store.directory} has {_shown(free)} free, and {last}{_shown(reserve)} that are to stay free "
                "are more: make room, or lower min_free_mb and min_free_percent"
            )

    def _make(self) -> Backup:
        began = time.monotonic()
        parts = self._parts()
        self._expect_space()
        unfinished = self._store.begin(self._set, time.time())
        try:
            files = self._write(unfinished, parts)
            verification = Verification(
                unfinished.path, files, f"{unfinished.path}/.scratch", self._options["sample_files"]
            )
            try:
                verification.run(self._options["verify"], self._options["database"])
            except OSError as ex:
                raise BackupError(f"the backup cannot be verified: {ex.strerror or ex}") from ex
            self._warnings += verification.warnings
            size = sum(file["bytes"] for file in files)
            self._compare_size(size)
            members = [file["members"] for file in files if file["members"] is not None]
            manifest = {
                "set": self._set,
                "host": self._host,
                "engine": self.engine,
                "paths": self._options["paths"],
                "started_at": moment(unfinished.started),
                "ended_at": moment(time.time()),
                "seconds": round(time.monotonic() - began, 3),
                "bytes": size,
                "members": sum(members) if members else None,
                "checks": verification.done,
                "warnings": self._warnings,
                "files": files,
            }
            return unfinished.finish(self._set, manifest)
        except OSError as ex:
            unfinished.discard()
            raise BackupError(f"the backup cannot be written to {self._store.directory}: {ex.strerror or ex}") from ex
        except BaseException:
            unfinished.discard()
            raise

    def _write(self, unfinished: Unfinished, parts: t.Sequence[Part]) -> list[dict[str, t.Any]]:
        files = []
        for part in parts:
            record, warnings = part.write(unfinished.path, self._compression)
            files.append(record)
            self._warnings += warnings
        return files

    def _compare_size(self, size: int) -> None:
        if self._previous and size < self._options["min_size_ratio"] * self._previous.bytes:
            self._warnings.append(
                f"it has {_shown(size)}, and the last one had {_shown(self._previous.bytes)}: look whether all is there"
            )

    def _report_of(self, backup: Backup) -> dict[str, t.Any]:
        return {
            **backup.report(),
            "previous_bytes": self._previous.bytes if self._previous else None,
            "copied_to": None,
        }


def _shown(size: float) -> str:
    return f"{size / _MEGABYTE:.1f} MB" if size >= _MEGABYTE / 10 else f"{size:.0f} bytes"
