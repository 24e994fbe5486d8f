"""Figures and tables of ensembles, from a frame worked out by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from frames import frame_of, plausible

from cl_bnn import plots
from cl_bnn.plots import ensembles
from cl_bnn.plots.looks import looks
from cl_bnn.report import ensembles as tables
from cl_bnn.report import single_tables
from cl_bnn.report.ledger import read as read_reference
from cl_bnn.results import Row

# Test and validation accuracy of the first 1, 2, 3 members; validation prefers 2 in seed 0 (the
# smaller of two equals) and 3 in seed 1.
TEST = {0: (0.5, 0.7, 0.6), 1: (0.5, 0.6, 0.8)}
HELD = {0: (0.4, 0.9, 0.9), 1: (0.4, 0.5, 0.7)}


def rows(strategy: str = "benn[rule=samme]", held: bool = True) -> list[Row]:
    found = []
    for seed, values in TEST.items():
        where = ("toy", strategy, seed, 0, 0)
        for size, value in enumerate(values, 1):
            found.append(Row(*where, None, f"accuracy_hard_of_{size}", value))
            found.append(Row(*where, None, f"accuracy_soft_outputs_of_{size}", value / 2))
            if held:
                found.append(
                    Row(*where, None, f"val_accuracy_hard_of_{size}", HELD[seed][size - 1])
                )
        found.append(Row(*where, None, "accuracy", values[-1]))
        found.append(Row(*where, None, "accuracy_member", 0.5))
        found.append(Row(*where, None, "accuracy_member_mean", 0.45))
        found.append(Row(*where, None, "disagreement", 0.2 + 0.1 * seed))
        for number, powers in enumerate(({0: 1.0}, {-1: 0.75, 2: 0.25})):
            for power, share in powers.items():
                found.append(Row(*where, number, f"sample_weight_2^{power}", share))
    return found


def test_votes_and_sizes_as_a_frame() -> None:
    found = tables.together(frame_of(rows()))
    assert len(found) == 2 * 3 * 2
    hard = found[(found["vote"] == "hard") & (found["seed"] == 0)]
    assert hard["test"].tolist() == list(TEST[0]) and hard["val"].tolist() == list(HELD[0])
    assert found[found["vote"] == "soft_outputs"]["val"].isna().all()


def test_the_mean_over_the_tasks_of_a_stream_after_the_last() -> None:
    stream = [
        Row("toy", "benn", 0, after, on, None, "accuracy_soft_of_1", value)
        for after, on, value in ((0, 0, 0.9), (0, 1, 0.1), (1, 0, 0.4), (1, 1, 0.8))
    ]
    assert tables.together(frame_of(stream))["test"].tolist() == [pytest.approx(0.6)]


def test_size_is_chosen_on_held_out_data_and_never_on_the_test_set() -> None:
    best = tables.chosen(tables.together(frame_of(rows())))
    assert best[["seed", "size", "test"]].values.tolist() == [[0, 2, 0.7], [1, 3, 0.8]]
    sizes, members = tables.tables(frame_of(rows()))
    assert sizes.head[3:] == ["1", "2", "3", "size by validation", "accuracy there"]
    hard = next(row for row in sizes.rows if row[1] == "hard")
    assert hard[3] == "50.0 ± 0.0" and hard[6] == "2.5" and hard[7].startswith("75.0 ± ")
    assert sizes.rows[1][1] == "soft_outputs" and sizes.rows[1][6:] == ["–", "–"]
    assert members.rows[0][2:4] == ["50.0 ± 0.0", "45.0 ± 0.0"]
    assert members.rows[0][4].startswith("25.0 ± ")


def test_tables_of_a_single_task_keep_these_metrics_apart() -> None:
    ends = single_tables.tables(frame_of(rows()))[0]
    assert ends.head == ["strategy", "seeds", "accuracy [%]"]
    assert len(single_tables.tables(plausible(strategies=["ste"], tasks=1))) == 2


def test_a_panel_a_vote_and_the_published_range(tmp_path: Path) -> None:
    ledger = tmp_path / "reference.csv"
    head = "benchmark,strategy,metric,after,on,epoch,value,spread,tolerance,evidence,source,"
    lines = [f"{head}protocol,differs,note"]
    for name, value in (("benn", 0.62), ("benn[rule=samme]", 0.68), ("ste", 0.99)):
        lines.append(f"toy,{name},accuracy,0,0,,{value},,0.01,README,x,y,,")
    lines.append("other,benn,accuracy,0,0,,0.01,,0.01,README,x,y,,")
    ledger.write_text("\n".join(lines) + "\n")
    figure = ensembles.sizes(frame_of(rows()), read_reference(ledger))
    assert figure is not None
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0].startswith("soft_outputs") and titles[1].startswith("hard")
    line, markers = figure.axes[1].lines
    assert markers.get_marker() == looks(["benn"])["benn"].marker  # of the only variant
    np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), [50, 65, 70])
    assert "shaded: published, 62.0 to 68.0 %" in figure.get_suptitle()


def test_histograms_of_the_weights_after_every_round() -> None:
    figure = ensembles.members(frame_of(rows()))
    assert figure is not None
    (image,) = figure.axes[1].images
    shown = np.ma.filled(image.get_array(), 0)  # rows 2^-1 ... 2^2, a column a round
    np.testing.assert_allclose(shown, [[0, 0.75], [1, 0], [0, 0], [0, 0.25]])


def test_disagreement_is_a_mean_over_tasks_and_an_interval_over_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {(0, 0): 0.2, (0, 1): 0.4, (1, 0): 0.3, (1, 1): 0.5}  # by seed and task: 30 and 40 %
    stream = [
        Row("toy", "benn", seed, 1, task, None, "disagreement", value)
        for (seed, task), value in values.items()
    ]
    drawn = []
    monkeypatch.setattr(ensembles, "errorbar", lambda axis, line, *rest: drawn.append(line))
    ensembles.members(frame_of(stream))
    (line,) = drawn
    assert line.mean == pytest.approx([35])
    assert line.half == pytest.approx([12.706 * 5], rel=1e-3)  # t with one degree of freedom


def test_nothing_to_draw_without_ensembles(tmp_path: Path) -> None:
    frame: pd.DataFrame = plausible(strategies=["ste"], tasks=1)
    assert ensembles.sizes(frame, []) is None and ensembles.members(frame) is None
    names = [path.name for path in plots.draw(frame_of(rows()), tmp_path)]
    assert {"toy_ensembles.png", "toy_members.svg"} <= set(names)
