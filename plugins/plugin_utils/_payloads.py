# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Modules as core builds them for the host, each built once and cut where the arguments of a job go.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import json
import secrets
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.release import __version__

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.plugins.action import ActionBase

Arguments = dict[str, t.Any]


class UnknownCore(AnsibleError):
    """This ansible-core builds modules in a way that we do not know."""


class Payloads:
    """The modules of one batch, in the form that _zygote.Payload describes.

    All that we need of core's private parts to build a module is in this class: _configure_module (builds it) and
    _update_module_args (adds what every module is told).
    """

    def __init__(self, action: ActionBase, own_module: str, task_vars: dict[str, t.Any]) -> None:
        """
        :param own_module: the module that will start the jobs; what runs in the same interpreter can be kept warm.
        """
        self._action = action
        self._task_vars = task_vars
        self._own_module = own_module
        self._own_shebang: str | None = None
        self.payloads: list[dict[str, t.Any]] = []
        # Module -> place of its payload, how its arguments are written, and what each run of it is told.
        self._known: dict[str, tuple[int, str, Arguments]] = {}

    def job(self, module: str, arguments: Arguments) -> tuple[int, str]:
        """The place of the payload that a job runs, and its arguments as text.

        :raises AnsibleError: when the module cannot be built, or its arguments cannot be sent.
        """
        if module not in self._known:
            self._known[module] = self._build(module)
        place, profile, told = self._known[module]
        if self.payloads[place]["kind"] == "whole":
            # Its arguments are in the midst of its code: there is one payload for each job.
            bits, code = self._configure(module, {**arguments, **told})
            self.payloads.append(_payload("whole", [code], bits.shebang, warm=False))
            return len(self.payloads) - 1, ""
        arguments = {**arguments, **told}
        if self.payloads[place]["kind"] == "zip":
            return place, _as_text({"ANSIBLE_MODULE_ARGS": arguments}, profile)
        if profile == "old":
            raise AnsibleError(f"{module} is an old-style module without JSON arguments, which cannot run in a batch")
        return place, _as_text(arguments, profile)

    def _build(self, module: str) -> tuple[int, str, Arguments]:
        told: Arguments = {}
        try:
            self._action._update_module_args(module, told, self._task_vars)
        except (AttributeError, TypeError) as ex:
            raise self._unknown(ex) from None
        # The folder of the run that starts the jobs is gone before they end: each makes one of its own.
        told["_ansible_tmpdir"] = None
        marked = {"inflight": secrets.token_hex(16)}
        bits, code = self._configure(module, marked)
        profile = bits.serialization_profile
        if not bits.shebang and bits.module_style != "binary":
            raise AnsibleError(f"{module} is a script, but its first line does not say what runs it")
        where = repr(_as_text({"ANSIBLE_MODULE_ARGS": marked}, profile)).encode()
        if bits.module_style == "new" and code.count(where) == 1:
            before, after = code.split(where)
            payload = _payload("zip", [before, after], bits.shebang, warm=self._is_own(bits.shebang))
        elif bits.module_style == "new":
            payload = _payload("whole", [code], bits.shebang, warm=False)
        else:
            payload = _payload("file", [code], bits.shebang, warm=False)
            profile = "old" if bits.module_style == "old" else profile
        self.payloads.append(payload)
        return len(self.payloads) - 1, profile, told

    def _is_own(self, shebang: str) -> bool:
        """Whether a module with this first line runs in the interpreter that our own module runs in."""
        if self._own_shebang is None:
            self._own_shebang = self._configure(self._own_module, {})[0].shebang
        return shebang == self._own_shebang

    def _configure(self, module: str, arguments: Arguments) -> tuple[t.Any, bytes]:
        try:
            bits, path = self._action._configure_module(
                module_name=module, module_args=arguments, task_vars=self._task_vars
            )
            bits.module_style, bits.shebang, bits.serialization_profile  # noqa: B018
            code = bits.b_module_data
        except (AttributeError, TypeError, ValueError) as ex:
            raise self._unknown(ex) from None
        if not code:
            # ansible-core 2.21 and newer: the file as it is.
            with open(path, "rb") as file:
                code = file.read()
        return bits, code

    @staticmethod
    def _unknown(ex: Exception) -> UnknownCore:
        # Core would put the message of a cause behind the way out.
        return UnknownCore(
            f"async_batch does not know how ansible-core {__version__} builds modules ({ex}): "
            "update inflight.jobs, or use async with async_wait"
        )


def _as_text(value: Arguments, profile: str) -> str:
    return json.dumps(value, cls=get_module_encoder(profile, Direction.CONTROLLER_TO_MODULE))


def _payload(kind: str, code: list[bytes], shebang: str | None, *, warm: bool) -> dict[str, t.Any]:
    interpreter = (shebang or "").removeprefix("#!").strip()
    return {"kind": kind, "code": [piece.decode("latin-1") for piece in code], "interpreter": interpreter, "warm": warm}
