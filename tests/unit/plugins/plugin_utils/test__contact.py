# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
import typing as t
from unittest.mock import MagicMock

import pytest
from ansible.errors import (
    AnsibleActionFail,
    AnsibleAuthenticationFailure,
    AnsibleConnectionFailure,
    AnsibleError,
)
from ansible.plugins.connection import ConnectionBase, NetworkConnectionBase

from ansible_collections.inflight.jobs.plugins.plugin_utils._contact import (
    CheckFailed,
    Contact,
    NoAnswer,
    NotStarted,
    OutOfReach,
    Refused,
    refuse_mitogen,
    refuse_other_platforms,
)

ANSWER = {"ended": [], "running": [], "more": False, "boot": "x", "looked": 1.5, "took": 0.1, "remarks": []}


def contact(execute: t.Callable[..., t.Any]) -> Contact:
    return Contact(execute, MagicMock())


def asked(outcome: BaseException | dict[str, t.Any], limit: float = 20) -> dict[str, t.Any]:
    """Ask a host whose module run ends like this."""

    def execute(**dummy_arguments: t.Any) -> dict[str, t.Any]:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return contact(execute).ask({"hold": 0}, limit)


def test_the_request_travels_as_one_text_and_the_answer_comes_back() -> None:
    seen: list[dict[str, t.Any]] = []

    def execute(**arguments: t.Any) -> dict[str, t.Any]:
        seen.append(arguments)
        return ANSWER

    assert contact(execute).ask({"hold": 5, "jobs": {"j1.1": None}}, 20) == ANSWER
    assert list(seen[0]) == ["module_args"]
    assert json.loads(seen[0]["module_args"]["_request"]) == {"hold": 5, "jobs": {"j1.1": None}}


@pytest.mark.parametrize(
    ("outcome", "kind", "message"),
    [
        (AnsibleConnectionFailure("timed out"), OutOfReach, "timed out"),
        (AnsibleAuthenticationFailure("bad password"), Refused, "bad password"),
        (AnsibleConnectionFailure("me@web: Permission denied (publickey)."), Refused, "Permission denied"),
        (AnsibleError("no module"), CheckFailed, "no module"),
        (AnsibleActionFail("no"), CheckFailed, "no"),
        ({"unreachable": True, "msg": "Failed to connect\nmore"}, OutOfReach, "^Failed to connect$"),
        ({"failed": True, "msg": "no space"}, CheckFailed, "no space"),
        ({"msg": "MODULE FAILURE", "module_stderr": "x\nkilled\n", "rc": 137}, CheckFailed, "MODULE FAILURE; .*killed"),
        ({}, CheckFailed, "the module said nothing"),
        ({"ansible_facts": {}, "changed": False}, CheckFailed, "the module said nothing"),
    ],
)
def test_every_kind_of_failure_is_told_apart(outcome: t.Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        asked(outcome)
    assert caught.type is kind
    assert "\n" not in str(caught.value)


def test_a_refusal_counts_as_out_of_reach_for_those_who_do_not_care() -> None:
    assert issubclass(Refused, OutOfReach)
    assert not issubclass(CheckFailed, OutOfReach)


def test_what_the_module_printed_is_not_shown_because_results_could_be_in_it() -> None:
    with pytest.raises(CheckFailed) as caught:
        asked({"msg": "MODULE FAILURE", "module_stdout": "password=hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_host_that_does_not_answer_in_time_is_out_of_reach() -> None:
    def execute(**dummy_arguments: t.Any) -> t.NoReturn:
        threading.Event().wait(20)
        pytest.fail("nobody stopped the call")

    with pytest.raises(OutOfReach, match="no answer in 0 s"):
        contact(execute).ask({}, 0.05)


def test_a_mistake_of_ours_is_not_taken_for_a_silent_host() -> None:
    with pytest.raises(ZeroDivisionError):
        asked(ZeroDivisionError())


def test_an_interrupt_by_the_user_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        asked(KeyboardInterrupt())


@pytest.mark.parametrize(
    "trouble", [None, AnsibleConnectionFailure("x"), OSError(), AttributeError("reset"), ValueError()]
)
def test_a_reset_never_fails_and_forgets_the_temporary_folder(trouble: Exception | None) -> None:
    connection = MagicMock()
    connection.reset.side_effect = trouble
    connection._shell.tmpdir = "/tmp/ansible-tmp-1"
    Contact(lambda **dummy_arguments: ANSWER, connection).reset()
    connection.reset.assert_called_once_with()
    assert connection._shell.tmpdir is None


def test_a_connection_that_has_no_reset_is_no_error() -> None:
    connection = MagicMock(spec=["_shell"])
    Contact(lambda **dummy_arguments: ANSWER, connection).reset()
    assert connection._shell.tmpdir is None


def test_the_connections_of_mitogen_are_refused_and_no_others() -> None:
    base = type("Connection", (), {"__module__": "ansible_mitogen.connection"})
    # What Ansible's loader makes of Mitogen's plugin.
    of_mitogen = type("Connection", (base,), {"__module__": "ansible.plugins.connection.mitogen_ssh"})
    with pytest.raises(AnsibleActionFail, match=r"^async_batch .* Mitogen: set strategy: "):
        refuse_mitogen(of_mitogen(), "async_batch")
    refuse_mitogen(MagicMock(), "async_batch")


def test_a_module_that_ended_without_a_word_is_told_from_one_that_says_what_is_wrong() -> None:
    with pytest.raises(NoAnswer, match="MODULE FAILURE; Killed"):
        asked({"msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": "Killed\n", "rc": 137})
    with pytest.raises(CheckFailed) as caught:
        asked({"failed": True, "msg": "the batch lives already"})
    assert not isinstance(caught.value, NoAnswer)


def test_what_failed_is_told_in_a_sentence() -> None:
    assert CheckFailed("no space").sentence == "The jobs cannot be looked at on the host: no space"
    assert NotStarted("no space").sentence == "The batch was not started: no space"
    assert issubclass(NotStarted, CheckFailed)


def test_hosts_whose_modules_run_elsewhere_are_refused_and_no_others() -> None:
    network = MagicMock(NetworkConnectionBase)
    network.transport = "ansible.netcommon.network_cli"
    with pytest.raises(AnsibleActionFail, match=r"async_batch does not work over .*network_cli.*delegate the task"):
        refuse_other_platforms(network, "async_batch")
    windows = MagicMock(ConnectionBase)
    windows._shell = MagicMock(_IS_WINDOWS=True)
    with pytest.raises(AnsibleActionFail, match=r"async_batch does not support Windows hosts: use ansible\.builtin"):
        refuse_other_platforms(windows, "async_batch")
    other = MagicMock(ConnectionBase)
    other._shell = MagicMock(spec=[])
    refuse_other_platforms(other, "async_batch")
