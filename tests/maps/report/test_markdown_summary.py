"""The summary in Markdown tells what the page tells."""

from __future__ import annotations

import re

from maps.report.inputs import ReportInputs
from maps.report.markdown_summary import summary_markdown


def test_the_summary_tells_scores_and_counts(inputs: ReportInputs) -> None:
    text = summary_markdown(inputs)
    assert "| Plant height | truth | 0.61 | 0.55–0.67 | −0.12 | 0.11 | 1,357 |" in text
    assert "| predict | 6,120 | 6,000, 13 shards | 120 (corrupt 117, missing 3) |" in text
    assert "- Zarr: `product.zarr`" in text
    assert "simulated data" in text
    assert all(line.count("|") in (0, 5, 8) for line in re.sub(r"\\\|", "", text).splitlines())
