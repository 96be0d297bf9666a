# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _processes
from ansible_collections.inflight.jobs.plugins.module_utils._processes import JobProcesses

US = os.geteuid()


def own(jid: str) -> str:
    """A job id like this one that no other test has processes of, however many tests run at the same time."""
    return f"j{os.getpid()}{jid.removeprefix('j')}"


Start = Callable[..., "subprocess.Popen[str]"]


def run_command(command: list[str], **dummy_options: t.Any) -> tuple[int, str, str]:
    """Runs a command as AnsibleModule.run_command does."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that look like async_wrapper and live until they are told to end, or the test is over."""
    wrapper = tmp_path / "async_wrapper.py"
    wrapper.write_text("echo ready; read line\n", encoding="utf-8")
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, program: Path = wrapper) -> subprocess.Popen[str]:
            jid, *others = arguments
            process = subprocess.Popen(
                ["/bin/sh", str(program), own(jid), *others], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process

        yield start


@pytest.fixture(params=["proc", "ps"])
def processes(request: pytest.FixtureRequest) -> JobProcesses:
    """The process table by way of /proc, and as systems without it give it."""
    found = JobProcesses(run_command)
    if request.param == "ps":
        if not shutil.which("ps"):
            pytest.skip("there is no ps here")
        found._has_proc = False
    elif not found._has_proc:
        pytest.skip("there is no /proc here")
    return found


def living(processes: JobProcesses, users: dict[str, set[int]]) -> dict[str, _processes.Process]:
    """The living ones of these jobs, given with the ids of the users that their processes may have."""
    # Ids of an old form, without the j, are numbers that other tests do not use.
    ids = {own(jid) if jid.startswith("j") else jid: jid for jid in users}
    found = processes.living(ids, lambda jid: users[ids[jid]])
    return {ids[jid]: process for jid, process in found.items()}


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_a_job_lives_while_its_wrapper_does(start: Start, processes: JobProcesses) -> None:
    process = start("j123", "60", "/x/AnsiballZ_command.py", "_")
    found = living(processes, {"j123.1": {US}})
    assert found["j123.1"].pid == process.pid
    assert found["j123.1"].user == US
    assert living(processes, {"j123.1": {US}}) == found
    end(process)
    assert living(processes, {"j123.1": {US}}) == {}


def test_the_number_behind_the_dot_says_nothing(start: Start, processes: JobProcesses) -> None:
    """It is the pid of a process that has ended before the job begins; by now another one may have it."""
    process = start("j123", "60", "module", "_")
    assert set(living(processes, {"j123.1": {US}, f"j124.{process.pid}": {US}})) == {"j123.1"}


def test_a_job_id_that_begins_like_another_one_is_another_job(start: Start, processes: JobProcesses) -> None:
    start("j1234", "60", "module", "_")
    assert set(living(processes, {"j123.1": {US}, "j1234.1": {US}, "j12345.1": {US}})) == {"j1234.1"}


def test_the_time_limit_of_one_job_is_not_taken_for_the_id_of_another(start: Start, processes: JobProcesses) -> None:
    start("j123", "3600", "module", "_")
    assert living(processes, {"3600.1": {US}}) == {}


def test_only_processes_that_run_async_wrapper_count(start: Start, processes: JobProcesses, tmp_path: Path) -> None:
    other = tmp_path / "editor"
    other.write_text("echo ready; read line\n", encoding="utf-8")
    start("j123", "60", program=other)
    assert living(processes, {"j123.1": {US}}) == {}


def test_a_process_of_another_user_does_not_keep_a_job_alive(start: Start, processes: JobProcesses) -> None:
    """Anybody can start something that is called async_wrapper.py, and so make a wait last for ever."""
    start("j123", "60", "module", "_")
    assert living(processes, {"j123.1": {US + 1}}) == {}
    assert set(living(processes, {"j123.1": {US + 1, US}})) == {"j123.1"}


def test_a_process_that_nobody_has_collected_is_dead(start: Start, processes: JobProcesses) -> None:
    process = start("j123", "60", "module", "_")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert living(processes, {"j123.1": {US}}) == {}


def test_a_job_lives_on_in_its_runner_when_its_watcher_was_killed(start: Start, processes: JobProcesses) -> None:
    watcher = start("j123", "60", "module", "_")
    runner = start("j123", "60", "module", "_")
    assert living(processes, {"j123.1": {US}})["j123.1"].pid in (watcher.pid, runner.pid)
    end(watcher)
    assert living(processes, {"j123.1": {US}})["j123.1"].pid == runner.pid
    end(runner)
    assert living(processes, {"j123.1": {US}}) == {}


def test_many_jobs_are_told_apart(start: Start, processes: JobProcesses) -> None:
    started = {f"j{number}.1": start(f"j{number}", "60", "module", "_") for number in range(5)}
    end(started["j3.1"])
    jobs = {f"j{number}.1": {US} for number in range(1000)}
    assert set(living(processes, jobs)) == {"j0.1", "j1.1", "j2.1", "j4.1"}


def test_no_jobs_need_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = JobProcesses(run_command)
    monkeypatch.setattr(processes, "_table", lambda: pytest.fail("nobody asked"))
    assert living(processes, {}) == {}


@needs_proc
def test_a_living_job_is_not_searched_for_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at one process is cheap, looking at all of them is not."""
    start("j123", "60", "module", "_")
    processes = JobProcesses(run_command)
    found = living(processes, {"j123.1": {US}})
    monkeypatch.setattr(processes, "_table", lambda: pytest.fail("the whole process table was read"))
    assert living(processes, {"j123.1": {US}}) == found


@needs_proc
def test_a_new_process_with_an_old_pid_is_not_the_job(start: Start) -> None:
    process = start("j123", "60", "module", "_")
    processes = JobProcesses(run_command)
    found = living(processes, {"j123.1": {US}})["j123.1"]
    end(process)
    again = start("j999", "60", "module", "_")
    processes._known[own("j123.1")] = found._replace(pid=again.pid)
    assert found.started is not None
    processes._known[own("j123.1")] = processes._known[own("j123.1")]._replace(started=found.started - 1)
    assert living(processes, {"j123.1": {US}}) == {}


@needs_proc
def test_the_start_is_told_on_the_clock_of_boot_clock(start: Start) -> None:
    before = _processes.boot_clock()
    start("j123", "60", "module", "_")
    after = _processes.boot_clock()
    found = living(JobProcesses(run_command), {"j123.1": {US}})["j123.1"]
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert found.started is not None
    assert before - 2 * tick <= found.started <= after + 2 * tick


@needs_proc
def test_a_name_with_parentheses_and_spaces_does_not_confuse_the_look(start: Start, tmp_path: Path) -> None:
    shell = tmp_path / "a) Z 1 (b"
    shutil.copy(os.path.realpath("/bin/sh"), shell)
    wrapper = tmp_path / "async_wrapper.py"
    with subprocess.Popen(
        [shell, wrapper, own("j5")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert set(living(JobProcesses(run_command), {"j5.1": {US}})) == {"j5.1"}
        finally:
            process.kill()


@needs_proc
def test_a_process_that_ends_during_the_look_does_no_harm(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start("j123", "60", "module", "_")
    ended = start("j456", "60", "module", "_")
    real = _processes._start_of

    def start_of(pid: int) -> float | None:
        if pid == ended.pid:
            end(ended)
        return real(pid)

    monkeypatch.setattr(_processes, "_start_of", start_of)
    assert set(living(JobProcesses(run_command), {"j123.1": {US}, "j456.1": {US}})) == {"j123.1"}


@needs_proc
def test_a_process_whose_user_is_no_longer_known_does_no_harm(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start("j123", "60", "module", "_")

    def user_of(pid: int) -> int:
        raise ProcessLookupError(pid)

    monkeypatch.setattr(_processes, "_user_of", user_of)
    assert living(JobProcesses(run_command), {"j123.1": {US}}) == {}


def test_without_proc_and_ps_no_process_is_seen_and_we_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    processes = JobProcesses(no_command)
    assert processes.sees_all is False
    assert living(processes, {"j123.1": {US}}) == {}


def test_whether_all_processes_are_seen_goes_by_the_first_one(processes: JobProcesses) -> None:
    if processes._has_proc:
        assert processes.sees_all == os.path.exists("/proc/1/cmdline")
    else:
        assert processes.sees_all == ("1" in run_command(["ps", "-ax", "-o", "pid="])[1].split())


@needs_proc
def test_the_boot_id_stays_the_same_until_the_next_boot() -> None:
    assert len(_processes.boot_id()) == 36
    assert _processes.boot_id() == _processes.boot_id()


def test_a_system_that_tells_no_boot_id_has_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*dummy_arguments: t.Any, **dummy_options: t.Any) -> t.NoReturn:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_file)
    assert _processes.boot_id() == ""
