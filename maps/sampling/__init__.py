"""What uneven sampling does to a cell, and what can be done about it."""
