# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import shlex
import signal
import sys
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _ending, _jobs, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._ending import Ending
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.module_utils._living import Job
from ansible_collections.inflight.jobs.plugins.module_utils._order import Order

from ..conftest import FOREVER, NUMBER, Ground, exit_code, fork, living, made_folder, python, python_payload, says
from .test__launch import Host

# Everything that a test starts carries this in its environment.
MARK = "INFLIGHT_TEST"
REASON = "cancelled by a test"
OTHER = 65534

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have processes of another user")


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


class Started:
    """The processes that a test starts beside its own; they end with it."""

    def __init__(self, directory: JobDirectory) -> None:
        self.directory = directory
        self._mark = f"{MARK}={os.getpid()}.{random.randrange(10**9)}"

    @property
    def environment(self) -> dict[str, str]:
        name, dummy, value = self._mark.partition("=")
        return {name: value}

    def living(self) -> set[int]:
        """All that were started and live, whoever their parents are."""
        found = set()
        for pid in _processes.table():
            with contextlib.suppress(OSError):
                if self._mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.add(pid)
        return found

    def _run(
        self, arguments: list[str], steps: t.Sequence[Callable[[], object]], forks: int, lines: int = 1
    ) -> set[int]:
        """Start a program that prints so many lines of "ready" when it is; the pids of all that came from it."""
        before = self.living()
        ready, tell = os.pipe()

        def body() -> None:
            for step in steps:
                step()
            for dummy in range(forks):
                if os.fork():
                    return
            null = os.open(os.devnull, os.O_RDWR)
            for fd, target in ((null, 0), (tell, 1), (null, 2)):
                os.dup2(fd, target)
            signal.alarm(0)
            os.execve(arguments[0], arguments, {**os.environ, **self.environment})

        pid = fork(body)
        os.close(tell)
        with open(ready, "rb") as said:
            for dummy in range(lines):
                assert said.readline() == b"ready\n"
        if forks:
            assert exit_code(pid) == 0
        return self.living() - before

    def core(self, module: str, jid: str | None = None, user: int | None = None) -> str:
        """A job as async_wrapper starts it; its id.

        :param module: a shell script that prints "ready" when it runs.
        """
        jid = jid or new_jid()
        folder = Path(self.directory.path).parent
        # The watcher, the runner, the module: the leader of their session has gone.
        program, packed = folder / "async_wrapper.py", folder / f"AnsiballZ_{jid}.py"
        program.write_text('( /bin/sh "$3"; : ) & wait\n', encoding="utf-8")
        packed.write_text(module + "\n", encoding="utf-8")
        arguments = ["/bin/sh", str(program), jid.partition(".")[0], "600", str(packed)]
        steps: list[Callable[[], object]] = [os.setsid]
        if user is not None:
            # Who may not even enter the folder where these are.
            arguments[1:2] = ["-c", 'eval "$3" & wait', program.name]
            arguments[-1] = module
            steps += [lambda: os.setgroups([]), lambda: os.setgid(user), lambda: os.setuid(user)]
        self.says_that_it_runs(jid, user)
        self._run(arguments, steps, forks=1, lines=module.count("echo ready") or 1)
        return jid

    def says_that_it_runs(self, jid: str, user: int | None = None) -> None:
        """Write the job file of a job of core."""
        path = Path(self.directory.file(jid))
        path.write_text(json.dumps({"started": 1, "finished": 0, "ansible_job_id": jid}), encoding="utf-8")
        path.chmod(0o600)
        if user is not None:
            os.chown(path, user, -1)

    def look_alike(self, jid: str, *steps: Callable[[], object]) -> int:
        """Something of ours that only has the arguments of async_wrapper among its own; its pid."""
        code = "import signal; print('ready', flush=True); signal.pause()"
        arguments = [sys.executable, "-ISc", code, "async_wrapper.py", jid.partition(".")[0], "600"]
        (pid,) = self._run(arguments, steps, forks=0)
        return pid

    def end(self) -> None:
        while left := self.living():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # those of them that were our children


def new_jid() -> str:
    """The id of a job that no other test has processes of, however many tests run at the same time."""
    return f"j{random.randrange(10**15, 10**16)}.7"


@pytest.fixture(autouse=True)
def woken() -> Iterator[None]:
    """Who ends jobs cannot be woken any more; the tests that follow can."""
    before = signal.getsignal(_processes.WAKE)
    yield
    signal.signal(_processes.WAKE, before)


@pytest.fixture
def started(directory: JobDirectory) -> Iterator[Started]:
    started = Started(directory)
    yield started
    started.end()


@pytest.fixture
def host(directory: JobDirectory, ground: Ground, started: Started) -> Iterator[Host]:
    """Where batches are launched for real."""
    host = Host(directory, ground)
    yield host
    for number in host.numbers:
        supervisor = host.folder(number).supervisor()
        if supervisor and supervisor != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGKILL)


class Pipes:
    """Pipes by which jobs and tests wait for each other."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self, name: str) -> str:
        os.mkfifo(self._path / name)
        return str(self._path / name)

    def hear(self, name: str) -> None:
        """Wait until a job says this."""
        (self._path / name).read_bytes()

    def tell(self, name: str) -> None:
        """Let a job go on that waits for this."""
        (self._path / name).write_bytes(b"!")

    def program(self, said: str = "runs") -> str:
        """A command: says that it runs; when it is asked to end it says so, and then waits for leave."""
        runs, asked, leave = (self.make(name) for name in (said, "asked", "leave"))
        code = (
            "import os, signal\n"
            "def asked(*dummy):\n"
            f"    os.close(os.open({asked!r}, os.O_WRONLY))\n"
            f"    os.read(os.open({leave!r}, os.O_RDONLY), 1)\n"
            "    os._exit(0)\n"
            "signal.signal(signal.SIGTERM, asked)\n"
            f"os.close(os.open({runs!r}, os.O_WRONLY))\n"
            "while True:\n"
            "    signal.pause()\n"
        )
        return f"{shlex.quote(sys.executable)} -ISc {shlex.quote(code)}"


@pytest.fixture
def pipes(tmp_path: Path) -> Pipes:
    return Pipes(tmp_path)


def job(directory: JobDirectory, jid: str) -> Job:
    found = Job(directory, 0, jid, None, BatchFolder.of_job(directory.path, jid))
    found.read()
    return found


def end(directory: JobDirectory, *jids: str, signal_name: str = "TERM", grace: float = FOREVER) -> dict[str, str]:
    """End these jobs; those that could not be ended, and why."""
    order = Order(frozenset(), REASON, signal_name, grace)
    left = Ending(order).run([job(directory, jid) for jid in jids])
    return {one.jid: why for one, why in left.items()}


def ender(directory: JobDirectory, *jids: str, **how: t.Any) -> int:
    """A process that ends these jobs, and leaves with 0 when they have ended; its pid."""

    def body() -> None:
        assert end(directory, *jids, **how) == {}

    return fork(body)


def result(directory: JobDirectory, jid: str) -> dict[str, t.Any]:
    found = directory.read(jid)
    assert found.text is not None, f"there is no result, the job is {found.state}"
    return t.cast("dict[str, t.Any]", json.loads(found.text))


CANCELLED = {"failed": True, "msg": REASON, "inflight_state": "cancelled"}

# What a module of a job of core does
# Each program says itself that it runs: one that is only just being started is not asked to end.
RUNS = "setsid sh -c 'echo ready; exec sleep 1000' & sh -c 'echo ready; exec sleep 1000'"
RUNS_ON = f"trap '' TERM; {RUNS}"


# Jobs of core


def test_a_job_of_core_ends_with_all_that_it_has_started(directory: JobDirectory, started: Started) -> None:
    jid = started.core(RUNS)
    assert len(started.living()) == 5
    assert end(directory, jid) == {}
    assert started.living() == set()
    assert result(directory, jid) == CANCELLED
    assert os.listdir(directory.path) == [jid]
    assert Path(directory.file(jid)).stat().st_mode & 0o777 == 0o600


def test_many_jobs_end_at_the_same_time_and_others_go_on(directory: JobDirectory, started: Started) -> None:
    stays = started.core(RUNS_ON)
    others = started.living()
    jids = [started.core(RUNS_ON) for dummy in range(5)]
    begin = time.monotonic()
    assert end(directory, *jids, grace=1) == {}
    assert time.monotonic() - begin < 5
    assert started.living() == others
    assert [directory.read(jid).state for jid in jids] == ["cancelled"] * 5
    assert directory.read(stays).state == "running"


def writes(directory: JobDirectory, jid: str, pipes: Pipes, age: float) -> None:
    """Let the module of a job write its result after the job was asked to end; changed so many seconds ago."""
    new = Path(directory.path, "new")
    new.write_text('{"rc": -15, "changed": true}', encoding="utf-8")
    pipes.hear("asked")
    moment = time.time() - age
    os.utime(new, (moment, moment))
    new.rename(directory.file(jid))
    pipes.tell("leave")


def test_what_its_module_said_when_it_was_asked_to_end_is_kept(
    directory: JobDirectory, started: Started, pipes: Pipes
) -> None:
    program = pipes.program()
    jid = started.core(f"echo ready; {program}")
    pipes.hear("runs")
    pid = ender(directory, jid)
    writes(directory, jid, pipes, age=-1)
    assert exit_code(pid) == 0
    assert result(directory, jid) == {**CANCELLED, "result": {"rc": -15, "changed": True}}
    assert started.living() == set()


def test_what_its_module_said_before_it_was_asked_to_end_stays(
    directory: JobDirectory, started: Started, pipes: Pipes
) -> None:
    program = pipes.program()
    jid = started.core(f"echo ready; {program}")
    pipes.hear("runs")
    pid = ender(directory, jid)
    writes(directory, jid, pipes, age=60)
    assert exit_code(pid) == 0
    assert result(directory, jid) == {"rc": -15, "changed": True}


def test_a_job_that_has_a_result_when_it_comes_to_it_is_left_alone(directory: JobDirectory, started: Started) -> None:
    """The watcher of a job lives for some seconds longer than the job."""
    jid = started.core(RUNS)
    one = job(directory, jid)
    Path(directory.file(jid)).write_text('{"rc": 0}', encoding="utf-8")
    before = started.living()
    assert Ending(Order(frozenset(), REASON, "KILL", 0)).run([one]) == {}
    assert started.living() == before
    assert result(directory, jid) == {"rc": 0}


def test_a_job_without_processes_is_left_alone(directory: JobDirectory, started: Started) -> None:
    jid = new_jid()
    started.says_that_it_runs(jid)
    before = Path(directory.file(jid)).read_bytes()
    assert end(directory, jid) == {}
    assert Path(directory.file(jid)).read_bytes() == before


def test_what_async_wrapper_left_beside_the_job_file_is_no_hindrance(
    directory: JobDirectory, started: Started, tmp_path: Path
) -> None:
    jid = started.core(RUNS)
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    Path(directory.file(jid + _jobs.TEMPORARY)).symlink_to(secret)
    assert end(directory, jid) == {}
    assert result(directory, jid) == CANCELLED
    assert secret.read_text(encoding="utf-8") == "secret"
    assert os.listdir(directory.path) == [jid]


def test_a_job_whose_result_cannot_be_written_ends_all_the_same(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    jid = started.core(RUNS)
    monkeypatch.setattr(JobDirectory, "overrule", full)
    assert end(directory, jid) == {}
    assert started.living() == set()
    assert directory.read(jid).state == "running"  # and nothing runs: lost, whoever looks


# Signals


def test_a_job_that_does_not_heed_is_killed_when_its_grace_is_over(directory: JobDirectory, started: Started) -> None:
    jid = started.core(RUNS_ON)
    begin = time.monotonic()
    assert end(directory, jid, grace=0.5) == {}
    assert time.monotonic() - begin >= 0.5
    assert started.living() == set()
    assert result(directory, jid) == CANCELLED


def test_a_job_is_given_the_time_that_it_needs(directory: JobDirectory, started: Started, pipes: Pipes) -> None:
    program = pipes.program()
    jid = started.core(f"echo ready; {program}; :")
    pipes.hear("runs")
    pid = ender(directory, jid)
    pipes.hear("asked")
    assert len(started.living()) == 4
    assert directory.read(jid).state == "running"
    pipes.tell("leave")
    assert exit_code(pid) == 0
    assert started.living() == set()


def test_who_is_killed_is_not_asked_before(
    directory: JobDirectory, started: Started, pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    real = os.kill

    def kill(pid: int, number: int) -> None:
        sent.append(number)
        real(pid, number)

    jid = started.core(RUNS)
    monkeypatch.setattr(os, "kill", kill)
    assert end(directory, jid, signal_name="KILL", grace=3600) == {}
    assert set(sent) == {signal.SIGKILL}
    assert result(directory, jid) == CANCELLED


@pytest.mark.parametrize("name", ["INT", "HUP", "QUIT", "USR1", "USR2"])
def test_a_job_is_asked_with_the_signal_that_was_wanted(
    directory: JobDirectory, started: Started, tmp_path: Path, name: str
) -> None:
    told = tmp_path / "told"
    code = (
        "import os, signal\n"
        "def asked(number, *dummy):\n"
        f"    open({str(told)!r}, 'w').write(signal.Signals(number).name)\n"
        "    os._exit(0)\n"
        "for name in ('TERM', 'INT', 'HUP', 'QUIT', 'USR1', 'USR2'):\n"
        "    signal.signal(signal.Signals['SIG' + name], asked)\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    signal.pause()\n"
    )
    jid = started.core(f"{sys.executable} -ISc {shlex.quote(code)}")
    assert end(directory, jid, signal_name=name, grace=2) == {}
    assert told.read_text(encoding="ascii") == f"SIG{name}"
    assert started.living() == set()


def test_a_job_that_is_stopped_ends(directory: JobDirectory, started: Started) -> None:
    jid = started.core(RUNS)
    for pid in started.living():
        os.kill(pid, signal.SIGSTOP)
    assert end(directory, jid) == {}
    assert started.living() == set()
    assert result(directory, jid) == CANCELLED


def test_a_zombie_keeps_no_job_from_ending(directory: JobDirectory, started: Started) -> None:
    # What a shell has started in the background is not collected by the program that takes its place.
    jid = started.core("setsid true & echo ready; exec sleep 1000")
    assert end(directory, jid) == {}
    assert result(directory, jid) == CANCELLED


def test_a_first_process_that_nobody_collects_keeps_no_job_from_ending(
    directory: JobDirectory, batch_folder: BatchFolder, started: Started
) -> None:
    jid = f"{NUMBER}.0"
    directory.create_marker(jid)
    with living(os.setsid) as pid:
        directory.change_marker(jid, _processes.identity(pid))
        assert end(directory, jid) == {}
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie all the time
    assert result(directory, jid) == CANCELLED


def test_a_job_that_cannot_be_ended_is_named_and_the_others_end(
    directory: JobDirectory, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = started.core(RUNS)
    spared = started.living()
    jid = started.core(RUNS)
    real = os.kill

    def kill(pid: int, number: int) -> None:
        if pid not in spared:
            real(pid, number)

    monkeypatch.setattr(_ending, "END_MARGIN", 0.5)
    monkeypatch.setattr(os, "kill", kill)
    left = end(directory, stays, jid, grace=0.25)
    monkeypatch.undo()
    assert set(left) == {stays}
    assert left[stays].startswith("not gone in 0.75 s: process ")
    assert all(f"{pid} (state S)" in left[stays] for pid in spared)
    assert started.living() == spared
    assert directory.read(stays).state == "running"
    assert directory.read(jid).state == "cancelled"


# Strangers


UNCLEAR = "which processes are its own cannot be told"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ending, "END_MARGIN", 0.2)


@pytest.mark.parametrize("steps", [pytest.param((), id="in-our-session"), pytest.param((os.setsid,), id="in-its-own")])
def test_what_only_has_the_arguments_of_async_wrapper_is_left_alone(
    directory: JobDirectory, started: Started, impatient: None, steps: tuple[Callable[[], object], ...]
) -> None:
    jid = new_jid()
    started.says_that_it_runs(jid)
    pid = started.look_alike(jid, *steps)
    assert end(directory, jid, grace=0) == {jid: UNCLEAR}
    assert started.living() == {pid}
    assert directory.read(jid).state == "running"


@pytest.mark.parametrize("steps", [pytest.param((), id="in-our-session"), pytest.param((os.setsid,), id="in-its-own")])
@pytest.mark.parametrize("first", [False, True])
def test_a_job_ends_whatever_else_has_its_arguments(
    directory: JobDirectory,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    steps: tuple[Callable[[], object], ...],
    first: bool,
) -> None:
    monkeypatch.setattr(_ending, "END_MARGIN", 2)
    jid = new_jid()
    if not first:
        started.core(RUNS, jid)
    pid = started.look_alike(jid, *steps)
    if first:
        started.core(RUNS, jid)
    assert end(directory, jid, grace=1) == {}
    assert started.living() == {pid}
    assert directory.read(jid).state == "cancelled"


@needs_root
def test_a_process_of_another_user_is_none_of_the_job(
    directory: JobDirectory, started: Started, impatient: None
) -> None:
    jid = new_jid()
    started.core(RUNS, jid, user=OTHER)
    before = started.living()
    os.chown(directory.file(jid), 0, -1)
    end(directory, jid, grace=0)
    assert started.living() == before
    assert directory.read(jid).state == "running"


def marked(directory: JobDirectory, identity: list[t.Any]) -> str:
    """A job of a batch whose job file says that this process runs it."""
    made_folder(directory)
    jid = f"{NUMBER}.0"
    directory.create_marker(jid)
    directory.change_marker(jid, identity)
    return jid


def test_a_process_that_was_given_the_pid_of_a_job_is_left_alone(directory: JobDirectory, impatient: None) -> None:
    with living(os.setsid) as stranger:
        pid, started, boot = _processes.identity(stranger)
        jid = marked(directory, [pid, started - 1, boot])
        assert end(directory, jid, grace=0) == {}
        assert stranger in _processes.table()
        assert directory.read(jid).state == "running"


def test_a_process_that_has_no_session_of_its_own_is_no_job(directory: JobDirectory, impatient: None) -> None:
    """Its whole session would be ended: ours."""
    with living() as stranger:
        jid = marked(directory, _processes.identity(stranger))
        assert end(directory, jid, grace=0) == {jid: UNCLEAR}
        assert stranger in _processes.table()


@needs_root
def test_a_job_file_cannot_have_processes_of_another_user_ended(directory: JobDirectory, impatient: None) -> None:
    def become_other() -> None:
        os.setsid()
        os.setuid(OTHER)

    with living(become_other) as stranger:
        jid = marked(directory, _processes.identity(stranger))
        assert end(directory, jid, grace=0) == {jid: UNCLEAR}
        assert stranger in _processes.table()


@needs_root
def test_a_job_file_of_another_user_cannot_have_our_processes_ended(directory: JobDirectory, impatient: None) -> None:
    with living(os.setsid) as stranger:
        jid = marked(directory, _processes.identity(stranger))
        os.chown(directory.path, OTHER, -1)
        os.chown(directory.file(jid), OTHER, -1)
        end(JobDirectory(directory.path), jid, grace=0)
        assert stranger in _processes.table()


# Jobs of a batch


def goes_on(fifo: str) -> str:
    """A job that says by a pipe that it runs, and does so until it is ended."""
    other = f"setsid sh -c 'echo >{fifo}.other; exec sleep 1000'"
    return f"mkfifo {fifo}.other; {other} & read line <{fifo}.other; exec sh -c 'echo >{fifo}; exec sleep 1000'"


def finish(fifo: str) -> str:
    """A job that runs until it hears something by a pipe."""
    return f"read line <{fifo}; {says(rc=0)}"


def kill_supervisor(host: Host, number: str) -> None:
    supervisor = host.folder(number).supervisor()
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    host.wait(number)


def orders(host: Host, number: str) -> list[str]:
    return [name for name in host.folder(number).files() if name.endswith(".order")]


def test_a_supervisor_ends_those_jobs_and_the_others_go_on(host: Host, started: Started, pipes: Pipes) -> None:
    more, go = pipes.make("more"), pipes.make("go")
    never = f"echo x >{host.directory.path}/ran; {says(rc=0)}"
    scripts = (goes_on(pipes.make("runs")), finish(go), never, finish(more))
    host.launch("j1", *scripts, environment=started.environment, limits={"window": 2})
    pipes.hear("runs")
    assert end(host.directory, "j1.0", "j1.2") == {}
    assert host.states("j1")[0] == "cancelled"
    assert host.states("j1")[2] == "cancelled"
    assert orders(host, "j1") == []
    pipes.tell("go")
    pipes.tell("more")
    host.wait("j1")
    assert host.states("j1") == ["cancelled", "succeeded", "cancelled", "succeeded"]
    assert started.living() == set()
    assert not Path(host.directory.path, "ran").exists()
    assert host.result("j1.0") == CANCELLED
    assert host.result("j1.2") == {**CANCELLED, "msg": f"not started: {REASON}"}


def test_a_supervisor_kills_what_does_not_heed(host: Host, started: Started, pipes: Pipes) -> None:
    host.launch("j1", f"trap '' TERM; {goes_on(pipes.make('runs'))}", environment=started.environment)
    pipes.hear("runs")
    assert end(host.directory, "j1.0", grace=0.5) == {}
    assert started.living() == set()
    assert host.result("j1.0") == CANCELLED


def test_a_supervisor_asks_nobody_who_is_to_be_killed(host: Host, started: Started, pipes: Pipes) -> None:
    """Else a shell whose program is killed goes on with what comes next."""
    script = f"echo >{pipes.make('runs')}; sleep 1000; : >{host.directory.path}/next; sleep 1000"
    host.launch("j1", script, environment=started.environment)
    pipes.hear("runs")
    assert end(host.directory, "j1.0", signal_name="KILL", grace=2) == {}
    assert not Path(host.directory.path, "next").exists()
    assert started.living() == set()
    assert host.result("j1.0") == CANCELLED


def test_a_supervisor_gives_a_module_that_is_to_be_killed_no_time_for_its_next_program(
    host: Host, started: Started, pipes: Pipes, tmp_path: Path
) -> None:
    payload = python_payload(tmp_path)
    code = (
        "import os, subprocess\n"
        f"os.close(os.open({pipes.make('runs')!r}, os.O_WRONLY))\n"
        "subprocess.call(['sleep', '1000'])\n"
        f"subprocess.call(['touch', {directory_file(host, 'next')!r}])\n"
        "subprocess.call(['sleep', '1000'])\n"
    )
    packed = payload._asdict() | {"code": [piece.decode("latin-1") for piece in payload.code]}
    host.launch("j1", python(code), environment=started.environment, payloads=[packed])
    pipes.hear("runs")
    assert end(host.directory, "j1.0", signal_name="KILL", grace=3) == {}
    assert not os.path.exists(directory_file(host, "next"))
    assert host.directory.read("j1.0").state == "cancelled"


def directory_file(host: Host, name: str) -> str:
    return os.path.join(host.directory.path, name)


def test_jobs_whose_supervisor_was_killed_are_ended_all_the_same(host: Host, started: Started, pipes: Pipes) -> None:
    go = pipes.make("go")
    script = f"echo '{{\"said\": 1}}'; {goes_on(pipes.make('runs'))}"
    host.launch("j1", script, finish(go), environment=started.environment)
    pipes.hear("runs")
    kill_supervisor(host, "j1")
    assert end(host.directory, "j1.0") == {}
    assert host.result("j1.0") == {**CANCELLED, "result": {"said": 1}}
    assert host.directory.read("j1.1").state == "running"
    assert host.folder("j1").supervisor() is None
    assert [name for name in host.folder("j1").files() if name.endswith((".order", ".stop", ".new"))] == []
    pipes.tell("go")


def test_jobs_whose_batch_has_no_folder_any_more_are_ended_all_the_same(
    host: Host, started: Started, pipes: Pipes
) -> None:
    host.launch("j1", goes_on(pipes.make("runs")), environment=started.environment)
    pipes.hear("runs")
    kill_supervisor(host, "j1")
    host.folder("j1").delete()
    assert end(host.directory, "j1.0") == {}
    assert started.living() == set()
    found = host.result("j1.0")
    found.pop("result", None)  # that it could not be written, as there was no folder any more
    assert found == CANCELLED


def test_a_supervisor_that_dies_while_it_ends_a_job_is_no_hindrance(host: Host, started: Started, pipes: Pipes) -> None:
    host.launch("j1", f"exec {pipes.program()}", environment=started.environment)
    pipes.hear("runs")
    pid = ender(host.directory, "j1.0", grace=1)
    pipes.hear("asked")
    kill_supervisor(host, "j1")
    assert exit_code(pid) == 0
    assert host.result("j1.0") == CANCELLED
    assert started.living() == set()


def test_what_a_dead_supervisor_left_of_a_job_that_it_was_ending_is_ended(
    host: Host, started: Started, pipes: Pipes
) -> None:
    """The first process of the job has gone; one that takes its time has not."""
    script = f"{pipes.program()} & sh -c 'echo >{pipes.make('other')}; exec sleep 1000'"
    host.launch("j1", script, environment=started.environment)
    pipes.hear("runs")
    pipes.hear("other")
    (first,) = t.cast("list[t.Any]", host.directory.read("j1.0").process)[:1]
    gone = os.pidfd_open(first)
    pid = ender(host.directory, "j1.0", grace=1)
    pipes.hear("asked")
    assert select.select((gone,), (), (), FOREVER)[0]
    os.close(gone)
    kill_supervisor(host, "j1")
    assert exit_code(pid) == 0
    assert started.living() == set()
    assert host.states("j1") == ["cancelled"]


@pytest.fixture
def overlapping(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process ends is only given leave to end when this process has told another one to end its jobs."""
    real = BatchFolder.wake_supervisor
    waits = iter((True,))

    def wake(folder: BatchFolder) -> None:
        real(folder)
        if next(waits, False):
            pipes.tell("leave")

    monkeypatch.setattr(BatchFolder, "wake_supervisor", wake)


def test_two_who_end_the_same_job_at_the_same_time_do_no_harm(
    host: Host, started: Started, pipes: Pipes, overlapping: None
) -> None:
    host.launch("j1", f"exec {pipes.program()}", environment=started.environment)
    pipes.hear("runs")
    kill_supervisor(host, "j1")
    first = ender(host.directory, "j1.0")
    pipes.hear("asked")
    assert host.folder("j1").supervisor() == first  # so others take it for that
    assert end(host.directory, "j1.0") == {}
    assert exit_code(first) == 0
    assert host.result("j1.0") == CANCELLED
    assert started.living() == set()
    assert orders(host, "j1") == []
    assert host.folder("j1").supervisor() is None


def test_two_who_end_jobs_of_one_batch_both_end_theirs(
    host: Host, started: Started, pipes: Pipes, overlapping: None
) -> None:
    other = pipes.make("other")
    host.launch("j1", f"exec {pipes.program()}", goes_on(other), environment=started.environment)
    pipes.hear("runs")
    pipes.hear("other")
    kill_supervisor(host, "j1")
    first = ender(host.directory, "j1.0")
    pipes.hear("asked")
    assert end(host.directory, "j1.1") == {}
    assert exit_code(first) == 0
    assert host.states("j1") == ["cancelled", "cancelled"]
    assert started.living() == set()
    assert orders(host, "j1") == []


def deaf(folder: BatchFolder) -> None:
    """Be a supervisor that does nothing of what it is told."""
    signal.signal(_processes.WAKE, signal.SIG_IGN)
    folder.supervise()


def test_a_supervisor_that_does_not_do_it_is_named(
    directory: JobDirectory, batch_folder: BatchFolder, impatient: None
) -> None:
    jid = f"{NUMBER}.0"
    directory.create_marker(jid)
    with living(lambda: deaf(batch_folder)):
        assert end(directory, jid, grace=0) == {jid: "its supervisor did not end it in 0.2 s"}
    assert sorted(batch_folder.files()) == ["batch.json", "lock"]


def test_a_disk_that_is_too_full_for_an_order_is_no_crash(
    directory: JobDirectory, batch_folder: BatchFolder, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    jid = f"{NUMBER}.0"
    directory.create_marker(jid)
    monkeypatch.setattr(BatchFolder, "leave_order", full)
    with living(lambda: deaf(batch_folder)):
        assert end(directory, jid, grace=0) == {jid: "its supervisor did not end it in 0.2 s"}


def test_a_supervisor_that_missed_the_first_signal_is_told_again(
    directory: JobDirectory, batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jid = f"{NUMBER}.0"
    directory.create_marker(jid)
    woken, wake = os.pipe()

    def supervisor() -> None:
        signals = iter(range(100))

        def heed(*dummy: object) -> None:
            if next(signals):  # not the first
                os.write(wake, json.dumps(batch_folder.take_orders()[0]).encode())
                directory.end_marker(jid, b"{}")

        signal.signal(_processes.WAKE, heed)
        batch_folder.supervise()

    monkeypatch.setattr(_ending, "WAKE_EVERY", 0.1)
    with living(supervisor):
        assert end(directory, jid, grace=5) == {}
        order = json.loads(os.read(woken, 4096))
    assert order == {"jobs": [jid], "reason": REASON, "signal_name": "TERM", "grace": 5}
    os.close(woken)
    os.close(wake)


def test_no_jobs_end_at_once(directory: JobDirectory) -> None:
    assert end(directory) == {}
