# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import tempfile
import time
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.inflight.jobs.plugins.modules.backup_report import ARGUMENT_SPEC
from ansible_collections.inflight.jobs.plugins.plugin_utils import _backup_report_text
from ansible_collections.inflight.jobs.plugins.plugin_utils._backup_report import Report, report_of

display = Display()

WIDTH = 80

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIXES = {"json": ".json", "markdown": ".md"}
# Of kinds of lines.
_COLORS = {"good": "COLOR_OK", "warning": "COLOR_WARN", "bad": "COLOR_ERROR", "unreachable": "COLOR_UNREACHABLE"}


class ActionModule(ActionBase):
    """Writes one report of the backups of many hosts. Its documentation is in plugins/modules/backup_report.py."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        del tmp  # tmp no longer has any effect
        arguments = self.validate_argument_spec(ARGUMENT_SPEC)[1]
        now = time.time()
        name = arguments["name"]
        if name is None:
            # With a part by chance, as backups have it: two runs that end in the same second have a report each.
            name = f"backup-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(3)}"
        elif not _NAME.fullmatch(name):
            raise AnsibleActionFail(
                f"name is {name[:120]!r}: begin it with a letter or a digit, and use at most 100 of these and of '._-'"
            )
        report = report_of(arguments["results"], arguments["title"], now, self._task.check_mode)
        lines = _backup_report_text.table(report, min(display.columns or WIDTH, WIDTH))
        if not self._task.no_log:
            for line in lines:
                color = _COLORS.get(line.kind)
                display.display(line.text, color=getattr(C, color) if color else None)
        folder = self._loader.path_dwim(arguments["directory"])
        files = {
            os.path.join(folder, name + suffix): kind
            for kind, suffix in _SUFFIXES.items()
            if kind in arguments["formats"]
        }
        result.update(result_of(report, map(str, arguments["results"]), list(files)))
        result["changed"] = False
        if self._task.check_mode:
            result["msg"] += "".join(f"; would write {path}" for path in files)
            return result
        written: list[str] = []
        try:
            if files:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            for path, kind in files.items():
                _write(path, _content(report, kind))
                written.append(path)
        except OSError as ex:
            reason = f"directory: cannot write the report to {folder}: {ex.strerror or ex}"
            raise AnsibleActionFail(reason, result={**result, "files": written}) from ex
        return result


def result_of(report: Report, hosts: t.Iterable[str], files: list[str]) -> dict[str, t.Any]:
    """What the action returns beside changed.

    :param hosts: what the hosts are called in the inventory, in the order of the report.
    """
    return {
        "msg": f"{_backup_report_text.headline(report)}; {_backup_report_text.totals(report)}",
        "state": report.state,
        "summary": report.summary,
        "failed_hosts": _backup_report_text.failed_hosts(report, hosts),
        "files": files,
        "text": _backup_report_text.text(report),
    }


def _content(report: Report, kind: str) -> str:
    if kind == "json":
        return json.dumps(report.data(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return _backup_report_text.markdown(report)


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
