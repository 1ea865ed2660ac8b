"""The science and the plumbing of trait maps, as plain functions and small frozen classes."""
