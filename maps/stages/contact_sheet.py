"""Stage: a page of photos with the traits predicted from each, from shards, their predictions and the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import norm

from maps.report.contact_sheet import ContactSheet, write_contact_sheet
from maps.report.photo_licences import withheld_reasons
from maps.report.photo_spread import KEY, shortlist, spread
from maps.stages.thumbnails import draw_thumbnails
from plant_traits.covariates.biomes import biomes_of_matrix
from plant_traits.errors import InputError, TableError
from plant_traits.model.calibration import group_names
from plant_traits.model.checkpoint import load_model
from plant_traits.model.intervals import interval_ends
from plant_traits.model.trained_model import TrainedModel
from plant_traits.observations.live_rows import are_live
from plant_traits.observations.shards import OBSERVATIONS_FILE, PHOTOS_FILE
from plant_traits.schemas import PHOTO, PREDICTION, SHARD_ROW, read_table
from plant_traits.stages.covariates import read_points
from plant_traits.steps import Summary

PHOTOS_PAGE = "photos.html"
PREDICTIONS_FILE = "predictions.parquet"
FEATURES_FILE = "features.parquet"
MOST_UNUSABLE = 200
LONG_LIST = 16
NOT_ENCODED = "not encoded"

_COLUMNS = ["observation_id", "photo_id", "photo_url", "species", "growth_form", "licence", "attribution"]
_ADDED = ["modalities", "group", "shard", "reason", "withheld"]

DrawThumbnails = Callable[[int, Sequence[str]], pd.DataFrame]


@dataclass(frozen=True)
class SheetFolders:
    """The local folders that belong to one shard.

    Attributes:
        shard: the shard.
        predictions: output of ``predict_shard`` for it.
        points: output of ``sample_shard`` for it: a record's interval depends on the biome of its place.
        features: output of ``encode_shard`` for it, which tells why a photo could not be encoded; None where unknown.
        live: its live view, whose photos alone are shown; None where all of it is live.
    """

    shard: Path
    predictions: Path
    points: Path
    features: Path | None = None
    live: Path | None = None


@dataclass
class _Survey:
    """What has been seen of the photos: counts of all, and rows of those that may be listed.

    Attributes:
        seen: photos, predicted, showable.
        withheld: predicted photos whose picture may not be passed on, by reason.
        unusable: photos that could not be read, by reason.
        pictured: short list of the photos to show.
        worded: short list of the photos to list in words.
        unread: the photos that could not be read, the first ``MOST_UNUSABLE``.
    """

    seen: Counter[str] = field(default_factory=Counter)
    withheld: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    pictured: pd.DataFrame = field(default_factory=pd.DataFrame)
    worded: pd.DataFrame = field(default_factory=pd.DataFrame)
    unread: pd.DataFrame = field(default_factory=pd.DataFrame)


def write_photos_page(
    destination: Path,
    *,
    shards: Sequence[SheetFolders],
    model: Path,
    title: str,
    simulated: bool,
    level: float = 0.9,
    limit: int = 480,
    show_unlicensed: bool = False,
    drawn: DrawThumbnails | None = None,
) -> Summary:
    """Write ``photos.html``: up to ``limit`` photos with what was predicted from each, and why others are not shown.

    Photos without an open licence are listed in words, up to ``limit`` of them. The shards are read one at a time.

    Args:
        destination: an empty folder.
        shards: the run's shards with their predictions.
        model: the model that predicted; its calibration gives the intervals.
        title: heading of the page.
        simulated: the photos come from a virtual world.
        level: probability of the intervals, one that the model is calibrated for.
        limit: most photos to show.
        show_unlicensed: show pictures whatever their licence; the page then says that it must not be passed on.
        drawn: returns the thumbnails of photos of a shard, told by its place among ``shards``, as ``draw_thumbnails``
            does; one that remembers them, say. They are drawn anew by default.

    Returns:
        Counts of photos in and shown, and of those not shown by reason.

    Raises:
        InputError: a limit below 1, or predictions of another model.
        ModelError: the model cannot be loaded, or is not calibrated for the level.
        TableError: a table is not what it should be.
    """
    if limit < 1:
        raise InputError(f"photos page: expected a limit of at least 1 photo, found {limit}; give a larger one")
    trained = load_model(model)
    trained.calibration.level(level)
    survey = _Survey()
    model_id = trained.model_id  # a hash of all weights
    for number, folders in enumerate(shards):
        _add(survey, _photos_of(folders, model_id).assign(shard=number), limit, show_unlicensed)
    pictured, worded = (spread(table, limit) if len(table) else table for table in (survey.pictured, survey.worded))
    chosen = pd.concat([pictured, worded], ignore_index=True).reindex(columns=[*_COLUMNS, *_ADDED])
    thumbnails, failed = _thumbnails(drawn or (lambda n, photos: draw_thumbnails(shards[n].shard, photos)), pictured)
    closed = chosen.dropna(subset=["withheld"])
    reasons = {str(photo): str(reason) for photo, reason in zip(closed["photo_id"], closed["withheld"], strict=True)}
    sheet = ContactSheet(
        title=title,
        traits=trained.traits,
        level=level,
        model_id=model_id,
        photos=chosen,
        estimates=_estimates(shards, chosen, trained, level),
        thumbnails=thumbnails,
        withheld=reasons | failed,
        unusable=survey.unread.reindex(columns=[*_COLUMNS, *_ADDED]),
        counts={name: survey.seen[name] for name in ("photos", "predicted", "showable")},
        withheld_counts=dict(sorted(survey.withheld.items())),
        unusable_counts=dict(sorted(survey.unusable.items())),
        simulated=simulated,
        private=show_unlicensed and bool(survey.withheld),
    )
    write_contact_sheet(sheet, destination / PHOTOS_PAGE)
    shown = len(thumbnails)
    return {
        "in": {"photos": survey.seen["photos"]},
        "out": {"photos predicted": survey.seen["predicted"], "photos shown": shown, "photos listed": len(chosen)},
        "lost": {f"photo {reason}": n for reason, n in sheet.unusable_counts.items()},
        "not shown": {
            **sheet.withheld_counts,
            "beyond the limit": survey.seen["showable"] - len(pictured),
            "picture not readable": len(failed),
        },
    }


def _photos_of(folders: SheetFolders, model_id: str) -> pd.DataFrame:
    """Return the photos of a shard: ``_COLUMNS``, ``modalities``, ``group``, and ``reason`` where one was of no use."""
    rows = read_table(folders.shard / OBSERVATIONS_FILE, SHARD_ROW, _COLUMNS)
    matrix, names = read_points(folders.points)
    rows["group"] = group_names(rows["growth_form"].tolist(), biomes_of_matrix(matrix, names).tolist())
    if folders.live is not None and folders.live != folders.shard:
        rows = rows[are_live(rows, read_table(folders.live / OBSERVATIONS_FILE, SHARD_ROW, list(KEY)))]
    rows = rows[rows["photo_id"].notna()].reset_index(drop=True)
    columns = [*KEY, "model_id", "modalities"]
    predicted = read_table(folders.predictions / PREDICTIONS_FILE, PREDICTION, columns).drop_duplicates(list(KEY))
    others = sorted(set(predicted["model_id"]) - {model_id})
    if others:
        raise InputError(
            f"photos page: expected predictions of the model {model_id}, found those of {others} in "
            f"{folders.predictions}; predict again, or pass the model that predicted"
        )
    rows = rows.merge(predicted[[*KEY, "modalities"]], on=list(KEY), how="left")
    if rows["modalities"].isna().any():
        raise InputError(
            f"photos page: {int(rows['modalities'].isna().sum())} photos of {folders.shard.name} have no prediction in "
            f"{folders.predictions}; pass the predictions of the same shard"
        )
    used = rows["modalities"].str.startswith("image")
    status = rows["photo_id"].map(_statuses(folders))
    rows["reason"] = status.where(status != "ok", NOT_ENCODED).fillna("missing").mask(used)
    return rows


def _statuses(folders: SheetFolders) -> pd.Series:
    """Return each photo's status: why its file could not be had, else why it could not be encoded."""
    fetched = read_table(folders.shard / PHOTOS_FILE, PHOTO, ["photo_id", "status"])
    status = fetched.drop_duplicates("photo_id").set_index("photo_id")["status"]
    path = None if folders.features is None else folders.features / FEATURES_FILE
    if path is None:
        return status
    try:
        table = pq.read_table(path, columns=["photo_id", "status"]).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: expected the features of photos: {error}; encode the shard again") from error
    encoded = table.drop_duplicates("photo_id").set_index("photo_id")["status"].reindex(status.index)
    return status.mask((status == "ok") & encoded.notna(), encoded)


def _add(survey: _Survey, rows: pd.DataFrame, limit: int, show_unlicensed: bool) -> None:
    """Count a shard's photos and keep those that may be listed."""
    used = rows["reason"].isna()
    withheld = pd.Series(
        withheld_reasons(rows["licence"].tolist(), rows["attribution"].tolist()), index=rows.index, dtype=object
    )
    rows = rows.assign(withheld=withheld)
    closed = used & withheld.notna()
    survey.seen.update(photos=len(rows), predicted=int(used.sum()))
    survey.withheld.update(withheld[closed])
    survey.unusable.update(rows.loc[~used, "reason"])
    show = used if show_unlicensed else used & ~closed
    survey.seen["showable"] += int(show.sum())
    survey.pictured = _kept_short(_joined(survey.pictured, rows[show]), limit)
    survey.worded = _kept_short(_joined(survey.worded, rows[used & ~show]), limit)
    unread = _joined(survey.unread, rows[~used])
    survey.unread = unread.sort_values(list(KEY), kind="stable").iloc[:MOST_UNUSABLE] if len(unread) else unread


def _kept_short(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Shorten a list that has grown long; to do so after every shard would take most of the page's time."""
    return shortlist(rows, limit) if len(rows) > LONG_LIST * limit else rows


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part for part in (first, second) if len(part)] or [second], ignore_index=True)


def _estimates(shards: Sequence[SheetFolders], chosen: pd.DataFrame, model: TrainedModel, level: float) -> pd.DataFrame:
    """Return mean, lower and upper end in working space of every chosen photo and trait.

    Where too few photos were held out to tell how far an interval must reach, it is the model's own, of a normal
    distribution, and not ``checked``.
    """
    parts = []
    for number, of_shard in chosen.groupby("shard", sort=True):
        table = read_table(shards[int(str(number))].predictions / PREDICTIONS_FILE, PREDICTION)
        rows = table.merge(of_shard[[*KEY, "group"]], on=list(KEY))
        lower, upper = interval_ends(model.calibration, rows, rows["group"].tolist(), level)
        checked = ~np.isinf(lower)
        spread = norm.ppf((1 + level) / 2) * np.sqrt(rows["variance_aleatoric"] + rows["variance_epistemic"])
        lower, upper = np.where(checked, lower, rows["mean"] - spread), np.where(checked, upper, rows["mean"] + spread)
        parts.append(rows[[*KEY, "trait", "mean"]].assign(lower=lower, upper=upper, checked=checked))
    columns = [*KEY, "trait", "mean", "lower", "upper", "checked"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _thumbnails(drawn: DrawThumbnails, chosen: pd.DataFrame) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return small pictures by photo id, and why there is none."""
    made: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    for number, of_shard in chosen.groupby("shard", sort=True) if len(chosen) else ():
        table = drawn(int(str(number)), sorted(of_shard["photo_id"]))
        has_picture = table["picture"].notna()
        made |= dict(zip(table.loc[has_picture, "photo_id"], table.loc[has_picture, "picture"], strict=True))
        for photo_id, reason in table.loc[~has_picture, ["photo_id", "reason"]].to_numpy():
            failed[photo_id] = f"picture not readable: {reason}"
    return made, failed
