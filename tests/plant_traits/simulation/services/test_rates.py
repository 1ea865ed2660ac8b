"""Requests above a declared rate are noticed, over 5 and over 60 seconds."""

from __future__ import annotations

from plant_traits.simulation.services.rates import Rates


def test_evenly_spaced_requests_at_the_rate_are_welcome() -> None:
    rates = Rates({"a": 60.0})
    assert not any(rates.exceeded("a", float(k)) for k in range(600))


def test_a_burst_is_refused_at_once() -> None:
    rates = Rates({"a": 60.0})
    # five seconds hold 5 requests, a tenth more and five for crowding: the eleventh is too many
    assert [rates.exceeded("a", 0.0) for _ in range(12)] == [False] * 10 + [True] * 2
    assert not rates.exceeded("a", 5.0)


def test_a_rate_a_quarter_too_high_is_noticed_within_the_minute() -> None:
    rates = Rates({"a": 60.0})
    refused = [k for k in range(200) if rates.exceeded("a", 0.8 * k)]
    # 71 of them fit into a minute; the window that ends at the 72nd holds 72
    assert refused[0] == 71


def test_hosts_without_a_rate_are_not_watched() -> None:
    rates = Rates({"a": 1.0})
    assert not any(rates.exceeded("b", 0.0) for _ in range(1000))
