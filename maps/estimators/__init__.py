"""Direct estimates of cells from the moments of their photos."""
