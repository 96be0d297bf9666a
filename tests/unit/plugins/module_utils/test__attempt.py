# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import signal
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils import json_utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs, _processes
from ansible_collections.inflight.jobs.plugins.module_utils._attempt import AGAIN, STOPPED, Attempt
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchFolder
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory

from ..conftest import exit_code, fork

JID = "j4711.0"
EXITED_7 = 7 << 8


class Job:
    """A job of a batch whose attempts are made here, without the processes that would make them."""

    def __init__(self, directory: JobDirectory, folder: BatchFolder) -> None:
        self.directory = directory
        self.folder = folder
        directory.create_marker(JID)

    def attempt(self, number: int = 1, *, last: bool = True) -> Attempt:
        return Attempt(self.directory, self.folder, JID, number, last)

    def printed(
        self, output: bytes | str | dict[str, t.Any], errors: str = "", number: int = 1, *, last: bool = True
    ) -> Attempt:
        """An attempt whose module has printed this and is about to end."""
        attempt = self.attempt(number, last=last)
        self.directory.change_marker(JID, _processes.identity(os.getpid()))
        if isinstance(output, dict):
            output = json.dumps(output)
        Path(self.folder.file(f"{JID}.out")).write_bytes(output if isinstance(output, bytes) else output.encode())
        Path(self.folder.file(f"{JID}.err")).write_text(errors, encoding="utf-8")
        return attempt

    @property
    def look(self) -> _jobs.JobFile:
        return self.directory.read(JID)

    @property
    def result(self) -> dict[str, t.Any]:
        text = self.look.text
        assert text is not None, f"there is no result, the job is {self.look.state}"
        return t.cast("dict[str, t.Any]", json.loads(text))

    @property
    def logged(self) -> dict[str, t.Any]:
        return self.folder.logged(JID)

    def left_over(self) -> list[str]:
        """The files that a job leaves in the folder."""
        return sorted(name for name in os.listdir(self.folder.path) if name.startswith(JID))


@pytest.fixture
def job(directory: JobDirectory, batch_folder: BatchFolder) -> Iterator[Job]:
    """A job whose supervisor lives."""
    lock = batch_folder.supervise()
    yield Job(directory, batch_folder)
    os.close(lock)


@pytest.fixture
def orphan(directory: JobDirectory, batch_folder: BatchFolder) -> Job:
    """A job whose supervisor was killed."""
    os.close(batch_folder.supervise())
    return Job(directory, batch_folder)


# What a module printed


def test_the_result_of_a_module_becomes_the_job_file_as_it_is(job: Job) -> None:
    text = '{"changed": true, "stdout": "ä\\n", "odd":   [1.50, NaN] }\n'
    assert job.printed(text).end(0) == _jobs.SUCCEEDED
    assert job.look.text == text
    assert job.left_over() == []


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ({"changed": True}, _jobs.SUCCEEDED),
        ({"failed": True, "msg": "no"}, _jobs.FAILED),
        ({"rc": 3}, _jobs.FAILED),
        ({"failed": False, "rc": 3}, _jobs.SUCCEEDED),
    ],
)
def test_the_state_is_what_the_result_says(job: Job, result: dict[str, t.Any], state: str) -> None:
    assert job.printed(result).end(EXITED_7) == state
    assert (job.look.state, job.result) == (state, result)
    assert job.logged["state"] == state


def test_junk_around_a_result_is_removed_as_core_removes_it(job: Job) -> None:
    assert job.printed('warning: old\n{"changed": true, "x": "\\udcff"}\nbye\n').end(0) == _jobs.SUCCEEDED
    assert job.result["changed"] is True
    assert any("bye" in warning for warning in job.result["warnings"])


def test_junk_does_not_take_the_place_of_warnings_that_are_none(job: Job) -> None:
    assert job.printed('{"warnings": "many"}\nbye\n').end(0) == _jobs.SUCCEEDED
    assert job.result == {"warnings": "many"}


def test_bytes_that_are_no_utf8_do_not_hide_a_result(job: Job) -> None:
    assert job.printed(b'caf\xe9\n{"changed": true, "stdout": "\xff"}').end(0) == _jobs.SUCCEEDED
    assert job.result["changed"] is True


def test_a_core_that_cannot_remove_junk_any_more_costs_only_results_with_junk(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(json_utils, "_filter_non_json_lines")
    assert job.printed('junk\n{"changed": true}').end(0) == _jobs.FAILED
    assert job.result["msg"] == "the module printed no result, but something else"


def test_core_removes_junk_as_it_did() -> None:
    """That part of it is private: when this fails, this release of core has changed it."""
    found, warnings = json_utils._filter_non_json_lines('a\n{"b":\n1}\nc', True)
    assert json.loads(found) == {"b": 1}
    assert [type(warning) for warning in warnings] == [str]
    with pytest.raises(ValueError, match="start of json"):
        json_utils._filter_non_json_lines("a\nb", True)


def test_a_module_that_printed_nothing_has_failed_with_the_last_it_complained_about(job: Job) -> None:
    errors = "Traceback (most recent call last):\n  ...\nKeyError: 'x'\n\n"
    assert job.printed("", errors).end(EXITED_7) == _jobs.FAILED
    assert job.result == {
        "failed": True,
        "msg": "the module printed no result (KeyError: 'x')",
        "module_stdout": "",
        "module_stderr": errors,
        "rc": 7,
    }
    assert job.left_over() == []


@pytest.mark.parametrize("output", ["hello\n", "[1]", "5", '"x"', "null", "{", '{"a": 1', '{"a":' * 100_000])
def test_a_module_that_printed_something_else_has_failed_and_shows_it(job: Job, output: str) -> None:
    assert job.printed(output).end(0) == _jobs.FAILED
    assert job.result["msg"] == "the module printed no result, but something else"
    assert job.result["module_stdout"] == output[: 64 * 1024]


def test_no_more_is_shown_than_anybody_reads(job: Job) -> None:
    job.printed("x" * 1_000_000, "y" * 1_000_000).end(0)
    assert len(job.result["module_stdout"]) == len(job.result["module_stderr"]) == 64 * 1024
    assert len(job.result["msg"]) < 300


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (100, "unknown")]
)
def test_a_job_that_was_killed_is_lost_and_says_by_which_signal(job: Job, number: int, name: str) -> None:
    assert job.printed('{"chan').end(number) == _jobs.LOST
    assert job.look.state == _jobs.LOST
    assert job.result["msg"] == f"killed by signal {int(number)} ({name})"


def test_a_result_counts_even_if_its_process_was_killed_then(job: Job) -> None:
    assert job.printed({"changed": True}).end(signal.SIGKILL) == _jobs.SUCCEEDED


def test_an_output_above_the_limit_is_unreadable(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jobs, "MAX_JOB_FILE_BYTES", 1000)
    assert job.printed({"stdout": "x" * 2000}).end(0) == _jobs.UNREADABLE
    assert job.look.state == _jobs.UNREADABLE
    assert "more than the limit of 1000" in job.look.reason
    assert job.left_over() == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["failed", "rc", "msg", "warnings", "inflight_state", "child_pid"]), inner)
    ),
    max_leaves=6,
)
junk = st.sampled_from([b"", b"\n", b"junk\n", b"\xff\n", b"\xef\xbb\xbf", b"\0", b"{", b"}", b"[]", b'{"a": 1}\n'])


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    output=st.binary(max_size=40)
    | st.builds(lambda *parts: b"".join(parts), junk, json_values.map(lambda value: json.dumps(value).encode()), junk)
    | json_values.map(lambda value: json.dumps(value).encode("utf-16")),
    status=st.sampled_from([0, EXITED_7, signal.SIGKILL]),
)
def test_whatever_a_module_prints_the_job_file_says_what_the_supervisor_was_told(
    tmp_path_factory: pytest.TempPathFactory, output: bytes, status: int
) -> None:
    path = tmp_path_factory.mktemp("jobs")
    folder = BatchFolder(str(path), "j4711")
    folder.make({"jobs": []})
    job = Job(JobDirectory(str(path)), folder)
    state = job.printed(output).end(status)
    assert job.look.state == state
    assert job.logged["state"] == state
    assert job.look.text is not None
    assert job.left_over() == []


# When there may be another attempt


def test_a_job_that_failed_waits_for_another_attempt(job: Job) -> None:
    assert job.printed({"failed": True}, last=False).end(0) == AGAIN
    assert job.look.state == _jobs.QUEUED
    assert (job.logged["state"], job.logged["attempts"]) == (_jobs.FAILED, 1)
    assert job.printed({"changed": True}, number=2).end(0) == _jobs.SUCCEEDED
    assert (job.result, job.logged["attempts"]) == ({"changed": True}, 2)


def test_a_job_whose_supervisor_was_killed_gets_no_other_attempt(orphan: Job) -> None:
    assert orphan.printed({"failed": True, "msg": "no"}, last=False).end(0) == _jobs.FAILED
    assert orphan.result["msg"] == "no"


def test_a_job_that_succeeded_needs_no_other_attempt(job: Job) -> None:
    assert job.printed({"changed": True}, last=False).end(0) == _jobs.SUCCEEDED


@pytest.mark.parametrize(
    ("output", "status", "state", "message"),
    [
        ('{"failed": true, "msg": "disk full"}', 0, _jobs.FAILED, "disk full"),
        ('junk\n{"failed": true, "msg": "disk full"}', 0, _jobs.FAILED, "disk full"),
        ("oops", EXITED_7, _jobs.FAILED, "the module printed no result, but something else (why)"),
        ('{"chan', signal.SIGKILL, _jobs.LOST, "killed by signal 9 (SIGKILL)"),
    ],
)
def test_between_two_attempts_the_result_of_the_last_one_stands(
    job: Job, output: str, status: int, state: str, message: str
) -> None:
    assert job.printed(output, "why", last=False).end(status) == AGAIN
    assert job.attempt(1).settle(_jobs.CANCELLED, "not started: another job of the batch failed") == state
    assert (job.look.state, job.result["msg"]) == (state, message)
    assert (job.logged["state"], job.logged["attempts"]) == (state, 1)
    assert job.result.get("rc") == (7 if output == "oops" else None)
    assert job.left_over() == []


def test_an_output_above_the_limit_is_unreadable_between_two_attempts(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jobs, "MAX_JOB_FILE_BYTES", 1000)
    assert job.printed("x" * 2000, last=False).end(0) == AGAIN
    assert job.attempt().settle(_jobs.CANCELLED, "") == _jobs.UNREADABLE
    assert job.look.state == _jobs.UNREADABLE


def test_what_the_attempt_before_left_running_prints_into_nothing(job: Job) -> None:
    """Else it would print into the midst of the result of the next one."""
    job.printed("first", last=False)
    with open(job.folder.file(f"{JID}.out"), "ab", buffering=0) as left_behind:
        assert exit_code(fork(lambda: job.attempt(2).begin())) == 0
        left_behind.write(b"junk")
        assert Path(job.folder.file(f"{JID}.out")).read_bytes() == b""


# When a job is told to end


def test_a_job_that_was_told_to_end_leaves_its_job_file_alone(job: Job) -> None:
    attempt = job.printed({"changed": True})
    attempt.stop()
    assert job.folder.is_stopped(JID)
    assert attempt.end(0) == STOPPED
    assert job.look.state == _jobs.RUNNING


@pytest.mark.parametrize("state", [_jobs.TIMED_OUT, _jobs.CANCELLED])
def test_whoever_told_a_job_to_end_says_what_it_became(job: Job, state: str) -> None:
    attempt = job.printed('{"chan')
    attempt.stop()
    assert attempt.settle(state, "because") == state
    assert (job.look.state, job.result["msg"]) == (state, "because")
    assert (job.logged["state"], job.logged["attempts"]) == (state, 1)
    assert job.left_over() == []


def test_a_job_that_had_ended_before_it_was_told_to_keeps_its_result(job: Job) -> None:
    attempt = job.printed({"changed": True})
    assert attempt.end(0) == _jobs.SUCCEEDED
    attempt.stop()
    assert attempt.settle(_jobs.TIMED_OUT, "its timeout passed") == _jobs.SUCCEEDED
    assert job.result == {"changed": True}
    assert job.logged["state"] == _jobs.SUCCEEDED
    assert job.left_over() == []


def test_a_job_that_was_killed_after_it_wrote_its_result_keeps_it(job: Job) -> None:
    """Its process reports what it became after it has written it; if it is killed in between, the zygote has to say."""
    attempt = job.printed({"changed": True})
    assert attempt.end(0) == _jobs.SUCCEEDED
    assert attempt.end(signal.SIGKILL) == _jobs.SUCCEEDED
    assert job.result == {"changed": True}


def test_a_job_that_is_let_go_ends_as_it_would_have(job: Job) -> None:
    attempt = job.printed({"changed": True})
    attempt.stop()
    attempt.let_go()
    attempt.let_go()
    assert not job.folder.is_stopped(JID)
    assert attempt.end(0) == _jobs.SUCCEEDED


def test_a_job_that_timed_out_is_tried_again_if_it_may_be(job: Job) -> None:
    attempt = job.printed('{"chan', last=False)
    attempt.stop()
    assert attempt.settle(_jobs.TIMED_OUT, "its timeout of 5 s passed") == AGAIN
    assert (job.look.state, job.logged["state"]) == (_jobs.QUEUED, _jobs.TIMED_OUT)
    assert job.attempt(1).settle(_jobs.CANCELLED, "not started") == _jobs.TIMED_OUT
    assert (job.look.state, job.result["msg"]) == (_jobs.TIMED_OUT, "its timeout of 5 s passed")


def test_a_job_that_is_cancelled_is_not_tried_again(job: Job) -> None:
    attempt = job.printed('{"chan', last=False)
    attempt.stop()
    assert attempt.settle(_jobs.CANCELLED, "cancelled") == _jobs.CANCELLED
    assert job.look.state == _jobs.CANCELLED


def test_a_job_that_never_started_has_no_start_and_no_length(job: Job) -> None:
    assert job.attempt(0).settle(_jobs.CANCELLED, "not started: cancelled") == _jobs.CANCELLED
    assert job.look.state == _jobs.CANCELLED
    assert (job.logged["attempts"], job.logged["started_at"], job.logged["elapsed"]) == (0, None, None)
    assert job.logged["ended_at"].endswith("Z")


def test_a_job_that_could_not_be_started_is_tried_again_if_it_may_be(job: Job) -> None:
    assert job.attempt(last=False).settle(_jobs.LOST, "no process could be started for it: no") == AGAIN
    assert (job.look.state, job.logged["state"]) == (_jobs.QUEUED, _jobs.LOST)


def test_what_the_module_said_of_a_program_that_was_ended_is_told(job: Job) -> None:
    attempt = job.printed({"rc": -15, "stdout": "half"})
    attempt.stop()
    assert attempt.settle(_jobs.TIMED_OUT, "its timeout of 5 s passed") == _jobs.TIMED_OUT
    assert job.result["result"] == {"rc": -15, "stdout": "half"}
    assert job.look.state == _jobs.TIMED_OUT


def test_a_job_that_was_lost_before_it_printed_anything_says_why(job: Job) -> None:
    assert job.attempt().settle(_jobs.LOST, "no process could be started for it: no") == _jobs.LOST
    assert job.result["msg"] == "no process could be started for it: no"


# Its length


def test_the_log_says_when_an_attempt_started_and_how_long_it_took(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.5])
    monkeypatch.setattr(_processes, "boot_clock", lambda: next(clock))
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    attempt = job.printed({"changed": True}, number=3)
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 0.0)  # the time of day was set back
        attempt.end(0)
    assert job.logged == {
        "jid": JID,
        "state": "succeeded",
        "attempts": 3,
        "started_at": _jobs.iso(1_800_000_000),
        "ended_at": _jobs.iso(1_800_000_002.5),
        "elapsed": 2.5,
    }


# A full disk


def full_disk(*dummy_arguments: t.Any, **dummy_options: t.Any) -> t.NoReturn:
    raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_keep_the_result_back(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchFolder, "log", full_disk)
    assert job.printed({"changed": True}).end(0) == _jobs.SUCCEEDED
    assert job.result == {"changed": True}


def test_where_there_is_no_space_for_a_copy_the_output_itself_becomes_the_job_file(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobDirectory, "write_result", full_disk)
    assert job.printed({"changed": True}).end(0) == _jobs.SUCCEEDED
    assert job.result == {"changed": True}
    assert job.left_over() == []


def test_a_result_that_cannot_be_written_at_all_is_an_error_for_whoever_started_the_job(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobDirectory, "write_result", full_disk)
    with pytest.raises(OSError, match="No space left"):
        job.printed("no result").end(0)
    assert job.look.state == _jobs.RUNNING


@pytest.mark.parametrize("stops", [False, True])
def test_a_full_disk_does_not_keep_a_job_from_another_attempt(
    job: Job, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    attempt = job.printed("no result", last=False)
    if stops:
        attempt.stop()
    monkeypatch.setattr(os, "rename", full_disk)
    assert (attempt.settle(_jobs.TIMED_OUT, "late") if stops else attempt.end(0)) == AGAIN
    assert job.look.state == _jobs.QUEUED


def test_that_a_job_is_lost_can_be_said_without_any_space(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = job.printed("no result")
    monkeypatch.setattr(JobDirectory, "write_result", full_disk)
    attempt.lose("its result could not be written: No space left on device")
    assert (job.look.state, job.result["msg"]) == (
        _jobs.LOST,
        "its result could not be written: No space left on device",
    )


def test_a_job_that_has_a_result_is_not_lost(job: Job) -> None:
    attempt = job.printed({"changed": True})
    attempt.end(0)
    attempt.lose("its result could not be written")
    assert job.result == {"changed": True}


# Its process


def in_a_process(body: Callable[[], object]) -> None:
    assert exit_code(fork(body)) == 0


def test_a_job_leads_a_session_says_who_it_is_and_prints_to_files(job: Job) -> None:
    def body() -> None:
        job.attempt().begin()
        assert os.getsid(0) == os.getpid()
        os.write(1, b"out")
        os.write(2, b"err")
        assert os.read(0, 1) == b""
        assert job.look.process == _processes.identity(os.getpid())

    in_a_process(body)
    assert job.look.state == _jobs.RUNNING
    assert Path(job.folder.file(f"{JID}.out")).read_bytes() == b"out"
    assert Path(job.folder.file(f"{JID}.err")).read_bytes() == b"err"


def test_what_a_job_prints_is_for_nobody_else(job: Job) -> None:
    def body() -> None:
        os.umask(0)
        job.attempt().begin()

    in_a_process(body)
    for name in ("out", "err"):
        assert os.stat(job.folder.file(f"{JID}.{name}")).st_mode & 0o777 == 0o600


def test_a_job_prints_through_no_link(job: Job, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    os.symlink(tmp_path / "secret", job.folder.file(f"{JID}.out"))

    def body() -> None:
        with pytest.raises(OSError, match=r"\.out"):
            job.attempt().begin()

    in_a_process(body)
    assert (tmp_path / "secret").read_text(encoding="utf-8") == "secret"


def test_a_whole_attempt_in_a_process(job: Job) -> None:
    def body() -> None:
        attempt = job.attempt()
        attempt.begin()
        os.write(1, b'{"changed": true}')
        assert attempt.end(0) == _jobs.SUCCEEDED

    in_a_process(body)
    assert job.result == {"changed": True}
