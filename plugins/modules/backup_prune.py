#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_prune
short_description: Delete old backups by the calendar
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Deletes the backups of a host that no rule keeps. Each set of backups is looked at by itself.
  - Only verified backups count. What was not verified, or is damaged, is left alone, and takes the place of no other.
    A backup of which a file is missing or has another size than its manifest says counts as damaged.
  - Of backups by restic, the snapshots are removed by one C(restic forget --prune) for each repository of a set.
    Nothing of a set is deleted while another restic has the repository. Backups whose snapshots are gone from the
    repository are deleted as well, but only when that of the newest is there.
  - The newest verified backup of a set is never deleted. Without any rule, nothing is.
  - Nothing of a set is deleted when its newest backup was not verified or is damaged, when its newest backup is of the
    future, as the clock of the host is wrong then, and while another run is at work on it.
  - O(keep_daily), O(keep_weekly), O(keep_monthly) and O(keep_yearly) go by the calendar in UTC, and keep the newest
    backup each. Days, weeks, months and years without a backup do not count. These rules, O(keep_last) and
    O(keep_within) are those of C(restic forget), version 0.14. A backup that one rule keeps is kept.
options:
  directory:
    description: The folder on the host that the backups are in, as an absolute path.
    type: path
    required: true
  sets:
    description: The names of the sets. All that are in O(directory) when left out.
    type: list
    elements: str
  keep_last:
    description: How many of the newest backups are kept.
    type: int
    default: 0
  keep_daily:
    description: Of how many of the newest days with a backup one is kept.
    type: int
    default: 0
  keep_weekly:
    description: Of how many of the newest weeks with a backup one is kept. A week is from Monday to Sunday (ISO 8601).
    type: int
    default: 0
  keep_monthly:
    description: Of how many of the newest months with a backup one is kept.
    type: int
    default: 0
  keep_yearly:
    description: Of how many of the newest years with a backup one is kept.
    type: int
    default: 0
  keep_within:
    description:
      - All backups are kept that are not older than the newest by this or more.
      - Whole numbers of C(y) (years), C(m) (months, not minutes), C(d) (days) and C(h) (hours), each unit once, such as
        V(14d), V(1y6m) or V(2d12h). A day that a month does not have is counted on from its beginning; a month before
        the 31st of March is the 3rd of March, or the 2nd in a leap year.
      - Empty for no such rule.
    type: str
    default: ""
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
      - Tells what would be deleted, and writes nothing. It does not look whether another run is at work.
  delegation:
    description: Can be used with C(delegate_to).
    support: full
    details:
      - Deletes the backups on that host.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
    details:
      - What was deleted is returned.
  idempotent:
    description: Changes nothing when it is run again.
    support: full
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host. For backups by restic, restic 0.14 or newer, and the password file that they
    were made with.
  - A backup is renamed before it is deleted. What an interrupted run has left of one is deleted by the next.
seealso:
  - module: inflight.jobs.async_prune
"""

EXAMPLES = r"""
- name: Keep a week of days, a month of weeks and half a year of months
  inflight.jobs.backup_prune:
    directory: /var/backups/parallel_backup
    keep_daily: 7
    keep_weekly: 4
    keep_monthly: 6

- name: Keep all backups of the last 14 days, and one of each of ten years, of one set
  inflight.jobs.backup_prune:
    directory: /var/backups/parallel_backup
    sets: [etc]
    keep_within: 14d
    keep_yearly: 10
"""

RETURN = r"""
sets:
  description: What became of each set, in the order of O(sets), or by name without O(sets).
  returned: always
  type: list
  elements: dict
  contains:
    set:
      description: The name of the set.
      type: str
      sample: etc
    kept:
      description: The verified backups that are kept, the newest first.
      type: list
      elements: dict
      contains:
        id:
          description: The id of the backup.
          type: str
          sample: 20261121T201500Z-3fa9c1
        reasons:
          description:
            - The rules that keep it, which are V(within), V(last), V(daily), V(weekly), V(monthly) and V(yearly). None
              when it is there still for another reason, such as RV(sets[].skipped).
          type: list
          elements: str
          sample: [daily, weekly]
    left:
      description: The backups that were left alone because they were not verified or are damaged, the newest first.
      type: list
      elements: dict
      contains:
        id:
          description: The id of the backup.
          type: str
          sample: 20261120T201500Z-0c7be2
        reason:
          description: What is wrong with it.
          type: str
          sample: it was not verified
    deleted:
      description: The ids of the backups that were deleted, or would be in check mode, the oldest first.
      type: list
      elements: str
      sample: [20261021T201500Z-b1d2e9]
    skipped:
      description: Why nothing of the set was deleted. Null when the rules decided.
      type: str
      sample: the newest backup 20261121T201500Z-3fa9c1 was not verified
deleted:
  description: How many backups were deleted, or would be in check mode.
  returned: always
  type: int
  sample: 3
freed_bytes:
  description:
    - How many bytes were in the files that were deleted, or would be in check mode. What became free in a repository of
      restic is not known.
  returned: always
  type: int
  sample: 3412345678
msg:
  description: How many backups were deleted, and how much that freed, or why that failed.
  returned: always
  type: str
  sample: deleted 3 of 14 backups, 3412.3 MB
"""

import contextlib
import math
import os
import re
import shutil
import stat
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._backup.restic import LockedError, Repository
from ansible_collections.inflight.jobs.plugins.module_utils._backup.retention import (
    NUMBERS,
    RuleError,
    Rules,
    keep,
    parse_rules,
)
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import (
    MANIFEST,
    RESTIC,
    Backup,
    BackupError,
    Store,
    check_set_name,
)

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "directory": {"type": "path", "required": True},
    "sets": {"type": "list", "elements": "str"},
    "keep_last": {"type": "int", "default": 0},
    "keep_daily": {"type": "int", "default": 0},
    "keep_weekly": {"type": "int", "default": 0},
    "keep_monthly": {"type": "int", "default": 0},
    "keep_yearly": {"type": "int", "default": 0},
    "keep_within": {"type": "str", "default": ""},
}

# A repository of restic, and the backups that are in it.
Group = t.Tuple[Repository, t.List[Backup]]

NO_RULE = "no rule says what to keep, as all of keep_last, keep_daily and so on are 0"

GONE = "its snapshot is not in the repository any more"
ELSEWHERE = "its snapshot is in another repository than the one that is at its address now: see that it is mounted"

# What an interrupted run has left of a backup that it deleted.
_DELETED = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\.deleted")


class Pruned:
    """What became of a set.

    backups: how many there were. kept: ids and rules. left: ids, and what is wrong with each. skipped: why nothing was
    deleted, and odd: whether somebody should have a look. error: what went wrong when it was deleted. swept: whether
    something was deleted that an interrupted run has left.
    """

    def __init__(self, set_name: str) -> None:
        self.set_name = set_name
        self.backups = 0
        self.kept: list[tuple[str, list[str]]] = []
        self.left: list[tuple[str, str]] = []
        self.deleted: list[str] = []
        self.freed_bytes = 0
        self.swept = False
        self.skipped: str | None = None
        self.odd = False
        self.error: str | None = None

    def skip(self, reason: str, odd: bool = True) -> None:
        """Say why nothing is deleted."""
        self.skipped, self.odd = reason, odd

    def report(self) -> dict[str, t.Any]:
        """What the module tells of it."""
        return {
            "set": self.set_name,
            "kept": [{"id": backup_id, "reasons": reasons} for backup_id, reasons in self.kept],
            "left": [{"id": backup_id, "reason": reason} for backup_id, reason in self.left],
            "deleted": self.deleted,
            "skipped": self.skipped,
        }


class Prune:
    """Deletes what the rules do not keep of the sets of a host."""

    def __init__(self, store: Store, rules: Rules, only_look: bool) -> None:
        """
        :param only_look: whether to write nothing, and to tell what would be deleted.
        """
        self._store = store
        self._rules = rules
        self._only_look = only_look

    def run(self, set_name: str) -> Pruned:
        """Do it for a set. What goes wrong is in the answer: it is no reason to leave out the next set."""
        pruned = Pruned(set_name)
        try:
            # The lock is in the folder of the set, which need not be there.
            if self._only_look or not self._store.backups(set_name):
                self._prune(pruned)
            else:
                self._prune_alone(pruned)
        except BackupError as ex:
            pruned.error = str(ex)
        except OSError as ex:
            pruned.error = f"the set {set_name} cannot be pruned: {ex.strerror}: {ex.filename}"
        return pruned

    def _prune_alone(self, pruned: Pruned) -> None:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._store.lock(pruned.set_name))
            except BackupError as ex:
                if ex.__cause__ is not None:
                    raise  # nobody has it: it cannot be taken at all
                pruned.skip(str(ex))
            self._prune(pruned)

    def _prune(self, pruned: Pruned) -> None:
        backups = self._store.backups(pruned.set_name)
        if not backups:
            pruned.skip(f"there are no backups of it in {self._store.directory}", odd=False)
            return
        wrong = {backup.id: reason for backup in backups for reason in [_wrong_with(backup)] if reason is not None}
        groups = _by_repository(backups)
        for repository, inside in groups:
            wrong.update(_not_in(repository, [backup for backup in inside if backup.id not in wrong]))
        gone = [backup for backup in backups if wrong.get(backup.id) == GONE]
        good = [backup for backup in backups if backup.id not in wrong]
        kept = keep(((backup.id, backup.started) for backup in good), self._rules, time.time())
        if pruned.skipped is None:
            self._look_for_reasons(pruned, backups[-1], wrong)
        pruned.backups = len(backups)
        try:
            if pruned.skipped is None:
                # Any rule keeps the newest. It is left out all the same: a mistake there must not cost the last one.
                dropped = [backup for backup in good[:-1] if backup.id not in kept]
                self._delete(pruned, self._forgotten(pruned, dropped, groups, gone))
                self._sweep(pruned)
        finally:
            away = set(pruned.deleted)
            pruned.kept = [(one.id, kept.get(one.id, [])) for one in reversed(good) if one.id not in away]
            pruned.left = [(one.id, wrong[one.id]) for one in reversed(backups) if one.id in wrong.keys() - away]

    def _look_for_reasons(self, pruned: Pruned, newest: Backup, wrong: t.Mapping[str, str]) -> None:
        """Look whether nothing must be deleted."""
        if newest.started > time.time():
            pruned.skip(f"the newest backup {newest.id} is of the future: set the clock of the host right")
        elif newest.id in wrong:
            pruned.skip(f"something is wrong with the newest backup {newest.id}: {wrong[newest.id]}")
        elif self._rules.empty:
            pruned.skip(NO_RULE, odd=False)

    def _forgotten(
        self, pruned: Pruned, backups: list[Backup], groups: t.Iterable[Group], gone: list[Backup]
    ) -> list[Backup]:
        """Those backups that are to be deleted here, as their snapshots have been removed, now or before."""
        dropped = {backup.id: backup for backup in [*backups, *gone]}
        for repository, inside in groups:
            there = [one for one in inside if one.id in dropped and one not in gone]
            try:
                if not self._only_look:
                    repository.forget([str((one.manifest or {})["snapshot"]) for one in there], prune=True)
            except LockedError as ex:
                pruned.skip(str(ex))
                for one in inside:
                    dropped.pop(one.id, None)
        return list(dropped.values())

    def _delete(self, pruned: Pruned, backups: t.Iterable[Backup]) -> None:
        for backup in sorted(backups, key=lambda backup: backup.id):
            size = _size(backup.path)
            try:
                if not self._only_look:
                    self._store.remove(backup)
            finally:
                # One that was renamed is no backup any more, even where the rest of it cannot be deleted.
                if self._only_look or not os.path.lexists(backup.path):
                    pruned.deleted.append(backup.id)
            pruned.freed_bytes += size

    def _sweep(self, pruned: Pruned) -> None:
        folder = os.path.join(self._store.directory, pruned.set_name)
        for name in sorted(filter(_DELETED.fullmatch, os.listdir(folder))):
            path = os.path.join(folder, name)
            size = _size(path)
            if not self._only_look:
                shutil.rmtree(path)
            pruned.freed_bytes += size
            pruned.swept = True


def _by_repository(backups: t.Iterable[Backup]) -> list[Group]:
    """Those backups that are in repositories of restic."""
    found: dict[str, Group] = {}
    for backup in backups:
        if backup.manifest is not None and backup.manifest.get("engine") == RESTIC:
            repository = Repository.of(backup.manifest)
            found.setdefault(str(repository.record), (repository, []))[1].append(backup)
    return list(found.values())


def _not_in(repository: Repository, backups: t.Iterable[Backup]) -> dict[str, str]:
    """What is wrong with those backups whose snapshots cannot be seen in a repository."""
    try:
        there = {one["id"] for one in repository.snapshots()}
        missing = [backup for backup in backups if (backup.manifest or {}).get("snapshot") not in there]
        identity = repository.identity() if missing else None
    except BackupError as ex:
        return {backup.id: f"its repository cannot be looked at: {ex}" for backup in backups}
    return {
        backup.id: GONE if (backup.manifest or {}).get("repository_id") == identity else ELSEWHERE for backup in missing
    }


def _wrong_with(backup: Backup) -> str | None:
    """Why a backup does not count; None when it does."""
    if backup.damage:
        return backup.damage
    if not backup.verified or backup.manifest is None:
        return "it was not verified"
    # It was verified once. That its files are still there is worth a look before others are deleted for it.
    for file in backup.manifest["files"]:
        try:
            found = os.lstat(os.path.join(backup.path, file["name"]))
        except OSError as ex:
            return f"{file['name']} cannot be looked at: {ex.strerror}"
        if not stat.S_ISREG(found.st_mode) or found.st_size != file["bytes"]:
            return f"{file['name']} has {found.st_size} bytes, and not {file['bytes']} as {MANIFEST} says"
    return None


def _size(path: str) -> int:
    """How many bytes are in the files below a folder."""
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, dummy, names in os.walk(path) for name in names)


def message_of(found: t.Sequence[Pruned], check_mode: bool) -> str:
    """What was deleted, in one sentence, or what went wrong."""
    errors = [pruned.error for pruned in found if pruned.error is not None]
    if errors:
        return "; ".join(errors)
    if any(pruned.skipped == NO_RULE for pruned in found):
        return f"nothing to delete: {NO_RULE}"
    deleted, freed = sum(len(pruned.deleted) for pruned in found), sum(pruned.freed_bytes for pruned in found)
    skipped = sum(pruned.odd for pruned in found)
    text = "nothing to delete"
    if deleted or freed:
        size = f"{freed / 1e6:.1f} MB" if freed >= 1e5 else f"{math.ceil(freed / 1000)} kB"
        total = sum(pruned.backups for pruned in found)
        text = f"{'would delete' if check_mode else 'deleted'} {deleted} of {total} backups, {size}"
    return f"{text}; skipped {skipped} of {len(found)} sets" if skipped else text


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    given = module.params
    try:
        rules = parse_rules({name: given[f"keep_{name}"] for name in NUMBERS}, given["keep_within"])
        store = Store(given["directory"])
        names = store.sets() if given["sets"] is None else list(dict.fromkeys(given["sets"]))
        for name in names:
            check_set_name(name)
    except (BackupError, RuleError) as ex:
        module.fail_json(msg=str(ex))
    prune = Prune(store, rules, only_look=module.check_mode)
    found = [prune.run(name) for name in names]
    for pruned in found:
        if pruned.odd:
            module.warn(f"Nothing of the backup set {pruned.set_name} was deleted: {pruned.skipped}")
    module.exit_json(
        sets=[pruned.report() for pruned in found],
        deleted=sum(len(pruned.deleted) for pruned in found),
        freed_bytes=sum(pruned.freed_bytes for pruned in found),
        changed=any(pruned.deleted or pruned.swept for pruned in found),
        failed=any(pruned.error is not None for pruned in found),
        msg=message_of(found, module.check_mode),
    )


if __name__ == "__main__":
    main()
