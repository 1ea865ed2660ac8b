"""Photos of virtual plants, whose pixels carry the traits that the plants truly have."""
