"""The map product: its layers, its files and its versions."""
