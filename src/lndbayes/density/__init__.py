"""The model's log density and gradient, written out and compiled."""
