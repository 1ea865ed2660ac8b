"""Stage: observations and their photos cut into immutable shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from plant_traits.observations.shards import plan_shards, write_shard
from plant_traits.schemas import OBSERVATION, read_table
from plant_traits.sources.inputs import InputSet
from plant_traits.sources.photos import open_photos
from plant_traits.steps import Artifact, StepStore


def cut_shards(
    store: StepStore,
    *,
    root: Path,
    inputs: InputSet,
    observations: Path,
    size: int,
    code: str,
    progress: Callable[[int, int], None] | None = None,
) -> Artifact:
    """Cut observations into shards of one 10° tile and gather each shard's photos.

    A shard whose rows and photos are unchanged is not written again.

    Args:
        store: where shards live.
        root: the run's data folder.
        inputs: the run's inputs.
        observations: output of ``build_observations``.
        size: largest number of rows of a shard.
        code: code version.
        progress: called with (finished, total).

    Returns:
        The collection of shards, by shard name.
    """
    table = read_table(observations / "observations.parquet", OBSERVATION)
    plan = plan_shards(table, size)
    lost: Counter[str] = Counter()
    members = {}
    with ExitStack() as stack:
        readers = [stack.enter_context(open_photos(x.reader, root / x.path)) for x in inputs.of("photos")]
        for finished, (shard, rows) in enumerate(plan, start=1):
            wanted = sorted(rows["photo_id"].dropna().unique())
            members[shard.name] = store.run(
                "shard",
                lambda destination, rows=rows: {"photos": write_shard(rows, readers, destination)},  # type: ignore[misc]
                code=code,
                parameters={"shard": shard.name},
                inputs={f"photos {k}": reader.identity(wanted) for k, reader in enumerate(readers)},
            )
            lost.update(members[shard.name].summary["photos"])
            if progress is not None:
                progress(finished, len(plan))
    photos = int(table["photo_id"].notna().sum())
    lost_photos = {f"photo {reason}": n for reason, n in sorted(lost.items()) if reason != "ok"}
    summary = {
        "in": {"observations": len(table), "photos": photos},
        "out": {"shards": len(plan), "photos held": photos - sum(lost_photos.values())},
        "lost": lost_photos,
    }
    return store.collect("shards", members, summary)
