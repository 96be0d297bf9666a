# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the tables of variables in the README of a role from its argument spec: role_table.py [--write] ROLE.

Prints them, or with --write puts them between the two comments in README.md that say so. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"

BEGIN = "<!-- These tables are made by tests/tools/role_table.py: change meta/argument_specs.yml instead. -->"
END = "<!-- Here they end. -->"

Options = dict[str, dict[str, Any]]

# The markup of Ansible's documentation: O(option), V(value), C(code), M(module), I(emphasis), B(bold).
_MARKUP = re.compile(r"\b[OVCMIB]\(([^()]*)\)")


def options_of(role: Path) -> Options:
    """The variables of a role, which are those of its entry point main."""
    spec = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options: Options = spec["argument_specs"]["main"]["options"]
    return options


def tables(options: Options) -> str:
    """A table of the variables, and one for the keys of each that is a dictionary or a list of them."""
    blocks = [_table("variable", options)]
    for path, inner in _inner(options):
        blocks.append(f"The keys of {path}:\n\n{_table('key', inner)}")
    return "\n\n".join(blocks) + "\n"


def with_tables(text: str, made: str) -> str:
    """The text of a README with these tables in place of those that it has.

    :raises ValueError: when the comments around them are not there.
    """
    before, begin, rest = text.partition(f"{BEGIN}\n")
    dummy, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks one of these two lines: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def _inner(options: Options, where: str = "") -> Iterator[tuple[str, Options]]:
    """All that have keys of their own, as "`database` in each of `sets`", and these keys."""
    for name, option in options.items():
        if "options" in option:
            each = "each item of " if option["type"] == "list" else ""
            path = f"{each}`{name}`" + (f" in {where}" if where else "")
            yield path, option["options"]
            yield from _inner(option["options"], path)


def _table(what: str, options: Options) -> str:
    rows = [(f"`{name}`", _type(option), _default(option), _meaning(option)) for name, option in options.items()]
    lines = [(what, "type", "default", "meaning"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _type(option: dict[str, Any]) -> str:
    elements = f" of {option['elements']}" if "elements" in option else ""
    return f"{option.get('type', 'str')}{elements}"


def _default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "*required*"
    default = option.get("default")
    if default is None:
        return ""
    # What is computed is told in words.
    if isinstance(default, str) and "{{" in default:
        return "computed"
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{default if isinstance(default, str) and default else json.dumps(default)}`"


def _meaning(option: dict[str, Any]) -> str:
    description = option["description"]
    text = " ".join([description] if isinstance(description, str) else description)
    # Keys are told apart from variables by the tables that they are in.
    return _MARKUP.sub(r"`\1`", re.sub(r"O\([^()]*\[\]\.", "O(", text))


def main(arguments: list[str]) -> None:
    """Do what the arguments say; the message of SystemExit says what is wrong with them."""
    parser = argparse.ArgumentParser(description="Make the tables of variables in the README of a role.")
    parser.add_argument("--write", action="store_true", help="put them in the README")
    parser.add_argument("role", choices=sorted(path.name for path in ROLES.iterdir()), metavar="ROLE")
    given = parser.parse_args(arguments)
    role = ROLES / given.role
    made = tables(options_of(role))
    if not given.write:
        print(made, end="")
        return
    readme = role / "README.md"
    try:
        readme.write_text(with_tables(readme.read_text(encoding="utf-8"), made), encoding="utf-8")
    except (OSError, ValueError) as ex:
        raise SystemExit(f"{readme}: {ex}") from ex


if __name__ == "__main__":
    main(sys.argv[1:])
