"""How numbers, units and counts are set in figures, the report and the summary."""

from __future__ import annotations

import math
import re

MISSING = "–"
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def unit_text(unit: str) -> str:
    """Set the exponents of a unit as superscripts: ``m2 kg-1`` becomes ``m² kg⁻¹``."""
    return re.sub(r"(?<=[A-Za-z])-?\d+", lambda match: match[0].translate(_SUPERSCRIPT), unit)


def number_text(value: float | None, digits: int = 2) -> str:
    """Set a number with fixed decimals and a true minus sign; a missing one is a dash."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def interval_text(low: float | None, high: float | None, digits: int = 2) -> str:
    """Set an interval with an en dash, with ``to`` where a minus sign would stand beside the dash."""
    ends = number_text(low, digits), number_text(high, digits)
    return (" to " if any(end[0] in "−–" for end in ends) else "–").join(ends)


def signed_text(value: float | None, digits: int = 2) -> str:
    """Set a number as ``number_text`` does, with a plus sign where it is above zero."""
    text = number_text(value, digits)
    return f"+{text}" if text[0].isdigit() and float(text) > 0 else text


def quantity_text(value: float | None, significant: int = 3) -> str:
    """Set a quantity to significant figures without an exponent: 1234.5 becomes ``1,230``, .04567 ``0.0457``."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    decimals = significant - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    decimals = significant - 1 - math.floor(math.log10(abs(rounded)))  # 9.999 has rounded to a longer number
    return f"{rounded:,.{max(decimals, 0)}f}".replace("-", "−")


def count_text(count: int) -> str:
    """Set a count with thousands separators."""
    return f"{count:,d}".replace("-", "−")


def bytes_text(size: int) -> str:
    """Set a file size in decimal units: 1500 becomes ``1.5 kB``."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
