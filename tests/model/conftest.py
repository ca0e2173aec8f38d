"""Fixtures of the model's tests."""

from __future__ import annotations

from model_fixtures import (
    bare,
    bare_model,
    full_model,
    other_spec,
    plain_world,
    spec,
    tiny,
)

__all__ = ["bare", "bare_model", "full_model", "other_spec", "plain_world", "spec", "tiny"]
