"""A run that is killed, whole process group and all, goes on and ends with the same maps to the bit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

STAGES = (
    "world",
    "shard",
    "shard-features",
    "shard-predictions",
    "maps",
)  # kill when the first output of each is there


SOURCES = "citation/sources.json"
DATED = {SOURCES, "report.html", "SHA256SUMS"}
"""Files that say on which day GBIF was asked, or have a digest of one that does."""


def day_asked(release: Path) -> str:
    """Return the day in the citation of GBIF's download."""
    (day,) = set(re.findall(r"GBIF\.org \((\d{1,2} [A-Z][a-z]+ \d{4})\)", (release / SOURCES).read_text()))
    return str(day)


@pytest.mark.timeout(900)
def test_killed_runs_end_with_the_same_maps(tiny_run, hashes, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    command = [Path(sys.executable).with_name("plant-traits"), "refresh", "--profile", "tiny", "--workspace", workspace]
    killed = 0
    for stage in (*STAGES, None):
        process = subprocess.Popen(
            [str(x) for x in command],
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if stage is None:
            output, _ = process.communicate(timeout=400)
            assert process.returncode == 0, output
            break
        folder = workspace / "steps" / stage
        while process.poll() is None and not list(folder.glob("*.json")):
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed == len(STAGES)
    (release,) = (x for x in (workspace / "releases").iterdir() if x.is_symlink())
    ours, theirs = release.resolve(), tiny_run.release.resolve()
    found, expected = hashes(ours), hashes(theirs)
    if day_asked(ours) != day_asked(theirs):  # midnight passed between the two
        assert set(found) >= DATED
        found, expected = ({name: x for name, x in of.items() if name not in DATED} for of in (found, expected))
    assert found == expected
