#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_verify
short_description: Prove that backups can still be restored
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Reads backups that M(inflight.jobs.backup_set) has made, and looks whether they are what they were. What it finds is
    remembered beside each backup.
  - The task fails when a backup is damaged, or could not be looked at, but only after all others were looked at too.
  - A damaged backup does not count as verified any more. It is not restored, and M(inflight.jobs.backup_prune) keeps
    others. It stays damaged until this finds it whole. For that it has to pass V(checksum), V(list), V(read) and
    V(database_read) beside the O(checks).
extends_documentation_fragment:
  - inflight.jobs.backup_database
options:
  directory:
    description: The folder on the host that the backups are in, as an absolute path.
    type: path
    required: true
  sets:
    description: The names of the sets. All that are in O(directory) when left out.
    type: list
    elements: str
  which:
    description: Which backups of each set to look at.
    type: str
    choices:
      newest: The newest one, verified or not.
      all: All of them.
    default: newest
  checks:
    description:
      - How to look at them. Those that do not fit to what was backed up are left out.
      - V(checksum) reads the files and compares their SHA-256 with that of what was written. For restic it is
        C(restic check) of the whole repository, which does not read the content of files.
      - V(list) reads archives to the end and counts the members.
      - V(read) reads every member of archives, and all other files, to the end. For restic it is the only one that
        finds a flipped byte within the content of files.
      - V(restore_sample) restores O(sample_files) files of an archive and compares them with their sources, as far as
        those have not changed since.
      - V(database_read) has every dump read to the end by the tools of its database.
      - V(database_restore) restores every dump into a database of its own, and compares the number of rows where
        the backup was made with this check too. It needs O(database).
    type: list
    elements: str
    choices: [checksum, list, read, restore_sample, database_read, database_restore]
    default: [checksum, list, database_read]
  sample_files:
    description: How many files V(restore_sample) looks at.
    type: int
    default: 10
  lock_wait:
    description: How long to wait for another run that is at work on a set, in seconds.
    type: float
    default: 0
attributes:
  action:
    description: Has a part that runs on the controller.
    support: none
  async:
    description: Can be used with the C(async) keyword.
    support: full
  become:
    description: Can be used with become.
    support: full
    details:
      - The backups belong to the user that made them. Be the same.
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Looks at the backups, and remembers nothing of what it finds.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Looks at the backups on that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: full
    details:
      - It counts as a change when a backup is verified that was not before, or the other way round.
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host, GNU tar, and the program that the backups were compressed with. For dumps,
    the client programs of their databases. For backups by restic, restic 0.14 or newer, and the password file that
    they were made with. A repository that cannot be got into says nothing about the backup.
seealso:
  - module: inflight.jobs.backup_info
  - module: inflight.jobs.backup_restore
  - module: inflight.jobs.backup_set
"""

EXAMPLES = r"""
- name: Look at the newest backup of each set
  inflight.jobs.backup_verify:
    directory: /var/backups/parallel_backup

- name: Read all backups of the wiki to the end, and compare some files with what is there now
  inflight.jobs.backup_verify:
    directory: /var/backups/parallel_backup
    sets: [wiki]
    which: all
    checks: [checksum, read, restore_sample]
    sample_files: 50
"""

RETURN = r"""
backups:
  description: What was found, also when the task fails.
  returned: when the options make sense
  type: list
  elements: dict
  contains:
    set:
      description: The name of the set.
      type: str
      sample: etc
    id:
      description: The id of the backup, V(null) when none of the set could be looked at.
      type: str
      sample: 20261121T201500Z-3fa9c1
    checks:
      description: The checks that it passed now.
      type: list
      elements: str
      sample: [checksum, list]
    damage:
      description: What is wrong with it, V(null) if nothing is known.
      type: str
      sample: files.tar.zst has 1811 bytes, and had 3019 when it was written
    error:
      description: Why it could not be looked at, V(null) if it could. This says nothing about the backup.
      type: str
      sample: zstd is not on this host, so install the package zstd
    warnings:
      description: What else was seen.
      type: list
      elements: str
      sample: ["restore_sample: 2 of 10 files have changed since, so they were not compared"]
msg:
  description: How many backups are good, or what is wrong.
  returned: always
  type: str
  sample: 3 backups are good
"""

import contextlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._backup.options import DATABASE
from ansible_collections.inflight.jobs.plugins.module_utils._backup.snapshots import verification_of
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import Backup, BackupError, Store
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import CHECKS, KINDS, Damaged
from ansible_collections.inflight.jobs.plugins.module_utils._termination import Terminated, heed_sigterm

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "directory": {"type": "path", "required": True},
    "sets": {"type": "list", "elements": "str"},
    "which": {"type": "str", "choices": ["newest", "all"], "default": "newest"},
    "checks": {
        "type": "list",
        "elements": "str",
        "choices": list(CHECKS),
        "default": ["checksum", "list", "database_read"],
    },
    "sample_files": {"type": "int", "default": 10},
    "database": DATABASE,
    "lock_wait": {"type": "float", "default": 0},
}

# What a backup has to pass to be taken for good again: all that needs nothing but the backup. The check that found the
# damage may have been another one than those that are asked for now.
_TO_BE_GOOD_AGAIN = ("checksum", "list", "read", "database_read")
# How many backups the message names.
_SHOWN = 3


class Found:
    """What was found of a backup.

    backup_id: None when none of the set could be looked at. checks: those that it passed. changed: whether it is
    verified now and was not before, or the other way round.
    """

    def __init__(self, set_name: str, backup_id: str | None = None) -> None:
        self.set_name = set_name
        self.backup_id = backup_id
        self.checks: list[str] = []
        self.damage: str | None = None
        self.error: str | None = None
        self.warnings: list[str] = []
        self.changed = False

    def report(self) -> dict[str, t.Any]:
        """What the module tells of it."""
        return {
            "set": self.set_name,
            "id": self.backup_id,
            "checks": self.checks,
            "damage": self.damage,
            "error": self.error,
            "warnings": self.warnings,
        }

    def reason(self) -> str | None:
        """What is wrong, None if nothing is."""
        why = self.damage or self.error
        return f"{' '.join(filter(None, (self.set_name, self.backup_id)))}: {why}" if why else None


class Verifying:
    """Looks at the backups of some sets."""

    def __init__(self, store: Store, options: t.Mapping[str, t.Any], only_look: bool) -> None:
        """
        :param options: those of the module.
        :param only_look: whether to remember nothing.
        """
        self._store = store
        self._options = options
        self._only_look = only_look

    def run(self, set_name: str) -> list[Found]:
        """Look at the backups of a set. What goes wrong is in the answer."""
        found: list[Found] = []
        try:
            if not self._store.backups(set_name):
                if self._options["sets"] is None:
                    return []
                raise BackupError(f"there is no backup in {self._store.directory}")
            with self._locked(set_name):
                backups = self._store.backups(set_name)
                for backup in backups if self._options["which"] == "all" else backups[-1:]:
                    found.append(Found(set_name, backup.id))
                    self._look(backup, found[-1])
        except BackupError as ex:
            found.append(Found(set_name))
            found[-1].error = str(ex)
        except OSError as ex:
            found.append(Found(set_name))
            found[-1].error = f"{ex.filename or self._store.directory}: {ex.strerror}"
        return found

    def _locked(self, set_name: str) -> t.ContextManager[None]:
        # Whoever makes a backup takes the lock, so that without its file there is nobody to wait for.
        if self._only_look and not os.path.lexists(os.path.join(self._store.directory, set_name, ".lock")):
            return contextlib.nullcontext()
        return self._store.lock(set_name, self._options["lock_wait"])

    def _look(self, backup: Backup, found: Found) -> None:
        if backup.manifest is None:
            found.damage = backup.damage
            return
        was_verified = backup.verified
        checks = {*self._options["checks"], *(_TO_BE_GOOD_AGAIN if backup.damage else ())}
        scratch, samples = f"{backup.path}.scratch", self._options["sample_files"]
        try:
            verification = verification_of(backup.manifest, backup.path, scratch, samples)
        except BackupError as ex:
            found.error, found.damage = str(ex), backup.damage
            return
        try:
            self._expect_database(checks, backup.manifest["files"])
            verification.run(sorted(checks), self._options["database"])
        except Damaged as ex:
            found.damage = str(ex)
        except BackupError as ex:
            found.error = str(ex)
        except OSError as ex:
            found.error = f"{ex.filename or backup.path}: {ex.strerror}"
        found.checks = verification.done
        if not found.checks and not found.damage and not found.error:
            found.error = "none of the checks is for what is in it: give others"
        found.warnings = verification.warnings
        if found.error:
            found.damage = backup.damage
        else:
            is_verified = not found.damage
            if not self._only_look:
                backup.record_verification(found.checks, found.damage)
            found.changed = is_verified != was_verified

    def _expect_database(self, checks: t.Container[str], files: t.Iterable[t.Mapping[str, t.Any]]) -> None:
        dumps = KINDS["database_restore"] or ()
        has_dumps = any(file.get("kind") in dumps for file in files)
        if "database_restore" in checks and has_dumps and not self._options["database"]:
            raise BackupError("checks has database_restore: say with database how to reach the server")


def message(found: t.Sequence[Found], directory: str) -> str:
    """What was found, in one sentence."""
    reasons = [reason for reason in (one.reason() for one in found) if reason]
    if reasons:
        more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        damaged = sum(1 for one in found if one.damage)
        what = f"{damaged} of {len(found)} backups are damaged" if damaged else "not all backups could be looked at"
        return f"{what}: {'; '.join(reasons[:_SHOWN])}{more}"
    if not found:
        return f"there is no backup in {directory}"
    return "1 backup is good" if len(found) == 1 else f"{len(found)} backups are good"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    # What was restored for a check is removed.
    heed_sigterm()
    options = module.params
    try:
        store = Store(options["directory"])
        names = store.sets() if options["sets"] is None else options["sets"]
    except BackupError as ex:
        module.fail_json(msg=str(ex))
    verifying = Verifying(store, options, module.check_mode)
    found: list[Found] = []
    try:
        for name in dict.fromkeys(names):
            found += verifying.run(name)
    except Terminated as ex:
        looked_at = [one.report() for one in found]
        module.fail_json(msg=str(ex), changed=any(one.changed for one in found), backups=looked_at)
    result: dict[str, t.Any] = {
        "changed": any(one.changed for one in found),
        "msg": message(found, store.directory),
        "backups": [one.report() for one in found],
    }
    if any(one.reason() for one in found):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
