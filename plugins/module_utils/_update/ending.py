# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The last step of an update on a host: puts back what was changed for its time, and finds out what it has done.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils._update import apt, packages, rpm, timers
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import (
    Change,
    Package,
    Plan,
    RunCommand,
    UpdateError,
)
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import BEGUN, OUTCOME, Workspace

# Of a log, so much is read, and so many of its last lines are told.
_READ = 4 * 1024 * 1024
_LINES = 40

_NOTHING_ASKED = {"lock_timeout": 0, "security_only": False}


def follower(workspace: Workspace, manager: packages.Manager, plan: Plan) -> t.Callable[[], str]:
    """A function that tells how far the installation is."""
    logs = (workspace.read(BEGUN) or {}).get("logs", {})
    return lambda: manager.progress(plan, "".join(_since(path, logs.get(path, 0)) for path in manager.FOLLOWED))


def finish(workspace: Workspace, run: RunCommand, *warnings: str) -> dict[str, t.Any]:
    """Put back what was changed, and write down what has become of the packages.

    :param warnings: what else is to be told.
    :return: what was written.
    """
    begun = workspace.read(BEGUN) or {}
    reader: packages.Manager = (
        apt.Apt(_NOTHING_ASKED, run, workspace) if begun.get("manager") == "apt" else rpm.Dnf(_NOTHING_ASKED, run)
    )
    outcome: dict[str, t.Any] = {"ended_at": time.time(), "warnings": [*begun.get("remarks", ()), *warnings]}
    try:
        outcome["after"] = reader.installed()
        log = "".join(_since(path, offset) for path, offset in begun.get("logs", {}).items())
        outcome["failed_packages"] = [{"name": name, "state": state} for name, state in reader.unfinished(log)]
    except UpdateError as ex:
        outcome["warnings"].append(str(ex))
    outcome["conffiles"] = _new_beside(begun)
    outcome["log_tail"] = _tail_of(begun)
    try:
        timers.resume(run, begun.get("timers", ()))
    except UpdateError as ex:
        outcome["warnings"].append(str(ex))
    workspace.write(OUTCOME, outcome)
    return outcome


def told(workspace: Workspace, outcome: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the module tells of what has become of the packages."""
    begun = workspace.read(BEGUN) or {}
    origins = {}
    if isinstance(begun.get("plan"), list):
        origins = {name: origin for name, dummy_arch, dummy_old, dummy_new, origin in begun["plan"][0]}
    changes: list[Change] = []
    # Who was killed before it had looked cannot say what has changed.
    if "after" in outcome and "before" in begun:
        before, after = ([Package(*one) for one in where] for where in (begun["before"], outcome["after"]))
        changes = packages.changes_between(before, after, origins)
    return {
        "packages": [change._asdict() for change in changes],
        "failed_packages": outcome.get("failed_packages", []),
        "conffiles": outcome["conffiles"],
        "log_tail": outcome["log_tail"],
        "remarks": outcome["warnings"],
    }


def _new_beside(begun: t.Mapping[str, t.Any]) -> list[str]:
    known = begun.get("beside", {})
    return sorted(path for path, changed in packages.files_beside().items() if known.get(path) != changed)


def _tail_of(begun: t.Mapping[str, t.Any]) -> list[str]:
    """The last lines that the package manager has logged since the update began."""
    logs = t.cast("dict[str, int]", begun.get("logs", {}))
    # What people read, where there is such a log.
    for path in reversed(list(logs)):
        lines = [line.rstrip()[:500] for line in _since(path, logs[path]).splitlines() if line.strip()]
        if lines:
            return lines[-_LINES:]
    return []


def _since(path: str, offset: int) -> str:
    """What was written to a log behind this place, or all of it when it is shorter now: a new one was begun."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = offset if offset <= size else 0
            file.seek(max(start, size - _READ))
            return file.read(_READ).decode("utf-8", "replace")
    except OSError:
        return ""
