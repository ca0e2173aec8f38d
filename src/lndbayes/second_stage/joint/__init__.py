"""Site effects of several outcomes, which may correlate."""
