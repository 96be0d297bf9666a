# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Updates: what the modules of the role parallel_update share.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
