# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import subprocess
import threading
import typing as t
from pathlib import Path

import pytest
from ansible.release import __version__ as core_version

from ...fleet.system import eventually
from ...support import interpreters
from .conftest import TASK, BatchSandbox, batch_result, is_alive, lines_of

MIB = 1024 * 1024

PERL = """\
# WANT_JSON
use strict;
use JSON::PP;
open(my $file, "<", $ARGV[0]) or die;
my $given = decode_json(join("", <$file>));
my $greeting = $ENV{GREETING};
utf8::decode($greeting);
print encode_json({changed => JSON::PP::true, given => $given, greeting => $greeting});
"""
C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **words)
{
    static char text[65536];
    FILE *file = fopen(words[1], "r");
    if (count != 2 || file == NULL)
        return 1;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    printf("{\"changed\": true, \"given\": %s, \"greeting\": \"%s\"}\n", text, strtok(getenv("GREETING"), "\n"));
    return 0;
}
"""


def test_a_job_finds_everything_as_a_run_of_its_own_has_it_and_nothing_that_another_left(sandbox: BatchSandbox) -> None:
    outcome = sandbox.run_tasks(
        [
            {"name": "Run it without a batch", "leaves_traces": {}},
            {
                "name": TASK,
                "inflight.jobs.async_batch": {
                    "items": ["a", "b", "c"],
                    "tasks": [{"leaves_traces": {}}],
                    "concurrency": 1,
                },
            },
            {
                "name": "Run it with an environment",
                "inflight.jobs.async_batch": {
                    "items": ["a", "b"],
                    "tasks": [
                        {"leaves_traces": {}, "environment": {"AT_IMPORT": "{{ item }}"}},
                        {"leaves_traces": {}, "environment": {"PYTHONOPTIMIZE": "1", "LC_ALL": "C", "LANG": "C"}},
                    ],
                    "concurrency": 1,
                },
            },
        ]
    )
    assert outcome.rc == 0, outcome.output
    alone = outcome.result("Run it without a batch")["found"]
    jobs = [*batch_result(outcome)["jobs"], *outcome.result("Run it with an environment")["jobs"]]
    for job in jobs:
        # Its own id and the file in which it may say how far it is are all that it finds beyond that.
        environment = job["result"]["found"]["environment"]
        assert environment.pop("INFLIGHT_JOB") == job["ansible_job_id"]
        assert Path(environment.pop("INFLIGHT_STATUS")).name == f"{job['ansible_job_id']}.status"
    results = [job["result"] for job in jobs[: len(batch_result(outcome)["jobs"])]]
    for result in results:
        assert result["warm"]
        assert result["found"] == alone
        assert result["leads"]
    assert alone["input"] == ""
    assert len({result["random"] for result in results}) == len(results)
    folders = [Path(result["tmpdir"]) for result in results]
    assert len(set(folders)) == len(results)
    assert not [folder for folder in folders if folder.exists()]

    own, others = [], []
    for job in jobs[len(results) :]:
        (own if job["result"]["warm"] else others).append((job["item"], job["result"]))
    assert [(item, result["at_import"]) for item, result in own] == [("a", "a"), ("b", "b")]
    for dummy, result in own:
        assert result["found"] == {**alone, "environment": result["found"]["environment"]}
    for dummy, result in others:
        environment = {**alone["environment"], "PYTHONOPTIMIZE": "1", "LC_ALL": "C", "LANG": "C"}
        assert result["found"] == {**alone, "environment": environment, "locale": result["found"]["locale"]}
        assert result["optimizes"] == 1
    assert len(others) == 2


def test_the_host_may_have_any_python_from_3_8_on(sandbox: BatchSandbox) -> None:
    pythons = dict(interpreters())
    if tuple(map(int, core_version.split(".")[:2])) >= (2, 20):
        pythons.pop("3.8", None)  # this core cannot talk to it
    hosts = {f"python-{version}": {"ansible_python_interpreter": path} for version, path in pythons.items()}
    for host in hosts:
        (sandbox.folder / host).mkdir()
    inventory = sandbox.folder / "pythons.json"
    inventory.write_text(
        json.dumps({"all": {"hosts": hosts, "vars": {"ansible_connection": "local"}}}), encoding="utf-8"
    )
    outcome = sandbox.run_batch(
        [
            {"behaves": {"how": "{{ item }}", "folder": "{{ folder }}/{{ inventory_hostname }}"}},
            {"name": "traces", "leaves_traces": {}},
        ],
        f"--inventory={inventory}",
        play={"hosts": "all"},
        items=["have children", "write while leaving", "raise"],
        variables={"folder": str(sandbox.folder)},
    )
    for version in pythons:
        result = outcome.result(TASK, f"python-{version}")
        states = [job["state"] for job in result["jobs"]]
        assert states == [*["succeeded"] * 4, "failed", "succeeded"], result["msg"]
        assert result["jobs"][0]["result"]["forked"] == 5
        assert lines_of(sandbox.folder / f"python-{version}" / "trap") == ["done"]
        assert lines_of(sandbox.folder / f"python-{version}" / "thread") == ["done"]
        assert {job["result"]["version"] for job in result["jobs"] if job["name"] == "traces"} == {version}
        assert {job["result"]["warm"] for job in result["jobs"] if job["name"] == "traces"} == {True}


def test_each_end_of_a_module_is_told_for_what_it_is_and_harms_no_other(sandbox: BatchSandbox) -> None:
    # How a module behaves, and what is said of it: state, msg and a part of its result.
    no_result = "the module printed no result"
    ends: dict[str, tuple[str, str, dict[str, t.Any]]] = {
        "raise": ("failed", "no luck today", {}),
        "exit with words": ("failed", f"{no_result} (the disk is on fire)", {"rc": 1}),
        "vanish": ("failed", no_result, {"rc": 7}),
        "print nothing": ("failed", no_result, {"rc": 0, "module_stdout": ""}),
        "print a list": ("failed", f"{no_result}, but something else", {"module_stdout": '["no", "dict"]'}),
        "print junk around it": ("succeeded", "", {"changed": False}),
        "print strange bytes": ("succeeded", "", {"text": "a\0b ?? c"}),
        "write while leaving": ("succeeded", "", {"changed": False}),
        "have children": (
            "succeeded",
            "",
            {"forked": 5, "powers": [4, 9], "lengths": [1, 2], "rc_of_command": 3},
        ),
        "start again in another interpreter": ("succeeded", "", {"again": True}),
        "close its output": ("succeeded", "", {"changed": False}),
        "leave a daemon": ("succeeded", "", {"changed": False}),
        "do nothing special": ("succeeded", "", {"text": ""}),
    }
    outcome = sandbox.run_batch(
        [
            {"name": "{{ item }}", "behaves": {"how": "{{ item }}", "folder": str(sandbox.folder)}},
            {"name": "unlucky {{ item }}", "unlucky": {}, "when": "item in ['raise', 'vanish']"},
            {"name": "nul", "ansible.builtin.command": {"argv": ["echo", "a\0b"]}, "when": "item == 'raise'"},
        ],
        items=list(ends),
        concurrency=3,
        timeout=60,
    )
    jobs = {job["name"]: job for job in batch_result(outcome)["jobs"]}
    for name in ("unlucky raise", "unlucky vanish"):
        assert (jobs[name]["state"], jobs[name]["msg"]) == ("failed", "the library that this needs is missing")
    for name, (state, msg, part) in ends.items():
        assert (jobs[name]["state"], jobs[name]["msg"]) == (state, msg), name
        assert part.items() <= jobs[name]["result"].items(), name
    assert jobs["nul"]["state"] == "failed"
    assert jobs["nul"]["msg"].startswith("Error executing command")
    assert "the disk is on fire" in jobs["exit with words"]["result"]["module_stderr"]
    assert "no luck today" in jobs["raise"]["result"]["exception"]
    assert "junk after the JSON data" in jobs["print junk around it"]["result"]["warnings"][0]
    assert lines_of(sandbox.folder / "trap") == ["done"]
    assert lines_of(sandbox.folder / "thread") == ["done"]
    assert batch_result(outcome)["msg"].startswith(f"8 of {len(ends) + 3} jobs did not succeed: ")

    # What a module leaves in the background lives on, and cannot touch its result any more.
    daemon = int((sandbox.folder / "daemon").read_text(encoding="ascii"))
    assert is_alive(daemon)
    before = Path(jobs["leave a daemon"]["results_file"]).read_bytes()
    (sandbox.folder / "go on").touch()
    eventually(lambda: not is_alive(daemon), 20, "the daemon has ended")
    assert (sandbox.folder / "went on").exists()
    assert Path(jobs["leave a daemon"]["results_file"]).read_bytes() == before
    assert len(lines_of(sandbox.folder_of_batch() / "log")) == len(ends) + 3


def test_results_may_be_large_and_one_that_is_too_large_harms_no_other(sandbox: BatchSandbox) -> None:
    outcome = sandbox.run_batch(
        [
            {"name": "module {{ item }}", "behaves": {"how": "be large", "bytes": "{{ item }}"}},
            {
                "name": "command {{ item }}",
                "ansible.builtin.shell": "head -c {{ item }} /dev/zero | tr '\\0' x",
                "when": f"item < {16 * MIB}",
            },
            {"name": "line {{ item }}", "unguarded": {"path": str(sandbox.folder / "lines"), "line": "{{ item }}"}},
        ],
        items=[MIB, MIB + 1, MIB + 2, 17 * MIB],
        concurrency=2,
    )
    jobs = {job["name"]: job for job in batch_result(outcome)["jobs"]}
    too_large = jobs.pop(f"module {17 * MIB}")
    assert (too_large["state"], too_large["result"]) == ("unreadable", None)
    assert f"bytes, more than the limit of {16 * MIB}" in too_large["msg"]
    assert {job["state"] for job in jobs.values()} == {"succeeded"}
    for size in (MIB, MIB + 1, MIB + 2):
        assert len(jobs[f"module {size}"]["result"]["text"]) == size
        assert len(jobs[f"command {size}"]["result"]["stdout"]) == size
    # A module that also runs when it is imported ran once for each item, no more.
    assert sorted(lines_of(sandbox.folder / "lines")) == sorted(map(str, (MIB, MIB + 1, MIB + 2, 17 * MIB)))


def test_scripts_and_actions_that_choose_a_module_run_as_they_do_without_a_batch(sandbox: BatchSandbox) -> None:
    # Whichever module the actions choose on this machine: here all of them are one that returns what it is given.
    library = sandbox.folder / "library"
    library.mkdir()
    for name in ("apt", "service", "systemd", "sysvinit"):
        shutil.copy(sandbox.playbooks / "library" / "want_json.sh", library / f"{name}.sh")
    scripts = ("want_json", "json_args")
    arguments = {"text": "it's {{ item }}", "list": [1, "{{ item }}"]}
    with web_server() as url:
        outcome = sandbox.run_batch(
            [
                *({"name": name, name: arguments, "environment": {"GREETING": "hello {{ item }}"}} for name in scripts),
                {"name": "package", "ansible.builtin.package": {"name": "tool-{{ item }}", "use": "apt"}},
                {"name": "service", "ansible.builtin.service": {"name": "tool-{{ item }}", "state": "started"}},
                {
                    "name": "uri",
                    "ansible.builtin.uri": {"url": f"{url}/{{{{ item }}}}", "return_content": True},
                    "failed_when": "result.status == 404",
                },
                {"name": "stat", "ansible.builtin.stat": {"path": "{{ item }}"}},
                {"name": "ping", "ping": {"data": "{{ item }}"}},
            ],
            items=["200", "404", "503"],
            environment={"ANSIBLE_LIBRARY": str(library)},
        )
    jobs = {(job["name"], job["item"]): job for job in batch_result(outcome)["jobs"]}
    for item in ("200", "404", "503"):
        for name in scripts:
            assert given(jobs[name, item]) == {"text": f"it's {item}", "list": [1, item]}
            assert jobs[name, item]["result"]["greeting"] == f"hello {item}"
            assert jobs[name, item]["changed"]
        assert given(jobs["package", item]) == {"name": f"tool-{item}"}
        assert given(jobs["service", item]) == {"name": f"tool-{item}", "state": "started"}
        assert jobs["uri", item]["result"]["status"] == int(item)
        assert jobs["stat", item]["result"]["stat"]["exists"] is False
        assert jobs["ping", item]["result"]["ping"] == item
    assert jobs["uri", "200"]["result"]["content"] == "you asked for /200"
    assert [jobs["uri", item]["state"] for item in ("200", "404", "503")] == ["succeeded", "failed", "succeeded"]
    assert "1 of 21 jobs did not succeed: uri failed" in batch_result(outcome)["msg"]
    left = {path.suffix for path in sandbox.folder_of_batch().iterdir()}
    assert not left & {".args", ".module", ".out"}


@pytest.mark.parametrize(("language", "program"), [("C", "cc"), ("perl", "perl")])
def test_a_module_may_be_a_binary_or_have_another_interpreter(
    sandbox: BatchSandbox, language: str, program: str
) -> None:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"this needs the program {program}")
    library = sandbox.folder / "library"
    library.mkdir()
    if language == "C":
        source = sandbox.folder / "module.c"
        source.write_text(C, encoding="ascii")
        subprocess.run([found, "-o", str(library / "other_language"), str(source)], check=True)
    else:
        (library / "other_language").write_text(f"#!{found}\n{PERL}", encoding="ascii")
    outcome = sandbox.run_batch(
        [{"other_language": {"text": "{{ item }}"}, "environment": {"GREETING": "hello {{ item }}"}}],
        items=["it's", "\u00e4\n"],
        environment={"ANSIBLE_LIBRARY": str(library)},
    )
    assert outcome.rc == 0, outcome.output
    first, second = batch_result(outcome)["jobs"]
    assert (given(first), first["result"]["greeting"]) == ({"text": "it's"}, "hello it's")
    assert given(second) == {"text": "\u00e4\n"}


def given(job: dict[str, t.Any]) -> dict[str, t.Any]:
    """The arguments that a module returned, without those that every module is told."""
    return {name: value for name, value in job["result"]["given"].items() if not name.startswith("_ansible_")}


@contextlib.contextmanager
def web_server() -> t.Iterator[str]:
    """A web server that answers with the status that it is asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()
            self.wfile.write(f"you asked for {self.path}".encode())

        def log_message(self, *dummy: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
