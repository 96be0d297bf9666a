# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The first step of an update on a host: all that has to be done before packages are installed.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _host_lock, _output, _processes, _termination
from ansible_collections.inflight.jobs.plugins.module_utils._update import ending, keeper, packages, timers
from ansible_collections.inflight.jobs.plugins.module_utils._update.apt import ARCHIVES, LISTS, Apt
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import Plan, RunCommand, UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.rpm import Dnf, Zypper
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import (
    BEGUN,
    OUTCOME,
    REPORTED,
    Workspace,
    writing,
)

# What apt fetches is too large for a tmpfs.
_FOR_FETCHED = "/var/tmp"

Options = t.Mapping[str, t.Any]


def manager_of(options: Options, run: RunCommand, workspace: Workspace) -> packages.Manager:
    """The package manager that the options name."""
    if options["manager"] == "apt":
        return Apt(options, run, workspace)
    return Dnf(options, run) if options["manager"] == "dnf" else Zypper(options, run)


def begin(options: Options, run: RunCommand, workspace: Workspace) -> dict[str, t.Any]:
    """Do what comes before the installation, and leave a process that does what comes after it.

    That one keeps the lock of the host, shows the progress, and puts back what was changed, however the installation
    ends.

    :return: what the module tells.
    :raises UpdateError: when nothing can be installed; nothing is left changed then.
    """
    batch = keeper.batch_of(os.environ.get(_processes.STATUS))
    workspace.make()
    _output.say("wait for other updates and backups")
    try:
        lock = _host_lock.take(shared=False, wait=options["lock_timeout"])
    except _host_lock.HostLockError as ex:
        raise UpdateError(f"{ex}, also after {options['lock_timeout']:g} s") from ex
    try:
        return _begin_alone(options, run, workspace, batch, lock)
    finally:
        if lock is not None:
            os.close(lock)  # the keeper has a copy of it


def _begin_alone(
    options: Options, run: RunCommand, workspace: Workspace, batch: keeper.Batch, lock: int | None
) -> dict[str, t.Any]:
    # Nobody else is at work: whoever left these was killed before it could put them back.
    left = workspace.read(BEGUN) or {}
    unreported = bool(left) and not workspace.has(REPORTED)
    paused = [timer for timer in left.get("timers", ()) if not workspace.has(OUTCOME)]
    active = timers.active(run)
    stopped = sorted({*active, *paused}) if options["pause_timers"] else paused
    begun: dict[str, t.Any] = {"manager": options["manager"], "timers": stopped, "status_file": batch.status_file}
    workspace.delete(OUTCOME, REPORTED)
    manager = manager_of(options, run, workspace)
    try:
        # Before they are stopped: whoever comes after us knows of them even if we are killed in between.
        workspace.write(BEGUN, {**(left if unreported else {}), **begun})
        if options["pause_timers"]:
            timers.pause(run, active)
        plan, repaired, began = _prepare(options, manager)
        if unreported and left.get("manager") == options["manager"] and "before" in left:
            # What an update did that is in no report yet is reported with this one.
            began["before"], began["beside"] = left["before"], left.get("beside", {})
        workspace.write(BEGUN, {**begun, **began})
        follower = ending.follower(workspace, manager, plan)
        keeper.leave(batch, lock, lambda: ending.finish(workspace, run), follower, workspace)
    except BaseException:
        # Whatever has failed may have failed because the job is being ended.
        _termination.ignore_sigterm()
        if unreported:
            # What is in no report yet can still be asked for.
            ending.finish(workspace, run)
        else:
            # Neither is to hide the reason.
            with contextlib.suppress(UpdateError):
                timers.resume(run, stopped)
            with contextlib.suppress(UpdateError):
                workspace.delete(BEGUN)
        raise
    return told(plan, began["held"], repaired)


def look(options: Options, run: RunCommand) -> dict[str, t.Any]:
    """What begin would find, with nothing on the host changed by it; for check mode.

    :raises UpdateError: when that cannot be told.
    """
    with writing(_FOR_FETCHED):
        folder = tempfile.mkdtemp(prefix="inflight.jobs.", dir=_FOR_FETCHED)
    try:
        manager = manager_of(options, run, Workspace(folder))
        if isinstance(manager, Apt):
            # The engine that chooses security updates fetches them, whatever it is to do with them.
            aside = {ARCHIVES: _folder_in(folder, "archives")}
            if manager.is_outdated(options["cache_valid_time"]):
                aside[LISTS] = _folder_in(folder, "lists")
            manager.configure(aside=aside)
        manager.refresh(options["cache_valid_time"], options["lock_timeout"])
        return told(manager.plan(), manager.held(), [])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder_in(folder: str, name: str) -> str:
    """A folder for what apt fetches, which its own user can write to."""
    path = os.path.join(folder, name)
    with writing(folder):
        os.chmod(folder, 0o711)  # the files in it are 0600 all the same
        os.makedirs(os.path.join(path, "partial"))
        os.chmod(path, 0o755)  # whatever the umask: apt would fetch as root where its own user cannot get in
        with contextlib.suppress(LookupError):
            shutil.chown(os.path.join(path, "partial"), "_apt")
    return path


def _prepare(options: Options, manager: packages.Manager) -> tuple[Plan, list[str], dict[str, t.Any]]:
    """The plan, what was repaired, and what is to be known after the installation."""
    wait = options["lock_timeout"]
    if isinstance(manager, Apt):
        manager.configure()
    before = manager.installed()
    beside = packages.files_beside()
    logs = {path: _size_of(path) for path in manager.LOGS}
    _output.say("look for half-installed packages")
    repaired = manager.repair(wait)
    _output.say("fetch the lists of packages")
    manager.refresh(options["cache_valid_time"], wait)
    _output.say("find out what is to be done")
    plan = manager.plan()
    began = {
        "began_at": time.time(),
        "before": before,
        "held": manager.held(),
        "beside": beside,
        "logs": logs,
        "plan": plan,
        "remarks": plan.remarks,
    }
    return plan, repaired, began


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def told(plan: Plan, held: t.Sequence[str], repaired: t.Sequence[str]) -> dict[str, t.Any]:
    """What the module tells of a plan."""
    return {
        "planned": [change._asdict() for change in plan.changes],
        "kept_back": [{"name": name, "old": old, "new": new} for name, dummy_arch, old, new, *dummy in plan.kept_back],
        "excluded": plan.excluded,
        "held": [*held],
        "repaired": [*repaired],
        "remarks": [*plan.remarks],
    }
