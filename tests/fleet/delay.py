# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A long way to a host, as a ProxyCommand of ssh: delay.py HOST PORT SECONDS.

Passes everything on between its standard input and output and the port, each way so many seconds later, however much it
is.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
import typing as t


def carry(read: t.Callable[[], bytes], write: t.Callable[[bytes], object], seconds: float) -> None:
    """Pass on what is read until its end, each piece so many seconds after it came."""
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue()

    def deliver() -> None:
        piece = b"."
        while piece:
            due, piece = pieces.get()
            time.sleep(max(0.0, due - time.monotonic()))
            write(piece)

    delivery = threading.Thread(target=deliver, daemon=True)
    delivery.start()
    piece = b"."
    while piece:
        piece = read()
        pieces.put((time.monotonic() + seconds, piece))
    delivery.join()


def write_out(piece: bytes) -> None:
    """Write a piece to standard output."""
    while piece:
        piece = piece[os.write(1, piece) :]


def main(host: str, port: int, seconds: float) -> None:
    """Connect, and carry in both directions until the host closes the connection."""
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send(piece: bytes) -> None:
            if piece:
                connection.sendall(piece)
            else:
                connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=carry, args=(lambda: os.read(0, 65536), send, seconds), daemon=True).start()
        carry(lambda: connection.recv(65536), write_out, seconds)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
