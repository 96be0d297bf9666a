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

from ansible_collections.inflight.jobs.plugins.filter import update_gate, update_reboot
from ansible_collections.inflight.jobs.plugins.module_utils._update import apt, workspace
from ansible_collections.inflight.jobs.plugins.modules import backup_set, health_check, update_begin, update_report

Entry = dict[str, t.Any]

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tests" / "tools" / "role_table.py"
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())

# What Ansible has in every template and every task.
ANSIBLE = {
    *(
        "ansible_check_mode",
        "ansible_connection",
        "ansible_failed_result",
        "ansible_play_batch",
        "ansible_play_hosts_all",
        "groups",
        "hostvars",
        "inventory_hostname",
    ),
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


def tasks_in(value: object) -> Iterator[Entry]:
    """All tasks, those of blocks too."""
    if isinstance(value, list):
        for task in value:
            yield task
            for part in ("block", "rescue", "always"):
                yield from tasks_in(task.get(part))


def variable_parts(value: object) -> Iterator[Entry]:
    """The vars of plays and tasks."""
    if isinstance(value, dict):
        if isinstance(value.get("vars"), dict):
            yield value["vars"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from variable_parts(inner)


def included_roles(value: object) -> Iterator[Path]:
    """The roles of this collection that tasks include."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
                yield ROOT / "roles" / inner["name"].removeprefix("inflight.jobs.")
            else:
                yield from included_roles(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from included_roles(inner)


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


def given_to_files(value: object) -> Iterator[str]:
    """The variables that tasks give to files of tasks."""
    for task in tasks_in(value):
        if "ansible.builtin.include_tasks" in task:
            yield from task.get("vars", ())


def known_variables(role: Path) -> set[str]:
    """Its own variables, those that its files give each other, and those that the roles leave which it includes."""
    files = [load(path) for path in task_files(role)]
    given = {name for found in files for name in given_to_files(found)}
    others = {other for found in files for other in included_roles(found)}
    return {*options(role), *own_assignments(role), *given}.union(*map(own_assignments, others))


def test_there_are_roles_to_look_at() -> None:
    assert {"notify", "parallel_backup"} <= {path.name for path in ROLES}


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
    found = {name: option for name, option in options(role).items() if not option.get("required")}
    assert list(found) == list(defaults)
    assert {name: option["default"] for name, option in found.items()} == defaults


def test_every_default_has_the_type_of_its_variable(role: Path) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "bool": bool,
        "int": int,
        "float": (int, float),
        "str": str,
        "path": str,
        "list": list,
        "dict": dict,
    }
    for name, option in all_options(options(role)):
        if "default" in option:
            assert isinstance(option["default"], kinds[option["type"]]), name
            assert isinstance(option["default"], bool) == (option["type"] == "bool"), name
            values = option["default"] if option["type"] == "list" else [option["default"]]
            assert [value for value in values if value not in option.get("choices", values)] == [], name


def test_every_variable_has_the_prefix_of_its_role(role: Path) -> None:
    wrong = [name for name in {*options(role), *own_assignments(role)} if not name.startswith(f"{role.name}_")]
    assert wrong == []


def test_a_variable_of_a_task_is_not_one_that_a_user_has_for_something_else(role: Path) -> None:
    # What a play registers or gives with -e stands before the vars of a task.
    mine = {*options(role), *own_assignments(role)}
    for path in task_files(role):
        for task in tasks_in(load(path)):
            handed = {name for other in included_roles(task) for name in options(other)}
            found = set(task.get("vars", {})) - handed - {"ansible_become"}
            assert [name for name in found if not name.startswith(f"{role.name}_")] == [], path.name
            assert found & mine == set(), path.name


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
    known = {*known_variables(role), *ANSIBLE}
    used = {(path.name, name) for path in task_files(role) for name in variables(load(path))}
    assert used
    assert {(file, name) for file, name in used if name not in known} == set()


def test_what_a_role_hands_to_another_is_a_variable_of_that_one(role: Path) -> None:
    for path in task_files(role):
        for task in tasks_in(load(path)):
            for other in included_roles(task):
                given = {name for name in task.get("vars", {}) if name.startswith(f"{other.name}_")}
                assert given - set(options(other)) == set(), path.name


def test_every_variable_of_the_argument_spec_is_used(role: Path) -> None:
    used = {name for path in task_files(role) for name in variables(load(path))}
    # What only a play can heed, such as how many hosts it takes at once, stands in a playbook.
    playbooks = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "playbooks").glob("*.yml"))
    assert [name for name in options(role) if name not in used and not re.search(rf"\.{name}\b", playbooks)] == []


def test_no_text_of_the_argument_spec_is_a_template(role: Path) -> None:
    """Ansible has what is in braces, where somebody has no such variable."""
    for entry in entry_points(role).values():
        for name, option in [("", entry), *all_options(entry.get("options", {}))]:
            assert "{{" not in str(option.get("description")), name


def test_who_is_not_to_become_somebody_else_on_the_controller_does_not(role: Path) -> None:
    """The variable ansible_become of a host stands before the keyword."""
    for path in (role / "tasks").glob("*.yml"):
        for task in tasks_in(load(path)):
            if task.get("become") is False:
                assert task["vars"]["ansible_become"] is False, (path, task["name"])


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


# What the role parallel_update takes is handed to modules and filters.

UPDATE = ROOT / "roles" / "parallel_update"


def documented(plugin: types.ModuleType) -> dict[str, Entry]:
    return t.cast("dict[str, Entry]", yaml.safe_load(plugin.DOCUMENTATION)["options"])


def tasks_with(action: str, file: str = "*") -> list[Entry]:
    """The tasks of the role with this action, those of batches too."""
    tasks = [task for path in sorted((UPDATE / "tasks").glob(f"{file}.yml")) for task in tasks_in(load(path))]
    batches = [task["inflight.jobs.async_batch"]["tasks"] for task in tasks if "inflight.jobs.async_batch" in task]
    return [task for task in [*tasks, *(job for jobs in batches for job in jobs)] if action in task]


def test_the_variables_of_parallel_update_are_options_of_update_begin() -> None:
    found = options(UPDATE)
    for name, spec in update_begin.ARGUMENT_SPEC.items():
        option, module = of_module(found[f"parallel_update_{name}"]), of_module(spec)
        if name == "manager":
            # The role finds it out.
            assert option["choices"] == ["auto", *module["choices"]]
        elif name == "lock_timeout":
            # Others that are given it take nothing but whole numbers.
            assert (option, module["type"]) == ({**module, "type": "int"}, "float")
        else:
            assert option == module, name


def test_update_begin_is_given_each_of_them() -> None:
    action = "inflight.jobs.update_begin"
    (given,) = [task[action] for task in tasks_with(action, "start_packages")]
    assert given.pop("manager") == "{{ parallel_update_result.manager }}"
    assert given == {
        name: f"{{{{ parallel_update_{name} }}}}" for name in update_begin.ARGUMENT_SPEC if name != "manager"
    }


def test_the_installation_reads_what_update_begin_has_written() -> None:
    (environment,) = [task["environment"] for task in tasks_with("ansible.builtin.apt")]
    made = apt.Apt({}, lambda *dummy: (0, "", ""), workspace.Workspace()).environment
    # Which language it speaks is up to the module, and the frontend too.
    shared = {name: made[name] for name in made if name in environment and "CONFF" not in name}
    assert shared == {name: environment[name] for name in shared}
    assert {"APT_CONFIG", "NEEDRESTART_SUSPEND", "APT_LISTCHANGES_FRONTEND"} <= set(shared)


def test_the_variables_of_parallel_update_are_options_of_health_check() -> None:
    found = options(UPDATE)
    for name in ("services", "ports", "urls", "commands", "failed_units", "delay"):
        assert of_module(found[f"parallel_update_check_{name}"]) == of_module(health_check.ARGUMENT_SPEC[name]), name
    retries = found["parallel_update_check_retries"]
    assert retries["type"] == health_check.ARGUMENT_SPEC["retries"]["type"]
    # It is the same that is looked at before and after.
    looks = [task["inflight.jobs.health_check"] for task in tasks_with("inflight.jobs.health_check")]
    same = [
        {name: look[name] for name in look if f"{{{{ parallel_update_check_{name} }}}}" == look[name]} for look in looks
    ]
    assert len(looks) == 2
    assert {name: same[0].get(name) for name in same[1] if name not in ("retries", "delay")} == {
        name: same[1][name] for name in ("services", "ports", "urls", "commands", "failed_units")
    }


def test_the_variables_of_parallel_update_are_options_of_its_filters_and_of_the_report() -> None:
    found = options(UPDATE)
    for variable, option in {
        "reboot": documented(update_reboot)["policy"],
        "reboot_unknown": documented(update_reboot)["unknown"],
        "reboot_encrypted": documented(update_reboot)["encrypted"],
        "max_fail_percentage": documented(update_gate)["max_fail_percentage"],
        "max_fail_count": documented(update_gate)["max_fail_count"],
        "report_formats": update_report.ARGUMENT_SPEC["formats"],
    }.items():
        mine = found[f"parallel_update_{variable}"]
        assert (mine["type"], mine.get("elements")) == (option["type"], option.get("elements")), variable
        # A filter says what each choice does.
        assert list(mine.get("choices", ())) == list(option.get("choices", ())), variable


def test_whom_parallel_update_tells_is_what_the_role_notify_takes() -> None:
    mine, theirs = options(UPDATE), options(ROOT / "roles" / "notify")
    for name, other in {"notify": "to", "notify_on": "on", "ping_url": "ping_url", "no_log": "no_log"}.items():
        assert of_module(mine[f"parallel_update_{name}"]) == of_module(theirs[f"notify_{other}"]), name


def test_the_playbook_uses_variables_and_entry_points_of_the_role_parallel_update() -> None:
    text = (ROOT / "playbooks" / "update.yml").read_text(encoding="utf-8")
    plays = yaml.safe_load(text)
    own = {name for part in variable_parts(plays) for name in part}.union(assigned(plays))
    known = {*options(UPDATE), *own_assignments(UPDATE), *own}
    assert set(re.findall(r"\bparallel_update_\w*[a-z]\b", text)) - known == set()
    used = {
        task["ansible.builtin.include_role"]["tasks_from"]
        for play in plays
        for task in tasks_in(play["tasks"])
        if "ansible.builtin.include_role" in task
    }
    assert used == set(entry_points(UPDATE)) - {"main"}
