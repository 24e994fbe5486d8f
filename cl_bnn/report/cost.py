"""What a strategy costs: bits held for each weight, time and memory."""

from __future__ import annotations

import pandas as pd

from cl_bnn.report.order import by_strategy
from cl_bnn.report.summary import at_end
from cl_bnn.report.tables import Table, format_of, of_seeds
from cl_bnn.results import RUN

STATE = "state_bits"
#: What the table shows, and what that is: rows of the CSV, then what the JSON of a run may hold
#: besides what determined its numbers.
COSTS = {
    STATE: "state = bits that this implementation holds from one task to the next, for each weight "
    "of the network: a prior that equals lambda and a momentum that is not used count as well, and "
    "images of a memory at their size there",
    "seconds": "time = wall time of learning and measuring from the first task on, on the machine "
    "it ran on (of older runs with the loading of the data)",
    "train_seconds": "training = the part of it that training took",
    "eval_seconds": "evaluation = the part of it that evaluation took",
    "train_peak_memory": "memory of training and of evaluation = the most that the process, or the "
    "tensors on a GPU, had in use at once, 1 MB = 10⁶ bytes",
    "eval_peak_memory": "",
}


def table(frame: pd.DataFrame, info: pd.DataFrame) -> Table:
    """The costs of each strategy on the one benchmark in `frame`; without rows if none is known.

    `info` is the `info` of `results.load`.
    """
    here = info[info["benchmark"].isin(frame["benchmark"])]
    bits = at_end(frame, STATE).rename(columns={"value": STATE})[[*RUN, STATE]]
    known = [name for name in COSTS if name in here and here[name].notna().any()]
    columns = [name for name in COSTS if name in known or (name == STATE and len(bits))]
    runs = frame[RUN].drop_duplicates().merge(bits, on=RUN, how="left")
    runs = runs.merge(here[[*RUN, *known]], on=RUN, how="left")
    rows = [
        [name, str(len(group)), *(of_seeds(group[column], column) for column in columns)]
        for name, group in by_strategy(runs)
        if not group[columns].isna().all(axis=None)
    ]
    head = ["strategy", "seeds", *(format_of(column).heading for column in columns)]
    note = "; ".join(filter(None, (COSTS[column] for column in columns)))
    return Table("Cost of a run", head, rows, f"{note[:1].upper()}{note[1:]}.")
