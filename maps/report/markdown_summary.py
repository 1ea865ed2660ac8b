"""Put a run into a few lines of Markdown, for an orchestrator's page."""

from __future__ import annotations

import re

from maps.report.inputs import ReportInputs
from maps.report.tables import ledger, summarise
from maps.report.typography import count_text, interval_text, number_text


def summary_markdown(inputs: ReportInputs) -> str:
    """Return the headline, the published map's scores, the counts of every stage and the output paths as Markdown.

    Like the page, it is the same for the same run, so it tells neither times nor what was reused.
    """
    summary = summarise(inputs)
    lines = [f"# {_text(inputs.title)}", "", f"{_text(f'{inputs.month} · {inputs.region} · {inputs.grid} grid')}", ""]
    if inputs.simulated:
        lines += ["> **Virtual world: simulated data.**", ""]
    lines += [
        f"**{count_text(summary['cells'])}** cells mapped, **{count_text(summary['cells_from_photos'])}** of them from "
        f"photos; **{count_text(summary['photos'])}** photos in the mapped cells.",
        "",
    ]
    if summary["scores"]:
        lines += [f"## Scores of {_text(summary['published'])}", ""]
        lines += ["| trait | reference | r | 95 % interval | R² | nMAE | cells |", "|---|---|--:|--:|--:|--:|--:|"]
        lines += [
            f"| {_text(score['name'])} | {_text(score['reference'])} | {number_text(score['pearson_r'])} | "
            f"{interval_text(score['pearson_r_low'], score['pearson_r_high'])} | "
            f"{number_text(score['r2'])} | {number_text(score['nmae'])} | {count_text(int(score['n']))} |"
            for score in summary["scores"]
        ]
        lines.append("")
    if inputs.stages:
        lines += ["## Stages", "", "| stage | in | out | lost |", "|---|--:|--:|---|"]
        for row in ledger(inputs.stages):
            stage = row["stage"]
            reasons = ", ".join(f"{reason} {count_text(n)}" for reason, n in row["losses"])
            lost = count_text(row["lost"]) + (f" ({reasons})" if reasons else "")
            taken, given = ", ".join(row["taken"]) or "–", ", ".join(row["given"] + row["other"]) or "–"
            cells = [_text(text) for text in (stage.name, taken, given, lost)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    if inputs.outputs:
        lines += ["## Files", ""]
        lines += [f"- {_text(label)}: {_code(path)}" for label, path in inputs.outputs.items()]
        lines.append("")
    lines += [f"- {_text(note)}" for note in inputs.notes]
    return "\n".join(lines).rstrip() + "\n"


def _text(text: str) -> str:
    """Escape what Markdown or HTML would read as markup; newlines become spaces."""
    one_line = " ".join(text.split())
    escaped = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", escaped)


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("`", "'") + "`"
