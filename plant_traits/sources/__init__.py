"""Readers of the files that outside services hand out: occurrences, photos, trait tables and plots."""
