# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# With the real apt, dpkg and processes.

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils import _host_lock, _output
from ansible_collections.inflight.jobs.plugins.module_utils._termination import heed_sigterm
from ansible_collections.inflight.jobs.plugins.module_utils._update import beginning, keeper
from ansible_collections.inflight.jobs.plugins.module_utils._update.packages import UpdateError
from ansible_collections.inflight.jobs.plugins.module_utils._update.workspace import BEGUN, OUTCOME, REPORTED

from ...conftest import FOREVER, living
from .debian import OPTIONS, deb, debian, needs_apt, needs_root
from .updates import START, STOP, Update, eventually, update

__all__ = ["debian", "update"]

pytestmark = [needs_apt, needs_root]


@pytest.fixture
def offered(update: Update) -> Update:
    """Two new versions."""
    update.debian.have(deb("a", "1.0"), deb("b", "1.0"))
    update.debian.offer(deb("a", "2.0"), deb("b", "2.0"), build=True)
    return update


def failure(update: Update, *arguments: t.Any, **options: t.Any) -> str:
    with update.batch() as folder, pytest.raises(UpdateError) as caught:
        update.begin(folder, *arguments, **options)
    return str(caught.value)


class TestBegin:
    def test_from_the_beginning_to_the_end(self, offered: Update) -> None:
        with offered.batch() as folder:
            told = offered.begin(folder, cache_valid_time=0, exclude=["b"])
            assert [(change["name"], change["old"], change["new"]) for change in told["planned"]] == [
                ("a", "1.0", "2.0")
            ]
            assert {key: told[key] for key in told if key != "planned"} == {
                "kept_back": [],
                "excluded": ["b"],
                "held": [],
                "repaired": [],
                "remarks": [],
            }
            # While the batch is at work, no backup is made and no timer goes off.
            assert offered.is_locked()
            assert offered.systemctl() == [STOP]
            offered.debian.upgrade()
            eventually(lambda: _output.last_lines(folder, f"{folder.number}.1", 1) == ["configure 1 of 1, a"])
            assert not offered.workspace.has(OUTCOME)
        assert keeper.has_gone(offered.workspace, FOREVER)
        assert not offered.is_locked()
        assert offered.systemctl() == [STOP, START]
        outcome = offered.outcome()
        assert offered.versions() == [("a", "1.0", "2.0")]
        assert outcome["packages"][0]["origin"] == "Small:1/stable"
        assert (outcome["failed_packages"], outcome["conffiles"], outcome["remarks"]) == ([], [], [])
        assert any("Setting up a (2.0)" in line for line in outcome["log_tail"])

    def test_it_says_how_far_it_is(self, offered: Update) -> None:
        with offered.batch() as folder:
            offered.begin(folder)
            assert _output.last_lines(folder, f"{folder.number}.0", 3) == ["find out what is to be done"]

    def test_a_plan_is_made_also_where_nothing_is_to_be_done(self, update: Update) -> None:
        update.debian.have(deb("a", "1.0"))
        update.update()
        assert update.versions() == []
        assert update.systemctl() == [STOP, START]

    def test_what_was_half_installed_is_told_and_no_news_of_the_update(self, update: Update) -> None:
        update.debian.have(deb("a", "1.0"), deb("b", "1.0", state="install ok unpacked"))
        with update.batch() as folder:
            assert update.begin(folder)["repaired"] == ["b"]
        assert keeper.has_gone(update.workspace, FOREVER)
        assert update.versions() == []

    def test_without_timers_none_are_touched(self, offered: Update) -> None:
        offered.has_timers()
        offered.update()
        assert offered.systemctl() == []

    def test_timers_can_be_left_alone(self, offered: Update) -> None:
        offered.update(pause_timers=False)
        assert offered.systemctl() == []

    def test_a_service_that_runs_on_does_not_keep_the_lock(self, offered: Update) -> None:
        with offered.batch() as folder:
            offered.begin(folder)
            assert offered.is_locked()
        eventually(lambda: not offered.is_locked())

    def test_outside_of_a_batch_it_is_refused_and_nothing_is_done(self, offered: Update) -> None:
        with pytest.raises(UpdateError, match="can only be a task of inflight"):
            offered.begin(None)
        assert not any(line.startswith(("systemctl", "apt-get", "dpkg ")) for line in offered.debian.asked)

    def test_a_workspace_of_somebody_else_is_refused(self, offered: Update) -> None:
        os.chmod(offered.workspace.path, 0o777)
        assert "belongs to somebody else" in failure(offered)
        assert offered.systemctl() == []
        os.chmod(offered.workspace.path, 0o700)


class TestWaiting:
    def test_a_backup_is_waited_for(self, offered: Update) -> None:
        with living(lambda: _host_lock.take(True, 0)):
            message = failure(offered, lock_timeout=0.2)
            assert message == f"a backup of this host holds {offered.host_lock}, also after 0.2 s"
            assert offered.debian.asked == []
        with offered.batch() as folder:
            offered.begin(folder, lock_timeout=0.2)

    def test_only_one_update_is_at_work(self, offered: Update) -> None:
        with offered.batch() as folder:
            offered.begin(folder)
            assert failure(offered) == f"an update of this host holds {offered.host_lock}, also after 0 s"
            assert offered.systemctl() == [STOP]


def bad_sources(update: Update) -> None:
    update.debian.put("etc/apt/sources.list", "deb [trusted=yes] file:/nowhere/at/all ./\n")


def bad_package(update: Update) -> None:
    update.debian.have(deb("a", "1.0", state="install ok unpacked", Depends="nothing"))


def bad_removal(update: Update) -> None:
    update.debian.have(deb("a", "1.0"), deb("old", "1.0"))
    update.debian.offer(deb("a", "2.0", Conflicts="old"))


def bad_systemctl(update: Update) -> None:
    update.debian.answers = {"systemctl stop": (1, ""), **update.debian.answers}


class TestFailure:
    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (bad_sources, "apt-get update ended with 100"),
            (bad_package, "dpkg --configure ended with 1"),
            (bad_removal, "the update would remove old, and allow_remove is false"),
            (bad_systemctl, "systemctl cannot stop apt-daily"),
        ],
    )
    def test_timers_are_started_again_and_nothing_is_left(
        self, offered: Update, spoil: t.Callable[[Update], None], reason: str
    ) -> None:
        spoil(offered)
        assert reason in failure(offered, type="full", cache_valid_time=0)
        assert offered.systemctl() == [STOP, START]
        assert not offered.workspace.has(BEGUN)
        assert not offered.workspace.has(OUTCOME)
        assert not offered.is_locked()

    def test_also_when_no_process_can_look_after_the_update(
        self, offered: Update, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_keeper(*dummy: object) -> None:
            raise UpdateError("no process can be started")

        monkeypatch.setattr(keeper, "leave", no_keeper)
        assert failure(offered) == "no process can be started"
        assert offered.systemctl()[-1] == START
        assert not offered.workspace.has(BEGUN)
        assert not offered.is_locked()

    @pytest.mark.parametrize("name", ["apt.conf", "preferences.d", "begun.json.new"])
    def test_also_when_nothing_can_be_written_any_more(
        self, offered: Update, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = offered.workspace.file(name)

        def full(real: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
            def opened(*arguments: t.Any, **options: t.Any) -> object:
                if arguments[0] == path and STOP in offered.systemctl():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*arguments, **options)

            return opened

        for function in ("open", "mkdir"):
            monkeypatch.setattr(os, function, full(getattr(os, function)))
        message = failure(offered, exclude=["b"])
        assert message == f"cannot write to {path}: No space left on device: make space there"
        assert offered.systemctl() == [STOP, START]
        assert not offered.workspace.has(BEGUN)
        assert not offered.is_locked()

    def test_also_when_nothing_can_be_deleted_either(self, offered: Update, monkeypatch: pytest.MonkeyPatch) -> None:
        def read_only(path: str, **dummy: object) -> None:
            if path == offered.workspace.file(BEGUN):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        bad_sources(offered)
        monkeypatch.setattr(os, "unlink", read_only)
        assert "apt-get update ended with 100" in failure(offered, cache_valid_time=0)
        assert offered.systemctl() == [STOP, START]

    def test_also_when_a_program_is_missing(self, offered: Update) -> None:
        # run_command ends the module then.
        real = offered.debian.run

        def run(command: list[str], *arguments: t.Any, **options: t.Any) -> tuple[int, str, str]:
            if command[0] == "apt-mark":
                raise SystemExit(0)
            return real(command, *arguments, **options)

        offered.debian.run = run  # type: ignore[method-assign]
        with offered.batch() as folder:
            assert offered.begin(folder) == {}
        assert offered.systemctl()[-1] == START
        assert not offered.workspace.has(BEGUN)


class TestTold:
    """SIGTERM comes while it is at work."""

    @pytest.fixture
    def told_when(self, offered: Update) -> t.Callable[..., str]:
        """Begin an update that is told to end by each command that begins so, when it has run; what it answers."""

        def begin(*commands: str, **options: t.Any) -> str:
            real = offered.debian.run

            def run(command: list[str], *arguments: t.Any, **more: t.Any) -> tuple[int, str, str]:
                answer = real(command, *arguments, **more)
                if " ".join(command).startswith(commands):
                    os.kill(os.getpid(), signal.SIGTERM)
                return answer

            offered.debian.run = run  # type: ignore[method-assign]
            return failure(offered, heed_sigterm, **options)

        return begin

    @pytest.mark.parametrize("command", ["systemctl is-active", "systemctl stop", "apt-mark"])
    def test_timers_are_started_again_and_nothing_is_left(
        self, offered: Update, told_when: t.Callable[..., str], command: str
    ) -> None:
        # And once more, while they are started.
        assert told_when(command, "systemctl start") == "it was ended by SIGTERM, as when the host shuts down"
        assert offered.systemctl() == ([] if command == "systemctl is-active" else [STOP, START])
        assert not offered.workspace.has(BEGUN)
        assert not offered.is_locked()

    def test_also_when_it_comes_after_another_failure(self, offered: Update, told_when: t.Callable[..., str]) -> None:
        bad_sources(offered)
        assert "apt-get update ended with 100" in told_when("systemctl start", cache_valid_time=0)
        assert offered.systemctl() == [STOP, START]
        assert not offered.workspace.has(BEGUN)

    def test_what_is_in_no_report_can_still_be_asked_for(
        self, offered: Update, told_when: t.Callable[..., str]
    ) -> None:
        offered.update(exclude=["b"])
        assert "ended by SIGTERM" in told_when("systemctl stop")
        assert offered.systemctl()[-1] == START
        assert offered.versions() == [("a", "1.0", "2.0")]


class TestUnreported:
    @pytest.fixture
    def once(self, offered: Update) -> Update:
        """An update of a to 2.0, and another one of it that is offered then."""
        offered.update(exclude=["b"])
        assert offered.versions() == [("a", "1.0", "2.0")]
        offered.debian.offer(deb("a", "3.0"), deb("b", "2.0"), build=True)
        return offered

    def test_what_is_in_no_report_is_told_with_the_next_update(self, once: Update) -> None:
        once.update(cache_valid_time=0)
        assert once.versions() == [("a", "1.0", "3.0"), ("b", "1.0", "2.0")]

    def test_what_is_in_a_report_is_not_told_again(self, once: Update) -> None:
        once.report()
        once.update(cache_valid_time=0)
        assert once.versions() == [("a", "2.0", "3.0"), ("b", "1.0", "2.0")]

    def test_of_three_as_well(self, once: Update) -> None:
        once.update(cache_valid_time=0, exclude=["b"])
        once.update()
        assert once.versions() == [("a", "1.0", "3.0"), ("b", "1.0", "2.0")]

    def test_it_can_still_be_asked_for_when_the_next_one_cannot_begin(self, once: Update) -> None:
        bad_sources(once)
        assert "apt-get update" in failure(once, cache_valid_time=0)
        assert once.systemctl()[-1] == START
        assert once.versions() == [("a", "1.0", "2.0")]
        assert once.outcome()["remarks"] == []

    def test_one_of_another_package_manager_is_none_of_this(self, once: Update) -> None:
        begun = once.workspace.read(BEGUN)
        assert begun
        once.workspace.write(BEGUN, {**begun, "manager": "dnf"})
        once.update(cache_valid_time=0)
        assert once.versions() == [("a", "2.0", "3.0"), ("b", "1.0", "2.0")]

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"timers": []}', '{"manager": "apt"}'])
    def test_what_is_damaged_does_not_keep_the_next_one_from_its_work(self, once: Update, content: str) -> None:
        Path(once.workspace.file(BEGUN)).write_text(content, encoding="utf-8")
        once.update(cache_valid_time=0)
        assert once.versions() == [("a", "2.0", "3.0"), ("b", "1.0", "2.0")]


class TestKilled:
    @pytest.fixture
    def killed(self, offered: Update, monkeypatch: pytest.MonkeyPatch) -> Update:
        """Whoever began an update was killed when it had stopped the timers."""

        def die(*dummy: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with monkeypatch.context() as patch, offered.batch() as folder:
            patch.setattr(beginning, "_prepare", die)
            assert offered.begin(folder) == {}
        assert offered.systemctl() == [STOP]
        offered.has_timers()
        return offered

    @pytest.mark.parametrize("pause", [True, False])
    def test_the_next_update_starts_its_timers(self, killed: Update, pause: bool) -> None:
        killed.update(pause_timers=pause)
        assert killed.systemctl()[1:] == [START]
        assert killed.versions() == [("a", "1.0", "2.0"), ("b", "1.0", "2.0")]

    def test_also_one_that_fails(self, killed: Update) -> None:
        bad_sources(killed)
        failure(killed, cache_valid_time=0)
        assert killed.systemctl()[1:] == [START]

    def test_timers_that_were_started_are_not_started_by_the_next_update(self, killed: Update) -> None:
        killed.update()
        asked = len(killed.systemctl())
        killed.report()
        killed.update()
        assert len(killed.systemctl()) == asked


class TestLook:
    """Check mode."""

    @pytest.mark.parametrize("age", [0, 7200])
    def test_it_tells_what_would_be_done_and_changes_nothing(
        self, offered: Update, age: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        made = []
        real = tempfile.mkdtemp

        def mkdtemp(**options: t.Any) -> str:
            assert options["dir"] == "/var/tmp"
            made.append(real(**{**options, "dir": str(tmp_path)}))
            return made[-1]

        monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
        offered.debian.apt()
        lists = offered.debian.root / "var/lib/apt/lists"
        os.utime(lists, (lists.stat().st_mtime - age,) * 2)
        before = (offered.debian.settings(), sorted(os.listdir(lists)), os.listdir(offered.workspace.path))
        if age:
            # What the host knows is too old for this.
            offered.debian.offer(deb("a", "3.0"), deb("b", "2.0"))
        told = beginning.look({**OPTIONS, "hold": ["b"], "pause_timers": True}, offered.debian.run)
        assert [(change["name"], change["new"]) for change in told["planned"]] == [("a", "3.0" if age else "2.0")]
        assert (told["excluded"], told["repaired"]) == (["b"], [])
        assert (offered.debian.settings(), sorted(os.listdir(lists)), os.listdir(offered.workspace.path)) == before
        assert offered.systemctl() == []
        assert [os.path.exists(path) for path in made] == [False]

    def test_what_is_fetched_is_fetched_by_the_user_of_apt(self, tmp_path: Path) -> None:
        before = os.umask(0o077)
        try:
            path = beginning._folder_in(str(tmp_path), "lists")
        finally:
            os.umask(before)
        assert [stat.S_IMODE(os.stat(folder).st_mode) for folder in (tmp_path, path)] == [0o711, 0o755]

    def test_it_is_what_the_update_does(self, offered: Update) -> None:
        offered.debian.apt()
        looked = beginning.look({**OPTIONS, "only": ["a"]}, offered.debian.run)
        with offered.batch() as folder:
            assert offered.begin(folder, only=["a"]) == looked
            offered.debian.upgrade()
        assert keeper.has_gone(offered.workspace, FOREVER)
        assert offered.outcome()["packages"] == looked["planned"]

    def test_what_the_engine_fetches_is_not_kept(self, offered: Update) -> None:
        offered.debian.apt()
        kept = []

        def run(command: list[str], environ_update: dict[str, str], **options: t.Any) -> tuple[int, str, str]:
            if command[0] != "unattended-upgrade":
                return offered.debian.run(command, environ_update, **options)
            asked = ["apt-config", "dump", "--format=%v", "Dir::Cache::Archives"]
            kept.append(offered.debian.run(asked, environ_update, **options)[1].strip())
            return 0, "No packages found that can be upgraded unattended", ""

        beginning.look({**OPTIONS, "security_only": True}, run)
        assert kept
        assert all(path.startswith("/var/tmp/inflight.jobs.") for path in kept)
        assert not any(os.path.exists(path) for path in kept)

    @pytest.mark.parametrize("name", ["mkdtemp", "makedirs"])
    def test_a_full_folder_is_told(self, offered: Update, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        def full(*dummy: object, **dummy_options: object) -> t.NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        offered.debian.apt()
        monkeypatch.setattr(tempfile if name == "mkdtemp" else os, name, full)
        with pytest.raises(
            UpdateError, match=r"^cannot write to /var/tmp.*: No space left on device: make space there$"
        ):
            beginning.look({**OPTIONS, "cache_valid_time": 0}, offered.debian.run)

    def test_a_failure_leaves_nothing(self, offered: Update, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(tempfile, "mkdtemp", lambda **dummy: str((tmp_path / "made").mkdir() or tmp_path / "made"))
        bad_sources(offered)
        with pytest.raises(UpdateError, match="/nowhere/at/all"):
            beginning.look({**OPTIONS, "cache_valid_time": 0}, offered.debian.run)
        assert not (tmp_path / "made").exists()


def test_what_is_kept_can_be_read_by_the_next_version(offered: Update) -> None:
    """It is all JSON."""
    with offered.batch() as folder:
        offered.begin(folder)
    assert keeper.has_gone(offered.workspace, FOREVER)
    begun = json.loads(Path(offered.workspace.file(BEGUN)).read_text(encoding="utf-8"))
    assert sorted(begun) == sorted(
        ["manager", "timers", "status_file", "began_at", "before", "held", "beside", "logs", "plan", "remarks"]
    )
    assert not offered.workspace.has(REPORTED)
