# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# One run of a module on the host, limited in time, that tells a host out of reach from a module that went wrong.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import json
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import NetworkConnectionBase

from ansible_collections.inflight.jobs.plugins.plugin_utils._registered import end_of, one_line
from ansible_collections.inflight.jobs.plugins.plugin_utils._time_limit import TimeLimitPassed, time_limit

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.plugins.connection import ConnectionBase

Message = dict[str, t.Any]


class OutOfReach(Exception):
    """The host did not answer; the message says how. Worth another try."""


class Refused(OutOfReach):
    """The host does not let us in. Worth another try only if it has let us in before."""


class CheckFailed(Exception):
    """The host answered, but not the module; the message says what came instead."""

    @property
    def sentence(self) -> str:
        """What to tell people."""
        return f"The jobs cannot be looked at on the host: {self}"


class NoAnswer(CheckFailed):
    """The module ended without a word: it was killed, or something is wrong with the Python there."""


class NotStarted(CheckFailed):
    """The host was to start a batch and did not."""

    @property
    def sentence(self) -> str:
        """What to tell people."""
        return f"The batch was not started: {self}"


class Contact:
    """Runs our module on one host and sees to its connection."""

    def __init__(self, execute: t.Callable[..., Message], connection: ConnectionBase) -> None:
        """
        :param execute: runs the module; takes module_args and returns its result, as ActionBase._execute_module does.
        :param connection: the connection that execute uses.
        """
        self._execute = execute
        self._connection = connection

    def ask(self, request: Message, limit: float) -> Message:
        """Send a request to the module and return its response.

        :param request: what the module needs, of JSON types.
        :param limit: seconds until the host counts as out of reach.
        """
        try:
            with time_limit(limit):
                response = self._execute(module_args={"_request": json.dumps(request)})
        except AnsibleAuthenticationFailure as ex:
            raise Refused(one_line(ex)) from ex
        except AnsibleConnectionFailure as ex:
            said = one_line(str(ex).replace("Failed to connect to the host via ssh: ", ""))
            raise (Refused if "Permission denied" in str(ex) else OutOfReach)(said) from ex
        except TimeLimitPassed as ex:
            raise OutOfReach(f"no answer in {limit:.0f} s") from ex
        except AnsibleError as ex:
            raise CheckFailed(one_line(ex)) from ex
        if response.get("unreachable"):
            raise OutOfReach(one_line(response.get("msg")))
        if "took" not in response:
            # Not module_stdout: there could be results in it, which are not for everybody's eyes.
            reasons = (one_line(response.get("msg")), end_of(response.get("module_stderr")))
            # Core adds what was printed where that was no result.
            failure = NoAnswer if "module_stdout" in response else CheckFailed
            raise failure("; ".join(filter(None, reasons)) or "the module said nothing")
        return response

    def reset(self) -> None:
        """Give up the connection, so that the next request makes a new one."""
        # A connection that is beyond use may fail in any way to be closed, and a new one is made all the same.
        with contextlib.suppress(Exception):
            self._connection.reset()
        # The temporary folder on the host may be gone (a reboot empties /tmp).
        self._connection._shell.tmpdir = None


def refuse_other_platforms(connection: ConnectionBase, plugin: str) -> None:
    """Refuse hosts whose modules do not run where the jobs would.

    :raises AnsibleActionFail: for network devices and Windows.
    """
    if isinstance(connection, NetworkConnectionBase):
        raise AnsibleActionFail(
            f"{plugin} does not work over the connection {connection.transport}: "
            "modules for such devices run on the controller, so delegate the task to localhost"
        )
    if getattr(connection._shell, "_IS_WINDOWS", False):
        raise AnsibleActionFail(f"{plugin} does not support Windows hosts: use ansible.builtin.async_status there")


def refuse_mitogen(connection: ConnectionBase, plugin: str) -> None:
    """Refuse the strategies of Mitogen, under which core builds no modules.

    Mitogen replaces the connection, too; where it leaves core's in place, it leaves the building of modules alone.

    :raises AnsibleActionFail: for a connection of Mitogen.
    """
    if any(base.__module__.partition(".")[0] == "ansible_mitogen" for base in type(connection).__mro__):
        raise AnsibleActionFail(
            f"{plugin} does not work under the strategies of Mitogen: set strategy: ansible.builtin.linear for its play"
        )
