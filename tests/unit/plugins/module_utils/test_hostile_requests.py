# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whatever is asked for and whatever lies in the job directory: who lists, removes and cancels jobs touches nothing
# outside of it, signals nobody, and says in one sentence why it cannot be done.

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
import signal
import stat
import sys
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.module_utils import _ending, _jobs, _processes, _prune
from ansible_collections.inflight.jobs.plugins.module_utils._batch_folder import BatchError
from ansible_collections.inflight.jobs.plugins.module_utils._cancel import Cancel
from ansible_collections.inflight.jobs.plugins.module_utils._jobs import JobDirectory, JobDirectoryError
from ansible_collections.inflight.jobs.plugins.module_utils._prune import Prune
from ansible_collections.inflight.jobs.plugins.module_utils._survey import Survey, brief

from ..conftest import NUMBER

Request = dict[str, t.Any]

LONG_AGO = 1_700_000_000.0
CANARY = "canary-that-lives-outside"
# Python reads modules of its own when they are used for the first time.
LIBRARY = os.path.dirname(os.__file__) + os.sep
# Its job file says that this process runs it.
LIVING = "j8.8"
# No process has a number like this: Linux goes up to 2**22.
NOBODY = 2**30

settled = settings(max_examples=1200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Trespass(BaseException):
    """Something was touched that is none of our business. No handler of the code under test may swallow it."""


class Fence:
    """While it is up, only what lies in one folder may be opened or changed, nothing may block, and nobody signalled.

    It hears of everything that Python asks the system for. Such hooks stay as long as the process: see _hook.
    """

    # Of these, the first path is changed or deleted; of MOVES, the second one as well.
    MOVES = frozenset(("os.symlink", "os.link", "os.rename"))
    CHANGES = MOVES | {
        *("os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.utime", "os.truncate", "shutil.rmtree")
    }
    PROCESSES = frozenset(
        ("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
    )
    SIGNALS = frozenset(("os.kill", "os.killpg", "signal.pthread_kill"))

    def __init__(self) -> None:
        self._root = ""
        self._is_up = False
        self._open = os.open

    @contextlib.contextmanager
    def around(self, folder: Path) -> Iterator[None]:
        self._root = os.path.realpath(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", self._open_below)
            self._is_up = True
            try:
                yield
            finally:
                self._is_up = False

    def hear(self, event: str, arguments: tuple[t.Any, ...]) -> None:
        if not self._is_up:
            return
        if event == "open":
            path, dummy_mode, flags = arguments
            # Those with a descriptor come through _open_below.
            if isinstance(path, (str, bytes)) and os.path.isabs(path):
                self._check_open(os.fsdecode(path), flags)
        elif event in self.CHANGES:
            for path in arguments[: 2 if event in self.MOVES else 1]:
                if isinstance(path, (str, bytes)) and os.path.isabs(path):
                    self._check(os.fsdecode(path), follow=event in ("os.chmod", "os.utime", "os.truncate"))
        elif event in self.PROCESSES or (event in self.SIGNALS and arguments[1] != 0):
            self._complain(f"{event}{arguments}")

    def _open_below(self, path: t.Any, flags: int, *more: t.Any, dir_fd: int | None = None, **named: t.Any) -> int:
        if dir_fd is not None and not os.path.isabs(path):
            self._check_open(os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path), flags)
        return self._open(path, flags, *more, dir_fd=dir_fd, **named)

    def _check_open(self, path: str, flags: int) -> None:
        if path.startswith(("/proc/", LIBRARY)) or path == os.devnull:
            return
        follow = not flags & os.O_NOFOLLOW
        self._check(path, follow=follow)
        with contextlib.suppress(OSError):
            found = os.stat(path, follow_symlinks=follow)
            one_way = flags & os.O_ACCMODE != os.O_RDWR
            if stat.S_ISFIFO(found.st_mode) and one_way and not flags & os.O_NONBLOCK:
                self._complain(f"it would wait for ever for somebody at the other end of {path}")

    def _check(self, path: str, *, follow: bool) -> None:
        there = os.path.realpath(path if follow else os.path.dirname(path))
        if os.path.commonpath((self._root, there)) != self._root:
            self._complain(f"{path} is not in the job directory")

    def _complain(self, what: str) -> t.NoReturn:
        self._is_up = False  # what handles the exception may touch what it likes
        raise Trespass(what)


fence = Fence()


@functools.cache
def _hook() -> None:
    sys.addaudithook(fence.hear)


@pytest.fixture(scope="module", autouse=True)
def without_pauses() -> Iterator[None]:
    """Nothing ends that would be worth waiting for. Who cancels jobs cannot be woken any more; other tests can."""
    before = signal.getsignal(_processes.WAKE)
    _hook()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ending, "END_MARGIN", 0.0)
        patch.setattr(_ending, "LOOK_EVERY", 0.0)
        yield
    signal.signal(_processes.WAKE, before)


def no_command(command: list[str], **dummy_options: t.Any) -> t.NoReturn:
    raise FileNotFoundError(command[0])


# What lies in the job directory

# JSON as text: much of it cannot be written by json.dumps.
VALUES = (
    *("null", "true", "false", "0", "1", "-1", "2", "99", "1.5", "1e400", "-1e400", "NaN", "9" * 30, "9" * 5000),
    *('""', '"x"', '"a name"', '"0"', '"\\ud800"', '"\\u0000"', '"a\\nb\\u001b[31m"', '"j1.1"', '"../outside"'),
    *("[]", "[[]]", "[0]", '["x", null]', "{}", '{"x": 1}', '{"changed": true}', f'"{"x" * 2000}"'),
    *("[" * depth + "]" * depth for depth in (400, 850, 950, 100_000)),
    '{"a":' * 900 + "1" + "}" * 900,
)
STATES = tuple(f'"{state}"' for state in _jobs.STATES)
JIDS = ("j1.1", "j1.2", "4.5", f"{NUMBER}.0", f"{NUMBER}.1", f"{NUMBER}.2", f"{NUMBER}.99", "j99999999999.0")
NO_JIDS = ("", "../outside", "../outside/secret", "j1.1/../../outside/secret", "j1.1\n", "j1.1\0", "/etc/passwd", "j.1")
KEYS = (
    *("started", "finished", "ansible_job_id", "process", "failed", "changed", "msg", "rc", "stderr", "stdout"),
    *("data", "exception", "start", "end", "delta", "inflight_state", "result", "child_pid"),
)
# A marker with its numbers as no marker of ours has them.
LAST = f'"{NUMBER}.1"'
PIDS = (*VALUES, str(NOBODY), f'"{NOBODY}"', '"0000000000"', "1", "-1")


def to_object(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in fields.items()) + "}"


def damaged(fields: dict[str, str], *more: str) -> Iterator[str]:
    """A JSON object as it should be, and with each field, or one more, of each of the values, or left out."""
    yield to_object(fields)
    for key in (*fields, *more):
        yield to_object({other: value for other, value in fields.items() if other != key})
        for value in VALUES:
            yield to_object({**fields, key: value})


def markers() -> Iterator[str]:
    for jid in JIDS[:5]:
        fields = {"started": "1", "finished": "0", "ansible_job_id": f'"{jid}"'}
        yield from (_jobs.marker(jid).decode(), to_object(fields))
    boot = json.dumps(_processes.boot_id())
    for jid in ("j1.1", f"{NUMBER}.0"):
        fields = {"started": "1", "finished": "0", "ansible_job_id": f'"{jid}"', "process": f"[{NOBODY}, 5.0, {boot}]"}
        yield from damaged(fields, "failed")
        for process in ([pid, "5.0", boot] for pid in PIDS):
            yield to_object({**fields, "process": f"[{', '.join(process)}]"})
        for value in VALUES:
            yield to_object({**fields, "process": f"[{NOBODY}, {value}, {boot}]"})
            yield to_object({**fields, "process": f"[{NOBODY}, 5.0, {value}]"})


def results() -> Iterator[str]:
    yield from VALUES
    yield from damaged({"changed": "true", "rc": "0"}, *KEYS)
    yield from damaged({"failed": "1", "child_pid": "5", "msg": '"Timeout exceeded"'})
    for state in STATES:
        yield from damaged({"failed": "true", "msg": '"m"', "inflight_state": state, "result": "{}"})


def manifests() -> Iterator[str]:
    yield from VALUES
    job = {"jid": f'"{NUMBER}.0"', "key": '"k"', "name": "null", "item": "0"}
    for jobs in (*damaged(job), f"{to_object(job)}, {to_object(job)}", to_object({**job, "jid": '"j1.1"'})):
        yield to_object({"id": '"nightly"', "timeout": "5", "order": "[0]", "jobs": f"[{jobs}]"})
    fields = {"id": '"nightly"', "grace": "0", "timeout": "5", "order": "[1, 0]"}
    for fields_text in damaged(fields):
        yield fields_text[:-1] + f', "jobs": [{to_object(job)}, {to_object({**job, "jid": LAST})}]}}'
    for value in VALUES:
        yield to_object({**fields, "order": f"[{value}]", "jobs": f"[{to_object(job)}]"})


def logs() -> Iterator[str]:
    for line in (*VALUES, *damaged({"jid": f'"{NUMBER}.0"', "elapsed": "1.5"}, "started_at", "ended_at", "attempts")):
        yield from (line, f"{line}\n", f'{line}\n{{"jid": "{NUMBER}.0", "attempts": 2}}\n')


class Entry(t.NamedTuple):
    """What lies at one place. content: of a file; where to of a link. moment: of its last change."""

    kind: str
    content: bytes = b""
    moment: float = LONG_AGO

    def put(self, path: Path) -> None:
        """Put it there, in the place of what is there."""
        with contextlib.suppress(OSError):  # a name may be too long, or a folder not one
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            if self.kind in ("file", "unreadable"):
                path.write_bytes(self.content)
            elif self.kind == "link":
                path.symlink_to(os.fsdecode(self.content))
            elif self.kind == "fifo":
                os.mkfifo(path, 0o600)
            elif self.kind in ("folder", "closed folder", "open folder"):
                path.mkdir(mode=0o777)
                (path / "j1.1").write_bytes(b"{}")
            if self.kind != "link":
                os.utime(path, (self.moment, self.moment))
            if self.kind in ("unreadable", "closed folder"):
                path.chmod(0)
            if self.kind == "open folder":
                path.chmod(0o777)


# Relative to the job directory, to .inflight and to what is in there alike.
LINKS = (
    *("../outside", "../outside/secret", "../../outside", "../../outside/secret", "../../../outside/secret"),
    *("../../../outside", "nowhere", ".", "..", "j1.1", "/dev/zero", "/proc/self/environ"),
)
OTHERS = (
    *(Entry("link", os.fsencode(target)) for target in LINKS),
    *(Entry(kind) for kind in ("fifo", "folder", "closed folder", "open folder", "file")),
    *(Entry("unreadable", b"{}"), Entry("file", b"\xff\0")),
)
TRAPS = (Entry("link", b"../../../outside/secret"), Entry("fifo"), Entry("folder"))
FILES_OF_BATCH = (
    "batch.json",
    "lock",
    "log",
    "0.order",
    *(f"{NUMBER}.0.{end}" for end in ("out", "err", "stop", "new")),
)
MOMENTS = (LONG_AGO + 1, 0.0, -1e9, 4e9, 1.5e10, time.time())


class Damage(t.NamedTuple):
    """What lies at a place in the job directory."""

    place: str
    entry: Entry


def files(place: str, texts: t.Iterable[str]) -> list[Damage]:
    return [Damage(place, Entry("file", text.encode("utf-8", "replace"))) for text in texts]


def in_places(places: t.Iterable[str], found: t.Iterable[Entry] = OTHERS) -> list[Damage]:
    return [Damage(place, entry) for place in places for entry in found]


in_batch = f".inflight/{NUMBER}/"
open_now = [Damage(jid, Entry("file", _jobs.marker(jid), moment)) for jid in JIDS for moment in (LONG_AGO, *MOMENTS)]
texts_in_ids = (NUMBER, "j1", "j1/..", "j", "", "../outside", f"{NUMBER}\n", "j" + "1" * 100)
names = (
    st.from_regex(r"j?[0-9]{1,24}\.[0-9]{1,24}", fullmatch=True)
    | st.text(st.characters(blacklist_characters="/\0", codec="utf-8"), min_size=1, max_size=12)
).filter(lambda name: name not in (".", "..", ".inflight", LIVING))
damages = st.one_of(
    st.sampled_from([*files("j1.1", (*results(), *markers())), *files(f"{NUMBER}.0", markers())]),
    st.sampled_from(open_now),
    st.sampled_from([*in_places([*JIDS, "j1.1.tmp", f"{NUMBER}.0.tmp"]), *files("j1.1.tmp", VALUES)]),
    st.sampled_from(files(f"{in_batch}batch.json", manifests())),
    st.sampled_from([*files(f"{in_batch}log", logs()), *files(f"{in_batch}lock", VALUES)]),
    st.sampled_from(in_places(in_batch + name for name in (*FILES_OF_BATCH, f"{LIVING}.output"))),
    st.sampled_from(in_places((in_batch + name for name in FILES_OF_BATCH), TRAPS)),
    st.sampled_from([damage for name in FILES_OF_BATCH[3:] for damage in files(in_batch + name, VALUES)]),
    st.sampled_from([*in_places(f".inflight/ids/{name}" for name in ("nightly", "weekly"))]),
    st.sampled_from(files(".inflight/ids/nightly", texts_in_ids)),
    st.sampled_from(in_places([".inflight", *(f".inflight/{name}" for name in ("ids", NUMBER, "j1", "j2"))])),
    st.builds(
        Damage, names, st.builds(Entry, st.just("file"), st.binary(max_size=40), st.sampled_from([LONG_AGO, *MOMENTS]))
    ),
)


def build(path: Path, damage: list[Damage]) -> None:
    """Make a job directory: a sound one with a batch and a living job first, then the damage."""
    path.mkdir(0o700)
    directory = JobDirectory(str(path))
    for folder in (path / ".inflight", path / ".inflight" / "ids", path / ".inflight" / NUMBER):
        folder.mkdir(0o700)
    listed = [{"jid": jid, "key": "k", "name": None, "item": 0} for jid in (f"{NUMBER}.0", f"{NUMBER}.1")]
    manifest = {"id": "nightly", "grace": 0, "timeout": 5, "order": [1, 0], "jobs": listed}
    (path / ".inflight" / NUMBER / "batch.json").write_text(json.dumps(manifest), encoding="utf-8")
    (path / ".inflight" / "ids" / "nightly").write_text(NUMBER, encoding="utf-8")
    Entry("file", _jobs.marker(f"{NUMBER}.0")).put(path / f"{NUMBER}.0")
    directory.create_marker(LIVING)
    directory.change_marker(LIVING, _processes.identity(os.getpid()))
    for one in damage:
        # Not where a link of the damage before leads: that would be our own trespass.
        if os.path.realpath((path / one.place).parent).startswith(os.path.realpath(path)):
            one.entry.put(path / one.place)
    folder = path / ".inflight" / NUMBER
    if folder.is_dir() and not folder.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
        os.utime(folder, (LONG_AGO, LONG_AGO))


scenes = st.lists(damages, min_size=1, max_size=4)

# What is asked for

jids = (
    st.none()
    | st.none()
    | st.lists(st.sampled_from([*JIDS, LIVING, "9.9", *NO_JIDS]) | st.text(max_size=6), max_size=2)
)
filters = {
    "batch": st.sampled_from(
        [None, None, None, None, "nightly", "nightly", "weekly", NUMBER, "../outside", ".", "x\n"]
    ),
    "name": st.sampled_from([None] * 8 + ["*", "j*", "\ud800", "x" * 200, "[z-a]", "*a" * 50]) | st.text(max_size=8),
    "older_than": st.sampled_from([None, 0.0, 1.5, 1e15]),
    "newer_than": st.sampled_from([None, None, 0.0, 1e15]),
}
survey_requests = st.fixed_dictionaries(
    {
        **filters,
        "states": st.none() | st.lists(st.sampled_from(_jobs.STATES), max_size=3),
        "tail": st.sampled_from([0, 0, 3]),
    }
)
prune_requests = st.fixed_dictionaries(
    {
        **filters,
        "states": st.just(list(_prune.STATES)) | st.lists(st.sampled_from(_prune.STATES), max_size=3),
        "keep_last": st.sampled_from([0, 0, 1, 10**6]),
        "max_bytes": st.sampled_from([None, 0.0, 100.0, 1e15]),
    }
)
cancel_requests = st.fixed_dictionaries(
    {
        **filters,
        "states": st.none() | st.lists(st.sampled_from(("running", "queued")), max_size=2),
        "signal": st.sampled_from(_processes.SIGNALS),
        "grace": st.just(0.0),
        "why": st.sampled_from([None, "a wait is over", "\ud800", "x" * 5000]),
    }
)


class Ground:
    """Where the job directories are made, one after the other, with something beside them that nobody may touch."""

    def __init__(self, base: Path) -> None:
        self._path = base / "jobs"
        outside = base / "outside"
        (outside / "ids").mkdir(parents=True)
        secret = {"rc": 0, "msg": CANARY, "jobs": [{"jid": "j1.1", "key": CANARY, "name": CANARY, "item": CANARY}]}
        for file in (outside / "secret", base / "j1.1", outside / "j1.1", outside / "batch.json", outside / "lock"):
            file.write_text(json.dumps(secret), encoding="utf-8")
        (outside / "ids" / "nightly").write_text(NUMBER, encoding="utf-8")
        self._around = {other: seen(other) for other in (*outside.rglob("*"), base / "j1.1", outside)}

    def run(self, scene: list[Damage], jobs: list[str] | None, act: Callable[[str], t.Any]) -> Case:
        """Do something with a job directory that is made anew."""
        path = self._path
        self.clear()
        build(path, scene)
        before = picture(path)
        answer, sentence = None, "the job directory cannot be used"
        with fence.around(path):
            try:
                answer = act(str(path))
            except (JobDirectoryError, BatchError) as ex:
                sentence = str(ex)
            except ValueError as ex:
                # The controller lets nothing through that is no job id: this is the second bolt on that door.
                if all(map(_jobs.is_job_id, jobs or ())) or not str(ex).endswith("is no job id"):
                    raise
        assert sentence.isprintable()
        assert {other: seen(other) for other in self._around} == self._around
        assert CANARY not in json.dumps(answer)
        return Case(path, answer, before)

    def clear(self) -> None:
        """Remove the last job directory."""
        if self._path.exists():
            for place, folders, dummy_files in os.walk(self._path):
                for name in folders:
                    if not os.path.islink(os.path.join(place, name)):
                        os.chmod(os.path.join(place, name), 0o700)
            shutil.rmtree(self._path)


class Case(t.NamedTuple):
    """What became of a job directory. answer: None where there was a sentence instead. before: how it looked before."""

    path: Path
    answer: t.Any
    before: Picture


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("hostile"))


Seen = tuple[t.Any, ...]
Picture = dict[str, Seen]


def seen(path: Path) -> Seen:
    """What would change if somebody wrote to a file, or changed anything else of it."""
    found = path.lstat()
    content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    return found.st_ino, found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, found.st_ctime_ns, content


def picture(folder: Path) -> Picture:
    """Everything below a folder, by its path from there; links are not followed."""
    found = {}
    for place, dummy_folders, dummy_files in os.walk(folder):
        for entry in os.scandir(place):
            status = entry.stat(follow_symlinks=False)
            name = os.path.relpath(entry.path, folder)
            found[name] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def whole(request: Request, path: str, jobs: list[str] | None) -> Request:
    return {"directories": [{"path": path, "jobs": jobs}], **request}


def survey(request: Request) -> list[dict[str, t.Any]]:
    """As the module does it."""
    made = Survey(request, no_command)
    reports: list[dict[str, t.Any]] = json.loads(json.dumps([made.report(one) for one in made.find(brief)]))
    return reports


def check_reports(reports: list[dict[str, t.Any]], jobs: list[str] | None) -> None:
    assert all(_jobs.is_job_id(report["jid"]) for report in reports)
    assert all(report["state"] in _jobs.STATES for report in reports)
    assert jobs is None or {report["jid"] for report in reports} <= set(jobs)


@settled
@given(scenes, survey_requests, jids)
def test_a_list_of_jobs_reads_nothing_outside_of_the_job_directory_and_changes_nothing_in_it(
    ground: Ground, scene: list[Damage], request_: Request, jobs: list[str] | None
) -> None:
    path, reports, before = ground.run(scene, jobs, lambda path: survey(whole(request_, path, jobs)))
    check_reports(reports or [], jobs)
    assert picture(path) == before


@settled
@given(scenes, prune_requests, jids, st.booleans())
def test_a_prune_removes_nothing_but_job_files_and_what_batches_leave(
    ground: Ground, scene: list[Damage], request_: Request, jobs: list[str] | None, only_look: bool
) -> None:
    path, answer, before = ground.run(
        scene, jobs, lambda path: Prune(whole(request_, path, jobs), no_command, only_look).run()
    )
    check_reports(answer["jobs"] if answer else [], jobs)
    after = picture(path)
    gone = before.keys() - after.keys()
    if only_look:
        assert after == before
    assert LIVING not in gone
    for name in gone:
        if not name.startswith((".inflight/j", f".inflight/{LIVING}")):
            assert _jobs.is_job_id(name.removesuffix(".tmp")), name
            assert stat.S_ISREG(before[name][1]), name
    assert after.keys() <= before.keys()


@settled
@given(scenes, cancel_requests, jids, st.booleans())
def test_a_cancel_signals_nobody_where_no_job_lives_and_leaves_results_as_they_are(
    ground: Ground, scene: list[Damage], request_: Request, jobs: list[str] | None, only_look: bool
) -> None:
    ended: dict[str, str] = {}

    def cancel(path: str) -> t.Any:
        os.unlink(os.path.join(path, LIVING))
        directory = JobDirectory(path)
        looks = {jid: directory.read(jid) for jid in directory.ids()}
        ended.update((jid, look.text) for jid, look in looks.items() if look.text is not None)
        return Cancel(whole(request_, path, jobs), no_command, only_look).run()

    path, answer, before = ground.run(scene, jobs, cancel)
    check_reports(answer["jobs"] if answer else [], jobs)
    directory = JobDirectory(str(path))
    assert {jid: directory.read(jid).text for jid in ended} == ended
    after = picture(path)
    if only_look:
        assert after.items() <= before.items()
    for name in before.keys() & after.keys():
        if not stat.S_ISREG(before[name][1]):
            assert stat.S_IFMT(after[name][1]) == stat.S_IFMT(before[name][1]), name
    assert not any(CANARY.encode() in (path / name).read_bytes() for name in after if stat.S_ISREG(after[name][1]))


# Every trap in every place, where everything is asked for


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.kind)
@pytest.mark.parametrize("place", [*(in_batch + name for name in FILES_OF_BATCH), ".inflight/ids/nightly"])
@pytest.mark.parametrize("batch", [None, "nightly"])
def test_a_trap_in_the_folder_of_a_batch_does_not_work(
    ground: Ground, batch: str | None, place: str, trap: Entry
) -> None:
    scene = [Damage(place, trap), Damage(f"{NUMBER}.1", Entry("file", b"{}"))]
    anything: Request = {**dict.fromkeys(filters), "batch": batch, "tail": 3, "states": None}
    ground.run(scene, None, lambda path: survey(whole(anything, path, None)))
    manner = {"signal": "TERM", "grace": 0.0, "why": None}
    ground.run(scene, None, lambda path: Cancel(whole({**anything, **manner}, path, None), no_command, False).run())
    rules = {"states": list(_prune.STATES), "older_than": 0.0, "keep_last": 0, "max_bytes": None}
    ground.run(scene, None, lambda path: Prune(whole({**anything, **rules}, path, None), no_command, False).run())


# Whether these tests would notice


@pytest.mark.parametrize(
    "trespass",
    [
        lambda path: (path / "../outside/secret").read_bytes(),
        lambda path: (path / "link").read_bytes(),
        lambda path: os.unlink(path / "../outside/secret"),
        lambda path: os.chmod(path / "link", 0o600),
        lambda path: os.rename(path / "file", path / "../outside/file"),
        lambda path: shutil.rmtree(path / "../outside"),
        lambda path: (path / "fifo").read_bytes(),
        lambda path: os.open("../outside/secret", os.O_RDONLY, dir_fd=os.open(path, os.O_RDONLY)),
        lambda path: os.kill(NOBODY, signal.SIGTERM),
        lambda path: os.killpg(NOBODY, signal.SIGTERM),
        lambda path: os.fork(),
    ],
)
def test_the_fence_lets_nothing_through(tmp_path: Path, trespass: Callable[[Path], object]) -> None:
    path = tmp_path / "jobs"
    path.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x", encoding="utf-8")
    (path / "link").symlink_to("../outside/secret")
    (path / "file").write_text("x", encoding="utf-8")
    os.mkfifo(path / "fifo")
    with pytest.raises(Trespass), fence.around(path):
        trespass(path)
    with fence.around(path):
        assert (path / "file").read_bytes() == b"x"
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            os.open(path / "link", os.O_RDONLY | os.O_NOFOLLOW)
