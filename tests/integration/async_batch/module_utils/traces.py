# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module util with a state that modules can change, and with one that it takes from where it is imported.

from __future__ import annotations

import os

COUNT = 0
AT_IMPORT = os.environ.get("AT_IMPORT")
