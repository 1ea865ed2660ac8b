"""A calendar month, the unit of the scheduled refresh."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from plant_traits.errors import PlantTraitsError

MOST_MONTHS = 240


@dataclass(frozen=True, order=True)
class Month:
    """A year and a month.

    Raises:
        PlantTraitsError: the month is not 1 to 12.
    """

    year: int
    month: int

    def __post_init__(self) -> None:
        if not (1 <= self.month <= 12 and 1900 <= self.year <= 9999):
            raise PlantTraitsError(f"a month needs a year from 1900 and 1 to 12, found {self.year}-{self.month}")

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read ``YYYY-MM``."""
        match = re.fullmatch(r"(\d{4})-(\d{2})", text)
        if match is None:
            raise PlantTraitsError(f"cannot read the month {text!r}: expected YYYY-MM, such as 2026-10")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def first_day(self) -> date:
        """First day of the month."""
        return date(self.year, self.month, 1)

    @property
    def next(self) -> Month:
        """The month after."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def previous(self) -> Month:
        """The month before."""
        return Month(self.year - (self.month == 1), (self.month - 2) % 12 + 1)


def parse_months(texts: Iterable[str]) -> tuple[Month, ...]:
    """Read months and ranges of months, such as ``2026-01`` and ``2026-08..2026-10``, each perhaps several by commas.

    Returns:
        Each month once, in ascending order.

    Raises:
        PlantTraitsError: one cannot be read, a range ends before it begins, or there are none or too many.
    """
    found: set[Month] = set()
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        first, dots, last = text.partition("..")
        month, end = Month.parse(first.strip()), Month.parse((last if dots else first).strip())
        if end < month:
            raise PlantTraitsError(f"the months {text!r} end before they begin; name the earlier month first")
        while month <= end and len(found) <= MOST_MONTHS:
            found.add(month)
            month = month.next
    if not 0 < len(found) <= MOST_MONTHS:
        raise PlantTraitsError(
            f"expected 1 to {MOST_MONTHS} months, such as 2026-10 or 2026-08..2026-10, found "
            f"{'more' if found else 'none'}; name others, or go over several runs"
        )
    return tuple(sorted(found))
