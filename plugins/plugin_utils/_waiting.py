# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The check loop: asks the host until the jobs have ended, the deadline has passed or the host is out of reach.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import os.path
import random
import time
import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.plugin_utils import _contact
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import (
    Record,
    jobs_of,
    new_record,
    one_line,
    shown,
    summary_of,
    with_state,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._reports import take_in
from ansible_collections.inflight.jobs.plugins.plugin_utils._wait_options import BadOption, WaitOptions

# How much longer than its hold a check may take before the host counts as out of reach: time to connect, to send the
# module and to start Python on a slow host.
PATIENCE = 30.0
# Once it is known how long that takes, so many times as long is enough, but no less than so many seconds. A host that
# lost its power says nothing: until then we wait for one that is not there.
PATIENCE_FACTOR = 4.0
LEAST_PATIENCE = 10.0
# The same where the deadline of the wait comes first.
LAST_PATIENCE = 10.0
# News that somebody follows may wait on the host for so long, so that many ends cost one report. No shorter than the
# pause between two progress lines: more news than is shown is of no use.
LINGER = 5.0
# The first check comes back early, so that people see soon what is waited for, and we know how fast the host answers.
FIRST_HOLD = 5.0
FIRST_PAUSE = 0.5
# The longest pause between two tries to reach a host.
RETRY_PAUSE = 5.0


class Host(t.Protocol):
    """What a wait needs of a host: see _contact.Contact."""

    def ask(self, request: dict[str, t.Any], limit: float) -> dict[str, t.Any]: ...

    def reset(self) -> None: ...


class Watcher(t.Protocol):
    """Is told what happens during a wait: see _progress.Progress."""

    @property
    def follows(self) -> bool: ...

    def news(self, wait: Wait) -> bool: ...

    def ended(self, record: Record) -> None: ...

    def lost_contact(self, reason: str) -> None: ...

    def warn(self, text: str) -> None: ...


class Wait:
    """One wait for the jobs of one host.

    records: a record for each job in the order given; made up to date while the wait runs.
    problem: why the wait ended before its condition was met; empty when it was met.
    """

    def __init__(
        self,
        records: list[Record] | None,
        options: WaitOptions,
        host: Host,
        watcher: Watcher,
        *,
        async_dir: str,
        batch: str | None = None,
        end_jobs: t.Callable[[t.Iterable[tuple[str, str]], str], str] | None = None,
        judge: t.Callable[[Record], None] | None = None,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        """
        :param records: the jobs; None for every job that runs on the host, or for those of the batch.
        :param async_dir: the job directory of jobs whose launch did not return theirs.
        :param batch: the id of the batch whose jobs are meant.
        :param end_jobs: has jobs ended, as _cancelling.end_jobs does; needed when the options want that.
        :param judge: may change the record of a job that has just ended, before anybody is told.
        :param clock: tells seconds, never set back.
        :raises BadOption: when options.until asks for more than there are.
        """
        self.records = records or []
        self.problem = ""
        self.unreachable = False
        self._is_out_of_reach = False
        self.checks = 0
        self.reconnects = 0
        self._find = records is None
        self._batch = batch
        self._end_jobs = end_jobs
        self._judge = judge
        self._options = options
        self._host = host
        self._watcher = watcher
        self._async_dir = async_dir
        self._clock = clock
        self._sleep = sleep
        self._started = clock()
        # What the host wants to be told again at the next check.
        self._memory: dict[str, t.Any] = {}
        self._began: dict[tuple[str, str], t.Any] = {}
        # What the host calls jobs that nobody named.
        self._names: dict[str, t.Any] = {}
        self._patience = PATIENCE
        # Jobs that are still open, by directory and id; the same job may have been given more than once.
        self._open: dict[tuple[str, str], list[Record]] = {}
        self._take_up(self.records)
        if not self._find and self._too_few():
            raise BadOption(self._too_few())

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return self._clock() - self._started

    @property
    def finished(self) -> bool:
        """Whether as many jobs have ended as were asked for."""
        ended = sum(record["finished"] for record in self.records)
        return not self._find and ended >= self._asked_for()

    @property
    def cancels_on_interrupt(self) -> bool:
        """Whether interrupted is to be called when the user interrupts the wait."""
        return self._options.cancel_on_interrupt

    @property
    def still_open(self) -> list[Record]:
        """The jobs that have not ended, those that have run longest first."""
        order = {key: self._began.get(key) or [float("inf")] for key in self._open}
        return [record for key in sorted(self._open, key=lambda key: order[key]) for record in self._open[key]]

    def run(self) -> None:
        """Wait, and end what still runs if that is wanted. Whatever happens, records hold what is known by then."""
        self._wait()
        if self._options.cancel_on_failure and any(record["failed"] for record in self.records):
            self._end_open("another job of the wait did not succeed")
        elif self._options.cancel_on_timeout and self.problem and self._left() <= 0:
            self._end_open("the timeout of the wait passed")

    def interrupted(self) -> None:
        """The user wants the wait to end now, and has wanted the jobs to end with it."""
        if self._open and self._end_jobs:
            self._end_jobs(list(self._open), "the wait was interrupted")

    def _end_open(self, why: str) -> None:
        """End the jobs that still run, and take in what became of them."""
        if not self._open or not self._end_jobs or self._is_out_of_reach:
            return
        failure = self._end_jobs(list(self._open), why)
        problem, self.problem = self.problem, ""
        while self._try_check(0):
            pass
        self.problem = ". ".join(filter(None, (problem, failure, self.problem)))

    def _wait(self) -> None:
        pause = FIRST_PAUSE
        hold = min(self._options.hold, FIRST_HOLD)
        finding = self._find
        while finding or not self._is_over():
            more = self._try_check(max(0.0, min(hold, self._left())))
            if self.problem:
                return
            if finding:
                finding = self._find = False
                self.problem = self._too_few()
                if self.problem:
                    return
            # News that could not be shown yet must not wait for a long hold, and what jobs print is news all the time.
            soon = self._watcher.news(self) or (self._options.tail > 0 and self._watcher.follows)
            hold = min(self._options.hold, LINGER) if soon else self._options.hold
            if self._is_over():
                break
            left = self._left()
            if left <= 0 and not more:
                self.problem = f"The timeout of {self._options.timeout:g} s passed"
                return
            if not self._options.hold and not more:
                self._sleep(min(pause, left))
                pause = min(pause * 1.5, max(self._options.poll, FIRST_PAUSE))

    def look(self) -> None:
        """Look at the jobs once, and wait for nothing."""
        self._try_check(0)

    def _try_check(self, hold: float) -> bool:
        """As _check, but what goes wrong becomes the problem."""
        try:
            return self._check(hold)
        except _contact.CheckFailed as ex:
            self.problem = ex.sentence
        except _contact.OutOfReach as ex:
            self._is_out_of_reach = True
            self.unreachable = self._left() > 0
            passed = "" if self.unreachable else f"The timeout of {self._options.timeout:g} s passed. "
            self.problem = f"{passed}The host is out of reach: {ex}"
        return False

    def clean_up(self) -> None:
        """Delete the job files of the jobs that have ended: only now that their results are here."""
        paths = {record["results_file"] for record in self.records if record["finished"]} - {None}
        if not self._options.cleanup or not paths or self.unreachable:
            return
        request = self._request(0)
        request.update(directories=[], find=False, delete=[list(os.path.split(path)) for path in sorted(paths)])
        try:
            self._ask(request, PATIENCE)
        except (_contact.OutOfReach, _contact.CheckFailed) as ex:
            self._watcher.warn(f"The files of {jobs_of(len(paths))} were not deleted: {ex}")

    def _left(self) -> float:
        timeout = self._options.timeout
        return timeout - self.elapsed if timeout else float("inf")

    def _asked_for(self) -> int:
        until = self._options.until
        if until == "all":
            return len(self.records)
        if until == "any":
            return min(1, len(self.records))
        return int(until)

    def _too_few(self) -> str:
        total = len(self.records)
        if self._asked_for() <= total:
            return ""
        return f"until is {self._options.until}, but there are only {jobs_of(total)}"

    def _is_over(self) -> bool:
        return self.finished or (self._options.stop and any(record["failed"] for record in self.records))

    def _directory_of(self, record: Record) -> str:
        path = record["results_file"]
        return os.path.dirname(path) if path else self._async_dir

    def _take_up(self, records: list[Record], directory: str | None = None) -> None:
        """Make these the jobs of the wait, all in one job directory if one is given."""
        self.records = records
        self._open = {}
        for record in records:
            if directory:
                record["results_file"] = os.path.join(directory, record["ansible_job_id"])
            if not record["finished"]:
                self._open.setdefault((self._directory_of(record), record["ansible_job_id"]), []).append(record)

    def _request(self, hold: float) -> dict[str, t.Any]:
        directories: dict[str, dict[str, t.Any]] = {self._async_dir: {}} if self._find else {}
        for path, jid in self._open:
            directories.setdefault(path, {})[jid] = self._began.get((path, jid))
        ends = len(self._open)
        if self._options.until != "all":
            # A job that was given twice ends twice: then ask for fewer, and look again if they are not enough.
            given_again = sum(map(len, self._open.values())) - ends
            ended = sum(record["finished"] for record in self.records)
            ends = max(1, self._asked_for() - ended - given_again)
        return {
            "directories": [{"path": path, "jobs": jobs} for path, jobs in directories.items()],
            "find": self._find and self._batch is None,
            "batch": self._batch if self._find else None,
            "ends": ends if not self._find or self._options.until != "all" else 10**9,
            "stop": self._options.stop,
            "hold": hold,
            # Nobody watches on the host between a report and the next check: report early only to those who want it.
            "tail": self._options.tail,
            "linger": min(LINGER, hold) if self._watcher.follows else hold,
            "delete": [],
            **self._memory,
        }

    def _limit(self, hold: float) -> float:
        """Seconds that a check with this hold may take."""
        whole = hold + self._patience
        return whole if self._left() > whole else max(self._left(), 0) + LAST_PATIENCE

    def _check(self, hold: float) -> bool:
        """Ask the host once and take in what it says; True when it has more to say at once."""
        request = self._request(hold)
        response = self._ask(request, self._limit(hold))
        for remark in response["remarks"]:
            self._watcher.warn(remark)
        self._memory = {"boot": response["boot"], "looked": response["looked"]}
        self._names = response.get("names", {})
        paths = {place: directory["path"] for place, directory in enumerate(request["directories"])}
        if response.get("path"):
            # A batch: only now is it known where its jobs are, and which they are if somebody else started it.
            jobs = response["jobs"]
            self._take_up(self.records if jobs is None else _records_of(jobs), response["path"])
            self._find = False
            paths = {0: response["path"]}
        for place, jid, began in response["running"]:
            path = paths.get(place, self._async_dir)
            self._found(path, jid)
            self._began[path, jid] = began
            for record in self._open.get((path, jid), ()):
                record["attempts"] = max(1, record["attempts"])
                with_state(record, _jobs.RUNNING)
                if began and response["looked"] is not None:
                    record["started_at"] = began[1]
                    record["elapsed"] = round(max(0.0, response["looked"] - began[0]), 3)
        for place, jid, lines in response.get("tails", ()):
            for record in self._open.get((paths.get(place, self._async_dir), jid), ()):
                record["tail"] = [str(line) for line in lines]
        for place, jid in response.get("queued", ()):
            self._found(paths.get(place, self._async_dir), jid)
            for record in self._open.get((paths.get(place, self._async_dir), jid), ()):
                with_state(record, _jobs.QUEUED)
        for report in response["ended"]:
            key = (paths.get(report["place"], self._async_dir), report["jid"])
            self._found(*key)
            for record in self._open.pop(key, ()):
                record.pop("tail", None)
                take_in(record, report)
                if self._judge:
                    self._judge(record)
                self._watcher.ended(record)
        return bool(response["more"])

    def _found(self, path: str, jid: str) -> None:
        """Take up a job that the host found by itself."""
        if self._find and _jobs.is_job_id(jid) and (path, jid) not in self._open:
            name = self._names.get(jid)
            record = new_record(jid, _jobs.RUNNING, name=name if isinstance(name, str) else jid)
            self.records.append(record)
            self._open[path, jid] = [record]

    def _ask(self, request: dict[str, t.Any], limit: float) -> dict[str, t.Any]:
        """Ask, and ask again while the host is out of reach, until the patience of the user is at its end."""
        since: float | None = None
        pause = FIRST_PAUSE
        while True:
            self.checks += 1
            asked = self._clock()
            try:
                response = self._host.ask(request, limit)
            except (_contact.OutOfReach, _contact.CheckFailed) as ex:
                if isinstance(ex, (_contact.CheckFailed, _contact.Refused)) and not self._memory:
                    raise  # it has never worked: a wrong key, no Python, a full disk; not a host that went away
                if since is None:
                    since = self._clock()
                    self._watcher.lost_contact(str(ex))
                left = min(self._options.unreachable_timeout - (self._clock() - since), self._left())
                if left <= 0:
                    raise
                self._host.reset()
                self._sleep(min(left, pause * random.uniform(0.8, 1.2)))
                pause = min(pause * 2, RETRY_PAUSE)
                request["hold"] = request["linger"] = 0  # a glance first: much may have happened
                self._patience = PATIENCE  # it may have become slow
                limit = self._limit(0)
            else:
                around = self._clock() - asked - response["took"]
                self._patience = min(max(LEAST_PATIENCE, around * PATIENCE_FACTOR), PATIENCE)
                if since is not None:
                    self.reconnects += 1
                return response


def _records_of(jobs: list[dict[str, t.Any]]) -> list[Record]:
    """Records of the jobs of a batch as the host tells them."""
    records = []
    for job in jobs:
        if not _jobs.is_job_id(job["jid"]):
            raise _contact.CheckFailed(f"the host told a job id that is none: {shown(job['jid'])}")
        name = job["name"] or job["jid"]
        records.append(new_record(job["jid"], _jobs.QUEUED, name=name, item=job["item"], attempts=0))
    return records


def result_of(wait: Wait, no_log: bool = False) -> dict[str, t.Any]:
    """What the task returns.

    :param no_log: tell no names and no reasons in msg, which core shows of a failed task even then.
    """
    summary = summary_of(wait.records)
    failures = [record for record in wait.records if record["failed"]]
    outcome = {"unreachable": True} if wait.unreachable else {"failed": bool(failures or wait.problem)}
    return {
        "jobs": wait.records,
        "summary": summary,
        "finished": wait.finished,
        "elapsed": round(wait.elapsed, 3),
        "checks": wait.checks,
        "reconnects": wait.reconnects,
        "changed": any(record["changed"] for record in wait.records),
        "msg": message_of(wait, failures, no_log),
        **outcome,
    }


def message_of(wait: Wait, failures: list[Record], no_log: bool) -> str:
    """One or two sentences: what became of the wait, which jobs did not succeed and why."""
    total = len(wait.records)
    hidden = "no_log hides which"
    parts = []
    if wait.problem:
        parts.append(wait.problem)
    if failures:
        reasons = hidden if no_log else _some([_reason(record) for record in failures], 10, "; ")
        parts.append(f"{len(failures)} of {jobs_of(total)} did not succeed: {reasons}")
    if wait.still_open:
        names = hidden if no_log else _some([one_line(record["name"]) for record in wait.still_open], 10, ", ")
        parts.append(f"{len(wait.still_open)} of {jobs_of(total)} still running: {names}")
    if not parts:
        parts.append(f"{jobs_of(total)} succeeded" if total else "There were no jobs to wait for")
    return ". ".join(parts)


def _reason(record: Record) -> str:
    code = (record["result"] or {}).get("rc")
    rc = f" (rc {code})" if record["state"] == _jobs.FAILED and isinstance(code, int) else ""
    return f"{one_line(record['name'])} {record['state'].replace('_', ' ')}{rc}: {record['msg']}"


def _some(texts: list[str], most: int, between: str) -> str:
    rest = len(texts) - most
    return between.join(texts[:most]) + (f"{between}and {rest} more" if rest > 0 else "")
