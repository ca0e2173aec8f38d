"""``python -m lndbayes``."""

from __future__ import annotations

import sys

from lndbayes.cli import main

sys.exit(main())
