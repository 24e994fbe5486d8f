"""The one order of strategies and of benchmarks, and which of many tasks are shown."""

import pytest
from frames import plausible

from cl_bnn import recipes
from cl_bnn.report import order, scenarios


def test_families_follow_each_other_and_joint_is_last_of_the_known() -> None:
    mixed = ["joint", "mine", "adam", "ste+er", "benn", "ste", "bimu", "bayesbinn", "ewc", "alpha"]
    assert order.ordered(mixed) == [
        "bayesbinn", "bimu", "ste", "benn", "ste+er", "adam", "ewc", "joint", "alpha", "mine",
    ]  # fmt: skip


def test_variants_come_right_after_their_name_and_doubles_once() -> None:
    mixed = ["ste[lr=1]", "bop", "ste", "bayesbinn[lr=2]", "bayesbinn", "bayesbinn[lr=1]", "ste"]
    assert order.ordered(mixed) == [
        "bayesbinn", "bayesbinn[lr=1]", "bayesbinn[lr=2]", "ste", "ste[lr=1]", "bop",
    ]  # fmt: skip
    fewer = ["bayesbinn[eval_samples=5,prior_power=0.9]", "bayesbinn[eval_samples=5]"]
    assert order.ordered(fewer) == fewer[::-1]


def test_plugins_stand_in_their_own_order_by_what_they_are_beside() -> None:
    mixed = ["ste+er", "bayesbinn+er", "ste+ewc[ewc.strength=1]", "ste+ewc", "ste+der++"]
    assert order.ordered(mixed) == [
        "bayesbinn+er", "ste+ewc", "ste+ewc[ewc.strength=1]", "ste+er", "ste+der++",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "strategy, family",
    [
        ("bayesbinn[lr=1]", "bayesian"), ("ste", "binary"), ("benn[rule=samme]", "ensemble"),
        ("ste+er", "beside"), ("benn+er", "beside"), ("adam+ewc", "real"), ("der++", "real"),
        ("joint", "yardstick"), ("mine", "other"), ("mine+er", "other"),
    ],
)  # fmt: skip
def test_family(strategy: str, family: str) -> None:
    assert order.family(strategy) == family


def test_the_order_has_every_recipe_once() -> None:
    names = [name for family in order.FAMILIES.values() for name in family]
    parts = {part for name in recipes.names("strategies") for part in order.parts_of(name)}
    assert len(names) == len(set(names)) and set(names) == parts


def test_scenarios_that_names_do_not_say_are_those_of_the_recipes() -> None:
    for name in recipes.names("benchmarks"):
        said = recipes.load_benchmark(name).stream.get("scenario")
        if said is not None:
            assert scenarios.scenario_of(name) == said, name


def test_every_stream_of_several_tasks_has_a_scenario() -> None:
    for name in recipes.names("benchmarks"):
        stream = recipes.load_benchmark(name).stream
        if stream.get("n_experiences", 1) > 1 or isinstance(stream.get("data"), list):
            assert scenarios.scenario_of(name) in scenarios.SCENARIOS, name


def test_labels_that_differ_in_the_scenario_alone() -> None:
    names = ("split_mnist[epochs=3,scenario=class]", "split_mnist[epochs=3]", "split_mnist")
    found = [scenarios.without_scenario(name) for name in names]
    assert found == ["split_mnist[epochs=3]", "split_mnist[epochs=3]", "split_mnist"]


def test_groups_of_a_frame_are_in_order_and_whole() -> None:
    frame = plausible(strategies=["joint", "ste", "bayesbinn"])
    groups = order.by_strategy(frame)
    assert [name for name, _ in groups] == ["bayesbinn", "ste", "joint"]
    assert sum(len(rows) for _, rows in groups) == len(frame)
    assert all((rows["strategy"] == name).all() for name, rows in groups)


@pytest.mark.parametrize(
    "tasks, most, shown",
    [
        (0, 12, []), (1, 12, [1]), (5, 12, [1, 2, 3, 4, 5]), (12, 12, list(range(1, 13))),
        (13, 12, [1, 2, 4, 6, 8, 10, 12, 13]), (60, 12, [1, 10, 20, 30, 40, 50, 60]),
        (100, 12, [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        (100, 7, [1, 20, 40, 60, 80, 100]), (1000, 3, [1, 500, 1000]), (7, 3, [1, 5, 7]),
    ],
)  # fmt: skip
def test_of_many_tasks_the_first_every_kth_and_the_last(
    tasks: int, most: int, shown: list[int]
) -> None:
    assert order.shown_tasks(tasks, most) == shown


def test_scenarios_are_in_the_order_task_domain_class() -> None:
    names = ["split_mnist[scenario=class]", "split_mnist", "split_mnist[epochs=2,scenario=domain]",
             "permuted_mnist", "split_mnist[scenario=domain]", "split_mnist[epochs=2]"]  # fmt: skip
    assert scenarios.in_order(names) == [
        "permuted_mnist", "split_mnist", "split_mnist[scenario=domain]",
        "split_mnist[scenario=class]", "split_mnist[epochs=2]",
        "split_mnist[epochs=2,scenario=domain]",
    ]  # fmt: skip


def test_columns_are_called_by_what_tells_them_apart() -> None:
    split = ["split_mnist", "split_mnist[scenario=class]", "split_mnist[epochs=2,scenario=class]"]
    assert scenarios.column_names(split) == ["task", "class", "class,epochs=2"]
    assert scenarios.column_names([*split[:2], "toy"]) == [
        "split_mnist\ntask", "split_mnist\nclass", "toy",
    ]  # fmt: skip
    assert scenarios.column_names(["toy", "toy[epochs=2]"]) == ["default", "epochs=2"]
    told = ["permuted_mnist[epochs=2]", "permuted_mnist[epochs=2,norm=per_task,task_labels=true]"]
    assert scenarios.column_names(told) == ["domain,epochs=2", "told,epochs=2,norm=per_task"]
    assert scenarios.in_order(reversed(told)) == told
