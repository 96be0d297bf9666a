# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import threading
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _batch_folder
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError, BatchFolder, BatchId
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory

from ..conftest import FOREVER, NUMBER, exit_code, fork, living, made_folder, supervised

BAD_IDS = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    ".hidden",
    "-x",
    "+x",
    "a b",
    "a\n",
    "\na",
    "a\0",
    "ä",
    "a*",
    "$(x)",
    "a" * 101,
]
BAD_NUMBERS = ["", "j", "1", "j1.0", "j1/..", "../j1", "j-1", "J1", "j1\n", "j" + "1" * 21, "ids", "j١"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def hostile(path: Path, kind: str) -> None:
    """Put something where a folder of ours should be that nobody but an attacker would put there."""
    if kind == "link":
        path.symlink_to(path.parent.parent)
    elif kind == "file":
        path.touch()
    else:
        path.mkdir()
        path.chmod({"writable by all": 0o777, "writable by the group": 0o770}.get(kind, 0o700))
        if kind == "of another user":
            os.chown(path, 4242, -1)


HOSTILE = [
    "link",
    "file",
    "writable by all",
    "writable by the group",
    pytest.param("of another user", marks=needs_root),
]


# Names


@pytest.mark.parametrize("name", ["a", "nightly-2026-11-21", "_x", "0", "A.b:c@d+e-f", "j1", "a" * 100])
def test_a_name_of_letters_digits_and_some_characters_is_the_id_of_a_batch(name: str) -> None:
    assert _batch_folder.is_batch_id(name)


@pytest.mark.parametrize("name", [*BAD_IDS, None, 5, 1.5, True, b"a", ["a"], {}])
def test_nothing_else_is_the_id_of_a_batch(directory: JobDirectory, name: t.Any) -> None:
    assert not _batch_folder.is_batch_id(name)
    with pytest.raises(BatchError, match="is no id of a batch"):
        BatchId(directory.path, name, keep=True)
    with pytest.raises(BatchError, match="is no id of a batch"):
        _batch_folder.find(directory.path, name)
    assert os.listdir(directory.path) == []


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="aZ0_.:@+-/\\\n\0 ~*", max_size=6) | st.text(max_size=6))
def test_the_id_of_a_batch_is_always_the_plain_name_of_a_file(name: str) -> None:
    if _batch_folder.is_batch_id(name):
        assert os.path.basename(name) == name
        assert name not in ("", ".", "..")
        assert name.isascii()


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_a_number_that_is_none_names_no_folder(directory: JobDirectory, number: str) -> None:
    with pytest.raises(ValueError, match="is no number of a batch"):
        BatchFolder(directory.path, number)


@pytest.mark.parametrize(("jid", "number"), [("j12.3", "j12"), ("12.3", "12"), ("j12", "j12"), ("", "")])
def test_a_job_belongs_to_the_batch_whose_number_stands_in_front_of_the_dot(jid: str, number: str) -> None:
    assert _batch_folder.number_of(jid) == number


# The folder


def test_a_folder_of_a_batch_is_for_nobody_else(batch_folder: BatchFolder) -> None:
    assert batch_folder.exists()
    for path in (batch_folder.path, os.path.dirname(batch_folder.path)):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    batch_folder.log("j4711.0", state="failed")
    os.close(batch_folder.supervise())
    for name in ("batch.json", "log", "lock"):
        assert stat.S_IMODE(os.stat(batch_folder.file(name)).st_mode) == 0o600


def test_what_a_batch_was_asked_for_can_be_read_later(directory: JobDirectory) -> None:
    manifest = {"id": "x", "grace": 5.5, "jobs": [{"jid": "j1.0", "key": "k", "name": "ä\udcff", "item": {"a": [1]}}]}
    BatchFolder(directory.path, "j1").make(manifest)
    assert BatchFolder(directory.path, "j1").manifest() == manifest


def test_a_folder_that_is_there_already_is_not_made_again(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    with pytest.raises(BatchError, match=r"cannot make the folder of the batch .*/j4711: File exists"):
        made_folder(directory)
    assert batch_folder.manifest()["jobs"][0]["item"] == 0


def test_a_folder_that_cannot_be_made_is_one_clear_error(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(BatchError, match="No space left on device"):
        made_folder(directory)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"jobs": {}}', '{"jobs": null}', "\xff"])
def test_a_damaged_manifest_is_one_clear_error(batch_folder: BatchFolder, content: str) -> None:
    Path(batch_folder.file("batch.json")).write_bytes(content.encode("latin-1"))
    with pytest.raises(BatchError, match=r"/j4711/batch\.json is damaged: give the batch another id"):
        batch_folder.manifest()


def test_a_manifest_beyond_all_measure_is_not_read(batch_folder: BatchFolder) -> None:
    os.truncate(batch_folder.file("batch.json"), 300 * 1024 * 1024)
    with pytest.raises(BatchError, match="damaged"):
        batch_folder.manifest()


@pytest.mark.parametrize("kind", ["none", "link"])
def test_a_manifest_that_cannot_be_read_says_why(batch_folder: BatchFolder, tmp_path: Path, kind: str) -> None:
    path = Path(batch_folder.file("batch.json"))
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BatchError, match=r"cannot read .*/batch\.json: "):
        batch_folder.manifest()


def test_a_job_finds_the_folder_of_its_batch(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    found = BatchFolder.of_job(directory.path, "j4711.2")
    assert found is not None
    assert found.path == batch_folder.path


@pytest.mark.parametrize("jid", ["j1.0", "4711.0", "ids.0", "../j4711.0", "", "j4711/.."])
def test_a_job_of_no_batch_finds_no_folder(directory: JobDirectory, batch_folder: BatchFolder, jid: str) -> None:
    assert BatchFolder.of_job(directory.path, jid) is None


def test_where_there_is_no_folder_there_is_no_batch(directory: JobDirectory) -> None:
    folder = BatchFolder(directory.path, "j1")
    assert not folder.exists()
    assert folder.supervisor() is None
    assert folder.logged("j1.0") == {}
    folder.delete()


def test_a_batch_that_has_ended_is_deleted_and_no_other(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    other = made_folder(directory, "j5")
    batch_folder.log("j4711.0", state="failed")
    batch_folder.delete()
    assert not batch_folder.exists()
    assert other.manifest()


# What others have put there


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_folder_that_somebody_else_could_have_put_there_is_none_of_ours(directory: JobDirectory, kind: str) -> None:
    made_folder(directory, "j5")
    folder = BatchFolder(directory.path, "j1")
    hostile(Path(folder.path), kind)
    assert not folder.exists()
    assert BatchFolder.of_job(directory.path, "j1.0") is None
    folder.delete()
    assert os.path.lexists(folder.path)


@pytest.mark.parametrize("kind", HOSTILE)
def test_below_a_folder_that_somebody_else_could_write_to_nothing_is_made_or_believed(
    directory: JobDirectory, kind: str
) -> None:
    above = Path(directory.path, _batch_folder.FOLDER)
    hostile(above, kind)
    with pytest.raises(BatchError, match=r"\.inflight belongs to somebody else, or others may write to it: remove it"):
        made_folder(directory)
    with pytest.raises(BatchError, match="remove it"):
        BatchId(directory.path, "nightly", keep=True)
    if above.is_dir() and not above.is_symlink():
        (above / NUMBER).mkdir(mode=0o700)
    assert not BatchFolder(directory.path, NUMBER).exists()


@needs_root
def test_root_believes_what_the_owner_of_the_job_directory_has_put_there(directory: JobDirectory) -> None:
    folder = made_folder(directory)
    for path in (directory.path, os.path.dirname(folder.path), folder.path):
        os.chown(path, 4242, -1)
    assert folder.exists()
    os.chown(folder.path, 4243, -1)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["log", "lock", "batch.json"])
def test_links_in_the_folder_are_not_followed(batch_folder: BatchFolder, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"jid": "j4711.0", "state": "secret", "jobs": []}\n', encoding="utf-8")
    before = secret.read_bytes()
    Path(batch_folder.file(name)).unlink(missing_ok=True)
    Path(batch_folder.file(name)).symlink_to(secret)
    uses: list[t.Callable[[], object]] = [
        lambda: os.close(batch_folder.supervise()),
        lambda: batch_folder.log("j4711.0", state="failed"),
        lambda: batch_folder.make({}),
        batch_folder.manifest,
    ]
    for use in uses:
        with contextlib.suppress(OSError, BatchError):
            use()
    assert batch_folder.logged("j4711.0").get("state") != "secret"
    assert batch_folder.supervisor() is None
    assert secret.read_bytes() == before


# Its supervisor


def test_the_supervisor_is_known_as_long_as_it_lives(batch_folder: BatchFolder) -> None:
    assert batch_folder.supervisor() is None
    with supervised(batch_folder) as pid:
        assert batch_folder.supervisor() == pid
        assert batch_folder.supervisor() == pid  # asking takes nothing away
    assert batch_folder.supervisor() is None


def test_a_supervisor_that_was_killed_has_gone(batch_folder: BatchFolder) -> None:
    with supervised(batch_folder) as pid:
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL
        assert batch_folder.supervisor() is None
    assert Path(batch_folder.file("lock")).read_text(encoding="ascii") == str(pid)


def test_a_copy_of_the_lock_keeps_the_batch_supervised(batch_folder: BatchFolder) -> None:
    """That is why a zygote closes it: else a job that runs for ever would look like a supervisor."""
    lock = batch_folder.supervise()
    with living():
        os.close(lock)
        assert batch_folder.supervisor() == os.getpid()
    assert batch_folder.supervisor() is None


def test_the_supervisor_waits_for_whoever_looks_at_the_lock(batch_folder: BatchFolder) -> None:
    os.close(batch_folder.supervise())
    looking = os.open(batch_folder.file("lock"), os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    thread = threading.Thread(target=lambda: os.close(batch_folder.supervise()))
    thread.start()
    os.close(looking)
    thread.join(FOREVER)
    assert not thread.is_alive()


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"12 34", b"\xff"])
def test_a_lock_without_a_pid_is_a_supervisor_that_cannot_be_named(batch_folder: BatchFolder, content: bytes) -> None:
    with supervised(batch_folder):
        Path(batch_folder.file("lock")).write_bytes(content)
        assert batch_folder.supervisor() == 0


def test_where_locks_say_nothing_the_supervisor_counts_as_alive(
    batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without locks: its jobs stay open rather than being called lost."""
    os.close(batch_folder.supervise())

    def no_locks(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert batch_folder.supervisor() == 0
    before = os.listdir("/dev/fd")
    with pytest.raises(OSError, match="not supported"):
        batch_folder.supervise()
    assert len(os.listdir("/dev/fd")) == len(before)


# What its jobs log


def test_what_was_logged_of_a_job_can_be_read(batch_folder: BatchFolder) -> None:
    assert batch_folder.logged("j4711.0") == {}
    batch_folder.log("j4711.0", state="failed", attempts=1)
    batch_folder.log("j4711.1", state="succeeded", attempts=1)
    assert batch_folder.logged("j4711.0") == {"jid": "j4711.0", "state": "failed", "attempts": 1}
    assert batch_folder.logged("j4711.1")["state"] == "succeeded"
    assert batch_folder.logged("j4711.2") == {}


def test_the_last_line_of_a_job_counts_even_if_an_earlier_one_was_read_before(batch_folder: BatchFolder) -> None:
    batch_folder.log("j4711.0", attempts=1)
    assert batch_folder.logged("j4711.0")["attempts"] == 1
    batch_folder.log("j4711.0", attempts=2)
    batch_folder.log("j4711.1", attempts=1)
    assert batch_folder.logged("j4711.1")["attempts"] == 1
    assert batch_folder.logged("j4711.0")["attempts"] == 2


def test_a_last_line_that_is_still_being_written_is_read_when_it_is_whole(batch_folder: BatchFolder) -> None:
    batch_folder.log("j4711.0", attempts=1)
    line = b'{"jid": "j4711.0", "attempts": 2}\n'
    with open(batch_folder.file("log"), "ab", buffering=0) as log:
        log.write(line[:20])
        assert batch_folder.logged("j4711.0")["attempts"] == 1
        log.write(line[20:])
    assert batch_folder.logged("j4711.0")["attempts"] == 2


@settings(deadline=None, max_examples=40)
@given(
    junk=st.lists(
        st.binary(max_size=20).filter(lambda line: b"\n" not in line)
        | st.sampled_from([b"[]", b"null", b"{}", b'{"jid": []}', b'{"jid": {}}', b'"x"', b"5", b"{" * 20])
    )
)
def test_broken_lines_in_the_log_hide_no_others(tmp_path_factory: pytest.TempPathFactory, junk: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("jobs")
    folder = BatchFolder(str(path), NUMBER)
    folder.make({"jobs": []})
    for line in junk:
        with open(folder.file("log"), "ab") as log:
            log.write(line + b"\n")
        folder.log("j4711.0", attempts=len(junk))
    assert folder.logged("j4711.0").get("attempts", 0) == len(junk)


def test_lines_that_are_written_at_the_same_time_do_not_mix(batch_folder: BatchFolder) -> None:
    def write(jid: str) -> None:
        for number in range(100):
            batch_folder.log(jid, attempts=number, padding="x" * 500)

    pids = [fork(lambda index=index: write(f"j4711.{index}")) for index in range(3)]  # type: ignore[misc]
    assert [exit_code(pid) for pid in pids] == [0, 0, 0]
    lines = Path(batch_folder.file("log")).read_text(encoding="utf-8").splitlines()
    assert len([json.loads(line) for line in lines]) == 300
    assert batch_folder.logged("j4711.2")["attempts"] == 99


# Ids


def test_the_last_batch_of_an_id_is_found_by_it(directory: JobDirectory) -> None:
    for number in ("j12345", "j6"):
        with BatchId(directory.path, "nightly", keep=True) as batch_id:
            batch_id.set_latest(made_folder(directory, number))
    assert _batch_folder.find(directory.path, "nightly").number == "j6"
    with BatchId(directory.path, "nightly", keep=True) as batch_id:
        latest = batch_id.latest()
    assert latest is not None
    assert latest.number == "j6"


def test_an_id_without_a_batch_is_found_nowhere(directory: JobDirectory) -> None:
    with BatchId(directory.path, "nightly", keep=True) as batch_id:
        assert batch_id.latest() is None
    for name in ("nightly", "weekly"):
        with pytest.raises(BatchError, match=f"there is no batch '{name}' in the job directory {directory.path}"):
            _batch_folder.find(directory.path, name)
    assert not Path(directory.path, _batch_folder.FOLDER, "ids", "weekly").exists()


def test_looking_for_a_batch_makes_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="there is no batch"):
        _batch_folder.find(str(tmp_path / "none"), "nightly")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"j1", b"../../etc", b"j1/../..", b"\xff\xfe", b"j" + b"1" * 99, b"4711"])
def test_whatever_stands_in_the_file_of_an_id_no_other_folder_is_found(
    directory: JobDirectory, batch_folder: BatchFolder, content: bytes
) -> None:
    with BatchId(directory.path, "nightly", keep=True):
        pass
    Path(directory.path, _batch_folder.FOLDER, "ids", "nightly").write_bytes(content)
    with pytest.raises(BatchError, match="there is no batch"):
        _batch_folder.find(directory.path, "nightly")


def test_an_id_whose_folder_was_deleted_has_no_batch_any_more(
    directory: JobDirectory, batch_folder: BatchFolder
) -> None:
    with BatchId(directory.path, "nightly", keep=True) as batch_id:
        batch_id.set_latest(batch_folder)
        batch_folder.delete()
        assert batch_id.latest() is None


def test_an_id_that_is_a_link_is_not_followed(directory: JobDirectory, batch_folder: BatchFolder) -> None:
    with BatchId(directory.path, "first", keep=True):
        pass
    secret = Path(directory.path, "secret")
    secret.write_text("secret", encoding="utf-8")
    Path(directory.path, _batch_folder.FOLDER, "ids", "nightly").symlink_to(secret)
    with pytest.raises(BatchError, match=r"cannot use .*/ids/nightly: "):
        BatchId(directory.path, "nightly", keep=True)
    assert secret.read_text(encoding="utf-8") == "secret"


def test_a_number_serves_as_a_lock_and_leaves_nothing(directory: JobDirectory) -> None:
    with BatchId(directory.path, "j1", keep=False):
        assert os.listdir(Path(directory.path, _batch_folder.FOLDER, "ids")) == ["j1"]
    assert os.listdir(Path(directory.path, _batch_folder.FOLDER, "ids")) == []


@pytest.mark.parametrize("keep", [True, False])
def test_two_runs_of_an_id_come_one_after_the_other(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    asked = threading.Event()
    real = fcntl.flock
    told: list[str] = []

    def flock(fd: int, how: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            asked.set()
        real(fd, how)

    def second() -> None:
        with BatchId(directory.path, "nightly", keep=keep):
            told.append("second")
        told.append("over")

    monkeypatch.setattr(fcntl, "flock", flock)
    thread = threading.Thread(target=second)
    with BatchId(directory.path, "nightly", keep=keep):
        thread.start()
        assert asked.wait(FOREVER)
        told.append("first")
    thread.join(FOREVER)
    assert told == ["first", "second", "over"]


def test_an_id_is_free_again_when_its_run_was_killed(directory: JobDirectory) -> None:
    with living(lambda: BatchId(directory.path, "nightly", keep=True)) as pid:
        os.kill(pid, signal.SIGKILL)
        exit_code(pid)
    with BatchId(directory.path, "nightly", keep=True):
        pass


# Orders to its supervisor


def orders(folder: BatchFolder) -> list[str]:
    return [name for name in folder.files() if name.endswith(".order")]


def test_an_order_is_there_until_the_supervisor_takes_it(batch_folder: BatchFolder) -> None:
    name = batch_folder.leave_order({"jobs": ["j4711.0"], "reason": "\u00e4"})
    assert orders(batch_folder) == [name]
    assert stat.S_IMODE(os.stat(batch_folder.file(name)).st_mode) == 0o600
    assert batch_folder.take_orders() == [{"jobs": ["j4711.0"], "reason": "\u00e4"}]
    assert sorted(batch_folder.files()) == ["batch.json"]
    assert batch_folder.take_orders() == []


def test_orders_of_several_runs_do_not_get_in_the_way_of_each_other(batch_folder: BatchFolder) -> None:
    pids = [fork(lambda place=place: batch_folder.leave_order({"place": place})) for place in range(5)]  # type: ignore[misc]
    assert [exit_code(pid) for pid in pids] == [0] * 5
    taken = sorted(order["place"] for order in batch_folder.take_orders())
    assert taken == [0, 1, 2, 3, 4]


def test_an_order_that_is_still_being_written_is_not_taken(batch_folder: BatchFolder) -> None:
    Path(batch_folder.file("abc.new")).write_text('{"jobs": ["j47', encoding="utf-8")
    assert batch_folder.take_orders() == []
    assert "abc.new" in batch_folder.files()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_order_is_removed_and_the_others_are_taken(batch_folder: BatchFolder, content: bytes) -> None:
    Path(batch_folder.file("0.order")).write_bytes(content)
    batch_folder.leave_order({"a": 1})
    assert batch_folder.take_orders() == [{"a": 1}]
    assert orders(batch_folder) == []


def test_an_order_that_is_a_link_is_not_followed(batch_folder: BatchFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"secret": 1}', encoding="utf-8")
    Path(batch_folder.file("0.order")).symlink_to(secret)
    assert batch_folder.take_orders() == []
    assert orders(batch_folder) == []
    assert secret.read_text(encoding="utf-8") == '{"secret": 1}'


def test_an_order_that_does_not_fit_on_the_disk_is_none(
    batch_folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*dummy_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        with pytest.raises(OSError, match="No space left on device"):
            batch_folder.leave_order({"a": 1})
    assert batch_folder.take_orders() == []


@contextlib.contextmanager
def wakeable(*before: t.Callable[[], object]) -> t.Iterator[tuple[int, int]]:
    """A process that writes to a pipe when it is woken: its pid, and the pipe."""
    woken, wake = os.pipe()

    def body() -> None:
        signal.signal(signal.SIGUSR1, lambda *dummy: os.write(wake, b"!"))
        for step in before:
            step()

    with living(body) as pid:
        yield pid, woken
    os.close(wake)
    os.close(woken)


def test_the_supervisor_is_woken(batch_folder: BatchFolder) -> None:
    with wakeable(batch_folder.supervise) as (dummy, woken):
        batch_folder.wake_supervisor()
        assert os.read(woken, 1) == b"!"


def test_where_there_is_no_supervisor_nobody_is_woken(batch_folder: BatchFolder) -> None:
    with wakeable() as (stranger, woken):
        os.set_blocking(woken, False)
        batch_folder.wake_supervisor()
        os.close(batch_folder.supervise())
        Path(batch_folder.file("lock")).write_text(str(stranger), encoding="ascii")
        batch_folder.wake_supervisor()
        with pytest.raises(BlockingIOError):
            os.read(woken, 1)


@needs_root
def test_a_lock_of_somebody_else_wakes_none_of_our_processes(batch_folder: BatchFolder) -> None:
    with wakeable() as (stranger, woken), supervised(batch_folder):
        os.set_blocking(woken, False)
        Path(batch_folder.file("lock")).write_text(str(stranger), encoding="ascii")
        os.chown(batch_folder.file("lock"), 4242, -1)
        batch_folder.wake_supervisor()
        with pytest.raises(BlockingIOError):
            os.read(woken, 1)


def test_who_does_not_wait_is_supervisor_at_once_or_never(batch_folder: BatchFolder) -> None:
    before = os.listdir("/dev/fd")
    with supervised(batch_folder) as pid:
        with pytest.raises(BlockingIOError):
            batch_folder.supervise(wait=False)
        assert batch_folder.supervisor() == pid
        assert len(os.listdir("/dev/fd")) == len(before) + 2  # those by which living holds its process
    lock = batch_folder.supervise(wait=False)
    assert batch_folder.supervisor() == os.getpid()
    os.close(lock)
    assert batch_folder.supervisor() is None
