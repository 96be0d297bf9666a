# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The rows of docs/backups.md.

from __future__ import annotations

from ..table import Table, surroundings

ROWS = {
    "start": (
        "start, other work, wait: three hosts, two sets on each",
        "the other work is done while all backups run; all saved",
    ),
    "second run": (
        "the same again, and once more with a rule that keeps two",
        "nothing is lost; two of three are kept; the size is compared with the last one",
    ),
    "check mode": ("check mode", "nothing is written; it says what would be backed up"),
    "controller": (
        "ansible-playbook killed with SIGKILL after start; another run waits",
        "all backups are collected",
    ),
    "full filesystem": (
        "one host with a full filesystem",
        "failed with that reason; nothing is left; the report names it",
    ),
    "missing path": ("one host with a missing path", "failed with that reason; its other set is saved"),
    "wrong password": ("one host with a wrong database password", "failed with that reason; its other set is saved"),
    "switched off": (
        "one host switched off",
        "unreachable, in the report; the others are saved; the exit code is not 0, after the report",
    ),
    "writer": (
        "a file that is appended to while it is read; the same with file_changed: fail",
        "saved with a warning, and can be read; failed",
    ),
    "kill tar": ("SIGKILL of tar", "failed with that reason; nothing under a final name; no partial is left"),
    "kill zstd": ("SIGKILL of zstd", "failed with that reason; nothing under a final name; no partial is left"),
    "kill job": (
        "SIGKILL of the job",
        "lost; nothing under a final name; post_commands run; the next run removes the partial",
    ),
    "timeout": ("a set that takes longer than its limit", "timed_out; no partial is left; post_commands run"),
    "reboot": (
        "a host reboots in the middle",
        "lost, or failed as tar was ended; nothing under a final name; the next run removes the partial",
    ),
    "damage": (
        "one byte of a backup flipped; one cut at 60 %; one, not compressed, cut at a member",
        "each is found, and not counted as good any more",
    ),
    "restore": (
        "restore to an empty folder: owners, modes, ACLs, extended attributes, hard links, holes, odd names",
        "no difference; refused where files are already, and from a damaged backup",
    ),
    "postgresql": (
        "PostgreSQL: dump all databases, restore them beside, count the rows; restore by hand",
        "the same numbers of rows; no database is left over",
    ),
    "mariadb": (
        "MariaDB: dump all databases, restore them beside, count the rows; restore by hand",
        "the same numbers of rows; no database is left over",
    ),
    "restic": (
        "restic in place of tar; three runs that keep two; a flipped byte in the repository; a restore",
        "as with tar: two snapshots are kept, the byte is found, the restore does not differ",
    ),
    "copy": (
        "a copy on another host by rsync; then that host out of reach",
        "the same checksums there; failed with that reason, and the backup is kept",
    ),
    "oracle": ("dates and rules by chance, against restic forget", "the same are kept"),
    "user": ("a user who is not root, with become", "saved as root"),
    "noexec": ("temporary folders mounted noexec", "saved"),
}


def page(table: Table) -> str:
    """docs/backups.md."""
    return f"""\
# Backups that go wrong

What the role `parallel_backup` does on three real hosts, with a real PostgreSQL and a real MariaDB, when things go well
and when they do not.

`make fleet-test` measures this again and writes this page. Here:
{surroundings()}.

{table.lines(ROWS)}
"""
