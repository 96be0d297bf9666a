# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pwd
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.inflight.jobs.plugins.module_utils._other_user import OtherUser, OtherUserError

OTHER = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have work done as another user")


def account(user: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(user)
    except KeyError:
        pytest.skip(f"there is no account for user id {user} here")


def no_user_id_without_an_account() -> int:
    known = {one.pw_uid for one in pwd.getpwall()}
    return next(user for user in range(54321, 64321) if user not in known)


@needs_root
def test_the_work_is_done_with_the_rights_of_the_other_user_and_no_more() -> None:
    name = account(OTHER)

    def work() -> dict[str, t.Any]:
        # All three ids: who could become root again has not become somebody else.
        return {"users": os.getresuid(), "groups": os.getresgid(), "others": os.getgroups()}

    done = OtherUser(OTHER, work).result()
    assert done["users"] == [OTHER] * 3
    assert done["groups"] == [name.pw_gid] * 3
    assert set(done["others"]) == set(os.getgrouplist(name.pw_name, name.pw_gid))
    assert os.getresuid() == (0, 0, 0)


@needs_root
def test_the_other_user_cannot_become_root_again() -> None:
    account(OTHER)

    def work() -> bool:
        try:
            os.setuid(0)
        except PermissionError:
            return True
        return False

    assert OtherUser(OTHER, work).result() is True


@needs_root
def test_what_only_root_may_touch_is_not_touched(tmp_path: Path) -> None:
    account(OTHER)
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    secret.chmod(0o600)
    with pytest.raises(OtherUserError, match=f"what was done as user {account(OTHER).pw_name} failed"):
        OtherUser(OTHER, lambda: secret.write_text("mine", encoding="utf-8")).result()
    assert secret.read_text(encoding="utf-8") == "secret"


@needs_root
def test_several_users_work_at_the_same_time() -> None:
    account(OTHER)
    first, tell = os.pipe()
    # The one that was started first waits for the one that was started last.
    waiting = OtherUser(OTHER, lambda: os.read(first, 1).decode())
    telling = OtherUser(os.geteuid(), lambda: os.write(tell, b"!"))
    assert telling.result() == 1
    assert waiting.result() == "!"
    os.close(first)
    os.close(tell)


@needs_root
def test_an_answer_that_is_larger_than_a_pipe_arrives() -> None:
    account(OTHER)
    assert OtherUser(OTHER, lambda: "x" * 1_000_000).result() == "x" * 1_000_000


@needs_root
@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: 1 / 0, id="fails"),
        pytest.param(lambda: os._exit(3), id="leaves"),
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGKILL), id="is-killed"),
        pytest.param(object, id="returns-what-cannot-be-sent"),
    ],
)
def test_work_that_is_not_done_to_its_end_is_one_clear_error(work: t.Callable[[], object]) -> None:
    account(OTHER)
    before = os.listdir("/dev/fd")
    other = OtherUser(OTHER, work)
    with pytest.raises(OtherUserError, match=r"what was done as user .* failed"):
        other.result()
    assert len(os.listdir("/dev/fd")) == len(before)
    with pytest.raises(ChildProcessError):
        os.waitpid(other._pid, os.WNOHANG)  # nobody is left behind


def test_a_user_without_an_account_is_one_clear_error() -> None:
    user = no_user_id_without_an_account()
    with pytest.raises(OtherUserError, match=f"there is no account for user id {user}"):
        OtherUser(user, lambda: pytest.fail("it was done all the same"))


def test_a_host_that_is_full_of_processes_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> t.NoReturn:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = os.listdir("/dev/fd")
    monkeypatch.setattr(os, "fork", full)
    with pytest.raises(OtherUserError, match="no process can be started: Resource temporarily unavailable"):
        OtherUser(os.geteuid(), lambda: None)
    assert len(os.listdir("/dev/fd")) == len(before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do it")
def test_who_is_not_root_cannot_have_work_done_as_somebody_else() -> None:
    with pytest.raises(OtherUserError, match="what was done as user root failed"):
        OtherUser(0, lambda: pytest.fail("it was done all the same")).result()
