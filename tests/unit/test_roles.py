# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# What a role says of itself in its argument spec, its defaults, its tasks and its README is the same everywhere.
import importlib.util
import re
import subprocess
import sys
import types
import typing as t
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
import yaml

from ansible_collections.inflight.jobs.plugins.modules import backup_set

Entry = dict[str, t.Any]

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tests" / "tools" / "role_table.py"
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())

# What Ansible has in every template and every task.
ANSIBLE = {
    *("ansible_check_mode", "ansible_failed_result", "ansible_play_hosts_all", "hostvars", "inventory_hostname"),
    *("item", "omit", "lookup", "query", "dict", "now", "range"),
}
# Keys of a task whose values are expressions, without braces.
EXPRESSIONS = {"when", "until", "failed_when", "changed_when", "that"}


@pytest.fixture(params=ROLES, ids=lambda path: path.name)
def role(request: pytest.FixtureRequest) -> Path:
    return t.cast("Path", request.param)


@pytest.fixture(scope="module")
def tool() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("role_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def entry_points(role: Path) -> dict[str, Entry]:
    return t.cast("dict[str, Entry]", load(role / "meta" / "argument_specs.yml")["argument_specs"])


def options(role: Path) -> dict[str, Entry]:
    return t.cast("dict[str, Entry]", entry_points(role)["main"]["options"])


def all_options(found: dict[str, Entry], where: str = "") -> Iterator[tuple[str, Entry]]:
    """Each option and each key of one, with its path."""
    for name, option in found.items():
        yield where + name, option
        yield from all_options(option.get("options", {}), f"{where}{name}.")


def task_files(role: Path) -> list[Path]:
    return sorted((role / "tasks").glob("*.yml"))


def included(value: object) -> Iterator[str]:
    """The files that tasks include."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks"):
                yield inner if isinstance(inner, str) else inner["file"]
            else:
                yield from included(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from included(inner)


def names_in(text: str, expression: bool) -> set[str]:
    """The variables that a template reads and does not set itself."""
    environment = jinja2.Environment()
    tree = environment.parse(f"{{{{ {text} }}}}" if expression else text)
    found = list(tree.find_all(jinja2.nodes.Name))
    return {name.name for name in found if name.ctx == "load"} - {name.name for name in found if name.ctx != "load"}


def variables(value: object, expression: bool = False, known: frozenset[str] = frozenset()) -> Iterator[str]:
    """The variables that tasks read, without those that their vars set."""
    if isinstance(value, dict):
        inside = known | frozenset(value.get("vars") or ())
        for name, inner in value.items():
            yield from variables(inner, expression or name in EXPRESSIONS, inside)
    elif isinstance(value, list):
        for inner in value:
            yield from variables(inner, expression, known)
    elif isinstance(value, str):
        yield from names_in(value, expression and "{{" not in value) - known


def assigned(value: object) -> Iterator[str]:
    """The variables that tasks register, set or loop over."""
    if isinstance(value, dict):
        yield from (value[key] for key in ("register", "loop_var") if key in value)
        yield from value.get("ansible.builtin.set_fact", ())
        for inner in value.values():
            yield from assigned(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from assigned(inner)


def own_assignments(role: Path) -> set[str]:
    return {name for path in task_files(role) for name in assigned(load(path))}


def test_there_are_roles_to_look_at() -> None:
    assert "parallel_backup" in [path.name for path in ROLES]


def test_every_entry_point_has_a_tasks_file_and_the_other_way_round(role: Path) -> None:
    files = {path.stem for path in task_files(role)}
    # What other files include, and nobody else calls.
    inner = {Path(name).stem for path in task_files(role) for name in included(load(path))}
    points = set(entry_points(role))
    assert points <= files
    assert files - inner <= points


def test_every_entry_point_is_described_and_takes_the_same_variables(role: Path) -> None:
    points = entry_points(role)
    told = [point["short_description"] for point in points.values()]
    assert len(set(told)) == len(told)
    for point in points.values():
        assert point["description"]
        assert point["options"] == options(role)


def test_the_defaults_and_the_argument_spec_say_the_same_in_the_same_order(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    assert list(options(role)) == list(defaults)
    assert {name: option["default"] for name, option in options(role).items()} == defaults


def test_every_default_has_the_type_of_its_variable(role: Path) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "bool": bool,
        "int": int,
        "float": (int, float),
        "str": str,
        "path": str,
        "list": list,
    }
    for name, option in all_options(options(role)):
        if "default" in option:
            assert isinstance(option["default"], kinds[option["type"]]), name
            assert isinstance(option["default"], bool) == (option["type"] == "bool"), name
            values = option["default"] if option["type"] == "list" else [option["default"]]
            assert set(values) <= set(option.get("choices", values)), name


def test_every_variable_has_the_prefix_of_its_role(role: Path) -> None:
    wrong = [name for name in {*options(role), *own_assignments(role)} if not name.startswith(f"{role.name}_")]
    assert wrong == []


def test_every_description_is_made_of_sentences_and_names_all_choices(role: Path) -> None:
    for name, option in all_options(options(role)):
        text = " ".join(option["description"])
        assert text.endswith("."), name
        # Checks are told of once, where the role has its own variable for them.
        if "choices" in option and not name.endswith("_sets.verify"):
            assert [choice for choice in option["choices"] if f"V({choice})" not in text] == [], name


def test_a_variable_with_a_number_says_its_unit_and_its_range(role: Path) -> None:
    for name, option in all_options(options(role)):
        if option["type"] in ("int", "float"):
            assert re.search(r"\bfrom -?\d|\bV\(0\) for no", " ".join(option["description"])), name


def test_every_variable_that_tasks_use_is_there(role: Path) -> None:
    known = {*options(role), *own_assignments(role), *ANSIBLE}
    used = {(path.name, name) for path in task_files(role) for name in variables(load(path))}
    assert used
    assert {(file, name) for file, name in used if name not in known} == set()


def test_every_variable_of_the_argument_spec_is_used(role: Path) -> None:
    used = {name for path in task_files(role) for name in variables(load(path))}
    assert [name for name in options(role) if name not in used] == []


def test_a_variable_that_nobody_declared_would_be_noticed() -> None:
    task = {
        "ansible.builtin.debug": {"msg": "{{ a | map(attribute=b) }}"},
        "when": ["c | length > 0", "d == 'e'"],
        "loop": "{{ f }}",
        "vars": {"f": "{% for g in h %}{{ g }}{% endfor %}", "i": 1},
        "register": "j",
    }
    assert set(variables([{"block": [task]}])) == {"a", "b", "c", "d", "h"}
    assert set(assigned([{"block": [task, {"ansible.builtin.set_fact": {"k": 1}}]}])) == {"j", "k"}


def test_the_tables_in_the_readme_are_those_of_the_argument_spec(role: Path, tool: types.ModuleType) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    made = tool.with_tables(text, tool.tables(tool.options_of(role)))
    assert text == made, f"run {TOOL.relative_to(ROOT)} --write {role.name}"


def test_every_variable_that_the_readme_speaks_of_is_there(role: Path, tool: types.ModuleType) -> None:
    text = (role / "README.md").read_text(encoding="utf-8").partition(tool.BEGIN)[0]
    known = {*options(role), *own_assignments(role)}
    assert set(re.findall(rf"\b{role.name}_\w+", text)) - known == set()


def test_the_tool_prints_the_tables(role: Path, tool: types.ModuleType) -> None:
    printed = subprocess.run([sys.executable, TOOL, role.name], check=True, capture_output=True, text=True).stdout
    assert printed == tool.tables(tool.options_of(role))
    for name, dummy in all_options(options(role)):
        assert f"| `{name.rpartition('.')[2]}` |" in printed


def test_the_tool_says_which_lines_a_readme_lacks(tool: types.ModuleType) -> None:
    with pytest.raises(ValueError, match=re.escape(tool.BEGIN)):
        tool.with_tables("# A role\n", "| a |\n")


def test_a_cell_of_a_table_has_no_markup_of_ansible_and_no_bar(tool: types.ModuleType) -> None:
    made = tool.tables({"a": {"type": "str", "default": "x|y", "description": ["See O(b[].c), V(d|e) and C(f)."]}})
    assert made.splitlines()[2] == "| `a` | str | `x&#124;y` | See `c`, `d&#124;e` and `f`. |"


# What a set of the role parallel_backup can have of its own is handed to the module that makes the backup.


def of_module(spec: Entry) -> Entry:
    keys = ("type", "elements", "choices", "required", "default")
    return {
        **{key: spec[key] for key in keys if key in spec},
        **(
            {"options": {name: of_module(inner) for name, inner in spec["options"].items()}}
            if "options" in spec
            else {}
        ),
    }


def test_the_keys_of_a_set_are_options_of_backup_set() -> None:
    keys = options(ROOT / "roles" / "parallel_backup")["parallel_backup_sets"]["options"]
    for name, option in keys.items():
        module = of_module(backup_set.ARGUMENT_SPEC[name])
        if "default" not in option:
            # Without the key, the variable of the role counts.
            module.pop("default", None)
        assert of_module(option) == module, name


def test_the_variables_of_parallel_backup_are_options_of_backup_set() -> None:
    found = options(ROOT / "roles" / "parallel_backup")
    for name, spec in backup_set.ARGUMENT_SPEC.items():
        option = found.get(f"parallel_backup_{name}")
        if option:
            assert option["type"] == ("list" if name == "sets" else spec["type"]), name
            assert option.get("choices") == spec.get("choices"), name
