# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Where a report goes: to the terminal, to files on the controller, and into the result of the task that made it.
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
import time
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.plugin_utils._report_text import Told

display = Display()

WIDTH = 80

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIXES = {"json": ".json", "markdown": ".md"}
# Of kinds of lines.
_COLORS = {"good": "COLOR_OK", "warning": "COLOR_WARN", "bad": "COLOR_ERROR", "unreachable": "COLOR_UNREACHABLE"}


class Target(t.NamedTuple):
    """Where a report goes. folder: the full path. quiet: nothing is shown on the terminal."""

    folder: str
    name: str
    formats: list[str]
    check_mode: bool
    quiet: bool


def target_of(
    arguments: dict[str, t.Any], prefix: str, loader: DataLoader, check_mode: bool | None, quiet: bool | None
) -> Target:
    """Where a report goes by the options directory, formats and name.

    :param prefix: what the name begins with if none is given.
    :raises AnsibleActionFail: when name cannot be the name of a file.
    """
    name = arguments["name"]
    if name is None:
        # With a part by chance, as backups have it: two runs that end in the same second have a report each.
        name = f"{prefix}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
    elif not _NAME.fullmatch(name):
        raise AnsibleActionFail(
            f"name is {name[:120]!r}: begin it with a letter or a digit, and use at most 100 of these and of '._-'"
        )
    folder = loader.path_dwim(arguments["directory"])
    return Target(folder, name, arguments["formats"], bool(check_mode), bool(quiet))


def deliver(told: Told, target: Target) -> dict[str, t.Any]:
    """Show a report and write its files; in check mode say which would be written. Returns what the task returns.

    :raises AnsibleActionFail: when a file cannot be written.
    """
    if not target.quiet:
        for line in told.lines(min(display.columns or WIDTH, WIDTH)):
            color = _COLORS.get(line.kind)
            display.display(line.text, color=getattr(C, color) if color else None)
    files = {
        os.path.join(target.folder, target.name + suffix): kind
        for kind, suffix in _SUFFIXES.items()
        if kind in target.formats
    }
    result = {**result_of(told, list(files)), "changed": False}
    if target.check_mode:
        result["msg"] += "".join(f"; would write {path}" for path in files)
        return result
    written: list[str] = []
    try:
        if files:
            os.makedirs(target.folder, mode=0o700, exist_ok=True)
        for path, kind in files.items():
            _write(path, told.contents[kind]())
            written.append(path)
    except OSError as ex:
        reason = f"directory: cannot write the report to {target.folder}: {ex.strerror or ex}"
        raise AnsibleActionFail(reason, result={**result, "files": written}) from ex
    return result


def result_of(told: Told, files: list[str]) -> dict[str, t.Any]:
    """What an action that makes a report returns beside changed."""
    return {
        "msg": told.msg,
        "state": told.state,
        "summary": told.summary,
        "failed_hosts": told.failed_hosts,
        "files": files,
        "text": told.text,
    }


def _write(path: str, content: str) -> None:
    """Write a file so that it is there as a whole or not at all, for nobody else to read.

    :raises OSError: when that cannot be done; nothing is left then.
    """
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".partial", dir=os.path.dirname(path))  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
