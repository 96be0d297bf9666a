# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which jobs of the host are ended, who ends them, and what became of them.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import functools
import os
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder, _jobs, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._ending import Ending
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job
from ansible_collections.inflight.jobs.plugins.module_utils._order import Order
from ansible_collections.inflight.jobs.plugins.module_utils._other_user import OtherUser, OtherUserError
from ansible_collections.inflight.jobs.plugins.module_utils._survey import Found, Survey, brief, user_name

STATES = (_jobs.RUNNING, _jobs.QUEUED)


class Cancel:
    """Ends jobs of a host.

    The request has the keys of that of a survey, and signal (a name of _processes.SIGNALS), grace (seconds), why (of
    what ends them, for their job files; null where that is the task itself).
    """

    def __init__(self, request: dict[str, t.Any], run_command: _processes.RunCommand, only_look: bool) -> None:
        """
        :param run_command: AnsibleModule.run_command.
        :param only_look: whether to end nothing, and to tell what would be ended.
        """
        named = any(wanted["jobs"] is not None for wanted in request["directories"])
        # Of those that are named, it is told as well what became of them before.
        states = list(STATES) if request["states"] is None and not named else request["states"]
        self._request = dict(request, states=states)
        self._run_command = run_command
        self._only_look = only_look
        # Made here, as long as this process is the one that the user runs.
        reason = f"cancelled at {_jobs.iso(time.time())} by {_who()}" + (
            f": {request['why']}" if request["why"] else ""
        )
        self._order = Order(frozenset(), reason, request["signal"], float(request["grace"]))

    def run(self) -> dict[str, t.Any]:
        """Do it, and tell: jobs (as Survey.report tells them), cancelled (how many), left (for those that could not be
        ended: job id and why), and remarks.

        :raises JobDirectoryError: when a job directory cannot be used.
        :raises BatchError: when a batch is damaged.
        """
        survey = Survey(self._request, self._run_command)
        try:
            found = survey.find(brief)
        except _batch_folder.NoSuchBatch as ex:
            survey.remarks.append(f"{ex}: there is nothing to cancel.")
            found = []
        to_end = [one for one in found if one.state in _jobs.OPEN_STATES]
        if self._only_look or not to_end:
            reports = [survey.report(one) for one in found]
            return {"jobs": reports, "cancelled": len(to_end), "left": [], "remarks": survey.remarks}
        left = self._end([one.job for one in to_end])
        ended = {_key(one) for one in to_end}
        after, found = self._look_again(found)
        open_still = {_key(one) for one in found if one.state in _jobs.OPEN_STATES}
        for one in to_end:
            if _key(one) in open_still:
                left.setdefault(one.job, "none of its processes can be seen")
        return {
            "jobs": [after.report(one) for one in found],
            "cancelled": sum(one.state == _jobs.CANCELLED and _key(one) in ended for one in found),
            "left": [[one.job.jid, left[one.job]] for one in to_end if one.job in left],
            "remarks": survey.remarks,
        }

    def _look_again(self, found: list[Found]) -> tuple[Survey, list[Found]]:
        """These jobs as they are now, and the survey that found them."""
        jids: dict[str, list[str]] = {}
        for one in found:
            jids.setdefault(one.job.directory.path, []).append(one.job.jid)
        request: dict[str, t.Any] = dict.fromkeys(("batch", "states", "name", "older_than", "newer_than"))
        request["directories"] = [{"path": path, "jobs": its_jids} for path, its_jids in jids.items()]
        survey = Survey(request, self._run_command)
        return survey, survey.find(brief)

    def _end(self, jobs: list[Job]) -> dict[Job, str]:
        """End these jobs: those that could not be ended, and why."""
        by_owner: dict[int, list[Job]] = {}
        for job in jobs:
            by_owner.setdefault(-1 if job.look.owner is None else job.look.owner, []).append(job)
        ours = by_owner.pop(os.geteuid(), [])
        groups = [self._have_ended(owner, jobs) for owner, jobs in by_owner.items()]
        left = {ours[place]: why for place, why in self._end_ours(ours)}
        for result in groups:
            left.update(result())
        return left

    def _have_ended(self, owner: int, jobs: list[Job]) -> t.Callable[[], dict[Job, str]]:
        """Start to end jobs of another user; returns what waits for the end, and returns what _end returns."""
        try:
            if os.geteuid() != 0:
                raise OtherUserError(f"it belongs to user {user_name(owner)}: cancel it as that user (become_user)")
            other = OtherUser(owner, functools.partial(self._end_ours, jobs))
        except OtherUserError as ex:
            problem = str(ex)
            return lambda: dict.fromkeys(jobs, problem)

        def result() -> dict[Job, str]:
            try:
                return {jobs[place]: why for place, why in other.result()}
            except OtherUserError as ex:
                return dict.fromkeys(jobs, str(ex))

        return result

    def _end_ours(self, jobs: list[Job]) -> list[tuple[int, str]]:
        """End jobs of the user that this process belongs to: the places of those that could not be ended, and why."""
        left = Ending(self._order).run(jobs)
        return [(jobs.index(job), why) for job, why in left.items()]


def _key(one: Found) -> tuple[str, str]:
    return one.job.directory.path, one.job.jid


def _who() -> str:
    """Whose task this is: the user that the module runs as, and who became that user by sudo."""
    name, login = user_name(os.getuid()), os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {login})" if login.isprintable() and login not in ("", name) else str(name)
