# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _processes
from ansible_collections.inflight.jobs.plugins.module_utils._processes import JobProcesses, Snapshot, Tree

from ..conftest import FOREVER, exit_code, fork
from ..conftest import living as living_process

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


# Which process runs a job of a batch


def test_a_process_is_known_again_by_its_identity_as_long_as_it_lives() -> None:
    with living_process() as pid:
        identified = _processes.identity(pid)
        assert identified[0] == pid
        assert _processes.is_alive(identified)
    assert not _processes.is_alive(identified)


@needs_proc
def test_a_new_process_with_the_pid_of_an_old_one_is_another() -> None:
    pid, started, boot = _processes.identity(os.getpid())
    assert not _processes.is_alive([pid, started - 1, boot])
    assert not _processes.is_alive([pid, started + 0.01, boot])


def test_no_process_outlives_a_reboot() -> None:
    pid, started, dummy = _processes.identity(os.getpid())
    assert not _processes.is_alive([pid, started, "another boot"])


def test_the_padding_of_a_job_file_is_no_part_of_the_identity() -> None:
    pid, started, boot = _processes.identity(os.getpid())
    assert _processes.is_alive([pid, started, boot.ljust(36)])


def test_a_process_that_nobody_has_collected_runs_no_job() -> None:
    pid = fork(signal.pause)
    identified = _processes.identity(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert _processes.is_alive(identified) is not Path("/proc/self/stat").exists()
    assert exit_code(pid) == -signal.SIGKILL


def test_without_proc_a_process_is_known_by_its_pid_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "_stat_of", lambda pid: [])
    with living_process() as pid:
        identified = _processes.identity(pid)
        assert identified[1] == 0
        assert _processes.is_alive(identified)
    assert not _processes.is_alive(identified)


def test_without_proc_a_process_that_we_may_not_signal_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int, number: int) -> t.NoReturn:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert _processes.is_alive([os.getpid(), 0, _processes.boot_id()])


odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(_processes.boot_id())


@settings(deadline=None, max_examples=50)
@given(st.lists(odd | st.lists(odd, max_size=2), max_size=4) | odd)
def test_whatever_else_stands_in_a_job_file_is_no_living_process(said: object) -> None:
    assert _processes.is_alive(said) is False


def test_the_first_process_and_numbers_that_are_no_pids_run_no_job() -> None:
    """As a pid for kill, some of these stand for whole groups of processes."""
    for pid in (0, 1, -1, -os.getpgrp(), True, 2**31, 10**30):
        for started in (0, 1.5):
            assert not _processes.is_alive([pid, started, _processes.boot_id()])


@needs_proc
def test_the_owner_of_a_process_is_its_effective_user() -> None:
    with living_process() as pid:
        assert _processes.owner(pid) == US
    assert _processes.owner(pid) is None


# All processes of a job of a batch


def lead(*steps: Callable[[], object]) -> int:
    """Fork a process that leads a session, does this and lives on; its pid."""
    ready, tell = os.pipe()

    def body() -> None:
        os.setsid()
        for step in steps:
            step()
        os.write(tell, b"!")
        signal.pause()

    pid = fork(body)
    os.close(tell)
    assert os.read(ready, 1) == b"!"
    os.close(ready)
    return pid


def child(*steps: Callable[[], object]) -> None:
    """Fork a child that does this and lives on."""
    ready, tell = os.pipe()

    def body() -> None:
        for step in steps:
            step()
        os.write(tell, b"!")
        signal.pause()

    fork(body)
    os.close(tell)
    assert os.read(ready, 1) == b"!"
    os.close(ready)


@contextlib.contextmanager
def job(*steps: Callable[[], object]) -> Iterator[tuple[int, Tree]]:
    """The first process of a job, which does this, and the tree that it is the first process of."""
    pid = lead(*steps)
    tree = Tree(pid, "j4711.0", pid)
    try:
        yield pid, tree
    finally:
        while tree.look(Snapshot()):
            tree.kill()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def test_the_first_process_of_a_job_alone_is_a_job() -> None:
    with job() as (pid, tree):
        assert tree.look(Snapshot())
        assert set(tree._known) == {pid}
        tree.ask_to_end()
        assert exit_code(pid) == -signal.SIGTERM
        assert not tree.look(Snapshot())


@needs_proc
def test_descendants_in_another_session_belong_to_the_job() -> None:
    with job(child, lambda: child(os.setsid, lambda: child(os.setsid))) as (dummy, tree):
        assert tree.look(Snapshot())
        assert len(tree._known) == 4
        assert os.getpid() not in tree._known


@needs_proc
def test_processes_of_the_session_belong_to_the_job_whoever_their_parent_is() -> None:
    def orphan() -> None:
        assert exit_code(fork(child)) == 0

    with job(orphan) as (dummy, tree):
        tree.look(Snapshot())
        assert len(tree._known) == 2


@needs_proc
def test_who_was_seen_once_belongs_to_the_job_for_ever() -> None:
    with job(lambda: child(os.setsid)) as (pid, tree):
        tree.look(Snapshot())
        others = set(tree._known) - {pid}
        os.kill(pid, signal.SIGKILL)
        exit_code(pid)  # now its child is a child of init, and in a session of its own
        assert tree.look(Snapshot())
        assert set(tree._known) == others


def daemon(environment: dict[str, str]) -> None:
    """Start a program that leaves the session and its parents, as daemons do; return when it runs."""
    running, tell = os.pipe()

    def body() -> None:
        os.setsid()
        if os.fork() == 0:
            # This end of the pipe closes when the program begins.
            os.execvpe("sleep", ["sleep", str(FOREVER)], {**os.environ, **environment})

    assert exit_code(fork(body)) == 0
    os.close(tell)
    assert os.read(running, 1) == b""
    os.close(running)


@needs_proc
def test_a_daemon_that_carries_the_id_belongs_to_the_job() -> None:
    with job(lambda: daemon({"INFLIGHT_JOB": "j4711.0"})) as (pid, tree):
        assert tree.look(Snapshot())
        (found,) = set(tree._known) - {pid}
        assert _processes.command_line(found) == ["sleep", str(FOREVER)]


@needs_proc
@pytest.mark.parametrize("jid", ["j4711.01", "j4711", "j14711.0", ""])
def test_a_daemon_with_another_id_does_not_belong_to_the_job(jid: str) -> None:
    carried = {"INFLIGHT_JOB": jid, "OTHER": "INFLIGHT_JOB=j4711.0"}
    with job(lambda: daemon(carried)) as (pid, tree), job(lambda: None) as (dummy, other):
        other._jid = jid
        other.look(Snapshot())
        tree.look(Snapshot())
        assert set(tree._known) == {pid}
        assert len(other._known) == 2


@needs_proc
@pytest.mark.skipif(US != 0, reason="only root can have processes of another user")
def test_a_daemon_of_somebody_else_does_not_belong_to_the_job_whatever_it_carries() -> None:
    with job(lambda: None) as (pid, tree):
        stranger = lead(lambda: os.setuid(65534), lambda: daemon({"INFLIGHT_JOB": "j4711.0"}))
        try:
            tree.look(Snapshot())
            assert set(tree._known) == {pid}
        finally:
            os.kill(stranger, signal.SIGKILL)
            exit_code(stranger)
            for one in _processes.table():
                if _processes._tag_of(one) == b"j4711.0":
                    os.kill(one, signal.SIGKILL)


def test_other_processes_do_not_belong_to_the_job() -> None:
    with job() as (dummy, tree), job() as (other, dummy_tree):
        tree.look(Snapshot())
        assert other not in tree._known


@needs_proc
def test_a_process_that_was_given_the_pid_of_an_old_one_gets_no_signal() -> None:
    with living_process() as stranger:
        with job() as (pid, tree):
            tree.look(Snapshot())
            tree._known[stranger] = _processes.identity(stranger)[1] - 1
            tree.kill()
            assert exit_code(pid) == -signal.SIGKILL
            assert not tree.look(Snapshot())
            assert stranger not in tree._known
        assert _processes.is_alive(_processes.identity(stranger))


@needs_proc
def test_a_process_that_became_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sudo started, say: it may not be signalled, and that must not keep the others from ending."""
    with job(child) as (pid, tree):
        tree.look(Snapshot())
        forbidden = max(tree._known)
        real = os.kill

        def kill(pid: int, number: int) -> None:
            if pid == forbidden:
                raise PermissionError
            real(pid, number)

        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", kill)
            tree.kill()
        assert exit_code(pid) == -signal.SIGKILL
        assert tree.look(Snapshot())
        assert set(tree._known) == {forbidden}


@needs_proc
def test_a_process_that_is_stopped_ends_when_it_is_asked_to() -> None:
    with job() as (pid, tree):
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        assert tree.look(Snapshot())
        tree.ask_to_end()
        assert exit_code(pid) == -signal.SIGTERM


@needs_proc
def test_the_first_process_is_asked_to_end_some_time_after_the_others_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with job(child) as (pid, tree):
        tree.look(Snapshot())
        (other,) = set(tree._known) - {pid}
        gone = os.pidfd_open(other)
        tree.ask_to_end()
        assert select.select((gone,), (), (), FOREVER)[0]
        os.close(gone)
        assert tree.look(Snapshot())
        assert set(tree._known) == {pid}
        tree.ask_to_end()  # it has only just lost its program, and may be about to tell its result
        assert tree._stage == 1
        monkeypatch.setattr(_processes, "ALONE_FOR", 0.0)
        tree.ask_to_end()
        assert exit_code(pid) == -signal.SIGTERM


@needs_proc
def test_processes_are_asked_to_end_once() -> None:
    """A program may take a second signal for the wish to end without tidying up."""
    sent: list[tuple[int, int]] = []
    with job(child) as (pid, tree), pytest.MonkeyPatch.context() as patch:
        tree.look(Snapshot())
        (other,) = set(tree._known) - {pid}
        patch.setattr(os, "kill", lambda *signalled: sent.append(signalled))
        for dummy in range(3):
            tree.look(Snapshot())
            tree.ask_to_end()
        assert sent == [(other, signal.SIGTERM), (pid, signal.SIGCONT), (other, signal.SIGCONT)]


def test_without_proc_the_group_of_the_first_process_is_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with job() as (pid, tree), monkeypatch.context() as patch:
        patch.setattr(os.path, "exists", lambda path: False)
        assert tree.look(Snapshot())
        tree.ask_to_end()
        assert exit_code(pid) == -signal.SIGTERM
        assert not tree.look(Snapshot())


def test_without_proc_a_group_that_we_may_not_signal_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(group: int, number: int) -> t.NoReturn:
        raise PermissionError

    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(os, "killpg", forbidden)
    tree = Tree(os.getpid(), "j4711.0", os.getpid())
    assert tree.look(Snapshot())
    tree.kill()


# The process table


@needs_proc
def test_the_table_tells_of_each_process_whose_child_it_is_and_what_it_uses() -> None:
    tick = 1 / os.sysconf("SC_CLK_TCK")
    with living_process(os.setsid) as leader, living_process() as other:
        found = _processes.table()
        assert (found[leader].parent, found[leader].session) == (os.getpid(), leader)
        assert (found[other].parent, found[other].session) == (os.getpid(), os.getsid(0))
        assert found[leader].started == pytest.approx(_processes.identity(leader)[1], abs=tick)
        assert found[leader].memory > 0
    used = os.times()
    # With the time of children that have ended.
    assert found[os.getpid()].cpu == pytest.approx(sum(used[:4]), abs=2)
    assert found[os.getpid()].cpu <= _processes.table()[os.getpid()].cpu


@needs_proc
def test_the_table_has_no_zombies() -> None:
    pid = fork(lambda: None)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert pid not in _processes.table()
    assert exit_code(pid) == 0


def test_without_proc_the_table_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert _processes.table() == {}


def row(parent: int, session: int) -> _processes.Row:
    return _processes.Row(parent, session, started=1.0, cpu=0.0, memory=0)


def test_a_family_is_sessions_and_those_who_are_known_with_all_that_descend_from_them() -> None:
    processes = {
        1: row(0, 1),
        10: row(1, 10),
        11: row(10, 10),
        12: row(11, 12),  # made a session of its own
        13: row(12, 12),
        14: row(1, 10),  # its parent has ended
        20: row(1, 20),
        21: row(20, 20),
        22: row(21, 22),
    }
    assert _processes.family(processes, {10}) == {10, 11, 12, 13, 14}
    assert _processes.family(processes, (), (21,)) == {21, 22}
    assert _processes.family(processes, {10}, (22,)) == {10, 11, 12, 13, 14, 22}
    assert _processes.family(processes, ()) == set()
    assert _processes.family({}, {10}) == set()


def test_a_family_that_goes_in_circles_is_found_all_the_same() -> None:
    """The table is not read in one moment: a pid in it may be that of two processes."""
    assert _processes.family({1: row(2, 5), 2: row(1, 6)}, {5}) == {1, 2}


@given(
    st.dictionaries(st.integers(1, 30), st.builds(row, st.integers(0, 30), st.integers(0, 5))),
    st.sets(st.integers(1, 5)),
)
@settings(deadline=None)
def test_a_family_is_closed(processes: dict[int, _processes.Row], sessions: set[int]) -> None:
    found = _processes.family(processes, sessions)
    assert found <= processes.keys()
    for pid, one in processes.items():
        assert (pid in found) is (one.session in sessions or one.parent in found)


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        (["python3", "/x/async_wrapper.py", "j123", "60", "/x/AnsiballZ_command.py", "_"], 60.0),
        (["/x/async_wrapper.py", "j123", "0"], 0.0),
        (["python3", "/x/async_wrapper.py", "j123"], None),
        (["python3", "/x/async_wrapper.py", "j123", "soon"], None),
        (["python3", "/x/async_wrapper.py", "j123", "-5"], None),
        (["python3", "/x/async_wrapper.py", "j123", "1" * 400], None),
        (["python3", "/x/AnsiballZ_command.py", "j123", "60"], None),
        ([""], None),
        ([], None),
    ],
)
def test_the_time_limit_is_the_argument_behind_the_job_id(arguments: list[str], limit: float | None) -> None:
    assert _processes.limit_of(arguments) == limit


@given(st.lists(st.text(max_size=5) | st.just("async_wrapper.py"), max_size=5))
@settings(deadline=None)
def test_the_time_limit_in_any_arguments_is_a_number_or_none(arguments: list[str]) -> None:
    limit = _processes.limit_of(arguments)
    assert limit is None or limit >= 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["python3", "/x/async_wrapper.py", "j123", "60"], True),
        (["/usr/bin/python3", "/root/.ansible/tmp/x/AnsiballZ_command.py"], True),
        (["/usr/bin/python3", "-u", "/root/.ansible/tmp/x/AnsiballZ_command.py"], True),
        (["/bin/sh", "-c", "pg_dump users"], False),
        (["cp", "a", "b", "AnsiballZ_command.py"], False),
        (["sleep", "100"], False),
        ([], False),
    ],
)
def test_what_ansible_starts_for_itself_is_known_by_its_first_arguments(arguments: list[str], expected: bool) -> None:
    assert _processes.is_ansibles(arguments) is expected


@needs_proc
def test_the_command_line_is_that_of_the_process(start: Start) -> None:
    process = start("j123", "60", "", "ü b")
    found = _processes.command_line(process.pid)
    assert found[0] == "/bin/sh"
    assert found[2:] == [own("j123"), "60", "", "ü b"]
    end(process)
    assert _processes.command_line(process.pid) == []


@needs_proc
def test_a_zombie_has_no_command_line() -> None:
    pid = fork(lambda: None)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert _processes.command_line(pid) == []
    assert exit_code(pid) == 0


def in_session(session: int, started: float) -> _processes.Row:
    return _processes.Row(parent=1, session=session, started=started, cpu=0.0, memory=0)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param({70: in_session(70, 5.0)}, 70, id="it-leads-it"),
        pytest.param(
            {70: in_session(69, 5.0), 71: in_session(69, 5.0)}, 69, id="its-leader-has-gone-and-it-is-the-oldest"
        ),
        pytest.param({70: in_session(69, 5.0), 69: in_session(69, 4.0)}, None, id="somebody-else-leads-it"),
        pytest.param(
            {70: in_session(69, 5.0), 60: in_session(69, 4.0)}, None, id="its-leader-has-gone-and-others-were-there"
        ),
        pytest.param({70: in_session(0, 5.0)}, None, id="its-leader-is-outside-of-the-container"),
    ],
)
def test_own_session(rows: dict[int, _processes.Row], expected: int | None) -> None:
    assert _processes.own_session(rows, 70) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["python3", "/x/async_wrapper.py", "j123", "60", "/x/AnsiballZ_command.py", "_"], True),
        (["/x/async_wrapper.py", "j123", "60"], True),
        (["python3", "-u", "/x/async_wrapper.py", "j123", "60"], True),
        (["python3", "/x/async_wrapper.py", "123", "60"], False),
        (["python3", "/x/async_wrapper.py", "j1234", "60"], False),
        (["python3", "/x/async_wrapper.py", "j12", "60"], False),
        (["python3", "/x/async_wrapper.py", "j123"], False),
        (["python3", "/x/async_wrapper.py", "j123", "soon"], False),
        (["python3", "/x/my_async_wrapper.py", "j123", "60"], False),
        (["cp", "a", "b", "c", "d", "/x/async_wrapper.py", "j123", "60"], False),
        (["grep", "j123 60", "/x/async_wrapper.py"], False),
        (["sh", "-c", "python3 /x/async_wrapper.py j123 60"], False),
        (["tail", "j123.45"], False),
        ([], False),
    ],
)
def test_async_wrapper_is_known_by_where_its_arguments_stand(arguments: list[str], expected: bool) -> None:
    assert _processes.is_wrapper(arguments, "j123.45") is expected


@given(
    st.lists(st.text(max_size=5) | st.sampled_from(["async_wrapper.py", "/async_wrapper.py", "j1", "60"]), max_size=6)
)
@settings(deadline=None)
def test_what_is_taken_for_async_wrapper_names_the_job_and_a_limit(arguments: list[str]) -> None:
    if _processes.is_wrapper(arguments, "j1.2"):
        assert "j1" in arguments
        assert _processes.limit_of(arguments) is not None


@needs_proc
def test_a_snapshot_tells_who_carries_the_id_of_a_job() -> None:
    jid = own("j55.0")
    before = Snapshot()
    with job(lambda: daemon({"INFLIGHT_JOB": jid})) as (pid, tree):
        tree._jid = jid
        (found,) = Snapshot().tagged(jid)
        assert _processes.command_line(found) == ["sleep", str(FOREVER)]
        assert Snapshot().tagged(own("j55.1")) == set()
        assert before.tagged(jid) == set()  # it is one moment
        assert pid in Snapshot().rows


@needs_proc
def test_those_who_live_are_told_with_what_they_do() -> None:
    with job(child) as (pid, tree):
        assert tree.living() == ""
        tree.look(Snapshot())
        (other,) = set(tree._known) - {pid}
        os.kill(other, signal.SIGSTOP)
        stopped = f"{other} (state T)"
        while stopped not in tree.living():
            os.sched_yield()
        assert sorted(tree.living().split(", ")) == sorted([f"{pid} (state S)", stopped])
        tree.kill()
        assert exit_code(pid) == -signal.SIGKILL


@needs_proc
@pytest.mark.parametrize("name", _processes.SIGNALS)
def test_a_job_is_asked_with_the_signal_that_is_wanted(name: str) -> None:
    default = None if name == "KILL" else signal.Signals[f"SIG{name}"]
    with job(lambda: default and signal.signal(default, signal.SIG_DFL)) as (pid, tree):
        tree.look(Snapshot())
        tree.ask_to_end(name)
        assert exit_code(pid) == -signal.Signals[f"SIG{name}"]
        assert not tree.look(Snapshot())


@needs_proc
def test_what_ansible_started_for_itself_is_asked_when_it_is_alone(tmp_path: Path) -> None:
    """The module reads what its program prints, and says in its result what became of it."""
    module = tmp_path / "AnsiballZ_command.py"
    module.write_text("echo ready; read line\n", encoding="utf-8")
    feed, kept = os.pipe()
    ready, tell = os.pipe()
    sent: list[tuple[int, int]] = []

    def run() -> None:
        os.dup2(feed, 0)
        os.dup2(tell, 1)
        os.execv("/bin/sh", ["/bin/sh", str(module)])

    with job(lambda: fork(run), child) as (pid, tree):
        assert os.read(ready, 6) == b"ready\n"
        tree.look(Snapshot())
        (packed,) = (one for one in tree._known if _processes.is_ansibles(_processes.command_line(one)))
        (program,) = set(tree._known) - {pid, packed}
        gone = os.pidfd_open(program)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "kill", lambda *signalled: sent.append(signalled))
            tree.ask_to_end("INT")
            assert [one for one in sent if one[1] != signal.SIGCONT] == [(program, signal.SIGINT)]
        os.kill(program, signal.SIGKILL)
        assert select.select((gone,), (), (), FOREVER)[0]
        os.close(gone)
        sent.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "kill", lambda *signalled: sent.append(signalled))
            tree.look(Snapshot())
            patch.setattr(_processes, "ALONE_FOR", 3600)
            tree.ask_to_end("INT")
            assert sent == []  # it needs a moment to say what its result is
            patch.setattr(_processes, "ALONE_FOR", 0)
            tree.ask_to_end("INT")
            assert {one for one in sent if one[1] != signal.SIGCONT} == {(pid, signal.SIGINT), (packed, signal.SIGINT)}
    for fd in (feed, kept, ready, tell):
        os.close(fd)


def test_closing_what_a_fork_inherited_leaves_what_is_needed() -> None:
    def body() -> None:
        kept, other = os.pipe()
        _processes.close_all_but({0, 1, 2, kept})
        os.fstat(kept)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(other)

    assert exit_code(fork(body)) == 0
