#!/usr/bin/python

# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_set
short_description: Make a backup of some paths, of databases, or of what a command writes
version_added: 1.0.0
author:
  - inflight.jobs contributors (@inflight-jobs)
description:
  - Makes one backup, proves that it can be read, and only then gives it its name. What was interrupted, or did not fit
    on the disk, or does not pass the checks, is removed and never taken for a backup.
  - The role C(inflight.jobs.parallel_backup) runs this for all sets of all hosts at once.
  - A backup is a folder O(directory)/O(name)/ID, where ID begins with the UTC time of its start. In it are the files,
    and C(manifest.json) with the size, the number of members and the SHA-256 of each. Folders have the mode 0700, files
    0600.
extends_documentation_fragment:
  - inflight.jobs.backup_database
options:
  name:
    description: The name of the backup set.
    type: str
    required: true
  directory:
    description: The folder for all backups of the host. It is made when it is not there. It is never part of a backup.
    type: path
    required: true
  host:
    description:
      - The name of the host in the manifest, and of its folder in O(copy_to). The name that the host has itself when
        left out.
    type: str
  paths:
    description:
      - The files and folders to back up, with owners, modes, ACLs, extended attributes and hard links; by GNU tar also
        with holes.
      - Of a symbolic link the link itself.
    type: list
    elements: str
  engine:
    description: What to back up the O(paths) with.
    type: str
    choices:
      tar: GNU tar. Each backup is an archive of its own.
      restic:
        restic 0.14 or newer. Each backup is a snapshot in a repository, which is encrypted, and has what is the same in
        many backups only once. In O(directory) there is the manifest only.
    default: tar
  restic:
    description: The repository, for O(engine=restic).
    type: dict
    suboptions:
      repository:
        description:
          - Its address as restic names it, an absolute path or something like V(sftp:user@server:/folder). It must not
            have a password in it.
          - Best is one for each host. Of hosts with the same repository each can remove the backups of all others, and
            has to wait while another one removes old backups.
        type: str
        required: true
      password_file:
        description:
          - The file on the host with the password of the repository, which nobody else may read. Without this password
            nothing can be restored, so have a copy of it elsewhere.
        type: path
        required: true
      environment_file:
        description:
          - A file on the host, which nobody else may read, with variables for restic in lines of C(KEY=VALUE), such as
            C(AWS_SECRET_ACCESS_KEY).
        type: path
      init:
        description: Whether to make a repository where there is none. Not where an earlier backup is in it.
        type: bool
        default: false
      copy_to:
        description:
          - Another repository that the snapshot is copied to by C(restic copy). After that its files and folders are
            listed there and counted. It gets the variables of O(restic.environment_file) too. Its old snapshots are not
            removed.
        type: str
      copy_password_file:
        description: The file with the password of that one. O(restic.password_file) when left out.
        type: path
  exclude:
    description:
      - What to leave out. Patterns of the shell, in which C(*) stands for slashes too. With O(engine=restic) it does
        not; C(**) stands for any number of folders there.
      - One that begins with a slash is a whole path, like V(/var/cache). Any other one is a name or the end of a path,
        like V(*.tmp) or V(node_modules).
    type: list
    elements: str
    default: []
  one_file_system:
    description: Whether to leave out what is mounted below the O(paths).
    type: bool
    default: true
  missing_path:
    description: What to do when one of the O(paths) is not there.
    type: str
    choices:
      fail: Fail, before anything is written.
      warn: Back up the others, and warn.
    default: fail
  file_changed:
    description:
      - What to do when a file changed or went away while it was read. restic does not tell of files that changed.
    type: str
    choices:
      ok: Nothing.
      warn: Warn, and keep the backup.
      fail: Fail.
    default: warn
  command:
    description:
      - A command of the shell. What it writes to its standard output is the backup. One that writes nothing has failed.
      - Of commands in a pipe only the last one tells whether it failed. C(bash -o pipefail -c '...') knows of all.
    type: str
  compression:
    description: How to compress. Dumps of PostgreSQL are compressed already, and restic compresses by itself.
    type: str
    choices: [zstd, gzip, none]
    default: zstd
  compression_level:
    description: From 1, the fastest, to 9 for V(gzip) and 19 for V(zstd).
    type: int
    default: 3
  compression_threads:
    description: How many threads V(zstd) has, V(0) for as many as there are CPUs.
    type: int
    default: 0
  compression_rsyncable:
    description: Whether to compress so that a small change changes little of the file.
    type: bool
    default: false
  verify:
    description:
      - How to prove that the backup is good, before it gets its name. Those that do not fit to what was backed up are
        left out. When none of them fits, V(checksum) is made.
      - V(checksum) reads the files again and compares their SHA-256 with that of what was written. For restic it is
        C(restic check), which looks whether the repository has all that it should have, and does not read the content
        of files.
      - V(list) reads archives to the end and counts the members.
      - V(read) reads every member of archives, and all other files, to the end. For restic it is the only one that
        finds a flipped byte within the content of files.
      - V(restore_sample) restores O(sample_files) files of an archive and compares them with their sources.
      - V(database_read) has every dump read to the end by the tools of its database.
      - V(database_restore) restores every dump into a database of its own and compares the number of rows of all
        tables.
    type: list
    elements: str
    choices: [checksum, list, read, restore_sample, database_read, database_restore]
    default: [checksum, list, database_read]
  sample_files:
    description: How many files V(restore_sample) looks at.
    type: int
    default: 10
  min_free_mb:
    description:
      - How much has to stay free on the filesystem of O(directory), in megabytes. With O(engine=restic) on that of the
        repository, when that is a folder of the host.
    type: float
    default: 1024
  min_free_percent:
    description: How much has to stay free there, in percent of its size.
    type: float
    default: 10
  size_factor:
    description: How much larger than the last backup this one may get, for the question whether it will fit.
    type: float
    default: 1.1
  min_size_ratio:
    description: Warn when the backup is smaller than this part of the last one.
    type: float
    default: 0.5
  lock_wait:
    description:
      - How long to wait for an update of the host by the role C(parallel_update), in seconds, and then once more for
        another run that is at work on this set. Only root knows of such an update.
    type: float
    default: 0
  pre_commands:
    description: Commands of the shell to run before. When one fails there is no backup.
    type: list
    elements: str
    default: []
  post_commands:
    description:
      - Commands of the shell to run after the backup, whether it was made or not. They run even when the process that
        makes it is killed.
    type: list
    elements: str
    default: []
  fail_commands:
    description: Commands of the shell to run when the backup was not made, before O(post_commands).
    type: list
    elements: str
    default: []
  copy_to:
    description:
      - Where to copy the backup to by rsync, a folder on another server such as V(backup@server:/srv/backups) or one
        that is mounted here. It must be there. The copy is in a folder of it with the name of the O(host).
      - The host logs in there by itself, so it needs a key, and the key of the server in its C(known_hosts).
      - rsync compares the checksums on both ends after that.
      - Not for O(engine=restic), which has O(restic.copy_to).
    type: str
  copy_key_file:
    description: The private key for that, on the host. That of the user when left out.
    type: path
  copy_bwlimit:
    description: How fast to copy at most, in KiB in a second. V(0) for no limit.
    type: int
    default: 0
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
    details:
      - Looks whether everything is there, and says what would be backed up. Runs no command of yours and writes
        nothing.
  diff_mode:
    description: Can show the changes it makes in diff mode.
    support: none
  idempotent:
    description: Changes nothing when it is run again.
    support: none
    details:
      - Every run makes a backup.
  platform:
    description: The systems it can be used on.
    support: full
    platforms: posix
notes:
  - Needs Python 3.8 or newer on the host, GNU tar, and zstd or gzip. For databases, their own client programs. For
    O(engine=restic), restic alone.
  - A snapshot has the tags O(name) and the id of the backup, and the time of its start. Have old ones removed by
    M(inflight.jobs.backup_prune), and not by C(restic forget), which knows nothing of what was verified.
  - restic removes the lock of one that was killed when that was on the same host, or half an hour ago.
  - Dump databases, and do not copy the files of a server that runs, such as C(/var/lib/mysql). They would not fit
    together.
  - Where systemd is, root takes a lock against shutdown and sleep meanwhile. A person at a terminal has to heed it,
    scripts and M(ansible.builtin.reboot) do from systemd 257 on.
seealso:
  - module: inflight.jobs.async_batch
"""

EXAMPLES = r"""
- name: Back up the configuration
  inflight.jobs.backup_set:
    name: etc
    directory: /var/backups/parallel_backup
    paths: [/etc]

- name: Dump all databases of PostgreSQL, and see that they can be restored
  inflight.jobs.backup_set:
    name: postgresql
    directory: /var/backups/parallel_backup
    database:
      type: postgresql
    verify: [checksum, database_restore]

- name: Back up a wiki that must stand still meanwhile, and copy it to another server
  inflight.jobs.backup_set:
    name: wiki
    directory: /var/backups/parallel_backup
    paths: [/srv/wiki]
    exclude: [/srv/wiki/cache, "*.tmp"]
    pre_commands: [systemctl stop wiki]
    post_commands: [systemctl start wiki]
    copy_to: backup@vault.example.com:/srv/backups

- name: Back up home directories into a repository of restic, and read all of it again
  inflight.jobs.backup_set:
    name: home
    directory: /var/backups/parallel_backup
    engine: restic
    paths: [/home]
    exclude: [.cache]
    restic:
      repository: sftp:backup@vault.example.com:/srv/restic/web1
      password_file: /root/.restic-password
      init: true
    verify: [checksum, list, read]
"""

RETURN = r"""
backup:
  description: The backup. Also when it was made and something failed after that.
  returned: when it was made
  type: dict
  contains:
    set:
      description: The name of the set.
      type: str
      sample: etc
    id:
      description: The name of its folder, which begins with its start in UTC.
      type: str
      sample: 20261121T201500Z-3fa9c1
    path:
      description: Its folder.
      type: str
      sample: /var/backups/parallel_backup/etc/20261121T201500Z-3fa9c1
    bytes:
      description: The size of its files. With O(engine=restic) that of the files that it is of.
      type: int
      sample: 1834523
    added_bytes:
      description: By how much the repository of restic grew, before compression. V(null) for others.
      type: int
    snapshot:
      description: The id of the snapshot of restic, V(null) for others.
      type: str
    shrunk:
      description: Whether it is smaller than O(min_size_ratio) of the last one.
      type: bool
      sample: false
    previous_bytes:
      description: The size of the last verified backup of this set before this one, V(null) if there was none.
      type: int
      sample: 1834001
    members:
      description: How many files and folders are in it, V(null) if it has no archive.
      type: int
      sample: 1873
    seconds:
      description: How long it took, with the checks.
      type: float
      sample: 3.217
    started_at:
      description: When it was begun, in UTC.
      type: str
      sample: "2026-11-21T20:15:00Z"
    ended_at:
      description: When it was finished, in UTC.
      type: str
      sample: "2026-11-21T20:15:03Z"
    verified:
      description: Whether it passed a check.
      type: bool
      sample: true
    checks:
      description: The checks that it passed.
      type: list
      elements: str
      sample: [checksum, list]
    damage:
      description: What is wrong with it, V(null) if nothing is known.
      type: str
    warnings:
      description: What to look at.
      type: list
      elements: str
      sample: ["home/app/log: file changed as we read it"]
    copied_to:
      description: Where it was copied to, V(null) if it was not.
      type: str
    engine:
      description: What it was made with.
      type: str
      sample: tar
    host:
      description: The host it is of.
      type: str
      sample: web1
    files:
      description:
        - Its files, each with C(name), C(kind), C(compression), C(bytes), C(sha256), C(members), C(exit_code) of the
          program that wrote it, and for archives C(content_bytes), their size before compression.
      type: list
      elements: dict
msg:
  description: What was done, or why not.
  returned: always
  type: str
  sample: backed up 1.8 MB
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.inflight.jobs.plugins.module_utils._backup.making import Making
from ansible_collections.inflight.jobs.plugins.module_utils._backup.options import DATABASE
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError
from ansible_collections.inflight.jobs.plugins.module_utils._backup.verify import CHECKS
from ansible_collections.inflight.jobs.plugins.module_utils._termination import Terminated, heed_sigterm

_COMMANDS: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "host": {"type": "str"},
    "paths": {"type": "list", "elements": "str"},
    "engine": {"type": "str", "choices": ["tar", "restic"], "default": "tar"},
    "restic": {
        "type": "dict",
        "options": {
            "repository": {"type": "str", "required": True},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "environment_file": {"type": "path"},
            "init": {"type": "bool", "default": False},
            "copy_to": {"type": "str"},
            "copy_password_file": {"type": "path", "no_log": False},
        },
    },
    "exclude": {"type": "list", "elements": "str", "default": []},
    "one_file_system": {"type": "bool", "default": True},
    "missing_path": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
    "file_changed": {"type": "str", "choices": ["ok", "warn", "fail"], "default": "warn"},
    "database": DATABASE,
    "command": {"type": "str"},
    "compression": {"type": "str", "choices": ["zstd", "gzip", "none"], "default": "zstd"},
    "compression_level": {"type": "int", "default": 3},
    "compression_threads": {"type": "int", "default": 0},
    "compression_rsyncable": {"type": "bool", "default": False},
    "verify": {
        "type": "list",
        "elements": "str",
        "choices": list(CHECKS),
        "default": ["checksum", "list", "database_read"],
    },
    "sample_files": {"type": "int", "default": 10},
    "min_free_mb": {"type": "float", "default": 1024},
    "min_free_percent": {"type": "float", "default": 10},
    "size_factor": {"type": "float", "default": 1.1},
    "min_size_ratio": {"type": "float", "default": 0.5},
    "lock_wait": {"type": "float", "default": 0},
    "pre_commands": _COMMANDS,
    "post_commands": _COMMANDS,
    "fail_commands": _COMMANDS,
    "copy_to": {"type": "str"},
    "copy_key_file": {"type": "path", "no_log": False},
    "copy_bwlimit": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[("paths", "database", "command")],
        mutually_exclusive=[("paths", "database", "command")],
        supports_check_mode=True,
    )
    # What was begun is removed, and the commands after it run.
    heed_sigterm()
    making = None
    try:
        making = Making(module.params)
        if module.check_mode:
            module.exit_json(changed=True, msg=making.plan())
        report = making.run()
    except (BackupError, Terminated) as ex:
        made: dict[str, t.Any] = {"backup": making.report} if making and making.report else {}
        module.fail_json(msg=str(ex), changed=bool(made), **made)
    except OSError as ex:
        module.fail_json(msg=f"the backup cannot be made: {ex}")
    module.exit_json(changed=True, msg=f"backed up {report['bytes'] / 1e6:.1f} MB", backup=report)


if __name__ == "__main__":
    main()
