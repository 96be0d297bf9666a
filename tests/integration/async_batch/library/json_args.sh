#!/bin/sh
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A module in another language that has its arguments put into its code.

given=$(
    cat <<'END_OF_ARGUMENTS'
<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>
END_OF_ARGUMENTS
)
case $given in
    *'"_ansible_check_mode": true'*) mode=check ;;
    *) mode=run ;;
esac
printf '{"changed": true, "given": %s, "greeting": "%s", "mode": "%s"}\n' "$given" "$GREETING" "$mode"
