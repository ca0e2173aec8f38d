"""What every room may use: errors told to a user, names of dims, signs, the interval."""
