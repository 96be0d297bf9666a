# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.playbook.task import Task
from ansible.plugins.connection import ConnectionBase, NetworkConnectionBase

from ansible_collections.inflight.jobs.plugins.action import async_wait
from ansible_collections.inflight.jobs.plugins.modules.async_wait import ARGUMENT_SPEC, Check

Result = dict[str, t.Any]


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


class Display:
    """Takes down what the action shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, line: str, **dummy_options: t.Any) -> None:
        self.shown.append(line)

    v = warning = display


class Play:
    """Runs the action for one task, with the half on the host running right here."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path / "jobs"
        self.folder.mkdir(mode=0o700)
        self.screen = Display()
        monkeypatch.setattr(async_wait, "display", self.screen)
        self.task = MagicMock(Task)
        self.task.async_val = 0
        self.task.check_mode = False
        self.task.no_log = False
        self.task.environment = []
        self.connection: t.Any = MagicMock(ConnectionBase)
        self.connection.transport = "ssh"
        self.connection._shell = MagicMock(_IS_WINDOWS=False, tmpdir="/tmp/x")
        self.connection._shell.get_option.return_value = str(self.folder)
        self.loader = MagicMock()
        self.loader.path_dwim.side_effect = lambda path: str(tmp_path / path)
        self.calls: list[Result] = []
        self.answer: Result = {}
        self.problems: list[Exception] = []

    def put(self, jid: str, **result: t.Any) -> Result:
        """A job that has ended, and what its launch returned."""
        (self.folder / jid).write_text(json.dumps(result), encoding="utf-8")
        return {"ansible_job_id": jid, "results_file": str(self.folder / jid), "started": True, "finished": False}

    def execute_module(self, **call: t.Any) -> Result:
        self.calls.append(call)
        for problem in self.problems:
            raise problem
        if self.answer:
            return self.answer
        check = Check(json.loads(call["module_args"]["_request"]), no_command)
        return t.cast("Result", json.loads(json.dumps(check.run())))

    def requests(self) -> list[Result]:
        return [json.loads(call["module_args"]["_request"]) for call in self.calls]

    def run(self, **arguments: t.Any) -> Result:
        self.task.args = arguments
        action = async_wait.ActionModule(
            self.task,
            self.connection,
            MagicMock(),
            loader=self.loader,
            templar=MagicMock(),
            shared_loader_obj=MagicMock(),
        )
        setattr(action, "_execute_module", self.execute_module)  # noqa: B010 - mypy lets no method be assigned to
        return action.run(task_vars={"inventory_hostname": "web1"})


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(tmp_path, monkeypatch)


# The plain way


def test_jobs_are_waited_for_and_their_results_returned(play: Play) -> None:
    launches = [play.put("j1.1", changed=True, stdout="a\nb"), play.put("j2.1", failed=True, msg="disk full")]
    result = play.run(jobs={"results": [{**one, "item": one["ansible_job_id"]} for one in launches]})
    assert [job["state"] for job in result["jobs"]] == ["succeeded", "failed"]
    assert result["jobs"][0]["result"]["stdout_lines"] == ["a", "b"]
    assert result["msg"] == "1 of 2 jobs did not succeed: j2.1 failed: disk full"
    assert (result["failed"], result["changed"], result["finished"], result["checks"]) == (True, True, True, 1)
    assert play.calls[0]["module_name"] == "inflight.jobs.async_wait"
    assert play.calls[0]["task_vars"] == {"inventory_hostname": "web1"}


def test_jid_is_another_name_for_jobs(play: Play) -> None:
    play.put("j1.1", rc=0)
    assert play.run(jid="j1.1")["summary"]["succeeded"] == 1


def test_a_bare_job_id_is_looked_for_in_the_job_directory_of_the_shell(play: Play) -> None:
    play.put("j1.1", rc=0)
    play.run(jobs=["j1.1"])
    play.connection._shell.get_option.assert_called_with("async_dir")
    assert play.requests()[0]["directories"][0]["path"] == str(play.folder)


def test_a_shell_without_a_job_directory_has_that_of_core(play: Play) -> None:
    play.connection._shell.get_option.side_effect = KeyError("async_dir")
    play.answer = {"failed": True, "msg": "enough"}
    play.run(jobs=["j1.1"])
    assert play.requests()[0]["directories"][0]["path"] == "~/.ansible_async"


def test_without_jobs_all_that_run_are_waited_for(play: Play) -> None:
    result = play.run()
    assert play.requests()[0]["find"] is True
    assert (result["jobs"], result["failed"]) == ([], False)


@pytest.mark.parametrize("option", ["jobs", "jid"])
def test_an_empty_list_is_no_jobs_and_not_all_of_them(play: Play, option: str) -> None:
    result = play.run(**{option: []})
    assert (result["summary"]["total"], result["failed"], play.calls) == (0, False, [])


def test_cleanup_deletes_the_files_after_the_results_have_arrived(play: Play) -> None:
    result = play.run(jobs=[play.put("j1.1", rc=0)], cleanup=True)
    assert result["jobs"][0]["result"] == {"rc": 0}
    assert [request["delete"] for request in play.requests()] == [[], [[str(play.folder), "j1.1"]]]
    assert list(play.folder.iterdir()) == []


def test_the_results_are_there_when_the_host_cannot_be_reached(play: Play) -> None:
    play.problems = [AnsibleConnectionFailure("no route to host")]
    result = play.run(jobs=["j1.1"], unreachable_timeout=0)
    assert (result["unreachable"], [job["state"] for job in result["jobs"]]) == (True, ["running"])
    assert "no route to host" in result["msg"]


# Check mode, job log, no_log


def test_check_mode_waits_and_changes_nothing(play: Play, tmp_path: Path) -> None:
    play.task.check_mode = True
    result = play.run(jobs=[play.put("j1.1", rc=0)], cleanup=True, job_log="log")
    assert result["jobs"][0]["state"] == "succeeded"
    assert (play.folder / "j1.1").exists()
    assert not (tmp_path / "log").exists()


def test_the_job_log_gets_a_line_for_each_job(play: Play, tmp_path: Path) -> None:
    play.run(jobs=[play.put("j1.1", rc=0), play.put("j2.1", rc=1)], job_log="log")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    assert [(line["host"], line["name"], line["state"]) for line in lines] == [
        ("web1", "j1.1", "succeeded"),
        ("web1", "j2.1", "failed"),
    ]


def test_the_job_log_is_opened_before_the_host_is_asked_for_anything(play: Play, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(AnsibleActionFail, match=r"job_log.*cannot write to .*/log: Is a directory"):
        play.run(jobs=[play.put("j1.1", rc=0)], job_log="log")
    assert play.calls == []


def test_the_job_log_is_closed_when_the_wait_is_over(play: Play) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc here")

    def open_logs() -> list[str]:
        numbers = os.listdir("/proc/self/fd")
        paths = [
            os.readlink(f"/proc/self/fd/{number}") for number in numbers if os.path.exists(f"/proc/self/fd/{number}")
        ]
        return [path for path in paths if path.endswith("/log")]

    play.run(jobs=[play.put("j1.1", rc=0)], job_log="log")
    assert open_logs() == []
    play.problems = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        play.run(jobs=["j1.1"], job_log="log")
    assert open_logs() == []


def test_no_log_shows_nothing_and_logs_no_names(play: Play, tmp_path: Path) -> None:
    play.task.no_log = True
    job = play.put("j1.1", failed=True, msg="hunter2", warnings=["hunter2"])
    play.run(jobs={"results": [{**job, "item": "hunter2"}]}, job_log="log")
    assert play.screen.shown == []
    assert "hunter2" not in (tmp_path / "log").read_text(encoding="utf-8")


def test_without_no_log_the_ends_are_shown(play: Play) -> None:
    play.run(jobs=[play.put("j1.1", failed=True, msg="disk full", warnings=["careful"])])
    assert play.screen.shown == ["j1.1: failed disk full", "careful"]


# What is refused


def test_a_windows_host_is_refused(play: Play) -> None:
    play.connection._shell._IS_WINDOWS = True
    with pytest.raises(AnsibleActionFail, match="does not support Windows"):
        play.run(jobs=["j1.1"])
    assert play.calls == []


def test_a_network_connection_is_refused(play: Play) -> None:
    shell = play.connection._shell
    play.connection = MagicMock(NetworkConnectionBase)
    play.connection.transport = "ansible.netcommon.network_cli"
    play.connection._shell = shell
    with pytest.raises(AnsibleActionFail, match=r"ansible\.netcommon\.network_cli.*delegate"):
        play.run(jobs=["j1.1"])
    assert play.calls == []


def test_async_on_the_wait_itself_is_refused(play: Play) -> None:
    play.task.async_val = 60
    with pytest.raises(AnsibleActionFail, match="async"):
        play.run(jobs=["j1.1"])
    assert play.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": -1}, "timeout is -1"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": "nan"}, "timeout is nan"),
        ({"hold": 20, "timeout": 10}, "hold is 20 s, longer than the timeout of 10 s"),
        ({"until": "most"}, "until is 'most'"),
        ({"until": 5}, "until is 5, but there are only 3 jobs"),
        ({"on_interrupt": "panic"}, "on_interrupt"),
        ({"on_failure": "panic"}, "on_failure"),
        ({"label": "a.b", "jobs": {"results": [{"ansible_job_id": "j1.1", "item": {}}]}}, "label is 'a.b'"),
        ({"jobs": "../../etc/passwd"}, r"jobs is a str that is no job id: '\.\./\.\./etc/passwd'"),
        ({"jobs": ["j1.1", "j2.1", "j3.1", "x"]}, r"jobs\[3\] is a str that is no job id: 'x'"),
        ({"jobs": None}, "jobs is empty"),
        ({"job_log": "none/log"}, "job_log.*cannot write to"),
        ({"patience": 5}, "patience"),
        ({"_request": "{}"}, "_request"),
        ({"jid": "j4.1", "progress": "maybe"}, "progress"),
    ],
)
def test_bad_options_are_one_clear_error_and_the_host_is_not_asked(play: Play, arguments: Result, message: str) -> None:
    with pytest.raises(AnsibleActionFail, match=message):
        play.run(**{"jobs": ["j1.1", "j2.1", "j3.1"], **arguments})
    assert play.calls == []


def test_options_arrive_as_the_types_that_the_documentation_names(play: Play) -> None:
    """On the command line all of them are texts."""
    play.put("j1.1", rc=0)
    play.put("j2.1", rc=0)
    result = play.run(jobs=["j1.1", "j2.1"], timeout="60", hold="2.5", until="1", progress="no", cleanup="yes")
    assert play.requests()[0]["hold"] == 2.5
    assert play.requests()[0]["ends"] == 1
    assert len(play.requests()[-1]["delete"]) == result["summary"]["succeeded"]


def test_the_arguments_of_the_task_are_left_as_they_were(play: Play) -> None:
    launches = [play.put("j1.1", rc=0)]
    arguments = {"jobs": launches, "timeout": 60}
    before = json.dumps(arguments)
    play.run(**arguments)
    assert json.dumps(arguments) == before
    assert set(play.task.args) == {"jobs", "timeout"}
    assert set(ARGUMENT_SPEC) >= set(arguments)
