"""``python -m lndbayes``."""

from __future__ import annotations

import sys

from lndbayes.app.cli import main

sys.exit(main())
