"""The pages of a directory of results: `README.md` with the overview, `tables/` with the rest.

The pages hold no date and nothing of the machine that writes them, so that the same files give the
same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pandas as pd

from cl_bnn._labels import name_of
from cl_bnn.atomic import atomic_write
from cl_bnn.errors import UserError
from cl_bnn.report import ablation, benchmark_page, ledger_page, statistics_page
from cl_bnn.report.benchmark_page import TABLES, figure
from cl_bnn.report.scenarios import DEFAULT_SCENARIOS, in_order, of_studies, without_scenario
from cl_bnn.report.summary import slug, summary
from cl_bnn.report.tables import markdown, variants_table
from cl_bnn.results import called, load

README, REFERENCE, COMMANDS = "README.md", "reference.csv", "COMMANDS.md"
#: The page of the published numbers.
PUBLISHED = f"{TABLES}/published_numbers.md"

#: By this a page of ours is known.
SIGNATURE = "Written by `cl-bnn report`"
HEAD = f"""\
# Results

{SIGNATURE} from the CSV files in this directory; do not edit.

Accuracies, ECE and shares of weights are in percent, differences of accuracies in percentage
points. `a ± b` is the mean over seeds and the half width of its 95 % Student t interval; `–` stands
where there is no number, or no interval because there is one seed. An interval that extends below 0
or above 100 % means that the seeds are too few or fall into groups. A benchmark called
`split_mnist[epochs=3,width=400]` is the recipe `split_mnist` with these settings changed
(`n_experiences` is the number of tasks), and likewise with strategies; `cl-bnn list` says in a
line what each is.
Tasks count from 1 here and from 0 in the CSV files. With R[t, i] the test accuracy on task i once
the tasks 1 to t are learned, and T tasks:

| measure | formula |
| --- | --- |
| ACC | mean over i ≤ T of R[T, i] |
| AAA, average anytime accuracy | mean over t ≤ T of the mean over i ≤ t of R[t, i] |
| BWT, backward transfer | mean over i < T of R[T, i] − R[i, i] |
| forgetting, first − last | mean over i < T of R[i, i] − R[T, i], which is −BWT |
| forgetting, max − last | mean over i < T of (max over i ≤ t < T of R[t, i]) − R[T, i] |
| LA, learning accuracy | mean over i ≤ T of R[i, i] |
| zero-shot accuracy | mean over 1 < i ≤ T of R[i − 1, i] |
| FWT, forward transfer | mean over 1 < i ≤ T of R[i − 1, i] − b[i] |
| NLL, ECE | mean over all tasks after the last one; ECE with 15 equal bins |

`joint` learns all tasks at once, so that ACC is its only measure in the rows above NLL. BWT and FWT
are those of Lopez-Paz and Ranzato (2017); b[i] is the accuracy on task i of the network that has
learned nothing (`accuracy_untrained` in the CSV files), and where it was not measured there is no
FWT.
"""


def write_readme(directory: Path, against: str = "") -> Path:
    """Write `README.md` and the pages in `tables/` into `directory` from the results below it.

    Pages that only the `README.md` before links to are deleted. Returns the path of `README.md`.
    `against` is that of `render`.

    Raises:
        UserError: as `render` does, or for a `README.md` of somebody else's.
    """
    readme = directory / README
    there = readme.is_file()
    before = readme.read_text(encoding="utf-8", errors="replace") if there else SIGNATURE
    if SIGNATURE not in before:
        raise UserError(
            f"{readme} was not written by `cl-bnn report` and would be lost: move it, or keep "
            "results in a directory of their own"
        )
    pages = render(directory, against)
    for name, text in pages.items():
        atomic_write(directory / name, text.encode())
    linked = re.findall(rf"\(({TABLES}/[^/)]+\.md)\)", before)
    for name in set(linked) - pages.keys():  # of results that are gone
        (directory / name).unlink(missing_ok=True)
    return readme


def render(directory: Path, against: str = "") -> dict[str, str]:
    """The report on all results below `directory` in Markdown; the same files, the same text.

    On every benchmark that the strategy `against` was run on, the others are compared with it, on
    the rest with BayesBiNN.

    Takes in `reference.csv` (published numbers), and links to `COMMANDS.md` and to the figures in
    `figures/` where these exist. Raises `UserError` as `results.load` does, and for a damaged
    `reference.csv`, seeds of other settings under one label, or if `against` was not run at all.

    Returns:
        The text of every page, by its place in `directory`.
    """
    frame, info, specs = load(directory)
    called(frame, "strategy", [against] if against else [], directory)  # refuses what is not there
    runs = summary(frame)
    published = ledger_page.beside(directory / REFERENCE, frame)
    pages = {PUBLISHED: ledger_page.render(published)} if published else {}
    bases = dict.fromkeys(map(name_of, in_order(runs["benchmark"])))
    parts = [HEAD, statistics_page.LEGEND, *_links(directory, published), _contents(bases)]
    what = "ACC of all strategies, on the variant of each stream that most of them were run on"
    parts += figure(directory, "streams", what)
    for base, names in groupby(in_order(runs["benchmark"]), key=name_of):
        variants = list(names)
        pages |= (changed := ablation.pages(base, frame, specs))
        own = runs[runs["benchmark"].isin(variants)]
        parts += _overview(directory, base, frame, own, list(changed))
        for name in variants:
            rows, own = (table[table["benchmark"] == name] for table in (frame, runs))
            pages[benchmark_page.place(name)] = benchmark_page.render(
                directory, rows, own, info, against
            )
    return {README: "\n".join(parts)} | pages


def _contents(bases: Iterable[str]) -> str:
    """The way to each section, as GitHub calls it."""
    anchors = {b: re.sub(r"[^\w -]", "", b.lower()).replace(" ", "-") for b in bases}
    return " · ".join(f"[{base}](#{anchor})" for base, anchor in anchors.items()) + "\n"


def _links(directory: Path, published: ledger_page.Beside) -> list[str]:
    """What lies beside the tables: published numbers and commands, where there are any."""
    more = f"[One by one, beside ours, and what the verdicts mean]({PUBLISHED}).\n"
    numbers = f"{ledger_page.counts(published)}{more}"
    commands = f"[The commands]({COMMANDS}) that made what stands here.\n"
    return [
        *([numbers] if published else []),
        *([commands] if (directory / COMMANDS).is_file() else []),
    ]


def _overview(
    directory: Path, base: str, frame: pd.DataFrame, runs: pd.DataFrame, changed: list[str]
) -> list[str]:
    """The variants of one benchmark side by side, or the main table of the only one (of each where
    none has accuracies), and the links to their pages and to that of single settings, if there is
    one.
    """
    compared = runs[~of_studies(runs)]
    compared = compared if len(compared) else runs
    names = in_order(compared["benchmark"])
    if len(names) > 1 and compared["ACC"].notna().any():
        default = DEFAULT_SCENARIOS.get(base)
        heading = f"scenario={default} (default)" if default else "default"
        tables = [markdown(variants_table(compared, base, heading))]
        for name in dict.fromkeys(map(without_scenario, names)):
            what = f"{name}: ACC of all strategies by scenario"
            tables += figure(directory, f"{slug(name)}_scenarios", what)
        tables += figure(directory, f"{slug(base)}_variants", f"{base}: ACC of all strategies")
    else:
        tables = []
        for name in names:
            rows, own = (table[table["benchmark"] == name] for table in (frame, compared))
            tables += [f"`{name}`:\n"] if len(names) > 1 or name != base else []
            tables += benchmark_page.headline(rows, own)
    links = [f"- [`{n}`]({benchmark_page.place(n)})" for n in in_order(runs["benchmark"])]
    links += [f"- [what single settings change]({path})" for path in changed]
    return [f"## {base}\n", *tables, "All tables and figures:\n", "\n".join(links) + "\n"]
