"""GBIF: bulk downloads and snapshots of occurrences, their citation, and look-ups of records and names."""
