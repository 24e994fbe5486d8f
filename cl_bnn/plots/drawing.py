"""All figures of a frame of results, as files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cl_bnn._labels import name_of
from cl_bnn.plots import ensembles, predictions, training
from cl_bnn.plots.bits import state
from cl_bnn.plots.calibration import reliability
from cl_bnn.plots.capacity import layers, posterior
from cl_bnn.plots.figures import save
from cl_bnn.plots.forgetting import average, multiples
from cl_bnn.plots.heat import acc_map, matrices
from cl_bnn.plots.streams import curves
from cl_bnn.report.ledger import Published
from cl_bnn.report.ledger import read as read_reference
from cl_bnn.report.scenarios import fullest, of_studies, without_scenario
from cl_bnn.report.summary import at_task_ends, is_single, slug, summary

#: From so many strategies on each has a panel of its own: as many as there are colours are told
#: apart in one.
MULTIPLES_FROM = 8


def draw(
    frame: pd.DataFrame, out: Path, runs: Path | None = None, *, together: bool = True
) -> list[Path]:
    """Draw all figures of every benchmark in `frame` into `out`; returns the paths, PNG and SVG.

    The names are `<benchmark>_<kind>`. A single task has `training`, if it was measured along it. A
    stream has `curves` and `matrix`; with at least two strategies `average`, with many
    `strategies`. Where there are rows for them: `posterior` and `layers`, `reliability`, `state`,
    `ensembles` and `members`, `predictions`. A stream without accuracies at task ends has no
    figures of its own. The variants of one stream together have `<name>_variants`, and those that
    differ in the scenario alone, with many strategies, `<name>_scenarios`; all streams have
    `streams`, each with the variant that most strategies were run on. Streams with images held out
    are in none of these; without `together` none is drawn.

    Files below `runs` (the folder that `out` lies in if None) hold the predictions, and published
    numbers in `reference.csv`. Raises `UserError` if `out` cannot be written.
    """
    paths, folder = [], out.parent if runs is None else runs
    published = read_reference(folder / "reference.csv")
    for benchmark, rows in frame.groupby("benchmark"):
        for kind, figure in _kinds(rows, published).items():
            if figure is not None:
                paths += save(figure, out, f"{slug(str(benchmark))}_{kind}")
    for name, figure in _over_streams(frame).items() if together else ():
        paths += save(figure, out, name)
    return paths + predictions.draw(frame, out, folder)


def _kinds(rows: pd.DataFrame, published: list[Published]) -> dict[str, Figure | None]:
    """The figures of one benchmark by the ends of their names."""
    voted = {"ensembles": ensembles.sizes(rows, published), "members": ensembles.members(rows)}
    if is_single(rows):
        own = {"training": training.training(rows)}
    elif len(at_task_ends(rows, "accuracy")):
        many = rows["strategy"].nunique() >= MULTIPLES_FROM
        own = {
            "curves": curves(rows),
            "matrix": matrices(rows),
            "average": average(rows),
            "strategies": multiples(rows) if many else None,
            "posterior": posterior(rows),
            "layers": layers(rows),
        }
    else:
        return voted
    return own | {"reliability": reliability(rows), "state": state(rows)} | voted


def _over_streams(frame: pd.DataFrame) -> dict[str, Figure]:
    """The figures of several streams side by side, by their whole names."""
    ends = at_task_ends(frame, "accuracy")
    streams = ends[ends.groupby("benchmark")["after"].transform("max") > 0]
    runs = summary(streams[~of_studies(streams)])
    bases = runs["benchmark"].map(name_of)
    found = {f"{slug(base)}_variants": acc_map(rows, base) for base, rows in runs.groupby(bases)}
    for name, rows in runs.groupby(runs["benchmark"].map(without_scenario)):
        all_variants = set(runs["benchmark"][bases == name_of(name)])
        if rows["strategy"].nunique() >= MULTIPLES_FROM and set(rows["benchmark"]) < all_variants:
            found[f"{slug(name)}_scenarios"] = acc_map(rows, name)
    if bases.nunique() > 1:
        found["streams"] = acc_map(fullest(runs), "all streams")
    return {name: figure for name, figure in found.items() if figure is not None}
