"""The report: one page for a reader in a hurry first, for a statistician after that."""

from __future__ import annotations

from lndbayes.report.page import write_report

__all__ = ["write_report"]
