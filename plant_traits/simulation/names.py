"""Plausible, unique Latin names for virtual plants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ROOTS = ("Acer", "Bet", "Cor", "Dal", "Eran", "Fil", "Gal", "Hel", "Ixor", "Jun", "Kal", "Lant", "Mal", "Nig", "Oly",
          "Pter", "Quin", "Rhod", "Sal", "Tham", "Ulm", "Ver", "Wist", "Xim", "Zan", "Alth", "Brun", "Calth", "Dros",
          "Echin", "Fag", "Gent", "Hib", "Ilex", "Jac", "Lyc", "Myr", "Nep", "Ox", "Prim", "Rub", "Sten", "Tril",
          "Vibur", "Zel", "Aspl", "Camp", "Digit", "Euph", "Gyps")  # fmt: skip
_MIDDLES = ("", "an", "el", "in", "od", "os", "ul", "ar", "et", "ic")
_ENDINGS = ("ia", "um", "us", "is", "ella", "anthus", "opsis", "odendron", "aria", "ina")
_STEMS = ("alb", "alpin", "angust", "arv", "aur", "austral", "bore", "caerule", "collin", "dens", "elat", "ferrugin",
          "flav", "frut", "glabr", "glauc", "grand", "hirsut", "humil", "insular", "lat", "litor", "long", "lute",
          "macul", "marit", "mont", "nan", "nemor", "nitid", "obtus", "occident", "palud", "parv", "prat", "procer",
          "pumil", "purpur", "ramos", "rot", "rupestr", "rupic", "sax", "seric", "silv", "tenu", "toment", "umbr",
          "vern", "vulg")  # fmt: skip
_SUFFIXES = ("a", "ensis", "ata", "osa", "ifolia", "icola", "ina", "escens", "oides", "iflora")
AUTHORS = ("L.", "Mill.", "Lam.", "DC.", "Willd.", "Aiton", "Hook.", "R.Br.", "Benth.", "F.Muell.", "Thunb.",
           "(L.) Gaertn.", "Kunth", "Engl.", "Boiss.", "(Pursh) Nutt.", "A.Gray", "Vahl", "Poir.", "Jacq.")  # fmt: skip


def genus_names(rng: np.random.Generator, count: int) -> list[str]:
    """Return unique genus names."""
    pool = [root + middle + ending for root in _ROOTS for middle in _MIDDLES for ending in _ENDINGS]
    return [pool[k] for k in rng.permutation(len(pool))[:count]]


def family_names(genera: list[str]) -> list[str]:
    """Return a family name for each of some genera of different roots."""
    return [genus.rstrip("aeious") + "aceae" for genus in genera]


def epithets(rng: np.random.Generator, count: int) -> list[str]:
    """Return species epithets, unique while the stock of five hundred lasts."""
    pool = [stem + suffix for stem in _STEMS for suffix in _SUFFIXES]
    order = np.concatenate([rng.permutation(len(pool)) for _ in range(1 + count // len(pool))])
    return [pool[k] for k in order[:count]]


def synonyms(species: Sequence[str], genera: Sequence[str]) -> dict[str, int]:
    """Return names that some species once had, with the row of the species: every seventh, in another's genus.

    Args:
        species: accepted binomials.
        genera: their genera.
    """
    accepted = set(species)
    far = len(species) // 2
    moved = {
        f"{genera[(row + far) % len(genera)]} {species[row].split(' ')[1]}": row for row in range(0, len(species), 7)
    }
    return {name: row for name, row in moved.items() if name not in accepted}
