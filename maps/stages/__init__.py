"""The stages of a run from predictions to the report: each a function from folders to one folder, without Prefect."""
