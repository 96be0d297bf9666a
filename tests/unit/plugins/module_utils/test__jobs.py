# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import socket
import stat
import string
import sys
import threading
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.modules import async_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _jobs
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory, JobDirectoryError

JID = "j123.45"
RUNNING = {"started": True, "finished": False, "ansible_job_id": JID}
HOSTILE_NAMES = [
    "../../etc/passwd",
    "j1.2/../x",
    "j1.2/x",
    "j1.2\n",
    "\nj1.2",
    "j1.2\0",
    "j1.2\0/etc/passwd",
    "j1.2 ",
    "/etc/passwd",
    "..",
    ".",
    "",
    "j1",
    "j.1",
    "j1.",
    "jj1.2",
    "J1.2",
    "j1.2.3",
    "j-1.2",
    "j1,2",
    "j١.٢",
    "j1.2.tmp",
    "j" + "1" * 70 + ".2",
]
# In a folder that every test of hypothesis shares, each example may only see what it wrote itself.
fuzzed = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job directory as it should be."""
    path = tmp_path / "jobs"
    path.mkdir(mode=0o700)
    return path


def put(folder: Path, content: object, jid: str = JID, age: float = 60) -> Path:
    """Write a job file that was changed so many seconds ago: bytes and text as they are, else as JSON."""
    path = folder / jid
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    changed = time.time() - age
    os.utime(path, (changed, changed))
    return path


def look(folder: Path, content: object, age: float = 60) -> _jobs.JobFile:
    put(folder, content, age=age)
    return JobDirectory(str(folder)).read(JID)


# Job ids


@pytest.mark.parametrize("jid", ["j123456789012.4711", "123456789012.4711", "j1.2", "0.0"])
def test_what_async_wrapper_calls_a_job_is_a_job_id(jid: str) -> None:
    assert _jobs.is_job_id(jid)


@pytest.mark.parametrize("value", [*HOSTILE_NAMES, None, 1.2, 5, True, [], {}, b"j1.2"])
def test_nothing_else_is_a_job_id(value: object) -> None:
    assert not _jobs.is_job_id(value)


@fuzzed
@given(
    st.text(alphabet="j0123456789./\n\0~*", max_size=12) | st.text(max_size=12) | st.from_regex(r"^j?[0-9]+\.[0-9]+$")
)
def test_a_job_id_is_always_the_plain_name_of_a_file(value: str) -> None:
    if _jobs.is_job_id(value):
        assert os.path.basename(value) == value
        assert set(value) <= set("j0123456789.")
        assert value not in (".", "..")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_is_no_job_id_is_neither_read_nor_deleted(folder: Path, name: str) -> None:
    outside = folder.parent / "x"
    outside.write_text('{"secret": 1}', encoding="utf-8")
    directory = JobDirectory(str(folder))
    with pytest.raises(ValueError, match="is no job id"):
        directory.read(name)
    assert directory.delete(name) is False
    assert outside.exists()


@fuzzed
@given(name=st.text(alphabet="j0123456789./\n\0", max_size=16) | st.text(max_size=16))
def test_no_name_reaches_outside_of_the_job_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "jobs").mkdir(mode=0o700, exist_ok=True)
    for outside in (tmp_path / "1.1", tmp_path / "jobs-1.1"):
        outside.write_text('{"secret": 1}', encoding="utf-8")
    directory = JobDirectory(str(tmp_path / "jobs"))
    assert directory.delete(name) is False
    try:
        assert directory.read(name).state == _jobs.MISSING
    except ValueError:
        assert not _jobs.is_job_id(name)
    assert (tmp_path / "1.1").exists()


# The state that a job file tells


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (RUNNING, _jobs.RUNNING),
        ({"started": 1, "finished": 0, "ansible_job_id": JID}, _jobs.RUNNING),
        ({"changed": True, "rc": 0}, _jobs.SUCCEEDED),
        ({}, _jobs.SUCCEEDED),
        ({"failed": True, "msg": "no"}, _jobs.FAILED),
        ({"failed": 1}, _jobs.FAILED),
        ({"changed": True, "rc": 2}, _jobs.FAILED),
        ({"failed": False, "rc": 2}, _jobs.SUCCEEDED),
        ({"rc": "0"}, _jobs.SUCCEEDED),
        ({"msg": "Timeout exceeded", "failed": True, "child_pid": 99}, _jobs.TIMED_OUT),
        # A module that says so itself is no limit of ours.
        ({"msg": "Timeout exceeded", "failed": True}, _jobs.FAILED),
        ({"msg": "Timeout exceeded", "failed": True, "child_pid": 99, "elapsed": 3}, _jobs.FAILED),
    ],
)
def test_the_state_is_what_core_would_make_of_the_job_file(folder: Path, content: object, state: str) -> None:
    assert look(folder, content).state == state


@pytest.mark.parametrize(
    "content",
    [
        {"started": True, "finished": False, "changed": False},
        {"started": True, "finished": False, "state": "running", "ansible_job_id": JID},
        {"started": "2026-01-01", "state": "started", "changed": True},
        {"started": True, "finished": False, "ansible_job_id": "j9.9"},
        {"started": True, "finished": True, "ansible_job_id": JID},
        {"state": "queued"},
        {"finished": False},
        # No core ever wrote this before the module ran: it always names the job and says that it has not finished.
        {"started": True},
        {"started": True, "finished": False},
    ],
)
def test_a_module_that_returns_started_finished_or_state_has_ended(folder: Path, content: dict[str, t.Any]) -> None:
    found = look(folder, content)
    assert found.state == _jobs.SUCCEEDED
    assert json.loads(found.text or "") == content


def test_a_result_is_read_whole_with_the_time_of_its_writing(folder: Path) -> None:
    content = {"stdout": "ä\n" * 100_000, "nested": [{"a": None}]}
    path = put(folder, content)
    found = JobDirectory(str(folder)).read(JID)
    assert json.loads(found.text or "") == content
    assert found.modified == path.stat().st_mtime
    assert found.owner == os.geteuid()


def test_bytes_that_are_no_utf8_do_not_hide_a_result(folder: Path) -> None:
    found = look(folder, b'{"stdout": "a\xff\xfeb", "changed": true}')
    assert found.state == _jobs.SUCCEEDED
    assert json.loads(found.text or "")["stdout"] == "a��b"


@pytest.mark.parametrize(
    "content", ["", "{", '{"a": 1', "junk", "[1]", "null", '"j1.2"', "1.5", b"\0" * 100, b"\xff\xfe"]
)
def test_a_file_without_a_result_is_unreadable_and_says_why(folder: Path, content: str | bytes) -> None:
    found = look(folder, content)
    assert (found.state, found.text) == (_jobs.UNREADABLE, None)
    assert str(folder / JID) in found.reason


@pytest.mark.parametrize("content", ["", '{"changed": tr', "[]"])
@pytest.mark.parametrize("age", [0, 4])
def test_a_file_that_was_just_changed_may_still_be_written(folder: Path, content: str, age: float) -> None:
    found = look(folder, content, age=age)
    assert (found.state, found.settling, found.text) == (_jobs.RUNNING, True, None)


def test_a_result_counts_at_once_however_new_it_is(folder: Path) -> None:
    found = look(folder, {"changed": True}, age=0)
    assert (found.state, found.settling) == (_jobs.SUCCEEDED, False)


def test_a_file_from_the_future_is_not_waited_for(folder: Path) -> None:
    """The clock of the host was set back: such a file would else be 'still being written' for hours."""
    assert look(folder, "{", age=-3600).state == _jobs.UNREADABLE


@pytest.mark.parametrize("depth", [500, 100_000])
def test_brackets_without_end_cannot_crash_the_look(folder: Path, depth: int) -> None:
    assert look(folder, "[" * depth).state == _jobs.UNREADABLE
    assert look(folder, '{"a":' * depth + "1" + "}" * depth).state in (_jobs.UNREADABLE, _jobs.SUCCEEDED)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["started", "finished", "failed", "rc", "msg", "ansible_job_id", "x"]), inner)
    ),
    max_leaves=8,
)


@fuzzed
@given(content=st.binary(max_size=60) | json_values.map(json.dumps) | st.text(alphabet='{}[]":,eE-+.0123456789tfn \\u'))
def test_whatever_a_job_file_holds_it_is_read_without_an_error(tmp_path: Path, content: bytes | str) -> None:
    found = look(tmp_path, content)
    assert found.state in (_jobs.RUNNING, _jobs.SUCCEEDED, _jobs.FAILED, _jobs.TIMED_OUT, _jobs.UNREADABLE)
    has_result = found.state in (_jobs.SUCCEEDED, _jobs.FAILED, _jobs.TIMED_OUT)
    assert has_result == (found.text is not None)
    if found.text is not None:
        assert isinstance(json.loads(found.text), dict)


# What is no job file of ours


def test_no_job_file_is_missing_and_says_where_it_was_looked_for(folder: Path) -> None:
    found = JobDirectory(str(folder)).read(JID)
    assert found == _jobs.JobFile(_jobs.MISSING, f"there is no job file {folder / JID}")


def test_without_a_job_directory_every_job_is_missing(tmp_path: Path) -> None:
    directory = JobDirectory(str(tmp_path / "none"))
    assert directory.read(JID).state == _jobs.MISSING
    assert str(tmp_path / "none") in directory.read(JID).reason
    assert directory.running() == []
    assert directory.signature(JID) is None
    assert directory.delete(JID) is False


@pytest.mark.parametrize("dangling", [False, True])
def test_a_symbolic_link_to_a_secret_is_not_followed(folder: Path, dangling: bool) -> None:
    secret = folder.parent / "secret"
    if not dangling:
        secret.write_text('{"password": "hunter2"}', encoding="utf-8")
    (folder / JID).symlink_to(secret)
    directory = JobDirectory(str(folder))
    found = directory.read(JID)
    assert (found.state, found.text) == (_jobs.UNREADABLE, None)
    assert "a symbolic link" in found.reason
    assert directory.delete(JID) is False
    assert (folder / JID).is_symlink()


def test_a_directory_in_place_of_a_job_file_is_unreadable_and_stays(folder: Path) -> None:
    (folder / JID).mkdir()
    directory = JobDirectory(str(folder))
    assert directory.read(JID).state == _jobs.UNREADABLE
    assert "not a regular file" in directory.read(JID).reason
    assert directory.delete(JID) is False
    assert (folder / JID).is_dir()


def test_a_pipe_in_place_of_a_job_file_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / JID)
    directory = JobDirectory(str(folder))
    assert directory.read(JID).state == _jobs.UNREADABLE
    assert directory.delete(JID) is False


def test_a_socket_in_place_of_a_job_file_is_unreadable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(JID)
        assert JobDirectory(str(folder)).read(JID).state == _jobs.UNREADABLE


def test_a_file_above_the_limit_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jobs, "MAX_JOB_FILE_BYTES", 100)
    assert look(folder, {"stdout": "x" * 80}).state == _jobs.SUCCEEDED
    found = look(folder, {"stdout": "x" * 200})
    assert (found.state, found.text) == (_jobs.UNREADABLE, None)
    assert "more than the limit of 100" in found.reason


def test_a_hundred_megabytes_of_junk_are_refused_by_their_size(folder: Path) -> None:
    path = put(folder, b"")
    os.truncate(path, 100_000_000)
    assert "100000000 bytes" in JobDirectory(str(folder)).read(JID).reason


def test_a_file_of_a_stranger_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = JobDirectory(str(folder))
    put(folder, {"changed": True})
    directory.owner = os.geteuid() + 1
    assert directory.read(JID).state == _jobs.SUCCEEDED  # ours, in a directory of somebody else
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    found = directory.read(JID)
    assert (found.state, found.text) == (_jobs.UNREADABLE, None)
    assert "forged" in found.reason
    assert directory.delete(JID) is False
    assert (folder / JID).exists()


def test_swapping_the_directory_after_it_was_opened_changes_nothing(folder: Path) -> None:
    put(folder, {"msg": "real"})
    directory = JobDirectory(str(folder))
    folder.rename(folder.parent / "moved")
    folder.mkdir()
    put(folder, {"msg": "forged"})
    assert "real" in (directory.read(JID).text or "")
    assert directory.delete(JID) is True
    assert (folder / JID).exists()


# Listing, noticing and deleting


def test_running_lists_only_jobs_that_say_so_the_oldest_first(folder: Path) -> None:
    for number, age in ((1, 10), (2, 30), (3, 20)):
        put(folder, {**RUNNING, "ansible_job_id": f"j{number}.1"}, f"j{number}.1", age)
    put(folder, {"changed": True}, "j4.1")
    put(folder, RUNNING, "notes.txt")
    put(folder, RUNNING, "j5.1.tmp")
    put(folder, {**RUNNING, "ansible_job_id": "j6.1", "x": "x" * 1000}, "j6.1")
    (folder / "j7.1").mkdir()
    (folder / "j8.1").symlink_to(folder / "j1.1")
    assert JobDirectory(str(folder)).running() == ["j2.1", "j3.1", "j1.1"]


def test_the_signature_changes_with_the_file_and_only_then(folder: Path) -> None:
    directory = JobDirectory(str(folder))
    assert directory.signature(JID) is None
    path = put(folder, RUNNING)
    first = directory.signature(JID)
    assert first is not None
    assert directory.signature(JID) == first
    other = folder / "new"
    other.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert directory.signature(JID) != first


def test_deleting_takes_one_job_file_and_nothing_else(folder: Path) -> None:
    put(folder, RUNNING)
    put(folder, RUNNING, "j9.9")
    directory = JobDirectory(str(folder))
    assert directory.delete(JID) is True
    assert directory.delete(JID) is False
    assert [path.name for path in folder.iterdir()] == ["j9.9"]


# The directory as a whole


def test_a_tilde_is_expanded_as_async_wrapper_does_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    put(folder, {"changed": True})
    directory = JobDirectory("~/jobs")
    assert directory.path == str(folder)
    assert directory.file(JID) == str(folder / JID)
    assert directory.read(JID).state == _jobs.SUCCEEDED


def test_a_directory_that_anyone_could_replace_is_refused(folder: Path) -> None:
    folder.parent.chmod(0o777)
    with pytest.raises(JobDirectoryError, match=r"sticky bit.*set async_dir"):
        JobDirectory(str(folder))
    folder.parent.chmod(0o1777)
    assert JobDirectory(str(folder)).path == str(folder)


def test_the_true_parent_counts_when_the_directory_is_a_link(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "home" / "link"
    link.parent.mkdir(mode=0o700)
    link.symlink_to(folder)
    folder.parent.chmod(0o777)
    with pytest.raises(JobDirectoryError, match="sticky bit"):
        JobDirectory(str(link))


@pytest.mark.parametrize("kind", ["file", "too long"])
def test_what_cannot_be_opened_as_a_directory_is_one_clear_error(folder: Path, kind: str) -> None:
    put(folder, RUNNING)
    path = {"file": str(folder / JID), "too long": f"{folder}/{'x' * 300}"}[kind]
    with pytest.raises(JobDirectoryError, match="cannot open the job directory"):
        JobDirectory(path)


def test_a_directory_that_we_may_not_open_says_who_should_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*dummy_arguments: t.Any, **dummy_options: t.Any) -> t.NoReturn:
        raise PermissionError(13, "Permission denied")  # root, who may run the tests, is never refused

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(JobDirectoryError, match=r"Permission denied.*become_user"):
        JobDirectory(str(folder))


def test_a_private_directory_needs_no_warning(folder: Path) -> None:
    assert JobDirectory(str(folder)).warnings == []


def test_a_directory_that_all_may_write_to_is_warned_of(folder: Path) -> None:
    folder.chmod(0o777)
    (warning,) = JobDirectory(str(folder)).warnings
    assert "forged" in warning
    assert str(folder) in warning


def test_a_directory_of_another_user_is_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if folder.stat().st_uid == 0:
        os.chown(folder, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
    (warning,) = JobDirectory(str(folder)).warnings
    assert "become_user" in warning


@pytest.mark.parametrize("reachable", [True, False])
def test_readable_results_are_warned_of_only_where_others_can_walk_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reachable: bool
) -> None:
    folder.chmod(0o755)
    real = os.stat
    parent = str(folder.parent)

    def reachable_to_here(path: t.Any, **more: t.Any) -> os.stat_result:
        found = real(path, **more)
        bits = found.st_mode | stat.S_IXOTH if reachable else found.st_mode & ~stat.S_IXOTH
        return os.stat_result((bits, *found[1:])) if parent.startswith(str(path)) else found

    monkeypatch.setattr(os, "stat", reachable_to_here)
    warnings = JobDirectory(str(folder)).warnings
    assert len(warnings) == (1 if reachable else 0)
    assert all("may read the results" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("free", "full"),
    [((0, 100, 9), True), ((9, 100, 0), True), ((9, 100, 9), False), ((9, 0, 0), False)],
)
def test_a_full_filesystem_has_no_space_or_no_inodes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, free: tuple[int, int, int], full: bool
) -> None:
    found = types.SimpleNamespace(f_bavail=free[0], f_files=free[1], f_favail=free[2])
    monkeypatch.setattr(os, "fstatvfs", lambda dummy: found)
    assert JobDirectory(str(folder)).is_full() is full


def test_a_directory_that_is_not_there_is_not_full(tmp_path: Path) -> None:
    assert not JobDirectory(str(tmp_path / "none")).is_full()


# Jobs of a batch: what their job files say before there is a result


BOOT = "0d4a9c3e-8f6b-4c55-9f0e-3a1b2c3d4e5f"
identities = st.none() | st.tuples(
    st.integers(1, 2**31 - 1),
    st.floats(0, 10**10, allow_nan=False).map(lambda seconds: round(seconds, 2)),
    st.sampled_from([BOOT, "", "x" * 50]) | st.text(alphabet=string.hexdigits + "-", max_size=36),
)


@fuzzed
@given(process=identities, other=identities, mixture=st.integers(0, 2**200))
def test_whoever_reads_a_marker_while_it_changes_sees_a_marker(process: t.Any, other: t.Any, mixture: int) -> None:
    """It is changed in place, so every byte that is read may be the old one or the new one."""
    old, new = _jobs.marker(JID, process), _jobs.marker(JID, other)
    assert len(old) == len(new)
    torn = bytes((new if mixture >> place & 1 else old)[place] for place in range(len(old)))
    assert _jobs.is_marker(json.loads(torn), JID)


@fuzzed
@given(process=identities)
def test_a_marker_says_which_process_runs_the_job(tmp_path: Path, process: t.Any) -> None:
    found = look(tmp_path, _jobs.marker(JID, process))
    if process is None:
        assert (found.state, found.text) == (_jobs.QUEUED, None)
    else:
        pid, started, boot = process
        assert found.state == _jobs.RUNNING
        assert found.process is not None
        assert found.process[:2] == [pid, pytest.approx(started, abs=0.01)]
        assert found.process[2].strip() == boot[:36]


def test_a_marker_is_short_enough_to_be_told_from_a_result_by_its_size() -> None:
    assert len(_jobs.marker("j" + "9" * 60 + ".99", (2**31 - 1, 1e9, BOOT))) <= 256


@pytest.mark.parametrize("process", [None, "", "abc", [], [1], ["x", "y", "z"], [1, "x", ""], {}, 5, [1e999, 1, ""]])
def test_a_marker_that_names_no_process_is_of_a_job_that_runs(folder: Path, process: object) -> None:
    found = look(folder, {**RUNNING, "process": process})
    assert (found.state, found.process, found.text) == (_jobs.RUNNING, None, None)


@pytest.mark.parametrize("more", [{"changed": True}, {"process": 5, "rc": 0}])
def test_a_result_with_the_keys_of_a_marker_and_more_is_a_result(folder: Path, more: dict[str, t.Any]) -> None:
    assert look(folder, {**RUNNING, **more}).state == _jobs.SUCCEEDED


def test_jobs_of_a_batch_are_listed_with_those_that_run(folder: Path) -> None:
    put(folder, _jobs.marker("j1.0"), "j1.0", 20)
    put(folder, _jobs.marker("j1.1", (7, 5.0, BOOT)), "j1.1", 10)
    put(folder, _jobs.verdict(_jobs.CANCELLED, "no"), "j1.2", 5)
    assert JobDirectory(str(folder)).running() == ["j1.0", "j1.1"]


def asked_of_core(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], jid: str = JID
) -> dict[str, t.Any]:
    """What async_status of the ansible-core that is installed says of a job."""
    arguments = {"ANSIBLE_MODULE_ARGS": {"jid": jid, "_async_dir": str(folder)}}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(arguments).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(sys, "argv", ["async_status"])
    with pytest.raises(SystemExit):
        async_status.main()
    return t.cast("dict[str, t.Any]", json.loads(capfd.readouterr().out))


@pytest.mark.parametrize("process", [None, (4711, 12.5, BOOT)])
def test_async_status_of_core_sees_that_a_job_waits_or_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], process: t.Any
) -> None:
    JobDirectory(str(folder)).create_marker(JID)
    JobDirectory(str(folder)).change_marker(JID, process)
    answer = asked_of_core(folder, monkeypatch, capfd)
    assert (bool(answer["started"]), bool(answer["finished"])) == (True, False)
    assert answer["ansible_job_id"] == JID


def test_async_status_of_core_sees_that_a_job_was_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put(folder, _jobs.verdict(_jobs.TIMED_OUT, "its timeout of 5 s passed"))
    answer = asked_of_core(folder, monkeypatch, capfd)
    assert (bool(answer["finished"]), answer["failed"]) == (True, True)
    assert answer["msg"] == "its timeout of 5 s passed"


@pytest.mark.parametrize("state", [_jobs.TIMED_OUT, _jobs.CANCELLED, _jobs.LOST])
def test_a_verdict_tells_the_state_and_the_reason(folder: Path, state: str) -> None:
    found = look(folder, _jobs.verdict(state, 'because "ä"'))
    assert found.state == state
    assert found.text is not None
    result = json.loads(found.text)
    assert _jobs.is_verdict(result)
    assert result["msg"] == 'because "ä"'
    assert result["failed"] is True


@pytest.mark.parametrize(
    "result",
    [
        {"failed": True, "msg": "x", "inflight_state": "lost", "rc": 1},
        {"failed": True, "msg": "x"},
        {"failed": True, "msg": "x", "inflight_state": "succeeded"},
        {"failed": True, "msg": "x", "inflight_state": "running"},
        {"failed": True, "msg": "x", "inflight_state": None},
        {"failed": True, "msg": "x", "inflight_state": ["lost"]},
    ],
)
def test_what_only_looks_like_a_verdict_is_the_failure_of_a_module(result: dict[str, t.Any]) -> None:
    assert not _jobs.is_verdict(result)
    assert _jobs.state_of_result(result) == _jobs.FAILED


@pytest.mark.parametrize("said", [None, {}, {"rc": 1, "inflight_state": "x"}])
def test_a_verdict_holds_what_the_module_said_if_it_said_anything(said: dict[str, t.Any] | None) -> None:
    result = json.loads(_jobs.verdict(_jobs.TIMED_OUT, "late", said))
    assert _jobs.state_of_result(result) == _jobs.TIMED_OUT
    assert result.get("result") == said


# Writing


def test_the_job_file_of_a_job_of_ours_is_for_nobody_else(folder: Path) -> None:
    directory = JobDirectory(str(folder))
    before = os.umask(0)
    try:
        directory.create_marker(JID)
        assert stat.S_IMODE((folder / JID).stat().st_mode) == 0o600
        directory.write_result(JID, str(folder / "new"), b"{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / JID).stat().st_mode) == 0o600


def test_a_job_file_that_is_there_already_is_not_made_again(folder: Path) -> None:
    put(folder, {"changed": True})
    with pytest.raises(FileExistsError):
        JobDirectory(str(folder)).create_marker(JID)
    assert look(folder, {"changed": True}).state == _jobs.SUCCEEDED


def test_a_marker_is_changed_in_place(folder: Path) -> None:
    directory = JobDirectory(str(folder))
    directory.create_marker(JID)
    before = (folder / JID).stat()
    directory.change_marker(JID, (4711, 12.5, BOOT))
    assert ((folder / JID).stat().st_ino, (folder / JID).stat().st_size) == (before.st_ino, before.st_size)
    assert directory.read(JID).process == [4711, 12.5, BOOT]
    directory.change_marker(JID, None)
    assert (folder / JID).read_bytes() == _jobs.marker(JID)


@pytest.mark.parametrize("reason", ["", "x" * 20, "its result could not be written: No space left on device"])
def test_a_short_result_takes_the_place_of_a_marker_and_no_more_space(folder: Path, reason: str) -> None:
    directory = JobDirectory(str(folder))
    directory.create_marker(JID)
    before = (folder / JID).stat()
    directory.end_marker(JID, _jobs.verdict(_jobs.LOST, reason))
    assert directory.read(JID).state == _jobs.LOST
    assert ((folder / JID).stat().st_ino, (folder / JID).stat().st_size) == (before.st_ino, before.st_size)


def test_a_long_result_needs_space_of_its_own(folder: Path) -> None:
    directory = JobDirectory(str(folder))
    directory.create_marker(JID)
    with pytest.raises(OSError, match="No space left"):
        directory.end_marker(JID, _jobs.verdict(_jobs.LOST, "x" * 200))
    assert directory.read(JID).state == _jobs.QUEUED


def test_a_marker_is_not_written_through_a_link_or_where_there_is_none(folder: Path) -> None:
    directory = JobDirectory(str(folder))
    with pytest.raises(FileNotFoundError):
        directory.change_marker(JID, None)
    secret = folder.parent / "secret"
    secret.write_text("secret", encoding="utf-8")
    (folder / JID).symlink_to(secret)
    for write in (directory.create_marker, lambda jid: directory.change_marker(jid, None)):
        with pytest.raises(OSError, match=JID):
            write(JID)
    assert secret.read_text(encoding="utf-8") == "secret"


def test_whoever_reads_a_job_file_sees_the_marker_or_the_whole_result(folder: Path) -> None:
    directory = JobDirectory(str(folder))
    directory.create_marker(JID)
    result = {"stdout": "x" * 1_000_000}
    seen: list[tuple[str, int]] = []
    begun, over = threading.Event(), threading.Event()

    def reader() -> None:
        while not over.is_set():
            found = directory.read(JID)
            seen.append((found.state, len(found.text or "")))
            begun.set()

    thread = threading.Thread(target=reader)
    thread.start()
    begun.wait()
    directory.write_result(JID, str(folder / "new"), json.dumps(result).encode())
    over.set()
    thread.join()
    assert set(seen) <= {(_jobs.QUEUED, 0), (_jobs.SUCCEEDED, len(json.dumps(result)))}
    assert directory.read(JID).state == _jobs.SUCCEEDED
    assert [path.name for path in folder.iterdir()] == [JID]


def test_a_result_is_not_written_through_a_link(folder: Path) -> None:
    directory = JobDirectory(str(folder))
    directory.create_marker(JID)
    secret = folder.parent / "secret"
    secret.write_text("secret", encoding="utf-8")
    (folder / "new").symlink_to(secret)
    with pytest.raises(OSError, match="new"):
        directory.write_result(JID, str(folder / "new"), b"{}")
    assert secret.read_text(encoding="utf-8") == "secret"
    assert directory.read(JID).state == _jobs.QUEUED


@pytest.mark.parametrize("name", ["../x", "x", "", "j1", "a/j1.1"])
def test_nothing_is_moved_to_where_no_job_file_can_be(folder: Path, name: str) -> None:
    (folder / "new").write_bytes(b"{}")
    with pytest.raises(ValueError, match="is no job id"):
        JobDirectory(str(folder)).move_in(name, str(folder / "new"))
    assert (folder / "new").exists()


def test_a_job_directory_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "home" / "jobs"
    directory = JobDirectory.create(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    directory.create_marker(JID)
    assert JobDirectory.create(str(path)).read(JID).state == _jobs.QUEUED


def test_a_job_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobDirectoryError, match=r"cannot make the job directory .*/file/jobs: .*set async_dir"):
        JobDirectory.create(str(tmp_path / "file" / "jobs"))


def test_what_a_fork_has_to_keep_open_is_the_directory(folder: Path, tmp_path: Path) -> None:
    (descriptor,) = JobDirectory(str(folder)).descriptors() or [-1]
    assert descriptor >= 0
    assert JobDirectory(str(tmp_path / "none")).descriptors() == []


def test_a_job_that_async_wrapper_started_is_overruled(folder: Path) -> None:
    path = put(folder, RUNNING)
    path.chmod(0o644)
    directory = JobDirectory(str(folder))
    directory.overrule(JID, _jobs.verdict(_jobs.CANCELLED, "enough"))
    assert directory.read(JID).state == _jobs.CANCELLED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in folder.iterdir()] == [JID]


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_what_async_wrapper_was_writing_when_it_was_killed_is_replaced(folder: Path, tmp_path: Path, kind: str) -> None:
    put(folder, RUNNING)
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    temporary = folder / (JID + _jobs.TEMPORARY)
    if kind == "file":
        temporary.write_text('{"half', encoding="utf-8")
    elif kind == "link":
        temporary.symlink_to(secret)
    else:
        os.mkfifo(temporary)
    JobDirectory(str(folder)).overrule(JID, b"{}")
    assert (folder / JID).read_bytes() == b"{}"
    assert (folder / JID).is_file()
    assert [found.name for found in folder.iterdir()] == [JID]
    assert secret.read_text(encoding="utf-8") == "secret"


def test_a_job_file_that_is_a_link_is_replaced_and_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    (folder / JID).symlink_to(secret)
    JobDirectory(str(folder)).overrule(JID, b"{}")
    assert not (folder / JID).is_symlink()
    assert secret.read_text(encoding="utf-8") == "secret"


def test_a_folder_in_the_way_keeps_a_job_from_being_overruled(folder: Path) -> None:
    path = put(folder, RUNNING)
    (folder / (JID + _jobs.TEMPORARY)).mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        JobDirectory(str(folder)).overrule(JID, b"{}")
    assert json.loads(path.read_bytes()) == RUNNING


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_only_a_job_is_overruled(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no job id"):
        JobDirectory(str(folder)).overrule(name, b"{}")
    assert list(folder.iterdir()) == []
