"""The identity of a photo from its address: the same photo reaches us from several sources."""

from __future__ import annotations

import pandas as pd

from plant_traits.sources.stable_hash import row_hash_text


def photo_ids(url: pd.Series) -> pd.Series:
    """Return the photo id of each address, null where there is none.

    An iNaturalist address carries it (``…/photos/<id>/original.jpg``); another address is its own identity, written as
    ``url-`` and 32 hexadecimal digits of its hash.
    """
    known = url.str.extract(r"/photos/(\d+)/", expand=False)
    hashed = "url-" + row_hash_text(pd.DataFrame({"url": url}), ["url"])
    return known.where(known.notna() | url.isna(), hashed)
