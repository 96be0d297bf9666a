# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import subprocess
import typing as t
import zlib
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase, NetworkConnectionBase

from ansible_collections.inflight.jobs.plugins.action import async_batch
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError, BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._check import Check
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory, JobDirectoryError
from ansible_collections.inflight.jobs.plugins.module_utils._launch import Launcher
from ansible_collections.inflight.jobs.plugins.plugin_utils import _batch

from ..conftest import Controller, Ground, says

Result = dict[str, t.Any]
Task = dict[str, t.Any]


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


class Display:
    """Takes down what the action shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, line: str, **dummy_options: t.Any) -> None:
        self.shown.append(line)

    v = warning = display


class ShellPayloads:
    """Modules that are not built: each job runs the text of its command in a shell."""

    def __init__(self, *dummy: object) -> None:
        self.payloads = [{"kind": "file", "code": ['. "$1"\n'], "interpreter": "/bin/sh", "warm": False}]

    def job(self, module: str, arguments: Result) -> tuple[int, str]:
        return 0, arguments["_raw_params"]


def read(order: str) -> Result:
    """An order as the host reads it."""
    return t.cast("Result", json.loads(zlib.decompress(base64.b64decode(order))))


class Play:
    """Runs the action for one task, with the half on the host running right here."""

    def __init__(
        self, controller: Controller, ground: Ground, directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.controller = controller
        self.ground = ground
        self.directory = directory
        self.screen = Display()
        monkeypatch.setattr(async_batch, "display", self.screen)
        monkeypatch.setattr(_batch, "Payloads", ShellPayloads)
        self.connection: t.Any = MagicMock(ConnectionBase)
        self.connection.transport = "ssh"
        self.connection._shell = MagicMock(_IS_WINDOWS=False, tmpdir="/tmp/x")
        self.connection._shell.get_option.return_value = directory.path
        self.variables: Result = {"inventory_hostname": "web1"}
        self.keywords = "{}"
        self.calls: list[Result] = []
        self.problems: list[Exception] = []

    def execute_module(self, **call: t.Any) -> Result:
        self.calls.append(call)
        if self.problems:
            raise self.problems.pop(0)
        request = json.loads(call["module_args"]["_request"])
        try:
            batch = self.start(request) if "order" in request else {}
        except (BatchError, JobDirectoryError) as ex:
            return {"failed": True, "msg": str(ex)}
        response = dict(Check(request, no_command).run(), **batch)
        return t.cast("Result", json.loads(json.dumps(response)))

    def start(self, request: Result) -> Result:
        """Run the jobs of an order one after the other, as if they had ended before the first look."""
        directory = JobDirectory.create(request["directories"][0]["path"])
        order = read(request["order"])
        folder = BatchFolder(directory.path, order["number"])
        folder.make({"jobs": [{"jid": f"{folder.number}.{index}"} for index in range(len(order["jobs"]))]})
        for index in order["order"]:
            jid, job = f"{folder.number}.{index}", order["jobs"][index]
            environment = {**os.environ, **job["environment"]}
            done = subprocess.run(["/bin/sh", "-c", job["params"]], env=environment, capture_output=True, check=True)
            directory.write_result(jid, folder.file("new"), done.stdout)
            folder.log(jid, attempts=1, elapsed=0.5)
        return {"path": directory.path, "jobs": None}

    def really_start(self, request: Result) -> Result:
        """As the module does it."""
        self.ground.prepare_fork()
        wanted = request["directories"][0]
        batch = Launcher().launch(request["order"], wanted["path"])
        if batch["jobs"] is not None:
            wanted["jobs"] = {job["jid"]: None for job in batch["jobs"]}
        self.launched()
        return {"path": batch["path"], "jobs": batch["jobs"]}

    def launched(self) -> None:
        """Is called between the start of a batch and the first look at its jobs."""

    @property
    def orders(self) -> list[Result]:
        """What the host was ordered to start."""
        requests = [json.loads(call["module_args"]["_request"]) for call in self.calls]
        orders = [request["order"] for request in requests if "order" in request]
        return [read(order) for order in orders]

    def run(self, *tasks: Task, **arguments: t.Any) -> Result:
        action = self.controller.action(self.variables, self.keywords, connection=self.connection)
        given = {"progress": False, **arguments}
        if tasks:
            given["tasks"] = self.controller.yaml(json.dumps(tasks))
        action._task.args = given
        setattr(action, "_execute_module", self.execute_module)  # noqa: B010 - mypy lets no method be assigned to
        return action.run(task_vars=self.variables)


@pytest.fixture
def real(play: Play) -> Play:
    """A play whose batches are started for real."""
    setattr(play, "start", play.really_start)  # noqa: B010 - mypy lets no method be assigned to
    return play


@pytest.fixture
def play(controller: Controller, ground: Ground, directory: JobDirectory, monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(controller, ground, directory, monkeypatch)


def task(script: str, **more: t.Any) -> Task:
    return {"ansible.builtin.command": script, **more}


OK = task(says(changed=True), name="{{ item | default('ok') }}")
FAILS = task(says(failed=True, msg="disk full", rc=1), name="fails")


# The plain way


def test_a_batch_is_run_and_its_results_returned(real: Play) -> None:
    script = """printf '{"changed": true, "stdout": "{{ item }} {{ word }}"}'"""
    real.variables["word"] = "ok"
    result = real.run(task(script, name="say {{ item }}"), FAILS, items=["a", "b"], concurrency=2)
    assert [(job["name"], job["item"], job["state"]) for job in result["jobs"]] == [
        ("say a", "a", "succeeded"),
        ("fails", "a", "failed"),
        ("say b", "b", "succeeded"),
        ("fails", "b", "failed"),
    ]
    assert result["jobs"][0]["result"] == {"changed": True, "stdout": "a ok", "stdout_lines": ["a ok"]}
    assert result["jobs"][0]["results_file"].startswith(real.directory.path)
    assert (result["jobs"][0]["attempts"], result["jobs"][0]["elapsed"] >= 0) == (1, True)
    assert result["msg"] == (
        "2 of 4 jobs did not succeed: fails failed (rc 1): disk full; fails failed (rc 1): disk full"
    )
    assert (result["failed"], result["changed"], result["finished"], result["checks"]) == (True, True, True, 1)
    assert real.calls[0]["module_name"] == "inflight.jobs.async_batch"
    assert real.calls[0]["task_vars"] == real.variables


def test_a_batch_that_succeeds_says_so(play: Play) -> None:
    result = play.run(OK, OK)
    assert (result["msg"], result["failed"]) == ("2 jobs succeeded", False)


def test_without_items_there_is_nothing_to_do(play: Play) -> None:
    result = play.run(OK, items=[])
    assert (result["msg"], result["failed"], result["changed"]) == ("There were no jobs to wait for", False, False)
    assert (result["jobs"], play.calls) == ([], [])


def test_conditions_decide_what_counts_as_changed_and_failed(play: Play) -> None:
    tasks = [
        task(says(rc=2, changed=True), name="{{ item }}", failed_when="result.rc > item", changed_when="item == 1"),
    ]
    result = play.run(*tasks, items=[1, 2])
    assert [(job["state"], job["changed"], job["msg"]) for job in result["jobs"]] == [
        ("failed", True, "it gave no reason"),
        ("succeeded", False, ""),
    ]


def test_a_job_that_fails_by_its_condition_alone_says_so(play: Play) -> None:
    job = play.run(task(says(changed=True), failed_when="result is changed"))["jobs"][0]
    assert (job["state"], job["failed"], job["msg"]) == ("failed", True, "failed_when is true")


def test_a_condition_that_cannot_be_evaluated_fails_its_job_and_keeps_the_result(play: Play) -> None:
    job = play.run(task(says(rc=0), failed_when="result.nowhere == 1"))["jobs"][0]
    assert (job["state"], job["result"]) == ("failed", {"rc": 0})
    assert job["msg"].startswith("changed_when or failed_when cannot be evaluated: ")
    assert "nowhere" in job["msg"]


def test_conditions_are_not_for_jobs_that_have_no_result(real: Play) -> None:
    tasks = [task("kill -9 $PPID", failed_when=False), task("exit 1", failed_when=False)]
    result = real.run(*tasks, concurrency=1)
    assert [job["state"] for job in result["jobs"]] == ["lost", "succeeded"]


def test_the_environment_of_a_task_reaches_its_jobs(play: Play) -> None:
    script = 'printf \'{"stdout": "%s"}\' "$WHO"'
    result = play.run(task(script, environment={"WHO": "{{ item }}"}), items=["a", "b"])
    assert [job["result"]["stdout"] for job in result["jobs"]] == ["a", "b"]


def test_the_longest_jobs_start_first(play: Play) -> None:
    play.run(OK, items=["a", "b", "c"], durations={"b": 5, "c": 9, "a": 1})
    assert play.orders[0]["order"] == [2, 1, 0]


def test_options_arrive_as_the_types_that_the_documentation_names(play: Play) -> None:
    """On the command line all of them are texts."""
    play.run(OK, concurrency="3", timeout="60", retries="2", wait="yes", nice="5", progress="no")
    order = play.orders[0]
    assert (order["limits"]["window"], order["limits"]["timeout"], order["limits"]["retries"]) == (3, 60, 2)
    assert order["nice"] == 5


# Without a wait


def test_without_a_wait_the_jobs_run_on(real: Play, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    runs = task(f"echo >{tmp_path}/fifo; read line <{tmp_path}/fifo")
    result = real.run(runs, OK, wait=False, concurrency=1, id="nightly")
    (tmp_path / "fifo").read_bytes()
    assert (result["msg"], result["failed"], result["changed"]) == ("2 jobs started", False, True)
    assert [job["finished"] for job in result["jobs"]] == [False, False]
    assert result["jobs"][0]["results_file"] == real.directory.file(result["jobs"][0]["ansible_job_id"])
    again = real.run(OK, id="nightly", on_existing="replace")
    assert [job["state"] for job in again["jobs"]] == ["succeeded"]


def test_without_a_wait_a_host_that_refuses_is_a_failure(play: Play) -> None:
    play.connection._shell.get_option.return_value = "/dev/null/jobs"
    result = play.run(OK, wait=False)
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"].startswith("The batch was not started: cannot make the job directory")
    assert [job["state"] for job in result["jobs"]] == ["not_started"]


# Other runs


def test_a_second_run_waits_for_the_jobs_of_the_first_and_judges_them_by_its_own_conditions(
    real: Play, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    real.run(task(f"read line <{tmp_path}/fifo; {says(rc=2)}", name="x"), wait=False, id="nightly")
    setattr(real, "launched", lambda: (tmp_path / "fifo").write_text("go\n", encoding="utf-8"))  # noqa: B010
    result = real.run(task("exit 1", name="x", failed_when="result.rc > 2"), id="nightly")
    assert [(job["name"], job["state"]) for job in result["jobs"]] == [("x", "succeeded")]
    assert result["jobs"][0]["result"]["rc"] == 2


def test_only_what_did_not_succeed_is_run_again_when_that_is_asked_for(real: Play) -> None:
    real.run(OK, FAILS, id="nightly")
    result = real.run(OK, FAILS, id="nightly", rerun="failed")
    first, second = (order["number"] for order in real.orders)
    assert [job["ansible_job_id"] for job in result["jobs"]] == [f"{first}.0", f"{second}.1"]
    assert [job["state"] for job in result["jobs"]] == ["succeeded", "failed"]


def test_every_run_has_a_number_of_its_own(play: Play) -> None:
    for dummy in range(2):
        play.run(OK)
    assert len({order["number"] for order in play.orders}) == 2


# When the host does not take the jobs


def test_jobs_that_the_host_does_not_take_are_not_started(real: Play) -> None:
    (Path(real.directory.path) / ".inflight").chmod(0o777)
    result = real.run(OK, FAILS)
    assert {job["state"] for job in result["jobs"]} == {"not_started"}
    assert {job["attempts"] for job in result["jobs"]} == {0}
    assert result["failed"] is True
    assert result["msg"].startswith("The batch was not started: ")
    assert "others may write to it" in result["jobs"][0]["msg"]


def test_jobs_of_a_host_out_of_reach_are_not_started(play: Play) -> None:
    play.problems = [AnsibleConnectionFailure("no route to host")]
    result = play.run(OK, unreachable_timeout=0)
    assert (result["unreachable"], [job["state"] for job in result["jobs"]]) == (True, ["not_started"])
    assert "no route to host" in result["msg"]


# Check mode, diff mode, job log, cleanup, no_log


def test_check_mode_neither_joins_another_run_nor_is_found_by_one(play: Play, tmp_path: Path) -> None:
    play.keywords = "{check_mode: true}"
    play.run(OK, id="nightly", rerun="failed", job_log="log")
    assert (play.orders[0]["id"], play.orders[0]["rerun"]) == (None, "all")
    assert not (tmp_path / "log").exists()


def test_the_diffs_of_all_jobs_are_shown_in_diff_mode(play: Play) -> None:
    tasks = [task(says(diff={"before": "a"})), task(says(diff=[{"before": "b"}, {"before": "c"}])), FAILS]
    assert "diff" not in play.run(*tasks)
    play.keywords = "{diff: true}"
    assert play.run(*tasks)["diff"] == [{"before": "a"}, {"before": "b"}, {"before": "c"}]


def test_the_job_log_gets_a_line_for_each_job_and_tells_the_next_run_what_to_start_first(
    play: Play, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    play.run(OK, items=["a", "b"], job_log="log")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert sorted((line["host"], line["name"], line["item"], line["state"]) for line in lines) == [
        ("web1", "a", "a", "succeeded"),
        ("web1", "b", "b", "succeeded"),
    ]
    log.write_text("".join(json.dumps({**line, "elapsed": ord(line["name"])}) + "\n" for line in lines), "utf-8")
    play.run(OK, items=["a", "b"], job_log="log")
    assert [order["order"] for order in play.orders] == [[0, 1], [1, 0]]


def test_the_job_log_is_opened_before_anything_is_started(play: Play, tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="job_log: cannot write to"):
        play.run(OK, job_log="none/log")
    assert play.calls == []


def test_cleanup_deletes_everything_after_the_results_have_arrived(real: Play) -> None:
    result = real.run(OK, FAILS, cleanup=True)
    assert [job["result"] is not None for job in result["jobs"]] == [True, True]
    number = real.orders[0]["number"]
    assert not list(Path(real.directory.path).rglob(f"{number}*"))


def test_no_log_shows_nothing_and_leaves_no_names_on_the_host(play: Play) -> None:
    play.keywords = "{no_log: true}"
    result = play.run(
        task(says(failed=True, msg="hunter2", warnings=["hunter2"]), name="{{ item }}"), items=["hunter2"]
    )
    assert play.screen.shown == []
    assert result["msg"] == "1 of 1 job did not succeed: no_log hides which"
    assert [(job["name"], job["item"]) for job in play.orders[0]["jobs"]] == [(None, None)]
    assert "hunter2" not in (Path(play.directory.path, ".inflight", play.orders[0]["number"]) / "batch.json").read_text(
        encoding="utf-8"
    )
    assert result["jobs"][0]["name"] == "hunter2"  # core hides the result as a whole


@pytest.mark.parametrize("arguments", [{"concurrency": "hunter2"}, {"durations": {"x": "hunter2"}}, {"id": "hunter 2"}])
def test_no_log_hides_what_is_wrong_with_an_option(play: Play, arguments: Result) -> None:
    play.keywords = "{no_log: true}"
    with pytest.raises(AnsibleActionFail) as caught:
        play.run(OK, **arguments)
    assert str(caught.value) == "An option is wrong; no_log hides which"
    with pytest.raises(AnsibleActionFail) as caught:
        play.run({"no.such.module": {}, "name": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert play.calls == []


def test_the_ends_of_jobs_are_shown(play: Play) -> None:
    play.run(FAILS)
    assert play.screen.shown == ["fails: failed disk full"]


# What is refused


@pytest.mark.parametrize(
    ("tasks", "arguments", "message"),
    [
        ([], {}, "tasks is missing"),
        ([{"block": []}], {}, r"tasks\[0\] is a block"),
        ([{"ansible.builtin.copy": {}}], {}, r"tasks\[0\]: .*controller"),
        ([task("{{ nowhere }}")], {"items": [1]}, r"tasks\[0\] for items\[0\] \('1'\): .*nowhere"),
        ([OK], {"items": "a,b"}, "items is 'a,b'"),
        ([OK], {"items": {"a": 1}}, "items is a dict, not a list: .*dict2items"),
        ([OK], {"items": 5}, "items is 5"),
        ([OK], {"concurrency": 0}, "concurrency is 0"),
        ([OK], {"concurrency": "half"}, "concurrency is 'half'"),
        ([OK], {"timeout": "soon"}, "timeout"),
        ([OK], {"grace": -1}, "grace is -1"),
        ([OK], {"hold": "nan"}, "hold is nan"),
        ([OK], {"on_failure": "panic"}, "on_failure"),
        ([OK], {"max_failures": 2}, "max_failures is given, but on_failure is continue"),
        ([OK], {"on_existing": "attach"}, "on_existing is given, but no id"),
        ([OK], {"id": "../x"}, r"id is '\.\./x'"),
        ([OK], {"io_class": "realtime"}, "io_class"),
        ([OK], {"durations": [1]}, "durations is .* but there are no items"),
        ([OK], {"durations": [1], "items": [1, 2]}, "durations is a list of length 1"),
        ([OK], {"patience": 5}, "patience"),
        ([OK], {"_request": "{}"}, "_request"),
    ],
)
def test_bad_options_are_one_clear_error_and_the_host_is_not_asked(
    play: Play, tasks: list[Task], arguments: Result, message: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=message):
        play.run(*tasks, **arguments)
    assert play.calls == []


def test_a_windows_host_is_refused(play: Play) -> None:
    play.connection._shell._IS_WINDOWS = True
    with pytest.raises(AnsibleActionFail, match="async_batch does not support Windows"):
        play.run(OK)
    assert play.calls == []


def test_a_network_connection_is_refused(play: Play) -> None:
    shell = play.connection._shell
    play.connection = MagicMock(NetworkConnectionBase)
    play.connection.transport = "ansible.netcommon.network_cli"
    play.connection._shell = shell
    with pytest.raises(AnsibleActionFail, match=r"async_batch .*network_cli.*delegate"):
        play.run(OK)
    assert play.calls == []


def test_async_on_the_batch_itself_is_refused(play: Play) -> None:
    play.keywords = "{async: 60}"
    with pytest.raises(AnsibleActionFail, match="async"):
        play.run(OK)
    assert play.calls == []


def test_the_arguments_of_the_task_are_left_as_they_were(play: Play) -> None:
    items = [{"name": "a", "size": 1}]
    tasks = [dict(OK)]
    before = json.dumps([items, tasks])
    play.run(*tasks, items=items, durations="size")
    assert json.dumps([items, tasks]) == before
