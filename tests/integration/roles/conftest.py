# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import threading
import typing as t
from pathlib import Path

import pytest

from ..async_batch.conftest import BatchSandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> t.Iterator[BatchSandbox]:
    """A home, a job directory and a working folder for one test."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    place = BatchSandbox(tmp_path, playbooks=playbooks)
    yield place
    place.close()


class Listener(http.server.ThreadingHTTPServer):
    """A web server that takes down what it is told. The first request to /twice fails.

    told: pairs of the path and what was posted to it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[tuple[str, str]] = []

    def url(self, path: str) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Listener

    def _answer(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.told.append((self.path, text))
        paths = [path for path, dummy in self.server.told]
        bad = self.path.startswith("/never") or (self.path == "/twice" and paths.count("/twice") == 1)
        self.send_response(503 if bad else 204)
        self.end_headers()

    do_GET = do_POST = _answer

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def listener() -> t.Iterator[Listener]:
    """A web server for webhooks and pings."""
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
