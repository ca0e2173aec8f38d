"""Estimands from stored draws, and the one place that averages over draws."""
