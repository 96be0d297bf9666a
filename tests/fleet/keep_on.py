# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep one host powered on: keep_on.py INTERFACE GROUP:GROUP... COMMAND...

Runs the command, which boots the host, and again each time that it exits with 133, which means a reboot. Ends with the
host.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REBOOT = 133


def main(interface: str, groups: list[Path], command: list[str]) -> None:
    """Run the command as often as it takes.

    :param interface: the outer end of the host's cable. The kernel may need a moment to take it away after a power cut,
        and the next boot cannot make a new one before.
    :param groups: control groups of the host's own. Hosts that share one get in each other's way: the systemd of each
        takes all of it for its own.
    """
    for group in groups:
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    code = REBOOT
    while code == REBOOT:
        subprocess.run(["ip", "link", "delete", interface], stderr=subprocess.DEVNULL, check=False)
        code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    main(sys.argv[1], [Path(path) for path in sys.argv[2].split(":")], sys.argv[3:])
