# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which ansible-core can run on which Python of this machine.

    environments.py newest PYTHON   the newest core that PYTHON can have
    environments.py best PYTHON     the newest core that any Python of this machine can have
    environments.py all PYTHON      every core, each on the first Python that is here of those it is tested on
    environments.py pythons PYTHON  every Python that is here, oldest first

The first three print lines of NAME INTERPRETER CORE, like "3.11-2.19 /usr/bin/python3.11 2.19.14", on standard output,
and on standard error what they leave out, with the reason. The exit code is 1 when there is nothing to print.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"

# The Pythons that can run each core as a controller; the one that it is tested on first.
CONTROLLERS = {
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.13", "3.12", "3.14"),
}
PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def minor(version: str) -> int:
    """The 11 of 3.11, to sort by."""
    return int(version.split(".")[1])


def core_versions() -> dict[str, str]:
    """The full version of each core, from the constraints."""
    found = re.findall(r"ansible-core==(\d+\.\d+)([.\w]*)", CONSTRAINTS.read_text(encoding="utf-8"))
    return {core: core + rest for core, rest in sorted(found)}


def complain(text: str) -> None:
    """Print to standard error."""
    print(text, file=sys.stderr)


def probe(interpreter: Path | str) -> tuple[str, str] | None:
    """The minor version and the real path of an interpreter that works and can make virtual environments."""
    # Of a virtual environment, the Python that it was made with.
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2]); print(sys._base_executable)"
    try:
        done = subprocess.run([str(interpreter), "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version, path = done.stdout.split("\n")[:2]
    return version, path


def candidates(version: str) -> list[Path]:
    """Where an interpreter of this version may be, the best place first."""
    folders = [Path(folder) for folder in os.get_exec_path() if folder]
    # pyenv's own folders on PATH lead to its versions, whatever HOME says.
    roots = [folder.parent for folder in folders if folder.name in {"shims", "bin"}]
    roots += [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")]
    found = [folder / f"python{version}" for folder in [*folders, Path("/usr/bin"), Path("/usr/local/bin")]]
    for root in roots:
        found += sorted(root.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    return [path for path in dict.fromkeys(found) if path.exists()]


def find(version: str, preferred: str) -> str | None:
    """The interpreter of this version: the preferred one if it is of that version, else the first that works."""
    for interpreter in [preferred, *candidates(version)]:
        probed = probe(interpreter)
        if probed and probed[0] == version:
            return probed[1]
    return None


def newest(preferred: str, cores: dict[str, str]) -> list[str]:
    """The newest core that the preferred interpreter can have; what it cannot have goes to standard error."""
    probed = probe(preferred)
    if not probed:
        complain(f"{preferred} does not run, or lacks its venv module (Debian: apt install python3-venv)")
        return []
    version, path = probed
    able = [core for core in cores if version in CONTROLLERS[core]]
    if not able:
        complain(f"{preferred} is Python {version}; ansible-core {min(cores)} and newer need 3.11 or newer")
        return []
    core = max(able)
    for other in cores:
        if version not in CONTROLLERS[other]:
            wanted = min(CONTROLLERS[other], key=minor)
            complain(f"not run: ansible-core {other} (needs Python {wanted} or newer; {preferred} is {version})")
        elif other != core:
            complain(f"not run: ansible-core {other} (only the newest is tested here; `make test-all` tests all)")
    return [f"{version}-{core} {path} {cores[core]}"]


def every(preferred: str, cores: dict[str, str]) -> list[str]:
    """Every core with an interpreter; the cores without one go to standard error."""
    lines = []
    for core, full in cores.items():
        for version in CONTROLLERS[core]:
            path = find(version, preferred)
            if path:
                lines.append(f"{version}-{core} {path} {full}")
                break
        else:
            wanted = ", ".join(sorted(CONTROLLERS[core], key=minor))
            complain(f"not run: ansible-core {core} (needs one of Python {wanted}; none is on this machine)")
    return lines


def main(command: str, preferred: str) -> int:
    """Print what was asked for."""
    cores = core_versions()
    if command == "newest":
        lines = newest(preferred, cores)
    elif command == "best":
        lines = every(preferred, cores)[-1:]
    elif command == "all":
        lines = every(preferred, cores)
    elif command == "pythons":
        lines = [path for path in (find(version, preferred) for version in PYTHONS) if path]
    else:
        raise SystemExit(__doc__)
    print("\n".join(lines))
    return 0 if lines else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
