"""Makes `fake_fit` importable by the tests of this directory."""

from __future__ import annotations

import sys
from pathlib import Path

# Tests are imported one by one and without a package (importlib mode), so a module beside them has
# to be put on the path by hand.
sys.path.insert(0, str(Path(__file__).parent))
