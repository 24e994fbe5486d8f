"""Published claims beside what we measured, each with the command that measures it."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cl_bnn import recipes, results, runner
from cl_bnn._labels import name_of
from cl_bnn._recipe_files import value_of
from cl_bnn._spec import ARITHMETIC
from cl_bnn.errors import UserError, near
from cl_bnn.events import Event, Failures
from cl_bnn.report import ledger
from cl_bnn.report.ledger import DIFFERS, NOT_RUN, VERDICTS, Ours, Published, is_of_stream
from cl_bnn.report.ledger_page import judged, measure_name, numbers, published_text, tally
from cl_bnn.report.summary import MEASURES
from cl_bnn.run import Run

# Settings of a label that have an option of their own.
OPTIONS = {"epochs": "--epochs", "stop_after": "--stop-after"}


class Setup(NamedTuple):
    """What has to be run for a published number: recipes by name, and what differs from them."""

    benchmark: str
    strategy: str
    overrides: dict[str, object]

    def command(self, seeds: Sequence[int], directory: Path) -> str:
        """The line that runs it, its results in a directory."""
        words = ["cl-bnn", "run", self.benchmark, "--strategy", self.strategy]
        for key, value in self.overrides.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += [OPTIONS[key], text] if key in OPTIONS else ["--set", f"{key}={text}"]
        count = str(len(seeds))
        named = ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")
        given = count if list(seeds) == list(range(len(seeds))) else named
        return shlex.join([*words, "--seeds", given, "--out", str(directory)])


class Claim(NamedTuple):
    """A published number, ours, the verdict, and how to run it (None: no recipe of that name)."""

    published: Published
    mine: Ours
    verdict: str
    setup: Setup | None


class Wanted(NamedTuple):
    """Which claims: benchmark and strategy, by name or by label, and a part of the source, in
    capitals or not; "" for all.
    """

    benchmark: str = ""
    strategy: str = ""
    source: str = ""

    def has(self, number: Published) -> bool:
        """Whether a published number is one of them."""
        named = self.benchmark in ("", number.benchmark, name_of(number.benchmark))
        named = named and self.strategy in ("", number.strategy, name_of(number.strategy))
        return named and self.source.casefold() in number.source.casefold()


ALL = Wanted()


def claims(
    published: Sequence[Published], frame: pd.DataFrame, wanted: Wanted = ALL
) -> list[Claim]:
    """Those of the published numbers that are wanted, beside ours.

    Args:
        published: what `ledger.read` returns.
        frame: our measurements, as `results.read` returns them.
        wanted: which.
    """
    runs = ledger.group_runs(frame)
    found = []
    for number in filter(wanted.has, published):
        mine, setup = ledger.ours(number, runs), setup_of(number.benchmark, number.strategy)
        found.append(Claim(number, mine, ledger.verdict(number, mine), setup))
    return found


def of_directory(directory: Path, wanted: Wanted = ALL) -> list[Claim]:
    """The wanted claims in the `reference.csv` of a directory, beside the results in it.

    Raises:
        UserError: there are none, or files are damaged.
    """
    published = ledger.read(directory / "reference.csv")
    on_file = results.csv_paths(directory)
    empty = published and not on_file
    frame = pd.DataFrame(columns=results.RUN) if empty else results.read(directory)
    found = claims(published, frame, wanted)
    if not found:
        raise UserError(_nothing(directory, published, wanted))
    return found


@cache
def setup_of(benchmark: str, strategy: str) -> Setup | None:
    """What the labels of a published number stand for; None if there is no such recipe or setting
    here, or if a run of it would have another label.
    """
    try:
        setup, spec = _resolved(benchmark, strategy)
    except UserError:
        return None
    return setup if (spec.benchmark, spec.strategy) == (benchmark, strategy) else None


def _resolved(benchmark: str, strategy: str) -> tuple[Setup, recipes.Spec]:
    """What two labels stand for, and the run it makes.

    Raises:
        UserError: there is no such recipe or setting.
    """
    (on, changed), (name, own) = ledger.settings(benchmark), ledger.settings(strategy)
    recipe, learner = recipes.load_benchmark(on), recipes.load_strategy(name)
    overrides = {_place(key, recipe): value_of(text) for key, text in changed.items()}
    overrides |= {key: value_of(text) for key, text in own.items()}
    spec = recipes.resolve(recipe, learner, overrides)
    recipes.check(spec)
    return Setup(on, name, overrides), spec


def missing(found: Sequence[Claim]) -> list[Setup]:
    """What has to be run for the claims that have no number of ours, or one of another variant of
    the benchmark, each once.
    """
    setups: list[Setup] = []
    for claim in found:
        wanted = claim.verdict == NOT_RUN or claim.verdict == DIFFERS and claim.mine.stands_in
        if wanted and claim.setup is not None and claim.setup not in setups:
            setups.append(claim.setup)
    return setups


def _place(key: str, recipe: recipes.BenchmarkRecipe) -> str:
    """The full name of a setting that a label gives in short."""
    if key in (*recipes.COUNTS, *ARITHMETIC):
        return key
    if key in recipe.stream:
        return f"stream.{key}"
    for section in ("stream", "model"):
        if recipe.takes(section, key):
            return f"{section}.{key}"
    return f"model.{key}"


def lines(found: Sequence[Claim], seeds: Sequence[int], directory: Path) -> Iterator[str]:
    """Reported and reproduced, one claim a line, those of one run together with its command, which
    writes into a directory.
    """
    pairs, given = [(claim.published, claim.mine) for claim in found], {c.verdict for c in found}
    summed = ", ".join(tally(verdict, pairs) for verdict in VERDICTS if verdict in given)
    yield f"{len(found)} published numbers: {summed}"
    names = [(claim.published.benchmark, claim.published.strategy) for claim in found]
    streams = {claim.published.benchmark for claim in found if is_of_stream(claim.published)}
    for name in dict.fromkeys(names):
        together = [claim for claim, own in zip(found, names, strict=True) if own == name]
        setup, none = together[0].setup, "not to be run here: no such recipe"
        yield f"\n{name[0]} / {name[1]}"
        yield f"  {setup.command(seeds, directory) if setup else none}"
        yield from (f"  {_line(claim, name[0] in streams)}" for claim in together)


def _line(claim: Claim, stream: bool) -> str:
    number, mine = claim.published, claim.mine
    measure = measure_name(number, stream or number.metric in MEASURES)
    reported = f"{measure}: reported {published_text(number)} ({number.evidence})"
    if not mine.value.n:
        return f"{reported}; {claim.verdict}"
    _, ours, count = numbers(number, mine)
    word = "seed" if mine.value.n == 1 else "seeds"
    return f"{reported}; ours {ours}, {count} {word}: {judged(number, mine)}"


def plan(found: Sequence[Claim], seeds: Sequence[int], directory: Path) -> list[Run]:
    """The runs that are `missing`, into a directory."""
    return [
        run
        for setup in missing(found)
        for run in runner.plan(
            setup.benchmark, [setup.strategy], seeds, setup.overrides, "task", directory
        )
    ]


def carry_out(
    directory: Path, wanted: Wanted, run: bool, seeds: Sequence[int], *,
    on_event: Callable[[Event], None], **how: Any,
) -> Iterator[str]:  # fmt: skip
    """The lines of `cl-bnn verify`; with `run`, what is missing is run first.

    Args:
        directory: holds the results and `reference.csv`.
        wanted: which claims.
        run: whether to run what has no number of ours.
        seeds: of these runs.
        on_event: called with every event.
        how: `jobs`, `device` and `data_root` of `runner.run_all`.

    Raises:
        UserError: as `of_directory` does, or at the end for a run that broke down.
    """
    found, failures = of_directory(directory, wanted), Failures(on_event)
    runs = plan(found, seeds, directory) if run else []
    if runs:
        runner.run_all(runs, keep_going=True, on_event=failures, **how)
        if len(failures.found) < len(runs):
            found = of_directory(directory, wanted)
    yield from lines(found, seeds, directory)
    failures.tell(len(runs))


def _nothing(directory: Path, published: Sequence[Published], wanted: Wanted) -> str:
    """Why no claim was found, with the near names."""
    benchmark, strategy, source = wanted
    path = directory / "reference.csv"
    if not published:
        return f"{path} holds no published numbers: copy it there from this project's results/"
    if not any(Wanted(source=source).has(number) for number in published):
        sources = {number.source for number in published}
        return f"no claim in {path} comes from {source!r}{near(source, sources)}"
    on = sorted({name_of(number.benchmark) for number in published})
    if not any(Wanted(benchmark).has(number) for number in published):
        return f"no claim in {path} is about the benchmark {benchmark!r}{near(benchmark, on)}"
    rest = wanted._replace(strategy="")
    by = {name_of(number.strategy) for number in published if rest.has(number)}
    if not by:
        return f"no claim in {path} comes from {source!r} and is about {benchmark!r}"
    return f"no claim in {path} is about the strategy {strategy!r}{near(strategy, by)}"
