"""Texts kept whole in a file, so that a change of their wording is seen and judged, in one place.

A text that differs fails. Read the difference; where it is meant, `KEEP=1 make test ARGS=<test>`
keeps the new text, and the difference is in the commit.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path


def differs(path: Path, text: str) -> str:
    """What of a text is not as kept at a path, as lines of a diff; empty where nothing is."""
    if os.environ.get("KEEP"):
        path.write_text(text, encoding="utf-8")
    kept = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(kept.splitlines(), text.splitlines(), "kept", "now", lineterm="")
    return "\n".join(lines)
