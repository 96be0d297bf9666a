# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

from ...support import can_be_used_by
from .conftest import TASK, BatchSandbox, batch_result, lines_of

HOSTS = ("localhost", "alpha", "beta")
SECRET = "the-combination-is-4711"

# A collection with an action group, and a module with a module util of its own.
COLLECTION = {
    "meta/runtime.yml": "action_groups:\n  everything:\n    - greet\n",
    "plugins/module_utils/words.py": "def sentence(greeting, name):\n    return f'{greeting}, {name}!'\n",
    "plugins/modules/greet.py": """\
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.acme.tools.plugins.module_utils.words import sentence

def main():
    module = AnsibleModule(argument_spec={"greeting": {"default": "Hello"}, "name": {}, "style": {}})
    said = sentence(module.params["greeting"], module.params["name"])
    module.exit_json(changed=False, said=said, style=module.params["style"])

if __name__ == "__main__":
    main()
""",
}


def batch(name: str, **options: t.Any) -> dict[str, t.Any]:
    """A task that runs a batch."""
    return {"name": name, "inflight.jobs.async_batch": options}


def stdouts(result: dict[str, t.Any]) -> list[str]:
    """What the commands of a batch printed."""
    return [job["result"]["stdout"] for job in result["jobs"]]


def test_what_a_play_sets_for_its_tasks_holds_for_those_of_a_batch(sandbox: BatchSandbox) -> None:
    for name, content in COLLECTION.items():
        path = sandbox.playbooks / "collections" / "ansible_collections" / "acme" / "tools" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    outcome = sandbox.run_tasks(
        [
            {
                **batch(
                    "Show the environment",
                    items=["one", "two"],
                    tasks=[
                        {
                            "ansible.builtin.shell": 'echo "$A $B $C {{ of_the_play }} {{ of_the_task }}"; pwd',
                            "environment": {"C": "{{ item }}", "UNUSED": "{{ 5 }}"},
                        }
                    ],
                ),
                "environment": {"B": "batch", "C": "batch"},
                "vars": {"of_the_task": "{{ item }} of the task"},
                "module_defaults": {"ansible.builtin.shell": {"chdir": "/"}},
            },
            batch(
                "Greet",
                items=["Ann", "Bob"],
                tasks=[
                    {"acme.tools.greet": {"name": "{{ item }}"}},
                    {"greet": {"name": "{{ item }}", "greeting": "Bye"}},
                    {"command": "pwd"},
                ],
            ),
            {
                **batch("Loop", items=["a", "b"], tasks=[{"ansible.builtin.command": "echo {{ outer }} {{ item }}"}]),
                "loop": [1, 2],
                "loop_control": {"loop_var": "outer"},
            },
        ],
        play={
            "hosts": "all",
            "strategy": "free",
            "collections": ["acme.tools"],
            "environment": {"A": "play", "B": "play", "C": "play"},
            "vars": {"of_the_play": "{{ item }} on {{ inventory_hostname }}", "shout": "loud"},
            "module_defaults": {
                "ansible.builtin.command": {"chdir": "/usr"},
                "group/acme.tools.everything": {"greeting": "Good day", "style": "{{ shout }}"},
            },
        },
    )
    assert outcome.rc == 0, outcome.output
    for host in HOSTS:
        assert stdouts(outcome.result("Show the environment", host)) == [
            f"play batch {item} {item} on {host} {item} of the task\n/" for item in ("one", "two")
        ]
        greeted = [job["result"] for job in outcome.result("Greet", host)["jobs"]]
        assert [result.get("said", result.get("stdout")) for result in greeted] == [
            "Good day, Ann!",
            "Bye, Ann!",
            "/usr",
            "Good day, Bob!",
            "Bye, Bob!",
            "/usr",
        ]
        assert {result["style"] for result in greeted if "style" in result} == {"loud"}
        looped = outcome.result("Loop", host)["results"]
        assert [stdouts(result) for result in looped] == [["1 a", "1 b"], ["2 a", "2 b"]]


def test_all_jobs_run_as_the_user_that_the_task_becomes(sandbox: BatchSandbox) -> None:
    usable = [path for path in (sys.executable, "/usr/bin/python3") if can_be_used_by("nobody", path)]
    if not usable:
        pytest.skip("this needs root, su, and a Python that the user nobody may run")
    # Where pytest keeps its folders nobody else may look.
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        jobs = folder / "jobs"
        jobs.mkdir(0o700)
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(jobs, user, -1)
        become = {
            "become": True,
            "become_user": "nobody",
            "become_method": "ansible.builtin.su",
            "become_flags": "-s /bin/sh",
        }
        outcome = sandbox.run_tasks(
            [
                {
                    **batch(
                        TASK,
                        items=["a"],
                        tasks=[{"ansible.builtin.command": "id -un"}, {"ansible.builtin.shell": "echo $HOME"}],
                    ),
                    **become,
                },
                {
                    **batch("Clean up", tasks=[{"want_json": {"a": 1}}], cleanup=True),
                    **become,
                },
            ],
            play={"vars": {"ansible_async_dir": str(jobs), "ansible_python_interpreter": usable[0]}},
        )
        assert outcome.rc == 0, outcome.output
        result = batch_result(outcome)
        assert stdouts(result) == ["nobody", pwd.getpwnam("nobody").pw_dir]
        for job in result["jobs"]:
            found = Path(job["results_file"]).stat()
            assert Path(job["results_file"]).parent == jobs
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (user, 0o600)
        assert len(list(jobs.glob("j*"))) == len(result["jobs"])
        assert {path.stat().st_uid for path in jobs.rglob("*")} == {user}
    finally:
        shutil.rmtree(folder)


def test_check_mode_changes_nothing_and_diff_mode_shows_what_would_change(sandbox: BatchSandbox) -> None:
    for name in ("first", "second"):
        (sandbox.folder / name).write_text("old\n", encoding="ascii")
    tasks = [
        {
            "ansible.builtin.lineinfile": {
                "path": str(sandbox.folder / "{{ item }}"),
                "line": "new in {{ item }}",
            }
        },
        {"ansible.builtin.file": {"path": str(sandbox.folder / "{{ item }}.made"), "state": "directory"}},
        {"ansible.builtin.command": "touch {{ item }}.touched", "args": {"chdir": str(sandbox.folder)}},
        {"unguarded": {"path": str(sandbox.folder / "{{ item }}.line"), "line": "x"}},
        {"name": "mode", "want_json": {}},
    ]
    before = sorted(sandbox.folder.iterdir())
    log = sandbox.folder / "jobs.jsonl"
    # What ran in check mode alone is still to be done, also where only what failed is done again.
    options = {"items": ["first", "second"], "job_log": str(log), "id": "nightly", "rerun": "failed"}

    checked = sandbox.run_batch(tasks, "--check", "--diff", cleanup=True, **options)
    assert checked.rc == 0, checked.output
    assert list(sandbox.jobs.glob("j*")) == []
    known = {sandbox.jobs, sandbox.folder / "results-0.jsonl"}
    assert [path for path in sorted(sandbox.folder.iterdir()) if path not in known] == before
    assert (sandbox.folder / "first").read_text(encoding="ascii") == "old\n"
    assert {job["result"]["mode"] for job in batch_result(checked)["jobs"] if job["name"] == "mode"} == {"check"}
    changed = sandbox.run_batch(tasks, "--diff", **options)
    assert changed.rc == 0, changed.output
    assert (sandbox.folder / "second").read_text(encoding="ascii") == "old\nnew in second\n"
    assert (sandbox.folder / "first.made").is_dir()
    assert {job["result"]["mode"] for job in batch_result(changed)["jobs"] if job["name"] == "mode"} == {"run"}
    for outcome in (checked, changed):
        result = batch_result(outcome)
        assert result["changed"]
        assert "+new in first" in outcome.stdout
        assert "+new in second" in outcome.stdout
        assert {"after": "old\nnew in first\n"}.items() <= result["diff"][0].items()
    assert len(lines_of(log)) == len(batch_result(changed)["jobs"])


def test_no_log_hides_names_items_arguments_and_results_wherever_they_could_be_seen(sandbox: BatchSandbox) -> None:
    log = sandbox.folder / "jobs.jsonl"
    # In a file, because the extra variables stand in the command line, which Ansible shows.
    secrets = sandbox.folder / "secrets.json"
    secrets.write_text(json.dumps({"secret": SECRET}), encoding="utf-8")
    hidden = {"no_log": True, "ignore_errors": True}  # the test looks at how it fails
    outcome = sandbox.run_tasks(
        [
            {
                **batch(
                    TASK,
                    items=["{{ secret }}", "{{ secret }}-2"],
                    tasks=[
                        {"name": "do {{ item }}", "ansible.builtin.shell": "echo {{ item }}; exit 3"},
                        {"name": "run {{ item }}", "want_json": {"value": "{{ item }}"}},
                        {"ansible.builtin.shell": "echo {{ item }} >&2", "environment": {"LC_ALL": "{{ item }}"}},
                        {"behaves": {"how": "{{ item }}"}, "failed_when": "result.no_such_key == item"},
                    ],
                    job_log=str(log),
                    id="hidden",
                ),
                **hidden,
            },
            {
                **batch("Bad item", items=["{{ secret }}"], tasks=[{"ansible.builtin.command": "{{ item.a }}"}]),
                **hidden,
            },
            {**batch("Bad option", tasks=[{"ansible.builtin.ping": {}}], concurrency="{{ secret }}"), **hidden},
        ],
        "-vvv",
        f"--extra-vars=@{secrets}",
    )
    assert SECRET not in outcome.output
    assert SECRET not in json.dumps(outcome.results)
    assert SECRET not in log.read_text(encoding="utf-8")
    assert {json.loads(line)["state"] for line in lines_of(log)} == {"succeeded", "failed"}
    assert "no_log hides which" in outcome.stdout
    (folder,) = sandbox.jobs.glob(".inflight/j*")
    for path in folder.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    job_files = list(sandbox.jobs.glob("j*"))
    assert len(job_files) == 8
    assert [path for path in job_files if SECRET.encode() in path.read_bytes()]


def test_other_tasks_can_ask_for_the_jobs_of_a_batch_and_wait_for_them(sandbox: BatchSandbox) -> None:
    gate = sandbox.folder / "gate"
    outcome = sandbox.run_tasks(
        [
            {
                **batch(
                    "Start",
                    items=["a", "b"],
                    tasks=[
                        {
                            "name": "wait {{ item }}",
                            "ansible.builtin.shell": f"until [ -e {gate} ]; do sleep 0.1; done; echo {{{{ item }}}}",
                            "failed_when": "item == 'b'",
                        }
                    ],
                    concurrency=1,
                    wait=False,
                    id="together",
                ),
                "register": "started",
            },
            {
                "name": "Ask",
                "ansible.builtin.async_status": {"jid": "{{ item.ansible_job_id }}"},
                "loop": "{{ started.jobs }}",
            },
            {"name": "Open the gate", "ansible.builtin.file": {"path": str(gate), "state": "touch"}},
            {"name": "Wait", "inflight.jobs.async_wait": {"jobs": "{{ started }}"}},
            {
                "name": "Ask again",
                "ansible.builtin.async_status": {"jid": "{{ item.ansible_job_id }}"},
                "loop": "{{ started.jobs }}",
            },
            {"name": "Wait for the id", "inflight.jobs.async_wait": {"batch": "together", "cleanup": True}},
        ]
    )
    assert outcome.rc == 0, outcome.output
    started = outcome.result("Start")
    assert (started["changed"], started["finished"], started["msg"]) == (True, False, "2 jobs started")
    assert {job["state"] for job in started["jobs"]} <= {"queued", "running"}
    assert [(one["started"], one["finished"]) for one in outcome.result("Ask")["results"]] == [(True, False)] * 2
    assert [one["stdout"] for one in outcome.result("Ask again")["results"]] == ["a", "b"]
    for task in ("Wait", "Wait for the id"):
        jobs = outcome.result(task)["jobs"]
        assert [(job["name"], job["item"], job["state"], job["result"]["stdout"]) for job in jobs] == [
            ("wait a", "a", "succeeded", "a"),
            ("wait b", "b", "succeeded", "b"),
        ]
    assert list(sandbox.jobs.glob("j*")) == []
    assert list(sandbox.jobs.glob(".inflight/j*")) == []


def test_two_batches_in_a_play_know_nothing_of_each_other_and_clean_up_their_own(sandbox: BatchSandbox) -> None:
    log = sandbox.folder / "jobs.jsonl"
    seconds = {"a": 1, "b": 50, "c": 10}
    log.write_text(
        "".join(
            json.dumps({"host": "localhost", "name": name, "state": "succeeded", "elapsed": elapsed}) + "\n"
            for name, elapsed in seconds.items()
        ),
        encoding="utf-8",
    )
    one_by_one: dict[str, t.Any] = {"tasks": [{"ansible.builtin.command": "echo {{ item }}"}], "concurrency": 1}
    dicts = [{"name": name, "size": {"mb": elapsed}} for name, elapsed in seconds.items()]
    outcome = sandbox.run_tasks(
        [
            batch("As logged", items=list(seconds), job_log="../jobs.jsonl", **one_by_one),
            batch("By name", items=list(seconds), durations=seconds, cleanup=True, **one_by_one),
            batch("By item", items=list(seconds), durations=[1, 50, None], cleanup=True, **one_by_one),
            batch("By attribute", items=dicts, durations="size.mb", cleanup=True, **one_by_one),
            batch("As they stand", items=list(seconds), cleanup=True, **one_by_one),
        ],
        environment={"ANSIBLE_PIPELINING": "false"},
    )
    assert outcome.rc == 0, outcome.output

    def order(task: str) -> list[str]:
        jobs = sorted(outcome.result(task)["jobs"], key=lambda job: job["started_at"])
        return [job["name"] for job in jobs]

    assert [order(task) for task in ("As logged", "By name", "By attribute")] == [["b", "c", "a"]] * 3
    assert order("By item") == ["b", "c", "a"]
    assert order("As they stand") == ["a", "b", "c"]
    assert "diff" not in outcome.result("As they stand")
    assert [job["name"] for job in outcome.result("As logged")["jobs"]] == ["a", "b", "c"]
    entries = [json.loads(line) for line in lines_of(log)]
    assert [entry["name"] for entry in entries[3:]] == ["b", "c", "a"]
    for entry in entries[3:]:
        (job,) = [job for job in outcome.result("As logged")["jobs"] if job["name"] == entry["name"]]
        keys = ("name", "item", "state", "started_at", "ended_at", "elapsed")
        assert entry == {"host": "localhost", **{key: job[key] for key in keys}}
    # The job files of the first batch are there; of the others nothing is left.
    assert {path.name for path in sandbox.jobs.glob("j*")} == {
        job["ansible_job_id"] for job in outcome.result("As logged")["jobs"]
    }
    assert len(list(sandbox.jobs.glob(".inflight/j*"))) == 1
    assert list(sandbox.jobs.glob(".inflight/ids/*")) == []
