# shellcheck shell=bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the other scripts share: they source this file.

# shellcheck disable=SC2034 # what is set here is used there

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/tests/tools
venvs=$root/.venvs
python=${PYTHON:-python3}

# say TEXT: one line about what happens now. Standard output belongs to what a script returns.
say() { printf '%s\n' "$*" >&2; }

# quietly COMMAND...: show what the command printed only if it failed.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return "$status"
}

# work_folder NAME: make a temporary folder, $work, that goes away when the script ends.
work_folder() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/inflight-jobs-$1.XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# one_at_a_time NAME: wait for any other run that sets up the same environment.
one_at_a_time() {
    mkdir -p "$venvs"
    if command -v flock >/dev/null; then
        exec 9>"$venvs/.lock-$1"
        flock 9
    fi
}

# make_venv KIND newest|best: have venv.sh make the environment of this kind for that core; its folder is $venv.
make_venv() {
    local environment
    environment=$("$python" "$tools/environments.py" "$2" "$python" 2>/dev/null) || {
        "$python" "$tools/environments.py" "$2" "$python" || true  # says why
        exit 1
    }
    # shellcheck disable=SC2086 # three words
    venv=$("$tools/venv.sh" "$1" $environment)
}
