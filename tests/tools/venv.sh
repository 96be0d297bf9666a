#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# venv.sh KIND NAME INTERPRETER CORE: make a virtual environment with tests/requirements-KIND.txt and this ansible-core,
# or reuse it if nothing that it was made from has changed. Prints its folder.

source "$(dirname "$0")/lib.sh"

kind=$1 name=$2 interpreter=$3 core=$4
requirements=$root/tests/requirements-$kind.txt
venv=$venvs/$name
[ "$kind" = test ] || venv=$venv-$kind

one_at_a_time "$name-$kind"

# The constraints as this environment sees them, and all else that it depends on, as a comment.
wanted=$(
    echo "# $venv $("$interpreter" --version) $interpreter"
    sed 's/^/# /' "$requirements"
    echo "ansible-core==$core"
    grep -v '^ansible-core==' "$root/tests/constraints.txt"
)

if [ "$wanted" != "$(cat "$venv/constraints.txt" 2>/dev/null)" ]; then
    say "making .venvs/${venv##*/} (Python $("$interpreter" --version | cut -d' ' -f2), ansible-core $core)"
    rm -rf "$venv"
    quietly "$interpreter" -m venv "$venv"
    printf '%s\n' "$wanted" >"$venv/constraints.new"
    quietly "$venv/bin/python" -m pip install --disable-pip-version-check -c "$venv/constraints.new" -r "$requirements"
    # Only now is it complete: an interrupted run starts again.
    mv "$venv/constraints.new" "$venv/constraints.txt"
fi
echo "$venv"
