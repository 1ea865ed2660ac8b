"""Photos fetched from the web and kept: plain tar packs of the bytes, and an index of what became of each photo."""
