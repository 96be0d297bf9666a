# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Does a piece of work as another user, so that whatever that user left for us can do no more than the user could.
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import json
import os
import pwd
import typing as t


class OtherUserError(Exception):
    """The work was not done, or not to its end; the message says why."""


class OtherUser:
    """A piece of work that another user does in a process of its own. Only root can have that done."""

    def __init__(self, user: int, work: t.Callable[[], object]) -> None:
        """Start it.

        :param user: the id of the user.
        :param work: returns something of JSON types.
        :raises OtherUserError: when it cannot be started.
        """
        try:
            account = pwd.getpwuid(user)
        except KeyError:
            raise OtherUserError(f"there is no account for user id {user}") from None
        self._name = account.pw_name
        answer, write = os.pipe()
        try:
            self._pid = os.fork()
        except OSError as ex:
            os.close(answer)
            os.close(write)
            raise OtherUserError(f"no process can be started: {ex.strerror}") from ex
        if self._pid == 0:
            code = 1
            try:
                os.close(answer)
                os.initgroups(account.pw_name, account.pw_gid)
                os.setgid(account.pw_gid)
                os.setuid(user)
                with open(write, "w", encoding="utf-8") as file:
                    json.dump(work(), file)
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        self._answer = answer

    def result(self) -> t.Any:
        """What the work returned, once it is done.

        :raises OtherUserError: when it failed.
        """
        with open(self._answer, encoding="utf-8") as file:
            text = file.read()
        status = os.waitpid(self._pid, 0)[1]
        if status:
            raise OtherUserError(f"what was done as user {self._name} failed")
        return json.loads(text)
