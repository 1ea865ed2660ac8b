"""From predictions to map products, their comparison and their report."""
