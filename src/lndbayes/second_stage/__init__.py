"""Site effects of several fits together."""
