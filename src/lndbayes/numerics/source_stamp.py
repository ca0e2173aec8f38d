"""A number that changes with source text: part of the key of every compiled-code cache.

The compiler's own key sees the one file a function is written in. A function that calls another
file's would keep that file's old code after an edit or an upgrade; closing over this number makes
it another function.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["source_stamp"]


def source_stamp(*files: str | None) -> int:
    """Return a positive number below 2**56 from the bytes of source files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(str(file)).read_bytes())
    return int.from_bytes(digest.digest()[:7], "big") + 1
