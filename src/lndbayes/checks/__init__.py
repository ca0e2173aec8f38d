"""Checks of a finished fit: thresholds, computations and verdicts, each in its own module.

What each check asks, and what to do when it fails, is in ``docs/checks.md``.
"""
