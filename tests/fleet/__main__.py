# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the fleet up and down: python3 -m fleet COMMAND, with the folder tests on PYTHONPATH.

up [N]     bring N hosts (3) up, and print their inventory; hosts that are up already stay as they are
down       take them down; only the base system is kept, so that the next up takes seconds
purge      the same, and remove the base system
check      say why there can be no fleet on this machine, and exit with 1; nothing where there can be one
packages   print the Debian packages that a fleet needs and that this machine lacks
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .fleet import Fleet, FleetError, missing_packages, why_not

# Git ignores it.
FOLDER = Path(__file__).resolve().parents[2] / ".fleet"


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit code."""
    command, *rest = arguments or [""]
    fleet = Fleet(Path(os.environ.get("FLEET_FOLDER", FOLDER)))
    try:
        if command == "up" and len(rest) <= 1 and all(word.isdigit() for word in rest):
            fleet.up(int(rest[0]) if rest else 3)
            print(fleet.inventory.read_text(encoding="utf-8"), end="")
        elif command in {"down", "purge"} and not rest:
            fleet.down()
            if command == "purge":
                fleet.purge()
        elif command == "check" and not rest:
            if why_not():
                raise FleetError(why_not())
        elif command == "packages" and not rest:
            print("\n".join(missing_packages()))
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except FleetError as ex:
        print(ex, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
