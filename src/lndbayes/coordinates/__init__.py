"""Coordinates in which a posterior is near a standard normal, found from draws of it."""
