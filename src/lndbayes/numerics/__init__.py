"""Special functions, sums and quadrature in vector instructions, and how compiled code is kept."""
