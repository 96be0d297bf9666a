#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# fleet-test.sh: all scenarios of extensions/molecule on hosts of their own. The fault suite is one of them: it prints a
# line for each fault, and writes docs/faults.md when all of it has passed.

source "$(dirname "$0")/lib.sh"

export PYTHONPATH=$tools/..
if ! reason=$("$python" -m fleet check 2>&1); then
    say "not run: the tests on the fleet ($reason)"
    exit 0
fi

make_venv fleet newest
"$tools/install.sh" "$venv"

work_folder fleet
trap '"$python" -m fleet down; rm -rf "$work"' EXIT
mkdir "$work/home"
export HOME=$work/home ANSIBLE_COLLECTIONS_PATH=$venv/collections PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
export FAULTS_LOG=$work/faults.log FAULTS_TABLE=$root/docs/faults.md
export BACKUPS_TABLE=$root/docs/backups.md UPDATES_TABLE=$root/docs/updates.md
unset ANSIBLE_CONFIG ANSIBLE_HOME
cd "$root"

# Ansible shows what a task printed when it has ended; this shows it at once.
: >"$FAULTS_LOG"
tail --follow --pid=$$ "$FAULTS_LOG" &

# One that fails does not hide what the others have to say.
failed=0
for scenario in extensions/molecule/*/molecule.yml; do
    name=$(basename "$(dirname "$scenario")")
    if molecule test --scenario-name "$name"; then
        echo "check passed: scenario $name"
    else
        echo "check failed: scenario $name"
        failed=1
    fi
done
exit "$failed"
