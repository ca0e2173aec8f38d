"""Whether intervals hold: simulation-based calibration, back-tests, comparators."""
