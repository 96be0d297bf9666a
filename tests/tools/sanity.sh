#!/usr/bin/env bash
# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# sanity.sh: ansible-test sanity with the newest ansible-core that this machine can have; modules are compiled and
# imported by every Python that is here and that this core can have on a host. Needs no internet but the package index.

source "$(dirname "$0")/lib.sh"

make_venv sanity best
work_folder sanity

# ansible-test wants a git checkout below ansible_collections: all files that git tracks or would track, in a
# repository of their own.
checkout=$work/ansible_collections/inflight/jobs
mkdir -p "$checkout"
cd "$root"
git ls-files --cached --others --exclude-standard -z |
    while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar --create --null --files-from=- | tar --extract --directory "$checkout"
cd "$checkout"
git init --quiet
git add --all

# Pythons that only seem to be on PATH (the shims of pyenv) must not be found before those that are.
path=$venv/bin
while read -r interpreter; do
    path=$path:$(dirname "$interpreter")
done < <("$python" "$tools/environments.py" pythons "$python")
export PATH=$path:/usr/local/bin:/usr/bin:/bin

# ansible-test keeps its virtual environments in HOME, and they are slow to make: they stay from run to run, apart from
# the user's home. The script that it would fetch to put pip into them is there already: ours takes the pip that comes
# with Python.
export HOME=$venvs/sanity-home
cache=$HOME/.ansible/test/cache
mkdir -p "$cache"
for version in 24_2 25_2; do
    cp "$tools/bootstrap_pip.py" "$cache/get_pip_$version.py"
done

command -v pwsh >/dev/null || say "not run: the pslint test (pwsh is not on this machine; nothing here is PowerShell)"
if ansible-test sanity --local --color no; then
    echo "check passed: ansible-test sanity"
else
    echo "check failed: ansible-test sanity"
    exit 1
fi
