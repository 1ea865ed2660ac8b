"""A seeded virtual world in the formats of the real services."""
