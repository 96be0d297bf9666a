# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs modules of backups as Ansible does, for their tests.

from __future__ import annotations

import json
import signal
import typing as t
from types import ModuleType

import pytest
import yaml
from ansible.module_utils import basic

from ansible_collections.inflight.jobs.plugins.doc_fragments import backup_database

Answer = dict[str, t.Any]


class Run(t.Protocol):
    def __call__(self, arguments: Answer, check_mode: bool = False) -> Answer: ...


def runner(module: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a module with these arguments; what it answers, without what Ansible adds to it."""

    def run(arguments: Answer, check_mode: bool = False) -> Answer:
        text = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check_mode}})
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", text.encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as end:
                module.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        answer: Answer = json.loads(capfd.readouterr().out)
        assert bool(end.value.code) == answer.get("failed", False)
        answer.pop("invocation", None)
        return answer

    return run


def expect_documented(module: ModuleType) -> None:
    """The documentation of the options says the same as the code."""
    documentation = yaml.safe_load(module.DOCUMENTATION)
    options = dict(documentation["options"])
    for fragment in documentation.get("extends_documentation_fragment", ()):
        assert fragment == "inflight.jobs.backup_database"
        options.update(yaml.safe_load(backup_database.ModuleDocFragment.DOCUMENTATION)["options"])
    assert _normal(options, "suboptions") == _normal(module.ARGUMENT_SPEC, "options")


def _normal(options: Answer, inner: str) -> Answer:
    return {
        name: {
            "type": option["type"],
            "elements": option.get("elements"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": list(option.get("choices", [])),
            "options": _normal(option[inner], inner) if inner in option else None,
        }
        for name, option in options.items()
    }


def returned(module: ModuleType) -> Answer:
    """What the documentation says that a module returns."""
    return t.cast("Answer", yaml.safe_load(module.RETURN))
