"""Person-level extracts to an evaluation directory; see `docs/assembly.md`."""

from lndbayes.assemble.run import assemble

__all__ = ["assemble"]
