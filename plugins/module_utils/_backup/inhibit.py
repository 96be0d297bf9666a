# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Keeps a host from being shut down or suspended, where systemd is.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._backup import streams
from ansible_collections.inflight.jobs.plugins.module_utils._backup.store import BackupError


@contextlib.contextmanager
def inhibited(why: str) -> t.Iterator[None]:
    """Take a lock of systemd-logind for as long as this process lives, at most.

    A host without systemd, or a user who may not take it, goes without.
    """
    holder = None
    if os.path.isdir("/run/systemd/system"):
        with contextlib.suppress(BackupError, OSError):
            # cat ends when the pipe to it closes, which it does even when this process is killed.
            holder = streams.start(
                [
                    *(streams.find("systemd-inhibit"), "--what=sleep:shutdown", "--mode=block"),
                    *("--who=inflight.jobs", f"--why={why}", "cat"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    try:
        yield
    finally:
        if holder:
            t.cast("t.IO[bytes]", holder.stdin).close()
            holder.wait()
