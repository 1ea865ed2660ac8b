"""Climate and soil rasters: fetched whole, or only the pixels of a region."""
