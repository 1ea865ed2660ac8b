"""The gate of names: what an observation's stated name, the votes on it and its photo together let one accept."""
