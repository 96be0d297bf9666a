# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes one backup of one set: from the free space that it needs to the copy on another server.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup import mariadb, postgresql, sqlite
from ansible_collections.inflight.jobs.plugins.module_utils._backup.copying import Copier
from ansible_collections.inflight.jobs.plugins.module_utils._backup.hooks import Guard, run_commands
from ansible_collections.inflight.jobs.plugins.module_utils._backup.inhibit import inhibited
from ansible_collections.inflight.jobs.plugins.module_utils._backup.part import Compression, Part, is_empty
from ansible_collections.inflight.jobs.plugins.module_utils._backup.restic import Repository
from ansible_collections.inflight.jobs.plugins.module_utils._backup.snapshots import (
    Saving,
    Snapshot,
    SnapshotVerification,
    discard,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import (
    RESTIC,
    Backup,
    BackupError,
    Store,
    Unfinished,
    check_set_name,
    moment,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import Program
from ansible_collections.inflight.jobs.plugins.module_utils._backup.tar import Archive, Sources
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import Verification
from ansible_collections.inflight.jobs.plugins.module_utils._host_lock import HostLockError, held

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
        if options["copy_to"]:  # a folder there has this name
            check_set_name(self._host, "host")
        if not (options["paths"] or options["database"] or options["command"]):
            raise BackupError("there is nothing to back up: paths or command is empty")
        self._repository, self._copy_repository = _repositories(options)
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
        self._shrunk = False
        self._previous: Backup | None = None
        self.report: dict[str, t.Any] | None = None

    @property
    def engine(self) -> str:
        """What the backup is made with."""
        database = self._options["database"]
        return str(database["type"]) if database else "command" if self._options["command"] else self._options["engine"]

    def plan(self) -> str:
        """Look whether the backup could be made, and say what would be in it. Changes nothing.

        :raises BackupError: when it could not be made.
        """
        self._look_back()
        if self._repository:
            self._saving(self._repository).plan()
            self._expect_space()
            return f"would back up {', '.join(self._options['paths'])} to {self._repository.address}"
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
        wait = self._options["lock_wait"]
        # The host's lock comes first: who waits for an update keeps nobody from the set.
        with _no_update(wait), self._store.lock(self._set, wait), inhibited(f"backup of {self._set}"):
            # Nobody writes them any more, as the lock is ours.
            swept = self._store.sweep(self._set, max_age=0)
            if self._repository:
                for name in swept:
                    discard(self._repository, self._host, name.partition(".")[0])
            self._look_back()
            with Guard(self._options["post_commands"], self._options["fail_commands"]) as guard:
                run_commands(self._options["pre_commands"], "pre_commands")
                backup = self._make()
                self.report = self._report_of(backup)
                guard.good()
            if self._copier:
                self._copier.copy(backup)
                self.report["copied_to"] = self._copier.target
            if self._copy_repository:
                self._copy_snapshot(backup, self._copy_repository)
                self.report["copied_to"] = self._copy_repository.address
        return self.report

    def _look_back(self) -> None:
        """
        :raises BackupError: when the backups that are there are those of another host.
        """
        every = self._store.backups(self._set)
        last = (every[-1].manifest if every else None) or {}
        if last.get("host", self._host) != self._host and last.get("machine") != _machine():
            raise BackupError(
                f"the backups of the set {self._set} in {self._store.directory} are those of {last['host']}, and this "
                f"is {self._host}: give each host a folder of its own"
            )
        if self._repository:
            self._repository.holds = self._newest_in(self._repository)
        backups = [backup for backup in every if backup.verified and self._is_alike(backup)]
        self._previous = backups[-1] if backups else None

    def _newest_in(self, repository: Repository) -> str | None:
        """The newest backup of any set that was made in a repository."""
        inside = [
            backup.id
            for name in self._store.sets()
            for backup in self._store.backups(name)
            if (backup.manifest or {}).get("engine") == RESTIC
            and Repository.of(backup.manifest or {}).place == repository.place
        ]
        return max(inside, default=None)

    def _is_alike(self, backup: Backup) -> bool:
        """Whether the size of a backup says something of the next one: that of a snapshot is not compressed."""
        return ((backup.manifest or {}).get("engine") == RESTIC) == (self.engine == RESTIC)

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

    def _saving(self, repository: Repository) -> Saving:
        options = self._options
        sources = Sources(options["paths"], options["exclude"], self._store.directory, options["missing_path"])
        return Saving(repository, sources, self._store.directory, dict(options))

    def _copy_snapshot(self, backup: Backup, target: Repository) -> None:
        snapshot = Snapshot.of(backup.manifest or {})
        if snapshot:
            options = self._options
            snapshot.copy(target, options["restic"]["init"], self._host, backup.id, options["lock_wait"])

    def _expect_space(self) -> None:
        folder = self._repository.folder if self._repository else self._store.directory
        if folder is None or not os.path.isdir(folder):
            return  # nobody knows how much is free elsewhere
        found = os.statvfs(folder)
        free = found.f_bavail * found.f_frsize
        reserve = max(
            self._options["min_free_mb"] * _MEGABYTE,
            self._options["min_free_percent"] / 100 * found.f_blocks * found.f_frsize,
        )
        # Of a snapshot only what is new needs room.
        needed = self._options["size_factor"] * self._previous.bytes if self._previous and not self._repository else 0
        if free < needed + reserve:
            last = f"{_shown(needed)} for a backup like the last one and " if needed else ""
            raise BackupError(
                f"{folder} has {_shown(free)} free, and {last}{_shown(reserve)} that are to stay free "
                "are more: make room, or lower min_free_mb and min_free_percent"
            )

    def _make(self) -> Backup:
        began = time.monotonic()
        saving = self._saving(self._repository) if self._repository else None
        parts = [] if saving else self._parts()
        self._expect_space()
        unfinished = self._store.begin(self._set, time.time())
        scratch, samples = f"{unfinished.path}/.scratch", self._options["sample_files"]
        verification: Verification | SnapshotVerification
        try:
            if saving:
                snapshot, told = saving.run(self._host, [self._set, unfinished.id], unfinished.started)
                self._warnings += saving.warnings
                verification = SnapshotVerification(snapshot, scratch, samples, listed=True)
            else:
                told = self._write(unfinished, parts)
                verification = Verification(unfinished.path, told["files"], scratch, samples)
            try:
                verification.run(self._options["verify"], self._options["database"])
                if self._options["verify"] and not verification.done:
                    # Those that were asked for are for other things. Without any it would not count as a backup.
                    verification.run(["checksum"])
            except OSError as ex:
                raise BackupError(f"the backup cannot be verified: {ex.strerror or ex}") from ex
            self._warnings += verification.warnings
            self._compare_size(told["bytes"])
            manifest = {
                "set": self._set,
                "host": self._host,
                "machine": _machine(),
                "engine": self.engine,
                "paths": self._options["paths"],
                "started_at": moment(unfinished.started),
                "ended_at": moment(time.time()),
                "seconds": round(time.monotonic() - began, 3),
                "checks": verification.done,
                "warnings": self._warnings,
                **told,
            }
            return unfinished.finish(self._set, manifest)
        except BaseException as ex:
            if self._repository and os.path.lexists(unfinished.path):  # else it has its name already
                discard(self._repository, self._host, unfinished.id)
            unfinished.discard()
            if isinstance(ex, OSError):
                why = ex.strerror or str(ex)
                raise BackupError(f"the backup cannot be written to {self._store.directory}: {why}") from ex
            raise

    def _write(self, unfinished: Unfinished, parts: t.Sequence[Part]) -> dict[str, t.Any]:
        files = []
        for part in parts:
            record, warnings = part.write(unfinished.path, self._compression)
            if record["members"] == 0 or (part.kind == "command" and is_empty(unfinished.path, record)):
                raise BackupError(f"{part.program.name} has written nothing: there would be nothing in the backup")
            files.append(record)
            self._warnings += warnings
        members = [file["members"] for file in files if file["members"] is not None]
        return {
            "bytes": sum(file["bytes"] for file in files),
            "members": sum(members) if members else None,
            "files": files,
        }

    def _compare_size(self, size: int) -> None:
        if self._previous and size < self._options["min_size_ratio"] * self._previous.bytes:
            self._shrunk = True
            self._warnings.append(
                f"it has {_shown(size)}, and the last one had {_shown(self._previous.bytes)}: look whether all is there"
            )

    def _report_of(self, backup: Backup) -> dict[str, t.Any]:
        return {
            **backup.report(),
            "previous_bytes": self._previous.bytes if self._previous else None,
            "shrunk": self._shrunk,
            "copied_to": None,
        }


@contextlib.contextmanager
def _no_update(wait: float) -> t.Iterator[None]:
    """Keep updates of the host from being begun; backups of other sets may be made meanwhile.

    :raises BackupError: when one is at work and has not ended in time.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(shared=True, wait=wait))
        except HostLockError as ex:
            raise BackupError(f"{ex}: wait for it, or set lock_wait") from ex
        yield


def _machine() -> str | None:
    """What tells this machine from others, whatever it is called; None where nobody knows.

    A hash, as systemd wants the id itself to stay on the machine.
    """
    try:
        with open("/etc/machine-id", "rb") as file:
            return hashlib.sha256(b"inflight.jobs " + file.read(64).strip()).hexdigest()[:16]
    except OSError:
        return None


def _repositories(options: Options) -> tuple[Repository | None, Repository | None]:
    """Those of restic that the backup is made in and copied to, where there are some.

    :raises BackupError: when these options make no sense.
    """
    restic = options["restic"]
    if options["engine"] != RESTIC:
        if restic:
            raise BackupError(f"restic is given, and the engine is {options['engine']}: set engine to restic")
        return None, None
    if not options["paths"]:
        raise BackupError("engine is restic, which is for paths: leave it out for a database or a command")
    if not restic:
        raise BackupError("engine is restic: say with restic which repository the backup is to be in")
    if options["copy_to"]:
        raise BackupError("copy_to is for files, and engine is restic: use restic.copy_to for another repository")
    secrets = restic["environment_file"]
    repository = Repository(restic["repository"], restic["password_file"], secrets)
    target = restic["copy_to"]
    copy = Repository(target, restic["copy_password_file"] or restic["password_file"], secrets) if target else None
    return repository, copy


def _shown(size: float) -> str:
    return f"{size / _MEGABYTE:.1f} MB" if size >= _MEGABYTE / 10 else f"{size:.0f} bytes"
