# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put pip into a virtual environment of ansible-test; sanity.sh says where this is used.

ansible-test calls it like get-pip.py: with the packages to install, and with options that only get-pip.py knows, which
begin with --no-.
"""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: ensurepip changes the one that it runs in.
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--no-")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *arguments], check=False).returncode)
