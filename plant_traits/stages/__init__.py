"""The stages of a run before its maps: each a function from folders to one folder, without Prefect."""
