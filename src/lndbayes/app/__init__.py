"""Commands and runs."""
