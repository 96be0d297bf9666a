#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# test.sh newest|all: all tests on the newest ansible-core that $PYTHON can have, or on every core that a Python of this
# machine can have. The unit tests of what runs on the hosts, and the integration tests of listing, ending and removing
# jobs, are run with the first of these alone: that has little to do with the version of ansible-core. Cores that lie
# between the first and the last of these have only the integration tests that are whole plays. What this leaves out is
# named at the end, with the reason.
#
#   SKIP   names of environments to leave out, like "3.11-2.19"

source "$(dirname "$0")/lib.sh"

work_folder environments
"$python" "$tools/environments.py" "$1" "$python" >"$work/here" 2>"$work/left-out" || { cat "$work/left-out" >&2; exit 1; }

# With "all", make test has run them if its core is not to be run again.
newest=$(tail -n 1 "$work/here" | cut -d ' ' -f 1)
everything=1
[ -z "${SKIP:-}" ] || everything=0
failed=0
while read -r name interpreter core <&3; do
    if [[ " ${SKIP:-} " == *" $name "* ]]; then
        echo "not run: $name (SKIP names it)" >>"$work/left-out"
    else
        between=1
        [ "$everything" = 0 ] && [ "$name" != "$newest" ] || between=0
        EVERYTHING=$everything BETWEEN=$between "$tools/test-in.sh" "$name" "$interpreter" "$core" || failed=1
        everything=0
    fi
done 3<"$work/here"

cat "$work/left-out" >&2
exit "$failed"
