from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import data_catalog
from data_catalog import HostLimits
from plant_traits.errors import WebError, WorkspaceError
from plant_traits.sources.web.pace import Pace

if TYPE_CHECKING:
    from tests.plant_traits.sources.web.conftest import Clock

HOST = "a.example.org"


class SharedClock:
    """A clock of several threads: a sleeper wakes when everybody sleeps and its turn is next."""

    def __init__(self, threads: int) -> None:
        self.time = 5_000.0
        self._awake = threads
        self._wakes: list[float] = []
        self._changed = threading.Condition()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        with self._changed:
            wake = self.time + seconds
            self._wakes.append(wake)
            self._awake -= 1
            self._advance()
            while self.time < wake:
                self._changed.wait()
            self._wakes.remove(wake)
            self._awake += 1

    def leave(self) -> None:
        with self._changed:
            self._awake -= 1
            self._advance()

    def _advance(self) -> None:
        if self._awake == 0 and self._wakes:
            self.time = max(self.time, min(self._wakes))
            self._changed.notify_all()


def limits(**of: float) -> dict[str, HostLimits]:
    return {HOST: HostLimits.model_validate({"host": HOST, "requests_per_minute": 60, **of})}


def most_over_share(sent: list[float], per_second: float) -> float:
    """Return by how much any window holds more than rate x length + 1 requests (windows that start and end at one)."""
    sent = sorted(sent)
    return max(
        (j - i + 1) - (per_second * (sent[j] - sent[i]) + 1) for i in range(len(sent)) for j in range(i, len(sent))
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    threads=st.integers(1, 6),
    per_minute=st.sampled_from([0.5, 7.0, 60.0, 1000.0]),
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=6),
)
def test_no_window_of_any_length_holds_more_than_its_share(
    tmp_path_factory: pytest.TempPathFactory, threads: int, per_minute: float, pauses: list[float]
) -> None:
    path = tmp_path_factory.mktemp("pace") / "account.sqlite"
    clock = SharedClock(threads)
    sent: list[float] = []

    def work(k: int) -> None:
        # Each thread has its own account object, as each process has.
        pace = Pace(path, limits(requests_per_minute=per_minute), now=clock.now, sleep=clock.sleep)
        for pause in pauses[k % len(pauses) :]:
            pace.wait_for_turn(HOST)
            sent.append(clock.now())
            clock.sleep(pause)
        clock.leave()

    workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(sent) == sum(len(pauses[k % len(pauses) :]) for k in range(threads))
    assert most_over_share(sent, per_minute / 60) < 1e-6


SENDING = """
import sys
from pathlib import Path
from data_catalog import HostLimits
from plant_traits.sources.web.pace import Pace

host = sys.argv[2]
limits = {host: HostLimits.model_validate({"host": host, "requests_per_minute": 60})}
for _ in range(5):
    clock = [5_000.0]
    pace = Pace(Path(sys.argv[1]), limits, now=lambda: clock[0], sleep=lambda s: clock.append(clock.pop() + s))
    pace.wait_for_turn(host)
    print(clock[0])
"""


def run_apart(script: str, path: Path) -> subprocess.Popen[str]:
    """Start a script in a process of its own: one that has run other libraries' threads is not to be forked."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), HOST],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(data_catalog.__file__).parents[1],
    )  # fmt: skip


def test_processes_share_the_queue(tmp_path: Path) -> None:
    """Four processes that all begin at one moment are sent one after the other."""
    path = tmp_path / "account.sqlite"
    Pace(path, limits())
    told = [worker.communicate(timeout=120) for worker in [run_apart(SENDING, path) for _ in range(4)]]
    times = sorted(float(line) for out, _ in told for line in out.split())
    assert times == pytest.approx([5_000.0 + k for k in range(20)]), [error for _, error in told]


FORKING = """
import multiprocessing
import sys
from pathlib import Path
from data_catalog import HostLimits
from plant_traits.sources.web.pace import Pace

host = sys.argv[2]
limits = {host: HostLimits.model_validate({"host": host, "requests_per_minute": 60})}
clock = [1_000_000.0]
pace = Pace(Path(sys.argv[1]), limits, now=lambda: clock[0], sleep=lambda s: clock.append(clock.pop() + s))
pace.wait_for_turn(host)
process = multiprocessing.get_context("fork").Process(target=pace.wait_for_turn, args=(host,))
process.start()
process.join()
pace.wait_for_turn(host)
print(process.exitcode, *pace.used(host))
"""


def test_a_fork_uses_the_account_on_its_own(tmp_path: Path) -> None:
    out, error = run_apart(FORKING, tmp_path / "a.sqlite").communicate(timeout=120)
    assert out.split() == ["0", "3", "0"], error


def test_a_restart_keeps_the_queue_and_the_account(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "deep" / "account.sqlite"
    first = Pace(path, limits(), now=clock.now, sleep=clock.sleep)
    first.wait_for_turn(HOST)
    first.count_bytes(HOST, 70)
    first.postpone(HOST, 40.0)
    second = Pace(path, limits(), now=clock.now, sleep=clock.sleep)
    second.count_bytes(HOST, 5)
    second.wait_for_turn(HOST)
    assert clock.slept == [40.0]
    assert second.used(HOST) == (2, 75)
    assert second.used("b.example.org") == (0, 0)


def test_a_shorter_postponement_does_not_shorten_a_longer_one(tmp_path: Path, clock: Clock) -> None:
    pace = Pace(tmp_path / "a.sqlite", limits(), now=clock.now, sleep=clock.sleep)
    pace.postpone(HOST, 50.0)
    pace.postpone(HOST, 5.0)
    pace.wait_for_turn(HOST)
    assert sum(clock.slept) == pytest.approx(50.0)


def test_long_waits_are_slept_in_short_naps(tmp_path: Path, clock: Clock) -> None:
    pace = Pace(tmp_path / "a.sqlite", limits(), now=clock.now, sleep=clock.sleep)
    pace.postpone(HOST, 1000.0)
    pace.wait_for_turn(HOST)
    assert max(clock.slept) <= 60.0
    assert sum(clock.slept) == pytest.approx(1000.0)


@pytest.mark.parametrize(("budget", "window"), [("bytes_per_hour", 3600.0), ("bytes_per_day", 86_400.0)])
def test_no_window_holds_more_bytes_than_its_budget(budget: str, window: float, tmp_path: Path, clock: Clock) -> None:
    pace = Pace(
        tmp_path / "a.sqlite", limits(**{budget: 1000}), now=clock.now, sleep=clock.sleep, longest_wait_s=10 * window
    )
    came: list[float] = []
    for _ in range(35):
        pace.wait_for_turn(HOST)
        pace.count_bytes(HOST, 100)
        came.append(clock.time)
        clock.time += window / 35.0  # not in step with the slots
    for start in came:
        assert sum(start <= t < start + window for t in came) <= 10
    # and the budget is used: 35 in at least three windows, not many more
    assert came[-1] - came[0] < 4.5 * window


def test_requests_of_a_day_are_bounded(tmp_path: Path, clock: Clock) -> None:
    pace = Pace(tmp_path / "a.sqlite", limits(requests_per_day=3), now=clock.now, sleep=clock.sleep, longest_wait_s=60)
    for _ in range(3):
        pace.wait_for_turn(HOST)
    with pytest.raises(WebError) as caught:
        pace.wait_for_turn(HOST)
    assert caught.value.reason == "over_budget"
    assert pace.used(HOST) == (3, 0)
    clock.time += 86_400 + 600
    pace.wait_for_turn(HOST)
    assert pace.used(HOST) == (4, 0)


def test_hosts_do_not_wait_for_each_other(tmp_path: Path, clock: Clock) -> None:
    other = HostLimits(host="b.example.org", requests_per_minute=60)
    pace = Pace(tmp_path / "a.sqlite", {**limits(), other.host: other}, now=clock.now, sleep=clock.sleep)
    pace.postpone(HOST, 500.0)
    pace.wait_for_turn(other.host)
    assert clock.slept == []


def test_a_file_that_is_no_account_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(WorkspaceError, match="account of requests"):
        Pace(path, limits())
