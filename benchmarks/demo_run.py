"""What benchmarks read of a finished run of the profile ``demo``: its training table and the plants' true values."""

from __future__ import annotations

from pathlib import Path


def training_table(workspace: Path) -> Path:
    """Return the newest training table of a workspace."""
    return _newest(workspace, "steps/training-table/*.json").with_suffix("")


def true_values(workspace: Path) -> Path:
    """Return the newest table of photographed plants' true values."""
    return _newest(workspace, "mirror/demo-*/truth/records.parquet")


def _newest(workspace: Path, pattern: str) -> Path:
    found = sorted(workspace.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"{workspace} has no {pattern}; run plant-traits train --profile demo in it first")
    return found[-1]
