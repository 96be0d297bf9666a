# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep one host powered on: keep_on.py INTERFACE COMMAND...

Runs the command, which boots the host, and again each time that it exits with 133, which means a reboot. Ends with the
host.
"""

from __future__ import annotations

import subprocess
import sys

REBOOT = 133


def main(interface: str, command: list[str]) -> None:
    """Run the command as often as it takes.

    :param interface: the outer end of the host's cable. The kernel may need a moment to take it away after a power cut,
        and the next boot cannot make a new one before.
    """
    code = REBOOT
    while code == REBOOT:
        subprocess.run(["ip", "link", "delete", interface], stderr=subprocess.DEVNULL, check=False)
        code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
