"""How the real run's scores depend on the seed and on training with occurrences.

Each variant is the profile ``real`` with other model settings, run through the command line in one workspace, so that
only training and what follows it is computed again. Prints the area-weighted r of the published map against the plots,
on its own cells.

    python benchmarks/real_settings.py DIR workspace
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from data_catalog import load_catalog

VARIANTS: dict[str, dict[str, object]] = {
    "seed 1, as in the profile": {},
    "seed 2": {"seed": 2},
    "with occurrences": {"train_on_records": True},
}


def main(data: str, workspace: str) -> None:
    """Run every variant and print its scores."""
    base = load_catalog().profile("real")
    rows = {}
    for number, (name, change) in enumerate(VARIANTS.items()):
        profile = base.model_dump(mode="json", exclude_defaults=True)
        profile["id"] = f"real-{number}"
        profile["model"] = profile["model"] | change
        overlay = Path(workspace) / "overlays" / str(number)
        (overlay / "profiles").mkdir(parents=True, exist_ok=True)
        (overlay / "profiles" / "variant.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("plant-traits")), "refresh", "--profile", profile["id"]]
        command += ["--catalog", str(overlay), "--data", data, "--workspace", workspace]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        (release,) = (Path(workspace) / "releases").glob(f"{profile['id']}-world-*/scores.csv")
        scores = pd.read_csv(release).query("map == 'published' and scale == 'ln' and cells == 'own'")
        rows[name] = scores.set_index("trait")["pearson_r"].round(3)
        print(name, rows[name].to_dict(), flush=True)
    print(pd.DataFrame(rows).T.to_string())


if __name__ == "__main__":
    main(*sys.argv[1:3])
