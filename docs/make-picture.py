# Copyright (c) 2026, the inflight.jobs contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Plays the demo in a terminal of 80 columns and makes docs/demo.svg of what it printed. Needs rich, from PyPI:
#
#     python docs/make-picture.py docs/demo.svg
#
# The tasks before the first background job are left out, which the picture says. Nothing else is changed.

from __future__ import annotations

import io
import os
import pty
import re
import sys

from rich.console import Console
from rich.text import Text

COLUMNS = 80
COMMAND = "ansible-playbook inflight.jobs.demo"
# Pages that show the picture load no fonts: take what the reader has.
FONTS = '"DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace'
LEFT_OUT = "[...]"


def printed_by(command: str) -> str:
    """What a command prints on a terminal, escape sequences and all."""
    chunks = []

    def read(terminal: int) -> bytes:
        chunk = os.read(terminal, 65536)
        chunks.append(chunk)
        return chunk

    status = pty.spawn(["sh", "-c", f"stty cols {COLUMNS} rows 50; {command}"], read)
    if status:
        raise SystemExit(f"{command} did not succeed")
    return b"".join(chunks).decode().replace("\r\n", "\n")


def main() -> None:
    """Make the picture."""
    lines = Text.from_ansi(printed_by(COMMAND)).split("\n")
    play = next(index for index, line in enumerate(lines) if line.plain.startswith("PLAY ["))
    first = next(index for index, line in enumerate(lines) if line.plain.startswith("TASK [Start "))
    lines = [Text(f"$ {COMMAND}"), Text(), lines[play], Text(), Text(LEFT_OUT), Text(), *lines[first:]]
    console = Console(record=True, width=COLUMNS, height=len(lines), file=io.StringIO())
    for line in lines:
        # As a terminal does it: at the margin, not between words.
        for part in line.divide(range(COLUMNS, len(line), COLUMNS)):
            console.print(part, no_wrap=True, crop=False)
    svg = console.export_svg(title=COMMAND, font_aspect_ratio=0.602)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: Fira Code, monospace", f"font-family: {FONTS}", svg)
    with open(sys.argv[1], "w", encoding="utf-8") as picture:
        picture.write(re.sub(r"[ \t]+\n", "\n", svg))


if __name__ == "__main__":
    main()
