# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what a log of the test, lint and sanity runs says: count.py passed|failed LOG."""

from __future__ import annotations

import re
import sys
from pathlib import Path

# The closing line of pytest: "== 3 failed, 12 passed, 1 error in 4.56s ==".
CLOSING = re.compile(r"^=+ (.* in \d+\.\d+s.*) =+$", re.MULTILINE)
WORDS = {"passed": "passed|xfailed", "failed": "failed|errors?"}


def count(what: str, log: str) -> int:
    """How many tests and checks passed or failed."""
    numbers = (
        int(number) for line in CLOSING.findall(log) for number in re.findall(rf"\b(\d+) (?:{WORDS[what]})\b", line)
    )
    return sum(numbers) + len(re.findall(rf"^check {what}: ", log, re.MULTILINE))


if __name__ == "__main__":
    print(count(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8", errors="replace")))
