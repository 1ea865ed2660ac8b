"""Maps met with truth, plots and other maps."""
