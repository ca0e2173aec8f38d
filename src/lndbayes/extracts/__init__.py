"""Person-level extracts to an evaluation directory; see `docs/assembly.md`."""

from lndbayes.extracts.run import assemble

__all__ = ["assemble"]
