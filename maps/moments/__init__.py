"""Predictions collapsed to mergeable sums per cell, species and observer."""
