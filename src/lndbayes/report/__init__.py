"""The report: one page for a reader in a hurry first, for a statistician after that."""

from __future__ import annotations

from lndbayes.report.page import REPORTS, write_report

__all__ = ["REPORTS", "write_report"]
