"""Draws of a posterior as a labelled tree, stored and used again."""
