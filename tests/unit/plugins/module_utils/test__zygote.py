# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils._internal._ansiballz import _loader

from ansible_collections.inflight.jobs.plugins.module_utils import _zygote
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory
from ansible_collections.inflight.jobs.plugins.module_utils._zygote import Event, Job, Payload, Zygote

from ..conftest import FOREVER, Ground, exit_code, fork, python, python_payload, says, shell_payload

Start = Callable[..., "Talk"]

SAY_RESULT = "print('{\"changed\": true}')\nraise SystemExit(0)"


class Talk:
    """What is said between a zygote and a supervisor."""

    def __init__(self, zygote: Zygote) -> None:
        self.zygote = zygote
        zygote.socket.settimeout(FOREVER)
        self.heard: list[Event] = []

    def hear(self, kind: str, index: int) -> str:
        """Listen until this is said of a job; the value that comes with it."""
        for event in self.heard:
            if (event.kind, event.place) == (kind, index):
                self.heard.remove(event)
                return event.value
        events = self.zygote.events()
        assert events is not None, f"the zygote died; before, it said {self.heard}"
        self.heard += events
        return self.hear(kind, index)

    def run(self, index: int, attempt: int = 1, *, last: bool = True) -> str:
        """Have a job started and wait for its end; what it became."""
        assert self.zygote.start(index, attempt, last)
        self.hear("started", index)
        return self.hear("ended", index)

    def over(self) -> int:
        """Let the zygote go when its jobs have ended; its exit code."""
        self.zygote.close()
        return exit_code(self.zygote.pid)


@pytest.fixture
def start(ground: Ground) -> Iterator[Start]:
    """Starts zygotes for the batch."""
    started: list[Talk] = []

    def start(warm: int | None = None) -> Talk:
        ground.prepare_fork()
        started.append(Talk(Zygote(ground.batch, warm)))
        return started[-1]

    yield start
    for talk in started:
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            talk.zygote.close()
            os.kill(talk.zygote.pid, signal.SIGKILL)
            os.waitpid(talk.zygote.pid, 0)


# Modules that are started as processes


def test_a_job_is_told_of_when_it_starts_and_when_it_has_ended(ground: Ground, start: Start) -> None:
    ground.payload(shell_payload())
    index = ground.job(says(changed=True))
    talk = start()
    assert talk.zygote.start(index, 1, True)
    assert talk.zygote.jobs == {index}
    pid = int(talk.hear("started", index))
    assert talk.hear("ended", index) == "succeeded"
    assert talk.zygote.ready
    assert talk.zygote.jobs == set()
    assert ground.result(index) == {"changed": True}
    assert (ground.logged(index)["state"], ground.logged(index)["attempts"]) == ("succeeded", 1)
    assert pid > 1


def test_many_jobs_run_at_once(ground: Ground, start: Start) -> None:
    ground.payload(shell_payload())
    jobs = [ground.job(says(number=number)) for number in range(5)]
    talk = start()
    for index in jobs:
        talk.zygote.start(index, 1, True)
    assert [talk.hear("ended", index) for index in jobs] == ["succeeded"] * 5
    assert [ground.result(index)["number"] for index in jobs] == list(range(5))
    assert talk.over() == 0


def test_a_program_finds_its_arguments_in_a_file_and_both_are_gone_when_it_has_ended(
    ground: Ground, start: Start
) -> None:
    ground.payload(
        Payload("file", (b'printf \'{"args": %s, "mode": %s}\' "$(cat $1)" "$(stat -c %a $1)"',), "/bin/sh", False)
    )
    index = ground.job('{"a": 1}')
    assert start().run(index) == "succeeded"
    assert ground.result(index) == {"args": {"a": 1}, "mode": 700}
    assert sorted(os.listdir(ground.batch.folder.path)) == ["batch.json", "lock", "log"]


def test_a_program_with_its_arguments_in_it_is_run_as_it_is(ground: Ground, start: Start) -> None:
    ground.payload(Payload("whole", (b'#!/bin/sh\necho "{\\"arguments\\": $#}"\n',), "", False))
    index = ground.job("")
    assert start().run(index) == "succeeded"
    assert ground.result(index) == {"arguments": 0}


def test_an_interpreter_may_have_arguments(ground: Ground, start: Start) -> None:
    ground.payload(Payload("whole", (b'echo "{\\"flags\\": \\"$-\\"}"\n',), "/bin/sh -e -u", False))
    index = ground.job("")
    assert start().run(index) == "succeeded"
    assert {"e", "u"} <= set(ground.result(index)["flags"])


@pytest.mark.parametrize("interpreter", ["/no/such/interpreter", "no-such-interpreter", "/etc/passwd"])
def test_an_interpreter_that_cannot_be_run_is_the_failure_of_its_job(
    ground: Ground, start: Start, interpreter: str
) -> None:
    ground.payload(Payload("whole", (b"",), interpreter, False))
    index = ground.job("")
    assert start().run(index) == "failed"
    assert f"cannot run {interpreter}: " in ground.result(index)["msg"]
    assert ground.result(index)["rc"] == 127


def test_a_module_in_python_that_cannot_be_kept_warm_is_started_as_a_program(
    ground: Ground, start: Start, tmp_path: Path
) -> None:
    payload = ground.payload(python_payload(tmp_path))
    index = ground.job(python('import sys\nprint(\'{"program": "%s"}\' % sys.orig_argv[1])\nsys.exit(0)'), payload)
    assert start().run(index) == "succeeded"
    assert ground.result(index)["program"].endswith(".module")


def test_a_job_that_ends_without_success_says_why(ground: Ground, start: Start) -> None:
    ends = {
        "exit 0": ("failed", "the module printed no result"),
        "echo oops; exit 3": ("failed", "the module printed no result, but something else"),
        "echo broken >&2; exit 3": ("failed", "the module printed no result (broken)"),
        "kill -9 $$": ("lost", "killed by signal 9 (SIGKILL)"),
        says(failed=True, msg="no"): ("failed", "no"),
    }
    ground.payload(shell_payload())
    jobs = [ground.job(script) for script in ends]
    talk = start()
    assert [(talk.run(index), ground.result(index)["msg"]) for index in jobs] == list(ends.values())


def test_a_job_whose_own_process_is_killed_is_lost(ground: Ground, start: Start) -> None:
    ground.payload(shell_payload())
    index = ground.job("kill -9 $PPID")
    assert start().run(index) == "lost"
    assert ground.result(index)["msg"] == "killed by signal 9 (SIGKILL)"


def test_the_environment_of_a_job_is_added_to_what_there_is(
    ground: Ground, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_BATCH", "batch")
    ground.payload(shell_payload())
    script = 'printf \'{"a": "%s", "b": "%s"}\' "$OF_THE_JOB" "$OF_THE_BATCH"'
    with_one, without = ground.job(script, OF_THE_JOB="job"), ground.job(script)
    talk = start()
    assert [talk.run(with_one), talk.run(without)] == ["succeeded"] * 2
    assert ground.result(with_one) == {"a": "job", "b": "batch"}
    assert ground.result(without) == {"a": "", "b": "batch"}


def test_a_program_of_a_job_can_say_how_far_it_is(ground: Ground, start: Start, tmp_path: Path) -> None:
    ground.payload(shell_payload())
    script = f'echo half done > "$INFLIGHT_STATUS"; cp "$INFLIGHT_STATUS" {tmp_path}/said; echo "{{}}"'
    index = ground.job(script)
    assert start().run(index) == "succeeded"
    assert (tmp_path / "said").read_text(encoding="ascii") == "half done\n"
    # What it said is not left when it has ended.
    assert not os.path.exists(ground.batch.folder.status_file(ground.batch.jobs[index].jid))


def test_a_job_may_have_a_path_of_its_own(ground: Ground, start: Start, tmp_path: Path) -> None:
    (tmp_path / "made-interpreter").write_text("#!/bin/sh\necho '{\"made\": true}'\n", encoding="utf-8")
    (tmp_path / "made-interpreter").chmod(0o700)
    ground.payload(Payload("whole", (b"",), "made-interpreter", False))
    index = ground.job("", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert start().run(index) == "succeeded"
    assert ground.result(index) == {"made": True}


def test_a_program_inherits_no_descriptors_and_no_ignored_signals(ground: Ground, start: Start) -> None:
    ground.payload(Payload("whole", (b"cat /proc/$$/status; ls -l /proc/$$/fd; exit 1\n",), "/bin/sh", False))
    index = ground.job("")
    assert start().run(index) == "failed"
    shown = ground.result(index)["module_stdout"]
    assert "/dev/null" in shown
    assert "socket:" not in shown
    assert "pipe:" not in shown
    ignored = next(int(line.split()[1], 16) for line in shown.splitlines() if line.startswith("SigIgn:"))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored >> (number - 1) & 1


# Attempts


def test_a_job_that_failed_and_may_be_tried_again_is(ground: Ground, start: Start) -> None:
    ground.payload(shell_payload())
    index = ground.job('[ -e "$1.again" ] || { : >"$1.again"; exit 1; }; ' + says(changed=True))
    talk = start()
    assert talk.run(index, 1, last=False) == "again"
    assert ground.look(index).state == "queued"
    assert talk.run(index, 2) == "succeeded"
    assert ground.logged(index)["attempts"] == 2


def test_a_job_that_was_told_to_end_is_reported_as_stopped(ground: Ground, start: Start) -> None:
    ground.payload(shell_payload())
    index = ground.job(": >$1.stopped")
    Path(ground.batch.folder.stop_file(f"j4711.{index}")).touch()
    assert start().run(index) == "stopped"
    assert ground.look(index).state == "running"


def test_what_a_job_leaves_in_the_background_does_not_keep_it_from_ending(
    ground: Ground, start: Start, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    ground.payload(shell_payload())
    index = ground.job(f"{{ read line <{tmp_path}/fifo; }} & " + says(changed=True))
    assert start().run(index) == "succeeded"
    (tmp_path / "fifo").write_text("go\n", encoding="utf-8")  # blocks until somebody reads: it lives


# The life of a zygote


def test_a_zygote_leaves_when_it_is_let_go(start: Start) -> None:
    assert start().over() == 0


def test_a_zygote_leaves_in_peace_when_nobody_heard_what_it_told(start: Start) -> None:
    talk = start()
    assert select.select([talk.zygote.socket], (), (), 20)[0]  # it is ready, and has said so
    assert talk.over() == 0


def test_a_zygote_that_is_let_go_waits_for_its_jobs(ground: Ground, start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    ground.payload(shell_payload())
    index = ground.job(f"read line <{tmp_path}/fifo; " + says(changed=True))
    talk = start()
    talk.zygote.start(index, 1, True)
    talk.hear("started", index)
    talk.zygote.close()
    (tmp_path / "fifo").write_text("go\n", encoding="utf-8")
    assert exit_code(talk.zygote.pid) == 0
    assert ground.result(index) == {"changed": True}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_zygote_serves_on_when_it_is_told_to_end(ground: Ground, start: Start, number: int) -> None:
    ground.payload(shell_payload())
    jobs = [ground.job(says(changed=True)) for dummy in range(2)]
    talk = start()
    assert talk.run(jobs[0]) == "succeeded"
    os.kill(talk.zygote.pid, number)
    assert talk.run(jobs[1]) == "succeeded"


def test_a_zygote_that_died_is_noticed(ground: Ground, start: Start) -> None:
    ground.payload(shell_payload())
    index = ground.job(says(changed=True))
    talk = start()
    talk.run(index)
    os.kill(talk.zygote.pid, signal.SIGKILL)
    assert exit_code(talk.zygote.pid) == -signal.SIGKILL
    assert talk.zygote.events() is None
    assert talk.zygote.start(index, 1, True) is False
    assert talk.zygote.jobs == set()


def test_a_job_whose_zygote_was_killed_writes_its_result_all_the_same(
    ground: Ground, start: Start, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    ground.payload(shell_payload())
    index = ground.job(f"read line <{tmp_path}/fifo; " + says(changed=True))
    talk = start()
    talk.zygote.start(index, 1, True)
    process = os.pidfd_open(int(talk.hear("started", index)))
    os.kill(talk.zygote.pid, signal.SIGKILL)
    exit_code(talk.zygote.pid)
    (tmp_path / "fifo").write_text("go\n", encoding="utf-8")
    assert select.select((process,), (), (), FOREVER)[0]
    os.close(process)
    assert ground.result(index) == {"changed": True}


def test_the_lock_of_the_supervisor_is_not_kept_by_a_zygote(
    directory: JobDirectory, batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its jobs would count as supervised as long as one of them runs."""
    lock = batch_folder.supervise()
    ground = Ground(directory, batch_folder, monkeypatch)
    ground.prepare_fork()
    zygote = Zygote(ground.batch, None)
    assert zygote.events() == []  # it is ready
    os.close(lock)
    assert batch_folder.supervisor() is None
    zygote.close()
    assert exit_code(zygote.pid) == 0


# Where no process can be started


def no_more_forks(monkeypatch: pytest.MonkeyPatch, after: int, failures: int = 10**9) -> None:
    """Let so many forks through, then fail for a number of times."""
    real = os.fork
    calls = iter(range(10**9))

    def fork() -> int:
        call = next(calls)
        if after <= call < after + failures:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return real()

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(_zygote, "FORK_TRIES", 3)
    monkeypatch.setattr(_zygote, "FORK_PAUSE", 0.001)


def test_a_job_for_which_there_can_be_no_process_is_lost_and_says_why(
    ground: Ground, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.payload(shell_payload())
    index = ground.job(says(changed=True))
    no_more_forks(monkeypatch, after=1)
    talk = start()
    talk.zygote.start(index, 1, True)
    assert talk.hear("ended", index) == "lost"
    assert ground.look(index).state == "lost"
    assert ground.result(index)["msg"] == "no process could be started for it: Resource temporarily unavailable"


def test_a_job_for_which_there_can_be_no_process_now_is_tried_again_if_it_may_be(
    ground: Ground, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.payload(shell_payload())
    index = ground.job(says(changed=True))
    no_more_forks(monkeypatch, after=1)
    talk = start()
    talk.zygote.start(index, 1, False)
    assert talk.hear("ended", index) == "again"


def test_too_many_processes_for_a_moment_are_waited_for(
    ground: Ground, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.payload(shell_payload())
    index = ground.job(says(changed=True))
    no_more_forks(monkeypatch, after=1, failures=2)
    assert start().run(index) == "succeeded"


def test_a_zygote_for_which_there_can_be_no_process_is_an_error(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_more_forks(monkeypatch, after=0)
    with pytest.raises(OSError, match="temporarily unavailable"):
        Zygote(ground.batch, None)


# Modules in Python that are kept warm


@pytest.fixture
def warm(ground: Ground, tmp_path: Path) -> int:
    """The place of a payload that can be kept warm."""
    return ground.payload(python_payload(tmp_path))


def test_a_warm_module_runs_in_a_fork_of_its_zygote(ground: Ground, start: Start, warm: int) -> None:
    jobs = [
        ground.job(python(f'import os\nprint(\'{{"parent": %d, "n": {number}}}\' % os.getppid())\nraise SystemExit'))
        for number in range(3)
    ]
    talk = start(warm)
    assert [talk.run(index) for index in jobs] == ["succeeded"] * 3
    assert [ground.result(index) for index in jobs] == [{"parent": talk.zygote.pid, "n": n} for n in range(3)]
    assert talk.over() == 0


def test_a_warm_module_finds_nothing_of_the_job_before(ground: Ground, start: Start, warm: int) -> None:
    code = (
        "import json, os, sys, tempfile\nfrom ansible.module_utils import basic\n"
        "found = dict(left=hasattr(basic, 'left'), env=os.environ.get('LEFT'), cwd=os.getcwd())\n"
        "basic.left = True\nos.environ['LEFT'] = 'x'\nos.chdir('/')\nprint(json.dumps(found))\nraise SystemExit(0)"
    )
    jobs = [ground.job(python(code)) for dummy in range(2)]
    talk = start(warm)
    assert [talk.run(index) for index in jobs] == ["succeeded"] * 2
    assert ground.result(jobs[0]) == ground.result(jobs[1]) == {"left": False, "env": None, "cwd": os.getcwd()}


def test_the_environment_reaches_a_warm_module(ground: Ground, start: Start, warm: int) -> None:
    code = 'import os, time\nprint(\'{"x": "%s", "zone": %d}\' % (os.environ[\'X\'], time.timezone))\nraise SystemExit'
    index = ground.job(python(code), X="y", TZ="UTC+5")
    assert start(warm).run(index) == "succeeded"
    assert ground.result(index) == {"x": "y", "zone": 5 * 3600}


def test_a_warm_module_can_say_how_far_it_is(ground: Ground, start: Start, warm: int) -> None:
    code = 'import json, os\nprint(json.dumps({"path": os.environ["INFLIGHT_STATUS"]}))\nraise SystemExit(0)'
    index = ground.job(python(code))
    assert start(warm).run(index) == "succeeded"
    assert ground.result(index) == {"path": ground.batch.folder.status_file(ground.batch.jobs[index].jid)}


def test_a_job_whose_environment_python_reads_when_it_starts_is_started(
    ground: Ground, start: Start, warm: int
) -> None:
    code = "import sys\nprint('{\"optimized\": %d}' % sys.flags.optimize)\nraise SystemExit(0)"
    index = ground.job(python(code), PYTHONOPTIMIZE="1")
    assert start(warm).run(index) == "succeeded"
    assert ground.result(index) == {"optimized": 1}


@pytest.mark.parametrize(
    ("environment", "needs"),
    [
        ({}, False),
        ({"PATH": "/x", "TZ": "UTC", "HOME": "/"}, False),
        *(
            ({name: "x"}, True)
            for name in ("LANG", "LC_ALL", "LD_PRELOAD", "PYTHONPATH", "MALLOC_ARENA_MAX", "LANGUAGE")
        ),
    ],
)
def test_what_is_read_when_a_process_starts_needs_one_that_is_started(environment: dict[str, str], needs: bool) -> None:
    assert Job("j1.0", 0, "", environment).needs_start is needs


def test_a_warm_module_that_ends_without_success_says_why(ground: Ground, start: Start, warm: int) -> None:
    ends = {
        "raise SystemExit(3)": ("failed", "the module printed no result"),
        "raise SystemExit('broken')": ("failed", "the module printed no result (broken)"),
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)": ("lost", "killed by signal 9 (SIGKILL)"),
        "import os\nos._exit(3)": ("failed", "the module printed no result"),
        "raise KeyboardInterrupt": ("failed", "the module printed no result (KeyboardInterrupt)"),
    }
    jobs = [ground.job(python(code)) for code in ends]
    talk = start(warm)
    assert [(talk.run(index), ground.result(index)["msg"]) for index in jobs] == list(ends.values())


def test_an_exception_in_a_warm_module_is_a_result_as_core_makes_it(ground: Ground, start: Start, warm: int) -> None:
    index = ground.job(python("1 / 0"))
    assert start(warm).run(index) == "failed"
    assert "division by zero" in str(ground.result(index)["exception"])


def test_what_a_warm_module_wants_done_at_its_end_is_done(ground: Ground, start: Start, warm: int) -> None:
    code = (
        "import atexit, sys, threading\natexit.register(lambda: sys.stdout.write('}'))\nsys.stdout.write('{')\n"
        "threading.Thread(target=lambda: sys.stdout.write('\"thread\": true')).start()\nraise SystemExit(0)"
    )
    index = ground.job(python(code))
    assert start(warm).run(index) == "succeeded"
    assert ground.result(index) == {"thread": True}


def test_a_daemon_that_a_warm_module_leaves_reports_nothing(
    ground: Ground, start: Start, warm: int, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    os.mkfifo(tmp_path / "alive")
    code = (
        "import os\nif os.fork() == 0:\n"
        f"    alive = open({str(tmp_path / 'alive')!r}, 'w')\n    open({str(tmp_path / 'fifo')!r}).read()\n"
        "    print('{\"daemon\": true}')\n    raise SystemExit(0)\n" + SAY_RESULT
    )
    index, other = ground.job(python(code)), ground.job(python("raise SystemExit(1)"))
    talk = start(warm)
    with open(tmp_path / "alive", "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as alive:
        assert talk.run(index, last=False) == "succeeded"
        (tmp_path / "fifo").write_text("go\n", encoding="utf-8")
        assert select.select((alive,), (), (), FOREVER)[0]  # it has ended: nobody has the other end any more
    assert talk.run(other) == "failed"
    assert talk.over() == 0
    assert talk.heard == []
    assert ground.result(index) == {"changed": True}


def test_a_warm_module_sees_how_a_child_of_its_ended(ground: Ground, start: Start, warm: int) -> None:
    code = (
        "import os\npid = os.fork()\nif not pid:\n    raise SystemExit(7)\n"
        "print('{\"code\": %d}' % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\nraise SystemExit(0)"
    )
    index = ground.job(python(code))
    assert start(warm).run(index) == "succeeded"
    assert ground.result(index) == {"code": 7}


def test_what_the_first_job_imported_the_others_find_imported(ground: Ground, start: Start, warm: int) -> None:
    code = "import sys\nprint('{\"there\": %d}' % ('colorsys' in sys.modules))\nimport colorsys\nraise SystemExit(0)"
    jobs = [ground.job(python(code)) for dummy in range(2)]
    talk = start(warm)
    assert [talk.run(index) for index in jobs] == ["succeeded"] * 2
    assert [ground.result(index)["there"] for index in jobs] == [0, 1]


def test_modules_that_only_the_first_job_could_import_do_no_harm(ground: Ground, start: Start, warm: int) -> None:
    names = ["nosuch", "nosuch.sub", "json.nosuch", "made.sub", "", ".", "a..b", "made", "os.path.x", "ansible.nosuch"]
    code = f"import sys, types\nsys.modules.update((name, types.ModuleType('x')) for name in {names})\n" + SAY_RESULT
    jobs = [ground.job(python(code)) for dummy in range(2)]
    talk = start(warm)
    assert [talk.run(index) for index in jobs] == ["succeeded"] * 2
    assert talk.over() == 0


def test_packages_of_others_are_not_imported_for_all_jobs(
    ground: Ground, start: Start, warm: int, tmp_path: Path
) -> None:
    """Importing them may do anything."""
    package = tmp_path / "archive" / "strangers"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'log')!r}, 'a').write('x')\n", encoding="utf-8")
    (package / "sub.py").touch()
    jobs = [ground.job(python("import strangers.sub\n" + SAY_RESULT)) for dummy in range(3)]
    talk = start(warm)
    assert [talk.run(index) for index in jobs] == ["succeeded"] * 3
    assert (tmp_path / "log").read_text(encoding="utf-8") == "xxx"


@pytest.mark.parametrize(
    "before",
    [
        "if not sys.argv[0].endswith('.module'): raise RuntimeError('not as we know it')",
        "if not sys.argv[0].endswith('.module'): _loader = type('x', (), dict(run_module=lambda **more: None))",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    ],
)
def test_a_module_that_cannot_be_kept_warm_after_all_runs_in_processes_of_its_own(
    ground: Ground, start: Start, tmp_path: Path, before: str
) -> None:
    warm = ground.payload(python_payload(tmp_path, before))
    index = ground.job(python("import os\nprint('{\"parent\": %d}' % os.getppid())\nraise SystemExit(0)"), warm)
    talk = start(warm)
    assert talk.run(index) == "succeeded"
    assert ground.result(index)["parent"] != talk.zygote.pid


def test_without_the_wrapper_of_this_core_modules_run_in_processes_of_their_own(
    ground: Ground, start: Start, warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, _loader.__name__)
    index = ground.job(python("import os\nprint('{\"parent\": %d}' % os.getppid())\nraise SystemExit(0)"))
    talk = start(warm)
    assert talk.run(index) == "succeeded"
    assert ground.result(index)["parent"] != talk.zygote.pid


# Its parts


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ansible.module_utils.basic", True),
        ("ansible_collections.a.b.plugins.module_utils.c", True),
        ("ansible.modules.command", False),
        ("ansible.legacy.command", False),
        ("ansible_collections.a.b.plugins.modules.c", False),
        ("ansiblex", False),
        ("json", False),
    ],
)
def test_module_utils_of_ansible_are_told_from_modules(name: str, meant: bool) -> None:
    assert _zygote._is_of_ansible(name) is meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("json", True),
        ("json.decoder", True),
        ("sys", True),
        ("zipimport", True),
        ("pytest", False),
        ("_pytest.python", False),
    ],
)
def test_what_comes_with_python_is_told_from_what_others_wrote(name: str, meant: bool) -> None:
    assert _zygote._is_of_python(name) is meant


@pytest.mark.parametrize(
    ("code", "status"), [(None, 0), (0, 0), (3, 3), (256, 0), (-1, 255), ("text", 1), (True, 1), ([], 1)]
)
def test_a_module_leaves_with_the_exit_code_that_a_program_would_have(code: t.Any, status: int) -> None:
    def body() -> None:
        def run() -> None:
            raise SystemExit(code)

        os._exit(_zygote._to_the_end(run) >> 8)

    assert exit_code(fork(body)) == status


@pytest.mark.parametrize("params", ["", "{}", "'\"\\\n\0ä\udcff", '{"a": "\'\'\'"}'])
def test_arguments_are_put_between_the_pieces_of_a_wrapper_as_they_are(params: str) -> None:
    code = _zygote._with_params(Payload("zip", (b"found = ", b"\n"), "", True), params)
    found: dict[str, t.Any] = {}
    exec(compile(code, "x", "exec"), found)
    assert found["found"] == params
