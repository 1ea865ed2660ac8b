"""Votes into names: what a crowd that names plants agrees on, by Pl@ntNet's rule, iNaturalist's and simpler ones."""
