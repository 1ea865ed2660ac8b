"""Write records as a Darwin Core archive, as GBIF's occurrence downloads are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.simulation.flora import Flora
from plant_traits.simulation.geography import country_of
from plant_traits.simulation.records import INAT_DATASET, Sightings

DOWNLOAD = "0000001-261101000000000"
_MOMENT = (2026, 11, 1, 3, 0, 0)  # of every member of the zip, so that the same world gives the same bytes
_RECORD_LICENCE = {
    "http://creativecommons.org/licenses/by-nc/4.0/legalcode": "CC_BY_NC_4_0",
    "http://creativecommons.org/licenses/by/4.0/legalcode": "CC_BY_4_0",
    "http://creativecommons.org/publicdomain/zero/1.0/legalcode": "CC0_1_0",
}
_TERMS = {
    "gbifID": "http://rs.gbif.org/terms/1.0/gbifID",
    "datasetKey": "http://rs.gbif.org/terms/1.0/datasetKey",
    "license": "http://purl.org/dc/terms/license",
    "rightsHolder": "http://purl.org/dc/terms/rightsHolder",
    "type": "http://purl.org/dc/terms/type",
    "format": "http://purl.org/dc/terms/format",
    "identifier": "http://purl.org/dc/terms/identifier",
    "creator": "http://purl.org/dc/terms/creator",
    "publisher": "http://purl.org/dc/terms/publisher",
    **{
        name: f"http://rs.gbif.org/terms/1.0/{name}"
        for name in (
            *("species", "taxonKey", "acceptedTaxonKey", "speciesKey", "genusKey", "familyKey", "mediaType"),
            *("lastInterpreted", "hasCoordinate", "hasGeospatialIssues", "issue", "acceptedScientificName"),
        )
    },
}


def write_dwca(sightings: Sightings, flora: Flora, folder: Path) -> pd.DataFrame:
    """Write ``<download key>.zip`` with occurrence.txt, multimedia.txt and what describes them.

    Args:
        sightings: records with their dirt, and photos.
        flora: the species they name.
        folder: receives the archive.

    Returns:
        ``gbifID`` and ``occurrenceID`` of each record, in order.
    """
    occurrence = _occurrence(sightings.records, flora)
    media = _multimedia(sightings, occurrence)
    datasets = occurrence["datasetKey"].value_counts().sort_index()
    members = {
        "occurrence.txt": _table(occurrence),
        "multimedia.txt": _table(media),
        "meta.xml": _meta(occurrence, media),
        "metadata.xml": _eml(len(occurrence)),
        "rights.txt": "".join(f"Dataset: {key}\nRights as supplied: see each record\n\n" for key in datasets.index),
        "citations.txt": "Simulated records; please do not cite.\n"
        + "".join(f"{key} ({n} records)\n" for key, n in datasets.items()),
    }
    with zipfile.ZipFile(folder / f"{DOWNLOAD}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), text.encode(), zipfile.ZIP_DEFLATED)
    return occurrence[["gbifID", "occurrenceID"]]


def _occurrence(records: pd.DataFrame, flora: Flora) -> pd.DataFrame:
    number = records["number"].to_numpy()
    taxon = flora.species.iloc[records["stated_species_index"].to_numpy()].reset_index(drop=True)
    inat = (records["dataset_key"] == INAT_DATASET).to_numpy()
    catalogue = (180_000_000 + 37 * number).astype(str)
    observation = np.where(inat, "https://www.inaturalist.org/observations/", "o-plant-")
    date = pd.to_datetime(records["date"])
    name = taxon["species"] + " " + taxon["author"]
    has = records["latitude"].notna()
    latitude, longitude = (records[name].fillna(0.0).to_numpy(np.float64) for name in ("latitude", "longitude"))
    country = np.where(has, country_of(latitude, longitude), "")
    columns = {
        "gbifID": 5_000_000_000 + number * 11,
        "datasetKey": records["dataset_key"].to_numpy(),
        "occurrenceID": np.char.add(observation.astype(str), catalogue),
        "basisOfRecord": records["basis"].to_numpy(),
        "occurrenceStatus": "PRESENT",
        "institutionCode": np.where(inat, "iNaturalist", "PlantNet"),
        "collectionCode": "Observations",
        "catalogNumber": catalogue,
        "recordedBy": records["login"].to_numpy(),
        "identifiedBy": records["login"].to_numpy(),
        "eventDate": date.dt.strftime("%Y-%m-%d").to_numpy(),
        "year": date.dt.year.to_numpy(),
        "month": date.dt.month.to_numpy(),
        "day": date.dt.day.to_numpy(),
        "countryCode": country,
        "decimalLatitude": records["latitude"].to_numpy(),
        "decimalLongitude": records["longitude"].to_numpy(),
        "coordinateUncertaintyInMeters": records["uncertainty_m"].to_numpy(),
        "hasCoordinate": np.where(has, "true", "false"),
        "hasGeospatialIssues": "false",
        "issue": "",
        "degreeOfEstablishment": np.where(records["cultivated"], "cultivated", ""),
        "kingdom": "Plantae",
        "phylum": "Tracheophyta",
        "class": "Magnoliopsida",
        "order": taxon["order"].to_numpy(),
        "family": taxon["family"].to_numpy(),
        "genus": taxon["genus"].to_numpy(),
        "specificEpithet": taxon["species"].str.split(" ").str[1].to_numpy(),
        "species": taxon["species"].to_numpy(),
        "scientificName": name.to_numpy(),
        "acceptedScientificName": name.to_numpy(),
        "taxonRank": "SPECIES",
        "taxonKey": taxon["taxon_key"].to_numpy(),
        "acceptedTaxonKey": taxon["taxon_key"].to_numpy(),
        "speciesKey": taxon["taxon_key"].to_numpy(),
        "genusKey": taxon["genus_key"].to_numpy(),
        "familyKey": taxon["family_key"].to_numpy(),
        "license": records["licence"].map(_RECORD_LICENCE).to_numpy(),
        "rightsHolder": records["login"].to_numpy(),
        "publisher": np.where(inat, "iNaturalist.org", "Pl@ntNet"),
        "mediaType": "StillImage",
        "lastInterpreted": _interpreted(records),
    }
    return pd.DataFrame(columns)


def _interpreted(records: pd.DataFrame) -> npt.NDArray[np.str_]:
    """Return when GBIF last read each record: late in the month in which it was published or changed."""
    return np.char.add(records["interpreted"].to_numpy(str), "-28T04:00:00.000Z")


def _multimedia(sightings: Sightings, occurrence: pd.DataFrame) -> pd.DataFrame:
    record = sightings.photos["record"].to_numpy()
    ids = sightings.photos["photo_id"].astype(str)
    holder = sightings.records["login"].to_numpy()[record]
    return pd.DataFrame(
        {
            "gbifID": occurrence["gbifID"].to_numpy()[record],
            "type": "StillImage",
            "format": "image/jpeg",
            "identifier": "https://inaturalist-open-data.s3.amazonaws.com/photos/" + ids.to_numpy() + "/original.jpg",
            "creator": holder,
            "publisher": "iNaturalist",
            "license": sightings.records["licence"].to_numpy()[record],
            "rightsHolder": holder,
        }
    )


def _table(frame: pd.DataFrame) -> str:
    text: str = frame.to_csv(sep="\t", index=False, na_rep="", quoting=3, lineterminator="\n", escapechar="\\")
    return text


def _meta(occurrence: pd.DataFrame, media: pd.DataFrame) -> str:
    how = 'encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"'

    def fields(frame: pd.DataFrame) -> str:
        terms = [_TERMS.get(name, f"http://rs.tdwg.org/dwc/terms/{name}") for name in frame.columns]
        return "\n".join(f'    <field index="{k}" term="{term}"/>' for k, term in enumerate(terms))

    return f"""<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="metadata.xml">
  <core {how} rowType="http://rs.tdwg.org/dwc/terms/Occurrence">
    <files>
      <location>occurrence.txt</location>
    </files>
    <id index="0" />
{fields(occurrence)}
  </core>
  <extension {how} rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files>
      <location>multimedia.txt</location>
    </files>
    <coreid index="0" />
{fields(media)}
  </extension>
</archive>
"""


def _eml(records: int) -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="{DOWNLOAD}" scope="system" xml:lang="en">
  <dataset>
    <title>Occurrence download of a virtual world</title>
    <abstract><para>{records} simulated records.</para></abstract>
  </dataset>
</eml:eml>
"""
