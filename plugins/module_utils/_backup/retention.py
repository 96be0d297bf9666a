# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which backups are kept, by the calendar in UTC: the rule of restic 0.14.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

# Nothing of the collection is imported here: tests/oracle/make_retention.py loads this file alone.

from __future__ import annotations

import datetime
import math
import re
import typing as t

_DAY = 86400
_EPOCH = datetime.date(1970, 1, 1).toordinal()

_SPAN = re.compile(r"(?:[0-9]{1,6}[ymdh])+")
_AMOUNT = re.compile(r"([0-9]+)([ymdh])")


# The rules that are a number of backups.
NUMBERS = ("last", "daily", "weekly", "monthly", "yearly")


class RuleError(ValueError):
    """A rule is none; the message says why, in one sentence without a full stop."""


class Span(t.NamedTuple):
    """A length of time by the calendar. All of it 0 stands for no rule, as with restic."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0


def parse_span(text: str) -> Span:
    """
    :param text: such as 14d, 1y6m or 2d12h; empty for no rule.
    :raises RuleError: when it is something else.
    """
    text = text.strip()
    amounts = [(unit, int(number)) for number, unit in _AMOUNT.findall(text)]
    units = dict(amounts)
    # restic takes a unit twice and forgets the first: who wrote that meant something else.
    if (text and not _SPAN.fullmatch(text)) or len(units) < len(amounts):
        raise RuleError(
            f"keep_within is {text!r}: give whole numbers of y (years), m (months), d (days) and h (hours), "
            "each unit once, such as 14d, 1y6m or 2d12h"
        )
    return Span(*(units.get(unit, 0) for unit in "ymdh"))


class Rules(t.NamedTuple):
    """How many of the newest backups are kept, of how many days, ISO weeks, months and years the newest one each, and
    the length of time before the newest of all in which everything is kept.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Span = Span()

    @property
    def empty(self) -> bool:
        """Whether there is no rule at all."""
        return not any((*self[:-1], *self.within))


def parse_rules(numbers: t.Mapping[str, int], within: str) -> Rules:
    """
    :param numbers: for each of NUMBERS.
    :raises RuleError: when one of them is no number of backups, or as parse_span.
    """
    for name, number in numbers.items():
        if number < 0:
            raise RuleError(f"keep_{name} is {number}: give 0, or how many backups are to be kept")
    last, daily, weekly, monthly, yearly = (numbers[name] for name in NUMBERS)
    return Rules(last, daily, weekly, monthly, yearly, parse_span(within))


# A backup by its id, and when it was begun, in seconds since the epoch.
Moment = t.Tuple[str, float]


def keep(moments: t.Iterable[Moment], rules: Rules, now: float) -> dict[str, list[str]]:
    """Which backups are kept, the newest first, and why: "within", "last", "daily", "weekly", "monthly", "yearly".

    The newest is kept by any rule. Without a rule nothing is.

    :param now: in seconds since the epoch. What is newer does not count as the newest from which a length of time is
        counted back.
    """
    newest_first = sorted(moments, key=lambda one: (one[1], one[0]), reverse=True)
    past = [started for dummy, started in newest_first if started < now]
    # Without anything of the past there is nothing to count from, and so nothing that is too old.
    since = _before(past[0], rules.within) if past else -math.inf
    left = {name: getattr(rules, name) for name in NUMBERS}
    latest: dict[str, t.Any] = {}
    kept = {}
    for number, (backup_id, started) in enumerate(newest_first):
        reasons = ["within"] if any(rules.within) and started > since else []
        day = _date(started)
        for name, period_of in _PERIODS.items():
            period = period_of(day, number)
            if left[name] and latest.get(name) != period:
                latest[name] = period
                left[name] -= 1
                reasons.append(name)
        if reasons:
            kept[backup_id] = reasons
    return kept


# The part of the calendar of which each rule keeps one, given the day of a backup and its number.
_PERIODS: dict[str, t.Callable[[datetime.date, int], t.Any]] = {
    "last": lambda dummy_day, number: number,
    "daily": lambda day, dummy_number: day,
    "weekly": lambda day, dummy_number: tuple(day.isocalendar())[:2],
    "monthly": lambda day, dummy_number: (day.year, day.month),
    "yearly": lambda day, dummy_number: day.year,
}


def _date(moment: float) -> datetime.date:
    return datetime.date.fromordinal(_EPOCH + math.floor(moment) // _DAY)


def _before(moment: float, span: Span) -> float:
    """So long before a moment; minus infinity where there was no calendar yet.

    A day that a month does not have is counted on from its first day, as Go does: a month before the 31st of March is
    the 3rd of March, or the 2nd in a leap year.
    """
    day = _date(moment)
    year, month = divmod(day.year * 12 + day.month - 1 - span.years * 12 - span.months, 12)
    if year < datetime.MINYEAR:
        return -math.inf
    first = datetime.date(year, month + 1, 1).toordinal() - _EPOCH
    return (first + day.day - 1 - span.days) * _DAY + moment % _DAY - span.hours * 3600
