"""Climate and soil rasters: opened against the catalogue, averaged to the grid, sampled at points."""
