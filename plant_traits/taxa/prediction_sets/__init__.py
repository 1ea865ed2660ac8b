"""Sets of plausible names for a photo with a stated coverage, in floras where most species are rare."""
