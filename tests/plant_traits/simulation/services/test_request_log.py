"""The log is read while it is written, and counts."""

from __future__ import annotations

from pathlib import Path

from plant_traits.simulation.services.request_log import Asked, LogWriter, RequestLog


def test_counts_requests_completions_bytes_and_the_busiest_window(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log" / "requests.jsonl")
    for asked in (
        Asked(0.0, "a", "GET", "/x?y=1", status=200, size=10),
        Asked(1.0, "a", "GET", "/x?y=1", status=200, size=4, whole=False, fault="cut"),
        Asked(59.0, "a", "GET", "/z", status=503, fault="503"),
        Asked(60.5, "a", "GET", "/z", status=429, over_rate=True),
        Asked(60.6, "b", "GET", "/z", status=206, size=3, range="bytes=0-2"),
    ):
        writer.write(asked)
    writer.close()
    log = RequestLog(tmp_path / "log" / "requests.jsonl")
    assert log.requests("a") == {"https://a/x?y=1": 2, "https://a/z": 2}
    assert log.completed() == {"https://a/x?y=1": 1}
    assert log.faults() == {"cut": 1, "503": 1}
    assert (log.sent(), log.sent("b")) == (17, 3)
    assert (log.busiest("a", 60.0), log.busiest("a", 2.0), log.busiest("a", 0.5), log.busiest("c")) == (3, 2, 1, 0)
    assert [x.path for x in log.over_rate()] == ["/z"]


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    writer = LogWriter(path)
    writer.write(Asked(0.0, "a", "GET", "/"))
    with path.open("a") as lines:
        lines.write('{"at": 1.0, "host": "a')
    assert len(list(RequestLog(path).entries())) == 1


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert list(RequestLog(tmp_path / "none").entries()) == []
