"""Keep what libraries write beside their work: caches and Prefect's home go into the workspace, not the user's home."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path


def prepare_environment(workspace: str, environment: MutableMapping[str, str] | None = None) -> None:
    """Set defaults for libraries that would otherwise write to the home folder or wait for a network.

    Call it before Prefect, matplotlib or transformers is imported. What the operator has set is left alone; where
    PREFECT_API_URL is set, that server is used and its settings are the operator's.

    Args:
        workspace: the run's workspace; a remote one keeps these files in ``.plant-traits`` of the current folder.
        environment: the variables to change; the process's own by default.
    """
    variables = os.environ if environment is None else environment
    base = Path(".plant-traits").resolve() if "://" in workspace else Path(workspace).resolve() / "home"
    defaults = {
        "PREFECT_HOME": str(base / "prefect"),
        "MPLCONFIGDIR": str(base / "matplotlib"),
        "XDG_CACHE_HOME": str(base / "cache"),
        "XDG_CONFIG_HOME": str(base / "config"),
        "XDG_DATA_HOME": str(base / "data"),
        "HF_HOME": str(base / "huggingface"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",  # the command line shows stages and errors itself
        "DASK_LOGGING__DISTRIBUTED": "critical",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name, value in defaults.items():
        variables.setdefault(name, value)
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME"):
        with suppress(OSError):  # opening the workspace says what is wrong with it
            Path(variables[name]).mkdir(parents=True, exist_ok=True)
