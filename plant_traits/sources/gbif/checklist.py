"""The taxonomy in which GBIF is always asked: its own default is another, frozen one."""

from __future__ import annotations

CATALOGUE_OF_LIFE = "7ddf754f-d193-4cc9-b351-99906754a03b"
"""Checklist key of the Catalogue of Life, extended release: GBIF's current taxonomy."""

TRACHEOPHYTA = "TP"
"""Taxon key of the vascular plants in ``CATALOGUE_OF_LIFE``."""
