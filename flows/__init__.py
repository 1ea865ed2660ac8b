"""The flows an operator runs and schedules, and the command line."""
