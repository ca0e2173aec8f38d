"""Costs, and savings draw by draw."""
