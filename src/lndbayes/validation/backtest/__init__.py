"""Months before go-live hidden, reconstructed and scored."""
