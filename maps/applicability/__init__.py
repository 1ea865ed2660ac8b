"""How far the map reaches: how unlike the training data a place is."""
