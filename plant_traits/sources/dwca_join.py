"""Join records with their photos, both streamed: merged where both come in order of their ids, else spilled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from plant_traits.sources.delimited_text import ID

_NUMBER = "record_number"
_PART = "part"
_PHOTO_TEXTS = ("photo_url", "photo_id", "photo_licence", "photo_attribution")
_SPILLED_ROWS = 100_000
_POWERS = 10 ** np.arange(1, 19)


class OutOfOrderError(Exception):
    """The tables cannot be merged as they come: their ids are no numbers that rise from row to row."""


def merge_in_order(
    records: Iterable[pl.DataFrame], photos: Iterable[pl.DataFrame], rejected: Counter[str]
) -> Iterator[pl.DataFrame]:
    """Join frames of records with frames of photos while both arrive, holding little of either.

    Args:
        records: frames with ``ID``, of which each is larger than the one before it.
        photos: frames with ``ID`` and ``photo_id``; ids may repeat and must not fall.
        rejected: counts photos repeated within a record and photos of unknown records.

    Yields:
        Each frame of records, with one row per record and photo, in order.

    Raises:
        OutOfOrderError: the ids are not in order.
    """
    window = _Window(photos, rejected)
    last = -1
    for frame in records:
        if frame.height:
            numbered = _numbered(frame)
            last = _rising(numbered, last, strictly=True)
            yield _joined(numbered, window.until(last), rejected)
    window.finish()


class _Window:
    """The photos that have been read and not yet joined."""

    def __init__(self, photos: Iterable[pl.DataFrame], rejected: Counter[str]) -> None:
        self._photos = iter(photos)
        self._rejected = rejected
        self._held: list[pl.DataFrame] = []
        self._last = -1

    def until(self, number: int) -> pl.DataFrame | None:
        """Take out the photos of records up to that number."""
        while self._last <= number and (frame := self._read()) is not None:
            self._held.append(frame)
        if not self._held:
            return None
        held = pl.concat(self._held, rechunk=True) if len(self._held) > 1 else self._held[0]
        cut = int(held[_NUMBER].search_sorted(number, side="right"))
        self._held = [held.slice(cut)] if cut < held.height else []
        return self._distinct(held.slice(0, cut))

    def finish(self) -> None:
        """Count the photos after the last record."""
        while (frame := self._read()) is not None:
            self._held.append(frame)
            rest = self._distinct(pl.concat(self._held))
            self._rejected["media_of_unknown_record"] += rest.filter(pl.col(_NUMBER) != self._last).height
            self._held = [rest.filter(pl.col(_NUMBER) == self._last)]
        if self._held:
            self._rejected["media_of_unknown_record"] += self._distinct(pl.concat(self._held)).height

    def _read(self) -> pl.DataFrame | None:
        for frame in self._photos:
            if frame.height:
                numbered = _numbered(frame)
                self._last = _rising(numbered, self._last, strictly=False)
                return numbered
        return None

    def _distinct(self, photos: pl.DataFrame) -> pl.DataFrame:
        """Leave out photos repeated within a record; only those of the same number stand beside each other."""
        number = photos[_NUMBER].to_numpy()
        same = number[1:] == number[:-1]
        if not same.any():
            return photos
        several = np.zeros(len(number), np.bool_)
        several[1:] = same
        several[:-1] |= same
        rows = np.flatnonzero(several)
        new = photos.select(pl.struct(_NUMBER, "photo_id").gather(rows).is_first_distinct()).to_series().to_numpy()
        self._rejected["media_repeated_within_record"] += int(np.count_nonzero(~new))
        if new.all():
            return photos
        several[rows] = ~new
        return photos.filter(~several)


def join_spilled(
    records: Iterable[pl.DataFrame],
    photos: Iterable[pl.DataFrame],
    folder: Path,
    rejected: Counter[str],
    parts: int = 1,
) -> Iterator[pl.DataFrame]:
    """Join frames of records with frames of photos in any order of ids, part by part of the ids' hashes.

    Args:
        records: frames with ``ID``.
        photos: frames with ``ID`` and ``photo_id``.
        folder: receives temporary files, about as large as the columns given.
        rejected: counts photos repeated within a record and photos of unknown records.
        parts: how many; one part of both tables must fit into memory.

    Yields:
        Frames with one row per record and photo, a part each; within one, in the order of the records and, within
        one of these, of its photos.
    """
    for name, frames in (("records", records), ("photos", photos)):
        _spill(frames, [folder / f"{name}-{part}.arrows" for part in range(parts)])
    for part in range(parts):
        of_part = _read_back(folder / f"records-{part}.arrows")
        shown = _read_back(folder / f"photos-{part}.arrows")
        if of_part is None:
            of_part = pl.DataFrame(schema={ID: pl.String})
        if shown is None:
            shown = pl.DataFrame(schema={ID: pl.String, **dict.fromkeys(_PHOTO_TEXTS, pl.String)})
        distinct = shown.unique([ID, "photo_id"], keep="first", maintain_order=True)
        rejected["media_repeated_within_record"] += shown.height - distinct.height
        rejected["media_of_unknown_record"] += distinct.join(of_part, on=ID, how="anti").height
        if of_part.height:
            yield of_part.join(distinct, on=ID, how="left", maintain_order="left_right")


def _spill(frames: Iterable[pl.DataFrame], files: Sequence[Path]) -> None:
    """Append the rows of frames to the files of their parts."""
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        for frame in gathered(frames, _SPILLED_ROWS):
            numbered = frame.with_columns((pl.col(ID).hash(seed=0) % len(files)).alias(_PART))
            for (part,), rows in numbered.partition_by(_PART, as_dict=True, include_key=False).items():
                # Not as views, which would write all the text that they look into.
                table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
                if part not in writers:
                    stream = pa.ipc.new_stream(files[part], table.schema, options=options)
                    writers[part] = stack.enter_context(stream)
                writers[part].write_table(table)


def gathered(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Put frames together until they have that many rows, or there are no more."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(waiting.height for waiting in held) >= rows:
            yield pl.concat(held, rechunk=True)
            held = []
    if held:
        yield pl.concat(held, rechunk=True)


def _read_back(file: Path) -> pl.DataFrame | None:
    """Read and remove the file of a part; None where nothing fell into it."""
    if not file.exists():
        return None
    with pa.ipc.open_stream(file) as reader:
        frame = pl.DataFrame(reader.read_all())
    file.unlink()
    return frame


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    written = frame[ID]
    number = written.cast(pl.Int64, strict=False)
    if number.null_count():
        raise OutOfOrderError
    # Only one way of writing a number may count as it: "01" and "+1" are other ids than "1".
    values = number.to_numpy()
    digits = np.searchsorted(_POWERS, values, side="right") + 1
    if (written.str.len_bytes().to_numpy() != digits).any() or (values < 0).any():
        raise OutOfOrderError
    return frame.with_columns(number.alias(_NUMBER))


def _rising(frame: pl.DataFrame, last: int, *, strictly: bool) -> int:
    number = frame[_NUMBER]
    steps = number.diff().slice(1)
    fewest = 1 if strictly else 0
    first, final = int(number[0]), int(number[-1])
    if first < last + fewest or (steps < fewest).any():
        raise OutOfOrderError
    return final


def _joined(records: pl.DataFrame, photos: pl.DataFrame | None, rejected: Counter[str]) -> pl.DataFrame:
    """Join rows of rising numbers: as a merge, without a table of hashes."""
    if photos is None or not photos.height:
        empty = [pl.lit(None, dtype=pl.String).alias(name) for name in _PHOTO_TEXTS]
        return records.drop(_NUMBER).with_columns(empty)
    number, shown = records[_NUMBER].to_numpy(), photos[_NUMBER].to_numpy()
    row = np.minimum(np.searchsorted(number, shown), len(number) - 1)
    known = number[row] == shown
    rejected["media_of_unknown_record"] += int(np.count_nonzero(~known))
    photos_of = np.bincount(row[known], minlength=len(number))
    rows = np.repeat(np.arange(len(number), dtype=np.uint32), np.maximum(photos_of, 1))
    place = np.zeros(len(rows), np.uint32)
    has = (photos_of > 0)[rows]
    place[has] = np.flatnonzero(known)
    place_or_none = pl.Series(place).set(pl.Series(~has), None)
    texts = photos.select(pl.col(_PHOTO_TEXTS).gather(place_or_none))
    of_record = records.drop(_NUMBER)
    return of_record.select(pl.all().gather(pl.Series(rows))).with_columns(texts.get_columns())
