# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Starts a batch with the first question to the host, so that start and wait are one round trip.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import base64
import json
import typing as t
import zlib
from collections.abc import Mapping, Sequence

from ansible.module_utils.common.json import Direction, get_module_encoder

from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_options import BatchOptions
from ansible_collections.inflight.jobs.plugins.plugin_utils._batch_tasks import BatchJob
from ansible_collections.inflight.jobs.plugins.plugin_utils._batches import BatchError, Run, weights_of, weights_of_runs
from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import (
    CheckFailed,
    Contact,
    Message,
    NoAnswer,
    NotStarted,
)
from ansible_collections.inflight.jobs.plugins.plugin_utils._payloads import Payloads
from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import shown

# A slow line, bytes a second: for so long may it take to send a batch, beyond what an answer takes.
SLOW_LINE = 50_000.0


class BatchHost:
    """A host of a wait (_waiting.Host) that gets the order to start a batch with the first question.

    The order names the batch by a number, so one that arrives twice, because its answer was lost, starts it once.
    """

    def __init__(self, starter: Contact, contact: Contact, order: str, names: Mapping[str, str]) -> None:
        """
        :param starter: runs the module async_batch. contact: runs the module async_wait.
        :param order: see order_text.
        :param names: what the jobs are called, by key; with no_log the host does not know it.
        """
        self._starter = starter
        self._contact = contact
        self._order: str | None = order
        self._names = names
        self.started = False
        # Job id -> key, where the jobs are others than ordered.
        self.keys: dict[str, str] = {}

    def ask(self, request: Message, limit: float) -> Message:
        """See _waiting.Host."""
        if self._order is None:
            return self._contact.ask(request, limit)
        response = self._start({**request, "order": self._order}, limit + len(self._order) / SLOW_LINE)
        self._order = None
        self.started = True
        for job in response["jobs"] or ():
            self.keys[job["jid"]] = job["key"]
            job["name"] = job["name"] or self._names.get(job["key"])
        return response

    def _start(self, request: Message, limit: float) -> Message:
        try:
            try:
                return self._starter.ask(request, limit)
            except NoAnswer:
                # It may have passed the order on before somebody killed it: then the batch runs.
                return self._starter.ask(request, limit)
        except CheckFailed as ex:
            raise NotStarted(str(ex)) from ex

    def reset(self) -> None:
        """See _waiting.Host."""
        self._contact.reset()


def start_order(
    jobs: Sequence[BatchJob], items: Sequence[t.Any] | None, durations: object, runs: Sequence[Run], host: str
) -> list[int]:
    """Places of the jobs in the order to start them: longest first, as far as that is known.

    That ends within 4/3 - 1/(3m) of the best order for a window of m (R. L. Graham, Bounds on Multiprocessing Timing
    Anomalies, SIAM Journal on Applied Mathematics 17, 1969).

    :param durations: seconds by job name, a list with one number for each item, the name of an attribute of the items,
        or None.
    :param runs: of earlier batches; used where durations is None.
    :param host: inventory name of the host.
    :raises BatchError: when durations cannot be used.
    """
    weights: list[float] | None
    if durations is None:
        weights = weights_of_runs([job.name for job in jobs], runs, host)
    elif isinstance(durations, Mapping):
        weights = weights_of([job.name for job in jobs], durations, where="durations")
    elif items is None and isinstance(durations, (str, list)):
        raise BatchError(f"durations is {shown(durations)}, but there are no items: give a dict with the names of jobs")
    else:
        of_items = weights_of(items or [], durations, where="durations")
        weights = None if of_items is None else [of_items[job.place] for job in jobs]
    places = range(len(jobs))
    return list(places) if weights is None else sorted(places, key=lambda place: -weights[place])


def order_text(
    number: str,
    jobs: Sequence[BatchJob],
    order: Sequence[int],
    options: BatchOptions,
    payloads: Payloads,
    *,
    no_log: bool,
) -> str:
    """What _launch on the host is to start, as one opaque text.

    :param number: of the batch, j and digits; another one for each run.
    :param order: places of the jobs, in the order to start them.
    :param no_log: leave names and items out of what stays on the host.
    :raises AnsibleError: when a module cannot be built.
    """
    sent = []
    for job in jobs:
        payload, params = payloads.job(job.module, job.arguments)
        sent.append(
            {
                "key": job.key,
                "name": None if no_log else job.name,
                "item": None if no_log else job.item,
                "payload": payload,
                "params": params,
                "environment": job.environment,
            }
        )
    message = {
        "number": number,
        "id": options.id,
        "on_existing": options.on_existing,
        "rerun": options.rerun,
        "nice": options.nice,
        "io_class": options.io_class,
        "limits": options.limits(len(jobs)),
        "order": list(order),
        "payloads": payloads.payloads,
        "jobs": sent,
    }
    text = json.dumps(message, cls=get_module_encoder("legacy", Direction.CONTROLLER_TO_MODULE))
    # The modules in it are packed already; level 1 packs the arguments of thousands of jobs well enough.
    return base64.b64encode(zlib.compress(text.encode(), 1)).decode()
