"""Train to the same numbers whatever ran in the process before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(threads: int, device: str) -> Iterator[None]:
    """Fix threads and algorithms for the duration, and leave the global random state as it was.

    Args:
        threads: of torch on the CPU; sums in another order on more of them.
        device: ``cpu``, or ``cuda`` where every GPU's random state is kept too.
    """
    before, enabled = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    accelerated = device.startswith("cuda")
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if accelerated else []):
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=accelerated)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(enabled)
