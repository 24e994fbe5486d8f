"""The page of published numbers: ours beside each, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cl_bnn.report.ledger import (
    EVIDENCE,
    NOT_FIRM,
    VERDICTS,
    Ours,
    Published,
    firm,
    group_runs,
    is_of_stream,
    ours,
    read,
    settings,
    verdict,
)
from cl_bnn.report.tables import FORMATS, NOTHING, UNKNOWN, Format, Table, folded, markdown

#: How measures are shown, those included that only published numbers have.
SHOWN = {
    **FORMATS,
    "accuracy_best_val": Format("test accuracy at best validation [%]"),
    "val_accuracy_best_val": Format("best validation accuracy [%]"),
    "train_accuracy_best_val": Format("training accuracy at best validation [%]"),
    "accuracy_member": Format("accuracy of one member [%]"),
    "ACC_last5": Format("mean accuracy on the last 5 tasks [%]"),
    "ACC_last20": Format("mean accuracy on the last 20 tasks [%]"),
    "ood_auroc": Format("AUROC of unseen data", 1, 3),
    "ood_auroc_epistemic": Format("AUROC of unseen data by epistemic uncertainty", 1, 3),
    "iou_foreground": Format("IoU of the foreground", 1, 3),
    "iou_foreground_best": Format("IoU of the foreground at its best epoch", 1, 3),
    "train_loss": Format("training loss [nats]", 1, 3),
    "memory": Format("memory [MB]", 1, 2),
}
#: More decimals than any published number has.
MANY = 6

LEGEND = """\
A number is *not run* if our runs do not have its benchmark, strategy and measure. Where only
another variant of the benchmark was run, ours is shown, and the verdict names the variant instead
of judging. The difference allowed is in general twice the published spread and at least 0.3 points,
or, where no spread is published, 1 point on a single task and 2 on a stream. It was set apart for
the main numbers of each paper, for differences of accuracies, for bits and AUROC, for thresholds,
for what is known of a single run or read from a figure (up to 5 points where a network has learned
for one epoch only), and for ranges; so look at the column before you cite a verdict. Published
numbers stand as printed; their `±` is the spread that the source gives, be it a standard deviation,
a standard error or half of a range, which is noted. A verdict is *not firm* if ours is a
single seed, or if our interval reaches to where the verdict would be the other.
"""

#: Published numbers, each with ours.
Beside = Sequence[tuple[Published, Ours]]


def beside(path: Path, frame: pd.DataFrame) -> Beside:
    """The published numbers in `path`, none if there is no such file, each with ours.

    `frame` is what `results.read` returns. Raises `UserError` for a damaged file.
    """
    runs = group_runs(frame)
    return [(number, ours(number, runs)) for number in read(path)]


def render(pairs: Beside) -> str:
    """The page on published numbers in Markdown: a table of those beside which we have one, then
    those that were not run, folded by benchmark, then the sources.
    """
    known = [number for number, _ in pairs]
    measured = [(number, mine) for number, mine in pairs if mine.value.n]
    missing = [number for number, mine in pairs if not mine.value.n]
    sources = list(dict.fromkeys((number.source, number.protocol) for number in known))
    streams = {_base(number) for number in known if is_of_stream(number)}
    parts = [
        "# Next to published numbers\n",
        counts(pairs),
        *([markdown(_measured_table(measured, sources, streams))] if measured else []),
        LEGEND,
        _definitions(known),
        *_without_ours(missing, sources, streams),
        _sources(sources),
    ]
    return "\n".join(parts)


def counts(pairs: Beside) -> str:
    """How many published numbers there are, by verdict."""
    given = {verdict(number, mine) for number, mine in pairs}
    names = [name for name in VERDICTS if name != NOTHING or name in given]
    each = ", ".join(tally(name, pairs) for name in names)
    return f"{len(pairs)} published numbers in `reference.csv`: {each}.\n"


def tally(name: str, pairs: Beside) -> str:
    """How often a verdict was given, for example `3 within (1 not firm)`."""
    given = [firm(number, mine) for number, mine in pairs if verdict(number, mine) == name]
    loose = f" ({given.count(False)} not firm)" if False in given else ""
    return f"{len(given)} {'without a verdict' if name == NOTHING else name}{loose}"


def _measured_table(pairs: Beside, sources: list[tuple[str, str]], streams: set[str]) -> Table:
    head = ["benchmark", "strategy", "measure", "published", "allowed", "ours", "seeds", "verdict"]
    rows = []
    for number, mine in pairs:
        cells = [number.benchmark, number.strategy, measure_name(number, _base(number) in streams)]
        cells += [f"{published_text(number)} {number.evidence}", *numbers(number, mine)]
        rows.append([*cells, judged(number, mine), _reference(number, sources)])
    return Table("Ours (mean ± interval) and the published number", [*head, "source"], rows)


def judged(number: Published, mine: Ours) -> str:
    """The verdict, whether it is firm, and how the protocols differ, if they do."""
    reason = f": {mine.differs}" if mine.differs else ""
    return f"{verdict(number, mine)}{'' if firm(number, mine) else NOT_FIRM}{reason}"


def _without_ours(
    numbers: Sequence[Published], sources: list[tuple[str, str]], streams: set[str]
) -> list[str]:
    """The numbers beside which we have none, a folded table for every benchmark."""
    tables = []
    for base in dict.fromkeys(map(_base, numbers)):
        rows = [
            [n.benchmark, n.strategy, measure_name(n, base in streams)]
            + [f"{published_text(n)} {n.evidence}", _reference(n, sources)]
            for n in numbers
            if _base(n) == base
        ]
        head = ["benchmark", "strategy", "measure", "published", "source"]
        title = f"{base}: published numbers without one of ours"
        tables.append(folded(f"{title} ({len(rows)})", markdown(Table(title, head, rows))))
    return tables


def measure_name(number: Published, stream: bool) -> str:
    """What was measured when, in words; tasks (counted from 1) are named only of a stream."""
    words = [SHOWN.get(number.metric, UNKNOWN).heading or number.metric]
    if stream and number.on is not None:
        words.append(f"on task {number.on + 1}")
    if stream and number.after is not None:
        words.append(f"after task {number.after + 1}")
    if number.epoch is not None:
        words.append(f"after epoch {number.epoch + 1}")
    elif not stream and number.on is not None:
        words.append("after training")
    return " ".join(words)


def published_text(number: Published) -> str:
    """The published number and its spread in the unit of tables, with the decimals it has."""
    factor, decimals = SHOWN.get(number.metric, UNKNOWN).factor, _decimals(number)
    spread = "" if math.isnan(number.spread) else f" ± {factor * number.spread:.{decimals}f}"
    return f"{factor * number.value:.{decimals}f}{spread}"


def numbers(number: Published, mine: Ours) -> list[str]:
    """The difference allowed, our number with at least as many decimals, and the seeds."""
    _, factor, usual = SHOWN.get(number.metric, UNKNOWN)
    mean, half, seeds = mine.value
    decimals = max(_decimals(number), usual)
    allowed = NOTHING if math.isnan(number.tolerance) else _plain(factor * number.tolerance)
    spread = NOTHING if math.isnan(half) else f"{factor * half:.{decimals}f}"
    return [allowed, f"{factor * mean:z.{decimals}f} ± {spread}", str(seeds)]


def _decimals(number: Published) -> int:
    factor = SHOWN.get(number.metric, UNKNOWN).factor
    printed = [factor * x for x in (number.value, number.spread) if not math.isnan(x)]
    return max(len(_plain(value).partition(".")[2]) for value in printed)


def _plain(value: float) -> str:
    """A decimal fraction without the digits that binary ones add, nor trailing zeros."""
    text = f"{value:.{MANY}f}"
    return text.rstrip("0").rstrip(".")


def _reference(number: Published, sources: list[tuple[str, str]]) -> str:
    place = f"[{sources.index((number.source, number.protocol)) + 1}]"
    return f"{place} {number.note}".strip()


def _definitions(numbers: Sequence[Published]) -> str:
    used = {number.evidence for number in numbers}
    lines = [f"- *{name}*: {meaning}." for name, meaning in VERDICTS.items()]
    lines += [f"- {tag}: {meaning}." for tag, meaning in EVIDENCE.items() if tag in used]
    return "\n".join(lines) + "\n"


def _sources(sources: Sequence[tuple[str, str]]) -> str:
    lines = [
        f"- [{number}] {source}{': ' if protocol else ''}{protocol}."
        for number, (source, protocol) in enumerate(sources, start=1)
    ]
    return folded("Sources and protocols", "\n".join(lines) + "\n")


def _base(number: Published) -> str:
    return settings(number.benchmark)[0]
