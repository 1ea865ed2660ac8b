"""Plant names, and what is known of a trait within a species, genus or family."""
