# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Starts a batch: decides whether one of that name lives already, makes its folder, becomes its supervisor.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import traceback
import typing as t
import zlib

from ansible_collections.inflight.jobs.plugins.module_utils import (
    _batch_folder,
    _ending,
    _jobs,
    _pool,
    _processes,
    _zygote,
)
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError, BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job
from ansible_collections.inflight.jobs.plugins.module_utils._order import MAX_GRACE, Order

# ionice of util-linux knows the classes by number.
_IO_CLASSES = {"best-effort": "2", "idle": "3"}


class Launcher:
    """A process that is forked before our module has done anything, and becomes the supervisor.

    What a module run leaves behind in an interpreter (arguments, warnings, exit functions) is not there yet, so no job
    that is forked from it later can find it.
    """

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._socket.close()
                _become_supervisor(other)
                code = 0
            finally:
                os._exit(code)
        other.close()

    def launch(self, order: str, path: str) -> dict[str, t.Any]:
        """Start a batch, or find the one that lives.

        :param order: what to start, as _launching.order_text on the controller makes it.
        :param path: the job directory.
        :return: number (of the batch), path (of the job directory), and jobs when they are others than ordered: a list
            of dicts with jid, key, name and item.
        :raises BatchError: when nothing was started.
        """
        with self._socket, self._socket.makefile("rwb") as stream:
            stream.write(json.dumps({"order": order, "path": path}).encode() + b"\n")
            stream.flush()
            line = stream.readline()
        if not line:
            raise BatchError("the supervisor died while it started")
        answer = t.cast("dict[str, t.Any]", json.loads(line))
        if "error" in answer:
            raise BatchError(answer["error"])
        return answer


def _become_supervisor(link: socket.socket) -> None:
    os.setsid()
    _processes.do_not_wake()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _processes.close_all_but({0, 1, 2, link.fileno()})
    _zygote.forget_own_archive()
    stream = link.makefile("rwb")
    line = stream.readline()
    if not line:
        return  # our module had nothing to launch
    request = json.loads(line)
    pool = None
    try:
        order = json.loads(zlib.decompress(base64.b64decode(request["order"])))
        directory = _jobs.JobDirectory.create(request["path"])
        answer, pool = _launch(order, directory)
    except (BatchError, _jobs.JobDirectoryError) as ex:
        answer = {"error": str(ex)}
    except OSError as ex:
        answer = {"error": f"the batch cannot be started: {ex}"}
    with contextlib.suppress(OSError):  # the link may be gone; the batch is started all the same
        stream.write(json.dumps(answer).encode() + b"\n")
        stream.close()
    link.close()
    if pool is not None:
        try:
            pool.run()
        except Exception:
            traceback.print_exc()
            raise


def _launch(order: dict[str, t.Any], directory: _jobs.JobDirectory) -> tuple[dict[str, t.Any], _pool.Pool | None]:
    folder = BatchFolder(directory.path, order["number"])
    name = order["id"] or order["number"]
    with _batch_folder.BatchId(directory.path, name, keep=bool(order["id"])) as batch_id:
        if folder.exists():
            return _answer(folder, folder.manifest()["jobs"]), None  # the order came twice: its answer was lost
        latest = batch_id.latest()
        if latest is not None and _lives(latest, directory):
            if order["on_existing"] == "fail":
                raise BatchError(f"the batch {name!r} lives already on this host, and on_existing is fail")
            if order["on_existing"] == "attach":
                return _answer(latest, latest.manifest()["jobs"]), None
            _replace(latest, directory, name)
        jobs = [
            {"jid": f"{folder.number}.{index}", "key": job["key"], "name": job["name"], "item": job["item"]}
            for index, job in enumerate(order["jobs"])
        ]
        reused = _reuse(jobs, latest, directory) if latest is not None and order["rerun"] == "failed" else False
        pool = _set_up(order, jobs, folder, directory)
        if order["id"]:
            batch_id.set_latest(folder)
        return _answer(folder, jobs if reused else None), pool


def _answer(folder: BatchFolder, jobs: list[dict[str, t.Any]] | None) -> dict[str, t.Any]:
    return {"number": folder.number, "path": folder.directory, "jobs": jobs}


def _reuse(jobs: list[dict[str, t.Any]], latest: BatchFolder, directory: _jobs.JobDirectory) -> bool:
    """Give those jobs that succeeded in an earlier batch the id that they had there; True when there are any."""
    succeeded: dict[str, list[str]] = {}
    for job in latest.manifest()["jobs"]:
        if _jobs.is_job_id(job["jid"]) and directory.read(job["jid"]).state == _jobs.SUCCEEDED:
            succeeded.setdefault(job["key"], []).append(job["jid"])
    reused = False
    for job in jobs:
        if succeeded.get(job["key"]):
            job["jid"] = succeeded[job["key"]].pop(0)
            reused = True
    return reused


def _set_up(
    order: dict[str, t.Any], jobs: list[dict[str, t.Any]], folder: BatchFolder, directory: _jobs.JobDirectory
) -> _pool.Pool:
    """Make the folder and the job files, and become the supervisor."""
    _be_nice(order["nice"], order["io_class"])
    limits = order["limits"]
    limits["window"] = _window(limits["window"])
    own = [index for index in order["order"] if _batch_folder.number_of(jobs[index]["jid"]) == folder.number]
    told = {"id": order["id"], "grace": limits["grace"], "timeout": limits["timeout"], "order": own, "jobs": jobs}
    folder.make(told)
    errors = os.open(folder.file("supervisor.err"), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.dup2(errors, 2)
    os.close(errors)
    payloads = [
        _zygote.Payload(
            payload["kind"],
            tuple(piece.encode("latin-1") for piece in payload["code"]),
            payload["interpreter"],
            payload["warm"],
        )
        for payload in order["payloads"]
    ]
    to_run = [
        _zygote.Job(f"{folder.number}.{index}", job["payload"], job["params"], job["environment"])
        for index, job in enumerate(order["jobs"])
    ]
    pool = _pool.Pool(_zygote.Batch(directory, folder, to_run, payloads), own, _pool.Limits(**limits))
    pool.obey()  # another run may replace this one as soon as the lock says who we are
    folder.supervise()
    for index in own:
        directory.create_marker(jobs[index]["jid"])
    return pool


def _window(wanted: int | str | None) -> int:
    """How many jobs run at once: a number, or a part of the CPUs that we may use, as in 50%."""
    if isinstance(wanted, int):
        return wanted
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cpus if wanted is None else max(1, int(cpus * float(wanted.rstrip("%")) / 100))


def _be_nice(nice: int, io_class: str) -> None:
    """Lower the priority of this process, and with it of all that come from it."""
    if nice:
        try:
            os.nice(nice)
        except OSError as ex:
            raise BatchError(f"nice is {nice}: {ex.strerror}; only root may raise the priority") from ex
    if io_class != "none":
        command = ["ionice", "-c", _IO_CLASSES[io_class], "-p", str(os.getpid())]
        status = _zygote.run_program(command)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 127:
            raise BatchError(f"io_class is {io_class}: the host has no ionice (package util-linux)")
        if status:
            raise BatchError(f"io_class is {io_class}: ionice failed on this host")


def _lives(folder: BatchFolder, directory: _jobs.JobDirectory) -> bool:
    """Whether the supervisor of a batch lives, or any job that it left behind."""
    return folder.supervisor() is not None or _has_left_behind(folder, directory)


def _has_left_behind(folder: BatchFolder, directory: _jobs.JobDirectory) -> bool:
    """Whether a job of a batch runs."""
    for job in folder.manifest()["jobs"]:
        found = directory.read(job["jid"])
        if _processes.is_alive(found.process):
            pid = t.cast("list[t.Any]", found.process)[0]
            if _processes.owner(pid) == found.owner:
                return True
    return False


def _replace(folder: BatchFolder, directory: _jobs.JobDirectory, name: str) -> None:
    """End a batch that lives.

    :raises BatchError: when it does not end.
    """
    grace = min(float(folder.manifest().get("grace") or 0), MAX_GRACE)  # a supervisor heeds no order with more
    order = Order(frozenset(), "another run replaced its batch", "TERM", grace)
    jobs = [Job(directory, 0, job["jid"], None, folder) for job in folder.manifest()["jobs"]]
    for job in jobs:
        job.read()
    still_open = [job for job in jobs if job.look.state in _jobs.OPEN_STATES]
    if _ending.Ending(order).run(still_open):
        raise BatchError(f"the batch {name!r} could not be ended in {grace + _ending.END_MARGIN:g} s")
