"""Work on shards: features, covariates, predictions and moments, spread over Dask workers."""
