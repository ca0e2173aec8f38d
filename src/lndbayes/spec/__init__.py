"""Model specs: sections, priors, families, and what is printed of them."""
