"""How many shards a month cuts and touches among many records, by the plan alone: no photo is there.

python benchmarks/shard_plan.py 40000000 --months 2 --change 0.01
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import pyarrow as pa

from plant_traits.observations.increments import plan_increment
from plant_traits.schemas import SHARD_ROW


def plan(rows: int, change: float, months: int) -> None:
    """Print the shards of each month."""
    random = np.random.default_rng(1)
    # Records crowd: the share of a tile falls with its rank, as it does among the tiles of iNaturalist.
    share = 1 / np.arange(1, 331) ** 1.0
    tiles = random.permutation(36 * 18)[:330]

    def draw(n: int, first: int) -> pd.DataFrame:
        tile = random.choice(tiles, n, p=share / share.sum())
        ids = np.char.add("gbif:d:", np.arange(first, first + n).astype(str))
        frame = pd.DataFrame({"observation_id": ids, "photo_id": ids})
        frame["latitude"] = -90 + 10 * (tile // 36) + random.uniform(0, 10, n)
        frame["longitude"] = -180 + 10 * (tile % 36) + random.uniform(0, 10, n)
        for field in SHARD_ROW:
            if field.name not in frame:
                frame[field.name] = 1.0 if pa.types.is_floating(field.type) else "x"
        return frame

    now = draw(rows, 0)
    start = time.perf_counter()
    made = plan_increment(now, 4096)
    print(f"{rows:,} rows: {len(made.shards):,} shards, {time.perf_counter() - start:.0f} s")
    full = len(made.shards)
    for month in range(1, months + 1):
        count = round(change * rows)
        order = random.permutation(len(now))
        now.loc[order[:count], "coordinate_uncertainty_m"] = 1.0 + month
        now = pd.concat([now.drop(index=order[count : 2 * count]), draw(count, month * 10**9)], ignore_index=True)
        start = time.perf_counter()
        made = plan_increment(now, 4096, made)
        cut, touched = made.shards["new"].sum(), (made.shards["live_hash"] != made.shards["shard"]).sum()
        print(
            f"month {month}: {len(made.shards):,} shards, {cut:,} cut ({100 * cut / full:.1f} %), {touched:,} not "
            f"wholly live, {made.rows_new:,} rows new or changed, {made.rows_compacted:,} compacted, "
            f"{time.perf_counter() - start:.0f} s"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=int)
    parser.add_argument("--months", type=int, default=1, help="after the first")
    parser.add_argument("--change", type=float, default=0.01, help="share added, changed and retracted, each, a month")
    told = parser.parse_args()
    plan(told.records, told.change, told.months)


if __name__ == "__main__":
    main()
