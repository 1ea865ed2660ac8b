"""Pages and figures that tell what a run made."""
