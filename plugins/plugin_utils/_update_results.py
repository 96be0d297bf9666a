# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What tasks of the role parallel_update registered on a host, phase by phase, as the result of that host.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import datetime
import re
import typing as t
from collections.abc import Mapping, Sequence

Result = dict[str, t.Any]
Registered = Mapping[str, t.Any]

OK, WARNING, FAILED, UNREACHABLE = "ok", "warning", "failed", "unreachable"
RUNNING, NOT_TOUCHED = "running", "not_touched"

_NO_REASON = "nothing is known of the reason"
# Installed: ij-new-1.0-1.noarch, as dnf4 says it; dnf5 and epochs go the same way.
_COMES = re.compile(r"Installed: (?P<name>.+)-(?P<new>[^-]+-[^-]+)\.(?P<arch>[^.]+)")
_HEALTH = ("new_faults", "old_faults")


def after_preflight(before: Registered, registered: Registered) -> Result:
    """
    :param registered: info: of update_info. health: of health_check, if it was run.
    """
    result = {**before, "state": OK, "msg": None, "phase": None, "changed": False, "warnings": []}
    result["reached"] = "preflight"
    info = _of(registered, "info")
    result["manager"] = info.get("manager")
    result["kernel"] = {"before": info.get("kernel"), "after": None}
    health = _of(registered, "health")
    if "checks" in health:
        result["health"] = {"before": health["checks"], "after": None, "new_faults": [], "old_faults": []}
    result["snapshot"] = {"kind": "none", "msg": None}
    return _timed(result, "preflight", health.get("elapsed"))


def after_update(before: Registered, registered: Registered) -> Result:
    """
    :param registered: jobs: of async_batch or async_wait. end: of update_end, if it was run.
    """
    result = {**before, "reached": "update"}
    waited, end = _of(registered, "jobs"), _of(registered, "end")
    if end.get("reported"):
        end = {}  # of an earlier update: this one has not begun
    jobs = [job for job in waited.get("jobs") or () if isinstance(job, Mapping)]
    plan = _result_of(jobs[0]) if jobs else {}
    # In check mode, what would be done; else this is told by what was done.
    result["planned"] = [] if end else _planned(plan, jobs)
    result.update({key: plan.get(key, []) for key in ("kept_back", "excluded", "held")})
    for name in plan.get("repaired", ()):
        result["warnings"] = [*result["warnings"], f"{name} was half-installed by an earlier run, and was configured"]
    result.update({key: end.get(key, []) for key in ("packages", "failed_packages", "conffiles")})
    result["changed"] = bool(result["packages"])
    starts = [job["started_at"] for job in jobs if job.get("started_at")]
    ends = [job["ended_at"] for job in jobs if job.get("ended_at")]
    result["started_at"], result["ended_at"] = min(starts, default=None), max(ends, default=None)
    result["warnings"] = [*result["warnings"], *end.get("remarks", ())]
    problem = _problem_of(waited, jobs, end)
    if problem:
        result.update(state=problem[0], msg=problem[1], phase="update", log_tail=_tail(end, jobs))
    elif result["failed_packages"]:
        names = ", ".join(one["name"] for one in result["failed_packages"])
        result.update(state=FAILED, phase="update", log_tail=_tail(end, jobs), msg=f"not fully installed: {names}")
    else:
        missing = _not_done(plan.get("planned", []), result["packages"]) if end else []
        result["warnings"] = [*result["warnings"], *(f"{name} was to be updated, and was not" for name in missing)]
    return _timed(_judged(result), "update", _seconds_between(result))


def after_reboot(before: Registered, registered: Registered) -> Result:
    """
    :param registered: decision: of the filter update_reboot. rebooted: of ansible.builtin.reboot, if it was run.
        info: of update_info after it.
    """
    result = {**before, "reached": "reboot"}
    decision, rebooted = _of(registered, "decision"), _of(registered, "rebooted")
    reboot: Result = {
        "needed": decision.get("needed"),
        "reasons": decision.get("reasons", []),
        "done": bool(rebooted.get("rebooted")),
        "seconds": rebooted.get("elapsed"),
        "msg": decision.get("msg"),
    }
    result["reboot"] = reboot
    result["warnings"] = [*result["warnings"], *filter(None, [decision.get("warning")])]
    if rebooted.get("failed") or rebooted.get("unreachable"):
        reboot["msg"] = str(rebooted.get("msg") or _NO_REASON)
        # Lost before it was told to, or just then.
        what = "it did not come back from its reboot" if reboot["done"] else "whether it has rebooted is not known"
        result.update(state=FAILED, phase="reboot", msg=f"{what}: {reboot['msg']}")
    elif decision.get("failed"):
        result.update(state=FAILED, phase="reboot", msg=decision.get("msg"))
    kernel = _of(registered, "info").get("kernel")
    if kernel:
        result["kernel"] = {**result.get("kernel", {}), "after": kernel}
    return _timed(_judged(result), "reboot", rebooted.get("elapsed"))


def after_verify(before: Registered, registered: Registered) -> Result:
    """
    :param registered: health: of health_check.
    """
    result = {**before, "reached": "verify"}
    health = _of(registered, "health")
    seen = {**result.get("health", {}), "after": health.get("checks")}
    result["health"] = {"before": None, **seen, **{key: health.get(key, []) for key in _HEALTH}}
    if health.get("unreachable"):
        result.update(state=UNREACHABLE, phase="verify", msg=str(health.get("msg") or _NO_REASON))
    elif health.get("failed"):
        result.update(state=FAILED, phase="verify", msg=str(health.get("msg") or _NO_REASON))
    return _timed(result, "verify", health.get("elapsed"))


def after_failure(before: Registered, phase: str, registered: Registered) -> Result:
    """
    :param registered: failure: of the task that failed. rebooted: of ansible.builtin.reboot, if it was run. Any others
        that may tell that the host is out of reach.
    """
    result = {"changed": False, "warnings": [], **before}
    rebooted = _of(registered, "rebooted")
    if rebooted.get("rebooted"):
        result["reboot"] = {**result.get("reboot", {}), "done": True, "seconds": rebooted.get("elapsed")}
    away = next((one for one in registered.values() if isinstance(one, Mapping) and one.get("unreachable")), None)
    told = str((away or _of(registered, "failure")).get("msg") or _NO_REASON)
    # That a rollback failed does not say what it was for.
    earlier = [str(before["msg"])] if before.get("state") == FAILED and before.get("msg") else []
    result.update(state=UNREACHABLE if away else FAILED, phase=phase, msg="; ".join([*earlier, told]))
    return result


def after_stop(before: Registered, registered: Registered) -> Result:
    """
    :param registered: gate: of the filter update_gate, which is closed.
    """
    result = {"changed": False, "warnings": [], **before, "reached": "stop"}
    why = f"the roll-out was stopped: {_of(registered, 'gate').get('msg') or _NO_REASON}"
    if "packages" in result:
        result["warnings"] = [*result["warnings"], f"it was updated, but neither rebooted nor verified: {why}"]
        return _judged(result)
    result.update(state=NOT_TOUCHED, msg=why)
    return result


def after_snapshot(before: Registered, registered: Registered) -> Result:
    """
    :param registered: kind: that of the snapshot. msg: what became of it.
    """
    return {**before, "snapshot": {"kind": registered.get("kind"), "msg": registered.get("msg")}}


def _of(registered: Registered, name: str) -> Registered:
    found = registered.get(name)
    # A task that was left out has told nothing.
    return found if isinstance(found, Mapping) and not found.get("skipped") else {}


def _result_of(job: Registered) -> Registered:
    result = job.get("result")
    return result if isinstance(result, Mapping) else {}


def _problem_of(waited: Registered, jobs: Sequence[Registered], end: Registered) -> tuple[str, str] | None:
    """State and reason of an update that did not succeed."""
    if waited.get("unreachable"):
        return UNREACHABLE, str(waited.get("msg") or _NO_REASON)
    if end.get("running") or any(job.get("state") in ("running", "queued") for job in jobs):
        return RUNNING, "the update had not ended in time, and was left alone: the next run waits for it"
    for job in jobs:
        if job.get("failed"):
            return FAILED, _reason_of(job, end)
    if end.get("unreachable"):
        return UNREACHABLE, str(end.get("msg") or _NO_REASON)
    if not jobs or (end and "running" not in end):
        return FAILED, str((end if jobs else waited).get("msg") or _NO_REASON)
    return None


def _planned(plan: Registered, jobs: Sequence[Registered]) -> list[Registered]:
    """What the update would do, with what dnf says in check mode of packages that come in anew."""
    planned = list(plan.get("planned", []))
    known = {change["name"] for change in planned}
    printed = (_result_of(jobs[1]).get("results") or ()) if jobs[1:] else ()
    come = [found.groupdict() for found in map(_COMES.fullmatch, printed) if found]
    return [*planned, *({**found, "old": None} for found in come if found["name"] not in known)]


def _reason_of(job: Registered, end: Registered) -> str:
    """Why a job failed: the packages that it left unfinished, and what its package manager complained of."""
    lines = str(_result_of(job).get("msg") or job.get("msg") or _NO_REASON).strip().splitlines()
    # apt-get says much more than that.
    complaints = [line[line.find("E: ") + 3 :] for line in lines if "E: " in line]
    names = [str(one.get("name")) for one in end.get("failed_packages") or ()]
    parts = [f"not fully installed: {', '.join(names)}"] if names else []
    parts.append(" / ".join((complaints or lines)[-3:]))
    state = job.get("state")
    return ("" if state == FAILED else f"{state}: ") + "; ".join(parts)[:500]


def _tail(end: Registered, jobs: Sequence[Registered]) -> list[str]:
    """The last lines of the log, or of what the installation printed."""
    printed = [str(_result_of(job).get("stdout") or "") for job in jobs[1:]]
    return list(end.get("log_tail") or [line for text in printed for line in text.splitlines()][-40:])


def _not_done(planned: Sequence[Registered], packages: Sequence[Registered]) -> list[str]:
    done = {package["name"] for package in packages}
    return [change["name"] for change in planned if change["name"] not in done]


def _judged(result: Result) -> Result:
    """A result that is ok, but has warnings, is a warning."""
    if result.get("state") == OK and result.get("warnings"):
        result["state"], result["msg"] = WARNING, result["warnings"][0]
    return result


def _timed(result: Result, phase: str, seconds: object) -> Result:
    if isinstance(seconds, (int, float)):
        result["seconds"] = {**result.get("seconds", {}), phase: round(float(seconds), 1)}
    return result


def _seconds_between(result: Result) -> float | None:
    try:
        began, ended = (datetime.datetime.fromisoformat(result[key]) for key in ("started_at", "ended_at"))
    except (TypeError, ValueError):
        return None
    return (ended - began).total_seconds()
