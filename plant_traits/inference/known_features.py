"""Features that earlier runs computed: found by the photos' content, so that no photo is encoded twice.

A shard's output has the shard's digest in its key: one new photo gives it a new key, and thousands of photos would be
encoded again. So a job is told of earlier outputs that hold some of its photos. The driver looks them up by the hashes
alone; the job copies the rows that it needs and encodes the rest. What is copied is what encoding would give, to the
bit, therefore none of this is part of a key. Outputs count as earlier ones of the same kind where both the encoder's
identity and the code that makes features of photos, libraries included, are the same; as for every step, processors and
accelerators are not told apart. A picture that is new in two shards of one run is encoded in both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.inference.cluster import ShardJob
from plant_traits.model.earlier_features import EarlierFeatures, encoder_facts
from plant_traits.model.features import FEATURES
from plant_traits.model.photo_hashes import PhotoHashes, hashes_of_column, known, leading_bits
from plant_traits.observations.shards import PHOTOS_FILE
from plant_traits.steps import Artifact, StepStore

logger = logging.getLogger(__name__)

_READERS = 16  # files read at a time; an object store answers each after some ten milliseconds


def with_earlier_features(store: StepStore, jobs: Mapping[str, ShardJob], encoder_identity: str) -> dict[str, ShardJob]:
    """Tell each job that has no output yet which earlier outputs hold photos of its shard.

    Of every photo to be encoded, 13 bytes are held, some 31 while they are sorted: 1.3 GB for 40 million photos. Of
    earlier outputs a few are read at a time, the hashes alone; where every photo is found, the rest is not read.
    Nothing is read where every job has its output or no earlier output is of this encoder. What cannot be read is
    passed over with a warning.

    Args:
        store: where shards and outputs live.
        jobs: jobs of one step by name; each reads the input ``shard`` and takes the setting ``earlier``.
        encoder_identity: the encoder of the jobs.

    Returns:
        The jobs, in their order, their keys unchanged.

    Raises:
        WorkspaceError: the workspace cannot be read.
    """
    pending = {name: job for name, job in jobs.items() if store.find(job.step, job.key) is None}
    steps = {job.step for job in pending.values()}
    facts = encoder_facts(encoder_identity)
    found = [
        artifact
        for step in sorted(steps)
        for artifact in store.committed(step)
        if facts.items() <= artifact.summary.items() and FEATURES in artifact.files
    ]
    if not found:
        return dict(jobs)
    holders = _holders(store, [job.inputs["shard"] for job in pending.values()], found)
    told = {
        name: replace(job, settings={**job.settings, "earlier": EarlierFeatures(store, tuple(own))})
        for (name, job), own in zip(pending.items(), holders, strict=True)
        if own
    }
    return {name: told.get(name, job) for name, job in jobs.items()}


def _holders(store: StepStore, shards: Sequence[Artifact], earlier: Sequence[Artifact]) -> list[list[Artifact]]:
    """Return, by shard, earlier outputs that together hold all of its photos that any of them holds."""
    wanted, owner = _wanted(store, shards)
    unfound = np.ones(len(wanted), dtype=np.bool_)
    remaining = len(wanted)
    holders: list[list[Artifact]] = [[] for _ in shards]
    for artifact, held in zip(earlier, _columns(store, earlier, FEATURES, "photo_sha256"), strict=True):
        if held is None:
            continue
        hits = _matches(wanted, np.unique(leading_bits(held[known(held)])))
        hits = hits[unfound[hits]]
        unfound[hits] = False
        remaining -= len(hits)
        for shard in np.unique(owner[hits]):
            holders[shard].append(artifact)
        if not remaining:
            break
    return holders


def _wanted(store: StepStore, shards: Sequence[Artifact]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Return the leading bits of the shards' photos, sorted, and the position of the shard of each."""
    bits: list[npt.NDArray[np.uint64]] = []
    for hashes in _columns(store, shards, PHOTOS_FILE, "sha256"):
        # An unreadable shard is for its own job to complain of.
        bits.append(np.empty(0, np.uint64) if hashes is None else leading_bits(hashes[known(hashes)]))
    owner = np.repeat(np.arange(len(shards), dtype=np.int32), [len(x) for x in bits])
    wanted = np.concatenate(bits)
    del bits
    order = np.argsort(wanted)
    return wanted[order], owner[order]


def _matches(wanted: npt.NDArray[np.uint64], held: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return the positions, in a sorted array with repetitions, of the values that are held."""
    first, last = np.searchsorted(wanted, held, "left"), np.searchsorted(wanted, held, "right")
    counts = last - first
    ends = np.cumsum(counts)
    starts: npt.NDArray[np.int64] = np.repeat(first - (ends - counts), counts)
    positions: npt.NDArray[np.int64] = np.arange(len(starts), dtype=np.int64) + starts
    return positions


def _columns(store: StepStore, artifacts: Sequence[Artifact], file: str, column: str) -> Iterator[PhotoHashes | None]:
    """Yield a column of hashes of each artifact, None where it cannot be read; no more than some are held."""
    filesystem = store.workspace.filesystem

    def read(artifact: Artifact) -> PhotoHashes | None:
        address = store.workspace.address("steps", artifact.step, artifact.key, file)
        try:
            with filesystem.open(address, "rb") as stream, pq.ParquetFile(stream) as parquet:
                return hashes_of_column(parquet.read([column])[column])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            logger.warning("photo hashes %s cannot be read: %s", address, error)
            return None

    with ThreadPoolExecutor(_READERS) as readers:
        for start in range(0, len(artifacts), 4 * _READERS):
            yield from readers.map(read, artifacts[start : start + 4 * _READERS])
