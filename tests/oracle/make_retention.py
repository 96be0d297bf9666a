# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks restic which snapshots it keeps, to compare that with the retention of backups.

    python3 tests/oracle/make_retention.py              writes retention.json beside it anew, in ten minutes or so
    python3 tests/oracle/make_retention.py --check 20   asks restic about 20 new cases, writes nothing, and ends with 1
                                                        when one of them differs; needs the checkout and no collection
    --seed NUMBER                                       repeats the dates and rules of a run on the same day

restic must be 0.14: newer ones, such as 0.17, keep the oldest snapshot as well. It runs in UTC.

retention.json: restic (its version), seed, now (when it was asked), started (of each snapshot, the newest first; all
times are in seconds since the epoch), subsets (of snapshots: bit N stands for snapshot N), cases. A case: number of the
subset, keep-last, daily, weekly, monthly, yearly, keep-within, and what was kept, the newest first, each by the number
of the first snapshot of that second and its reasons: i for within, l last, d daily, w weekly, m monthly, y yearly.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import types
import typing as t
from pathlib import Path

FILE = Path(__file__).with_name("retention.json")
RETENTION = Path(__file__).parents[2] / "plugins" / "module_utils" / "_backup" / "retention.py"

RULES = ("last", "daily", "weekly", "monthly", "yearly")

# The folder that is backed up; what is in it does not matter.
SOURCE = "source"

DAY = 86400
COUNTS = (1, 1, 2, 3, 4, 5, 7, 12, 30, 1000)
SPANS = (
    "1m",
    "1y",
    "1d",
    "7d",
    "36h",
    "1y1m",
    "2m3d",
    "14d",
    "1y6m",
    "2d12h",
    "90d",
    "13m",
    "1h",
    "5h3d",
    "20y",
    "3000y",
)

Case = tuple[int, int, int, int, int, int, str, str]


class Oracle(t.TypedDict):
    """What retention.json holds."""

    restic: str
    seed: int
    now: int
    started: list[int]
    subsets: list[str]
    cases: list[Case]


def seconds_of(*parts: int) -> int:
    return int(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp())  # type: ignore[arg-type,misc]


def anchors_of(now: int) -> list[int]:
    """Moments from which a length of time by the calendar is not plain: ends of months and years, and a leap day."""
    year = time.gmtime(now).tm_year - 1
    leap = next(one for one in range(year, 0, -1) if one % 4 == 0 and (one % 100 or one % 400 == 0))
    return [
        seconds_of(leap, 2, 29, 12, 0, 0),
        seconds_of(leap, 3, 31, 6, 30, 0),
        seconds_of(year, 3, 31, 12, 0, 0),
        seconds_of(year, 10, 31, 0, 0, 0),
        seconds_of(year, 12, 31, 23, 59, 59),
        seconds_of(year, 1, 1, 0, 0, 0),
    ]


def dates(chance: random.Random, now: int, number: int) -> list[int]:
    """When the snapshots are made: three years, with all that is special; the newest first."""
    near = []
    for anchor in anchors_of(now):
        then = datetime.datetime.fromtimestamp(anchor, datetime.UTC)
        edges = [anchor - hours * 3600 for hours in (1, 24, 36, 7 * 24, 14 * 24)]
        # So long before the anchor that its day is not in the month, and what else somebody could make of it.
        for months in (1, 12, 13, 18):
            year, month = divmod(then.year * 12 + then.month - 1 - months, 12)
            first = seconds_of(year, month + 1, 1, then.hour, then.minute, then.second)
            edges += [first + day * DAY for day in (27, 28, then.day - 1)]
        near.append([anchor] + [edge + chance.choice((-1, 0, 1)) for edge in edges])
    midnights = [(now // DAY - chance.randrange(1, 1000)) * DAY - chance.choice((0, 0, 1)) for dummy in range(14)]
    # The first day of the epoch was a Thursday.
    mondays = [((now // DAY - 4) // 7 - chance.randrange(1, 150)) * 7 * DAY + 4 * DAY - one for one in (0, 0, 0, 1, 1)]
    years = [seconds_of(time.gmtime(now).tm_year - back, 1, 1, 0, 0, 0) - one for back in (0, 1, 2) for one in (0, 1)]
    future = [now + chance.randrange(DAY, 700 * DAY) for dummy in range(6)]
    clusters = [
        middle + chance.randrange(3 * 3600)
        for middle in chance.sample(range(now - 1000 * DAY, now - DAY), 4)
        for dummy in range(6)
    ]
    scattered = [chance.randrange(now - 3 * 366 * DAY, now - 3600) for dummy in range(40)]
    special = [midnights, mondays, years, future, clusters, scattered, *near]
    share = number / sum(map(len, special))
    found = [one for ones in special for one in chance.sample(ones, min(len(ones), max(1, round(len(ones) * share))))]
    # restic is asked a little later than now, which must make no difference.
    clear = [one for one in found if abs(one - now) > 3600] + anchors_of(now)
    same_second = chance.sample(clear, 3) * 2
    return sorted(clear + same_second, reverse=True)


def subsets(chance: random.Random, started: list[int], now: int, number: int) -> list[list[int]]:
    """Snapshots by their numbers: all, those of the future, all up to each anchor, and random ones."""
    numbers = range(len(started))
    chosen = [
        list(numbers),
        [one for one in numbers if started[one] > now],
        [one for one in numbers if started[one] < now],
        *([one for one in numbers if started[one] <= anchor] for anchor in anchors_of(now)),
    ]
    while len(chosen) < number:
        share = chance.choice((0.03, 0.1, 0.3, 0.5, 0.8))
        one = [one for one in chance.choice(chosen[:3]) if chance.random() < share]
        if one:
            chosen.append(one)
    return chosen


def rules(chance: random.Random) -> tuple[int, int, int, int, int, str]:
    """Random rules, at least one of them."""
    while True:
        last, daily, weekly, monthly, yearly = (
            chance.choice(COUNTS) if chance.random() < 0.4 else 0 for dummy in RULES
        )
        within = chance.choice(SPANS) if chance.random() < 0.5 else ""
        if last or daily or weekly or monthly or yearly or within:
            return last, daily, weekly, monthly, yearly, within


def kept_text(started: list[int], kept: t.Iterable[tuple[int, str]]) -> str:
    """What is kept, each by its moment and reasons, as retention.json has it."""
    return " ".join(f"{started.index(moment)}{reasons}" for moment, reasons in kept)


class Repository:
    """A repository of restic with a snapshot for each moment, which has a tag for each subset that it is in."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        mine = {key: value for key, value in os.environ.items() if not key.startswith(("RESTIC_", "AWS_"))}
        self._environment = {
            **mine,
            "TZ": "UTC",
            "RESTIC_REPOSITORY": os.path.join(folder, "repository"),
            "RESTIC_CACHE_DIR": os.path.join(folder, "cache"),
            "RESTIC_PASSWORD": "nothing to hide",
        }
        (Path(folder) / SOURCE).mkdir()
        self.run("init")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["restic", "--quiet", *arguments],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def backup(self, started: int, tags: t.Iterable[int]) -> None:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(started))
        marks = [f"--tag=t{tag}" for tag in tags]
        self.run("backup", "--host=oracle", f"--time={moment}", *marks, SOURCE)

    def kept(self, tag: int, numbers: tuple[int, ...], within: str) -> list[tuple[int, str]]:
        """What restic would keep of the snapshots of a tag: moments and reasons."""
        wanted = [f"--keep-{name}={number}" for name, number in zip(RULES, numbers, strict=True) if number]
        wanted += [f"--keep-within={within}"] if within else []
        answer = self.run("forget", "--dry-run", "--json", f"--tag=t{tag}", "--group-by=", *wanted)
        (group,) = json.loads(answer)
        found = []
        for reason in group["reasons"] or ():
            moment = datetime.datetime.fromisoformat(reason["snapshot"]["time"])
            letters = ["i" if match.startswith("within ") else match[0] for match in reason["matches"]]
            found.append((int(moment.timestamp()), "".join(letters)))
        if len(found) != len(group["keep"] or ()):
            sys.exit(
                f"restic keeps {len(group['keep'] or ())} snapshots and gives reasons for {len(found)}: look at it"
            )
        return found


def ask(seed: int, snapshots: int, cases: int) -> Oracle:
    """Make a repository and ask restic about it.

    :param snapshots: about how many it is to have.
    """
    chance = random.Random(seed)
    now = int(time.time())
    started = dates(chance, now, snapshots)
    chosen = subsets(chance, started, now, max(12, cases // 8))
    version = subprocess.run(["restic", "version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[1]
    oracle = Oracle(restic=version, seed=seed, now=now, started=started, subsets=[], cases=[])
    oracle["subsets"] = [f"{sum(1 << one for one in subset):x}" for subset in chosen]
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository(folder)
        for number, moment in enumerate(started):
            repository.backup(moment, [tag for tag, subset in enumerate(chosen) if number in subset])
            note(f"snapshot {number + 1} of {len(started)}")
        for number in range(cases):
            # Each subset at least once, where there are cases enough.
            subset = number if number < len(chosen) else chance.randrange(len(chosen))
            last, daily, weekly, monthly, yearly, within = rules(chance)
            kept = kept_text(started, repository.kept(subset, (last, daily, weekly, monthly, yearly), within))
            oracle["cases"].append((subset, last, daily, weekly, monthly, yearly, within, kept))
            note(f"case {number + 1} of {cases}")
    return oracle


def differences(oracle: Oracle, retention: types.ModuleType) -> list[str]:
    """In which cases the retention of backups keeps something else than restic, or for other reasons.

    :param retention: plugins/module_utils/_backup/retention.py.
    """
    started = oracle["started"]
    wrong = []
    for subset, last, daily, weekly, monthly, yearly, within, expected in oracle["cases"]:
        mask = int(oracle["subsets"][subset], 16)
        moments = {f"{number}": moment for number, moment in enumerate(started) if mask >> number & 1}
        wanted = retention.Rules(last, daily, weekly, monthly, yearly, retention.parse_span(within))
        kept = retention.keep(moments.items(), wanted, oracle["now"])
        letters = {one: "".join("i" if name == "within" else name[0] for name in kept[one]) for one in kept}
        found = kept_text(started, ((moments[one], letters[one]) for one in kept))
        if found != expected:
            wrong.append(f"subset {subset}, {wanted}: restic keeps {expected!r}, we keep {found!r}")
    return wrong


def load_retention() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("retention", RETENTION)
    if spec is None or spec.loader is None:
        sys.exit(f"{RETENTION} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(oracle: Oracle) -> None:
    """Write retention.json, a line for each case."""
    text = json.dumps({**oracle, "cases": None}, indent=1)
    text = re.sub(r",\s+(?=[0-9])", ", ", text)
    cases = ",\n  ".join(json.dumps(case) for case in oracle["cases"])
    FILE.write_text(text.replace('"cases": null', f'"cases": [\n  {cases}\n ]') + "\n", encoding="utf-8")


def note(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", type=int, metavar="N", help="compare so many new cases, and write nothing")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    retention = load_retention()
    if options.check:
        oracle = ask(options.seed, 25, options.check)
    else:
        oracle = ask(options.seed, 130, 400)
        write(oracle)
    note("")
    wrong = differences(oracle, retention)
    sys.stdout.write(
        f"restic {oracle['restic']}, seed {options.seed}: {len(oracle['started'])} snapshots, "
        f"{len(oracle['cases'])} cases, {len(wrong)} of them different\n"
    )
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
