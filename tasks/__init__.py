"""One Prefect task per stage of a run: decorator, one library call, one artifact."""
