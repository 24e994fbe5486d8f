"""Search of a strategy's settings: trials proposed by Optuna, made in batches, all on file.

This file alone knows Optuna, which is an optional extra.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_bnn import distributed, runner, trials
from cl_bnn._search_space import Axis, Choices, Value
from cl_bnn.errors import UserError
from cl_bnn.events import Event
from cl_bnn.trials import Search, Trial

#: Trial k is proposed by a sampler with the seed SAMPLER_SEED + k that knows all trials of earlier
#: batches. So it depends on these alone, whether the search was interrupted or not.
SAMPLER_SEED = 0
#: Trials of a batch: they know nothing of each other, and so many can be made side by side. It is
#: the same whatever --jobs is, and so are the trials.
BATCH = 4


def run_all(
    search: Search, n_trials: int, *, jobs: int, device: str, data_root: Path | None,
    on_event: Callable[[Event], None],
) -> list[Trial]:  # fmt: skip
    """Make the first `n_trials` trials of a search, those on file excepted.

    Args:
        search: what is searched.
        n_trials: how many trials there are to be in all.
        jobs: runs side by side; the files do not depend on it.
        device: `"auto"`, `"cpu"` or `"cuda"`.
        data_root: where the data sets lie.
        on_event: called with every event of the runs.

    Returns:
        All of them, in order.

    Raises:
        UserError: Optuna is not installed, another search is on file, or is under way.
    """
    optuna = load()
    if distributed.launched():
        raise UserError("the processes of torchrun cannot share a search: --jobs N runs N trials")
    runner.make_folder(search.folder)
    proposals = {"sampler": "TPE", "seed": SAMPLER_SEED, "batch": BATCH}
    with runner.alone(search.folder / "search.json", f"the search {search.name}"):
        trials.begin(search, proposals, device, {"optuna": optuna.__version__})
        made = trials.on_file(search)[:n_trials]
        while len(made) < n_trials:
            first = len(made) // BATCH * BATCH
            numbers = range(len(made), min(first + BATCH, n_trials))
            proposed = {k: proposal(optuna, search, made[:first], k) for k in numbers}
            made += trials.carry_out(
                search, proposed, jobs=jobs, device=device, data_root=data_root, on_event=on_event
            )
    return made


def load() -> Any:
    """The module `optuna`, told to be quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("a search needs Optuna: pip install 'cl_bnn[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def proposal(
    optuna: Any, search: Search, known: Sequence[Trial], number: int
) -> Mapping[str, Value]:
    """The settings of a trial: the recipe's own of the first, then what TPE (Bergstra et al. 2011,
    NeurIPS) makes of the trials that are known, which is a draw at random until there are ten.
    Those that failed tell it nothing.
    """
    if number == 0:
        return search.own
    where = {key: _distribution(optuna, axis) for key, axis in search.space.items()}
    sampler = optuna.samplers.TPESampler(seed=SAMPLER_SEED + number)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(
        optuna.trial.create_trial(params=t.settings, distributions=where, value=t.value)
        for t in known
        if t.value is not None
    )
    found = study.ask(where).params
    return {key: axis.settle(found[key]) for key, axis in search.space.items()}


def _distribution(optuna: Any, axis: Axis) -> Any:
    if isinstance(axis, Choices):
        return optuna.distributions.CategoricalDistribution(axis.values)
    if axis.whole:
        step = axis.step or 1
        return optuna.distributions.IntDistribution(axis.low, axis.high, axis.log, step)
    return optuna.distributions.FloatDistribution(axis.low, axis.high, axis.log)
