# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What somebody who wants jobs to be ended tells whoever ends them; the supervisor of a batch finds it in a file.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import typing as t

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs, _processes

MAX_GRACE = 86400.0


class Order(t.NamedTuple):
    """jobs: ids of the jobs to end. reason: what is to stand in their job files.
    signal_name: the signal to ask them with. grace: seconds until they are ended by force."""

    jobs: frozenset[str]
    reason: str
    signal_name: str
    grace: float

    @property
    def patience(self) -> float:
        """Seconds until what is left is ended by force."""
        return 0.0 if self.signal_name == "KILL" else self.grace

    def text(self) -> dict[str, t.Any]:
        """The order in JSON types."""
        return dict(self._asdict(), jobs=sorted(self.jobs))


def order_of(text: t.Mapping[str, t.Any]) -> Order | None:
    """The order that Order.text has said; None for anything else."""
    try:
        jobs, reason, signal_name, grace = (text[field] for field in Order._fields)
    except KeyError:
        return None
    if not isinstance(reason, str) or signal_name not in _processes.SIGNALS:
        return None
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 <= grace <= MAX_GRACE:
        return None
    if not isinstance(jobs, list) or not all(map(_jobs.is_job_id, jobs)):
        return None
    return Order(frozenset(jobs), reason, signal_name, float(grace))
