"""The plants: species in genera and families, their growth forms, homes and niches, and who lives where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import distance_transform_edt

from plant_traits.simulation.names import AUTHORS, epithets, family_names, genus_names
from plant_traits.simulation.planet import Planet
from plant_traits.simulation.seeds import stream

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FORMS = ("tree", "shrub", "herb")
_FORM_SHARES = (0.36, 0.26, 0.38)
_DOMINANCE = np.array([2.5, 1.2, 1.0])  # cover of a present plant, by form
ORDERS = ("Fagales", "Rosales", "Asterales", "Lamiales", "Poales", "Malpighiales", "Fabales", "Ericales")


@dataclass(frozen=True)
class Flora:
    """All species, and how each half-degree land cell is shared among them.

    Attributes:
        species: one row per species: species, author, genus, family, order, genus_index, family_index, form (index into
            ``FORMS``), growth_form, habit (tree, shrub, forb, graminoid), colourful (0 to 1), flower (hue, 0 to 1),
            crown (0 to 1), taxon_key, genus_key, family_key.
        cells: (n,) flat half-degree cells that carry plants.
        share: (n, species) community share of each species, rows sum to 1.
        row_of_cell: (360 * 720,) row of a cell in ``share``, that of the nearest living cell where it has none.
    """

    species: pd.DataFrame
    cells: IntArray
    share: npt.NDArray[np.float32]
    row_of_cell: IntArray


def build_flora(seed: int, planet: Planet, count: int) -> Flora:
    """Make ``count`` species and the communities they form on the planet."""
    species = _taxa(seed, count)
    cells = np.flatnonzero(planet.land.ravel())
    share = _communities(seed, planet, species, cells)
    return Flora(species=species, cells=cells, share=share, row_of_cell=_nearest_row(planet))


def _taxa(seed: int, count: int) -> pd.DataFrame:
    rng = stream(seed, "flora", "taxa")
    n_family = max(4, count // 12)
    n_genus = max(6, count // 3)
    genus = genus_names(rng, n_genus + 6 * n_family)
    families = list(dict.fromkeys(family_names(genus[n_genus:])))[:n_family]
    family_form = rng.permutation(np.resize(np.repeat([0, 1, 2], [4, 3, 4]), n_family))
    genus_family = np.concatenate(
        [np.arange(n_family) % n_genus, rng.integers(0, n_family, max(0, n_genus - n_family))]
    )
    genus_family = genus_family[:n_genus]
    odd = rng.random(n_genus) < 0.12
    genus_form = np.where(odd, rng.choice(3, n_genus, p=_FORM_SHARES), family_form[genus_family])
    popularity = 1 / np.arange(1, n_genus + 1) ** 0.4
    extra = rng.choice(n_genus, max(0, count - n_genus), p=popularity / popularity.sum())
    genus_index = np.sort(np.concatenate([np.arange(n_genus)[:count], extra]))
    form = genus_form[genus_index]
    family_index = genus_family[genus_index]
    graminoid = (family_index % 4 == 1) & (form == 2)
    names = [f"{genus[g]} {epithet}" for g, epithet in zip(genus_index, epithets(rng, count), strict=True)]
    return pd.DataFrame(
        {
            "species": names,
            "author": rng.choice(AUTHORS, count),
            "genus": [genus[g] for g in genus_index],
            "family": [families[f] for f in family_index],
            "order": [ORDERS[f % len(ORDERS)] for f in family_index],
            "genus_index": genus_index,
            "family_index": family_index,
            "form": form,
            "growth_form": np.array(FORMS)[form],
            "habit": np.where(graminoid, "graminoid", np.array(["tree", "shrub", "forb"])[form]),
            "colourful": np.where(graminoid, 0.0, rng.beta(1.0, 2.0, count)),
            "flower": rng.random(count),
            "crown": rng.random(count),
            "taxon_key": 5_300_000 + np.arange(count) * 17,
            "genus_key": 3_000_000 + genus_index * 13,
            "family_key": 2_400 + family_index * 3,
        }
    )


def _communities(seed: int, planet: Planet, species: pd.DataFrame, cells: IntArray) -> npt.NDArray[np.float32]:
    rng = stream(seed, "flora", "niches")
    count = len(species)
    form = species["form"].to_numpy()
    layer = {name: field.ravel()[cells].astype(np.float32) for name, field in planet.layers.items()}
    warmth, wetness = layer["bio1"], np.log(layer["bio12"])
    latitude, longitude = planet.grid.centre_of(cells)
    realm = planet.realm.ravel()[cells]
    lat, lon = np.deg2rad(latitude), np.deg2rad(longitude)
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]).astype(np.float32)

    suited = _form_suitability(layer, warmth, wetness)
    home_weight = np.cos(lat)[None, :] * suited
    abundance = np.empty((cells.size, count), dtype=np.float32)
    width = rng.uniform(6.0, 11.0, count)
    breadth = rng.uniform(0.6, 1.1, count)
    reach = np.deg2rad(rng.uniform(14, 32, count))
    common = rng.lognormal(0.0, 0.8, count)
    cosmopolitan = rng.random(count) < 0.12
    for s in range(count):
        weight = home_weight[form[s]]
        home = rng.choice(cells.size, p=weight / weight.sum())
        niche = ((warmth - warmth[home]) / width[s]) ** 2 + ((wetness - wetness[home]) / breadth[s]) ** 2
        distance = np.arccos(np.clip(place[:, home] @ place, -1, 1))
        near = np.full(cells.size, 0.3, np.float32) if cosmopolitan[s] else np.exp(-0.5 * (distance / reach[s]) ** 2)
        stranger = np.where(realm == realm[home], 1.0, 0.25)
        abundance[:, s] = common[s] * np.exp(-0.5 * niche) * (near * stranger + 1e-5) + 1e-9 * common[s]
    abundance *= suited[form].T * _DOMINANCE[form].astype(np.float32)
    return np.asarray(abundance / abundance.sum(1, keepdims=True), dtype=np.float32)


def _form_suitability(
    layer: dict[str, npt.NDArray[np.float32]], warmth: npt.NDArray[np.floating], wetness: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Return (3, cells): how far trees, shrubs and herbs thrive; disturbance opens the canopy."""
    open_up = np.exp(0.55 * layer["disturbance"])
    tree = 1 / (1 + np.exp(-(wetness - 6.1) / 0.25)) / (1 + np.exp(-(warmth + 3) / 2.5)) / open_up
    shrub = 0.25 + 0.7 * np.exp(-(((wetness - 5.9) / 0.6) ** 2))
    herb = (0.25 + 0.8 / (1 + np.exp((warmth - 6) / 4))) * open_up
    return np.asarray(np.stack([tree + 0.01, shrub, herb]))


def _nearest_row(planet: Planet) -> IntArray:
    rows = np.full(planet.land.size, -1, dtype=np.int64)
    rows[planet.land.ravel()] = np.arange(int(planet.land.sum()))
    nearest = distance_transform_edt(~planet.land, return_distances=False, return_indices=True)
    return np.asarray(rows.reshape(planet.land.shape)[nearest[0], nearest[1]].ravel())
