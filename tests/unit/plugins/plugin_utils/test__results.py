# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

import pytest

# With this, core decodes as it does on a controller and not as in a module.
from ansible.template import is_trusted_as_template
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.inflight.jobs.plugins.plugin_utils import _results
from ansible_collections.inflight.jobs.plugins.plugin_utils._results import decode

# What async_wrapper writes for a module that warned of something: core marks the types of its own.
TAGGED: dict[str, t.Any] = {
    "changed": True,
    "warnings": [{"event": {"msg": "careful now", "__ansible_type": "Event"}, "__ansible_type": "WarningSummary"}],
    "deprecations": [
        {
            "event": {"msg": "old thing", "__ansible_type": "Event"},
            "deprecator": {"resolved_name": "inflight.jobs", "type": None, "__ansible_type": "PluginInfo"},
            "version": "9.0",
            "__ansible_type": "DeprecationSummary",
        }
    ],
}
MODULE = """
import json
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": {}}).encode()
basic._ANSIBLE_PROFILE = "legacy"
module = basic.AnsibleModule(argument_spec={})
module.warn("careful now")
module.deprecate("old thing", version="9.0", collection_name="inflight.jobs")
module.{end}
"""


def module_result(end: str) -> str:
    """What a real module prints, which async_wrapper writes into the job file as it is."""
    run = subprocess.run(
        [sys.executable, "-c", MODULE.replace("{end}", end)], capture_output=True, text=True, check=False
    )
    assert run.stdout, run.stderr
    return run.stdout


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float))


def test_a_plain_result_is_returned_as_it_is() -> None:
    result = {"changed": True, "rc": 0, "nested": [{"a": [1, 2.5, None, "ä"]}], "started": True, "state": "x"}
    assert decode(json.dumps(result)) == result


def test_lines_are_added_as_core_adds_them() -> None:
    result = decode('{"stdout": "a\\nb\\n", "stderr": "", "other": "a\\nb"}')
    assert result["stdout_lines"] == ["a", "b"]
    assert result["stderr_lines"] == []
    assert "other_lines" not in result
    assert decode('{"stdout": "a", "stdout_lines": ["kept"]}')["stdout_lines"] == ["kept"]
    assert "stdout_lines" not in decode('{"stdout": 5}')


# Warnings and errors that core wraps in types of its own


def test_warnings_become_the_texts_that_a_task_would_show() -> None:
    result = decode(json.dumps(TAGGED))
    assert result["warnings"] == ["careful now"]
    assert result["deprecations"] == [{"msg": "old thing", "version": "9.0", "date": None}]
    assert result["changed"] is True
    assert is_plain(result)


def test_what_a_real_module_prints_is_decoded() -> None:
    result = decode(module_result("exit_json(changed=True, found=['x'])"))
    assert (result["changed"], result["found"]) == (True, ["x"])
    assert result["warnings"] == ["careful now"]
    assert result["deprecations"][0]["msg"] == "old thing"
    assert result["deprecations"][0]["version"] == "9.0"


def test_an_error_of_a_real_module_is_a_text() -> None:
    result = decode(module_result("fail_json('it broke', exception=ValueError('bad'))"))
    assert (result["failed"], result["msg"]) == (True, "it broke")
    assert is_plain(result)


def test_an_exception_in_a_type_of_core_is_a_text() -> None:
    error = {"event": {"msg": "boom", "__ansible_type": "Event"}, "__ansible_type": "ErrorSummary"}
    assert decode(json.dumps({"failed": True, "exception": error}))["exception"] == "boom"
    assert decode('{"exception": "Traceback"}')["exception"] == "Traceback"


@pytest.mark.parametrize("value", [["a", "b"], [], "text", 5, None, [5, {"msg": "x"}]])
def test_warnings_in_another_form_are_left_as_they_are(value: object) -> None:
    assert decode(json.dumps({"warnings": value})) == {"warnings": value}


@pytest.mark.parametrize(
    "value",
    [
        {"__ansible_type": "NoSuchType", "x": 1},
        {"__ansible_type": 5},
        {"__ansible_type": ["Event"]},
        {"__ansible_type": "Event", "no such field": 1},
        {"__ansible_type": "EncryptedString", "ciphertext": "x"},
        {"__ansible_type": "TrustedAsTemplate"},
    ],
)
def test_a_type_that_core_refuses_does_not_take_the_result_down(value: dict[str, t.Any]) -> None:
    assert decode(json.dumps({"changed": True, "x": value})) == {"changed": True, "x": value}


def test_no_result_can_make_its_text_a_template_that_is_trusted() -> None:
    text = {
        "__ansible_type": "_AnsibleTaggedStr",
        "value": "{{ 1 }}",
        "tags": [{"__ansible_type": "TrustedAsTemplate"}],
    }
    result = decode(json.dumps({"msg": text, "plain": "{{ 1 }}"}))
    assert not is_trusted_as_template(result["plain"])
    assert not is_trusted_as_template(result["msg"])


def test_a_whole_object_that_is_a_type_of_core_is_still_a_result() -> None:
    whole = TAGGED["warnings"][0]
    assert decode(json.dumps(whole)) == whole


# Characters


@pytest.mark.parametrize("extra", [{}, {"x": {"__ansible_type": "NoSuchType"}}])
def test_bytes_that_are_no_utf8_are_replaced_by_a_question_mark(extra: dict[str, t.Any]) -> None:
    """As the notes of async_wait say; they arrive as lone surrogates, which could not be printed or stored."""
    result = decode(json.dumps({"stdout": "a\udcff\udcfeb", "k\udcff": [["\udcff"]], **extra}))
    assert result["stdout"] == "a??b"
    assert result["stdout_lines"] == ["a??b"]
    assert result["k?"] == [["?"]]
    json.dumps(result, ensure_ascii=False).encode()


def test_characters_beyond_the_first_plane_stay_whole() -> None:
    assert decode('{"msg": "\\ud83d\\ude80 ä"}') == {"msg": "🚀 ä"}


keys = st.text(max_size=4) | st.sampled_from(
    ["__ansible_type", "event", "msg", "warnings", "deprecations", "exception", "stdout", "tags", "value"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(
        ["WarningSummary", "Event", "DeprecationSummary", "ErrorSummary", "datetime", "_AnsibleTaggedStr"]
    )
    | st.just("\udcff"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys, values, max_size=5))
def test_whatever_object_a_job_file_holds_it_is_decoded(result: dict[str, t.Any]) -> None:
    assert isinstance(decode(json.dumps(result)), dict)


# Durations


@pytest.mark.parametrize(
    ("delta", "seconds"),
    [
        ("0:00:02.500000", 2.5),
        ("0:00:00", 0),
        ("1:02:03.000004", 3723),
        ("1 day, 0:00:01", 86401),
        ("12 days, 23:59:59.9", 12 * 86400 + 86399.9),
        ("", None),
        ("-1 day, 23:59:59", None),
        ("0:00:1.2.3", None),
        ("0:00:.", None),
        ("99999999999999 days, 0:00:00", None),
        ("soon", None),
        (2.5, None),
        (None, None),
    ],
)
def test_the_duration_that_a_command_tells_is_read(delta: object, seconds: float | None) -> None:
    assert _results.duration({"start": "x", "end": "y", "delta": delta}) == seconds


def test_a_delta_alone_is_no_duration() -> None:
    assert _results.duration({"delta": "0:00:02.5"}) is None
    assert _results.duration({}) is None


def test_a_moment_before_another_one() -> None:
    assert _results.earlier("2026-01-01T00:00:01.250Z", 2.5) == "2025-12-31T23:59:58.750Z"


# Core


def test_the_decoder_of_core_is_there_and_knows_what_its_modules_write() -> None:
    """When this fails, core has changed how modules speak: see to it that decode() still understands them."""
    from ansible.module_utils.common.json import Direction, get_module_decoder  # noqa: PLC0415 - may go away

    assert _results.DECODER is get_module_decoder("legacy", Direction.MODULE_TO_CONTROLLER)
    assert _results.DECODER is not json.JSONDecoder
    found = json.loads(json.dumps(TAGGED), cls=_results.DECODER)
    assert type(found["warnings"][0]).__name__ == "WarningSummary"
    assert found["warnings"][0].event.msg == "careful now"
    assert type(found["deprecations"][0]).__name__ == "DeprecationSummary"
    assert found["deprecations"][0].version == "9.0"


def test_without_the_decoder_of_core_plain_json_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "DECODER", json.JSONDecoder)
    assert decode('{"changed": true, "warnings": ["x"]}') == {"changed": True, "warnings": ["x"]}
    assert decode(json.dumps(TAGGED)) == TAGGED
