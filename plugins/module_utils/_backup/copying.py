# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Copies of a backup on another server or a mounted folder, by rsync.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os
import shlex

from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import MANIFEST, Backup, BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.streams import Program, run


class Copier:
    """Copies backups, and has the other end prove that they have arrived."""

    def __init__(self, target: str, host: str, key_file: str | None = None, bwlimit: int = 0) -> None:
        """
        :param target: a folder that is there, as rsync names it: user@server:/folder or /folder.
        :param host: the name of the folder in it that is for this host.
        :param key_file: the private key for SSH; that of the user when left out.
        :param bwlimit: KiB in a second at most; 0 for no limit.
        """
        if not target or target.startswith("-"):
            raise BackupError(f"copy_to is {target!r}: give a folder, like backup@server:/srv/backups")
        self.target = f"{target.rstrip('/')}/{host}/"
        # Nobody is there to answer a question. A server that is gone is noticed by SSH: rsync itself says nothing for
        # as long as it reads a large file for its checksum.
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"]
        ssh += ["-o", "ServerAliveInterval=60", "-o", "ServerAliveCountMax=10"]
        ssh += ["-i", key_file, "-o", "IdentitiesOnly=yes"] if key_file else []
        self._options = [
            *("--recursive", "--links", "--perms", "--times", "--relative", "--partial"),
            *("--chmod=D0700,F0600", f"--rsh={shlex.join(ssh)}"),
            *([f"--bwlimit={bwlimit}"] if bwlimit else []),
        ]

    def copy(self, backup: Backup) -> None:
        """Copy a backup, its manifest last: what has one is whole.

        :raises BackupError: when it did not arrive.
        """
        self._rsync(backup, f"--exclude={MANIFEST}")
        self._rsync(backup)
        # Reads the files on both ends; what differs would be copied, and is told.
        different = self._rsync(backup, "--checksum", "--dry-run", "--itemize-changes")
        files = [line.split(" ", 1)[1] for line in different.splitlines() if line[:1] in "<>c" and line[1:2] == "f"]
        if files:
            raise BackupError(f"{files[0]} is not the same in {self.target} after it was copied")

    def _rsync(self, backup: Backup, *options: str) -> str:
        # With --relative, the part behind the dot is made at the other end.
        directory = os.path.dirname(os.path.dirname(backup.path))
        source = f"{directory}/./{backup.set_name}/{backup.id}"
        try:
            return run(Program(["rsync", *self._options, *options, source, self.target]))
        except BackupError as ex:
            raise BackupError(f"the backup was made, but not copied to {self.target}: {ex}") from ex
