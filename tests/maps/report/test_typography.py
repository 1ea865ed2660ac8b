"""Numbers, units and sizes as they are set."""

from __future__ import annotations

from maps.report import typography


def test_numbers_and_units_are_set_plainly() -> None:
    assert [typography.unit_text(u) for u in ("m2 kg-1", "mm2", "mg g-1", "m")] == ["m² kg⁻¹", "mm²", "mg g⁻¹", "m"]
    assert [typography.number_text(x) for x in (-0.5, -0.001, None, float("nan"))] == ["−0.50", "0.00", "–", "–"]
    assert [typography.quantity_text(x) for x in (1234.5, 0.04567, 0, 9.999)] == ["1,230", "0.0457", "0", "10.0"]
    assert [typography.signed_text(x) for x in (0.02, -0.02, 0.0)] == ["+0.02", "−0.02", "0.00"]
    assert [typography.bytes_text(x) for x in (999, 1500, 2_000_000)] == ["999 B", "1.5 kB", "2.0 MB"]
    assert typography.interval_text(0.1, 0.2) == "0.10–0.20"
    assert typography.interval_text(-0.1, 0.2) == "−0.10 to 0.20"
