"""Learning rates within a task."""

import math

import pytest

from cl_bnn.strategies.schedules import SCHEDULES

RATE, END = 1e-3, 1e-16  # first and last learning rate of the authors' cosine


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 5, 100])
def test_factors_fall_from_one_and_stay_positive(name: str, epochs: int) -> None:
    factors = [SCHEDULES[name](epoch, epochs) for epoch in range(epochs)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors == sorted(factors, reverse=True)


def test_constant() -> None:
    assert [SCHEDULES["constant"](epoch, 3) for epoch in range(3)] == [1, 1, 1]


def test_cosine_begins_with_the_full_rate_and_would_end_at_zero_after_the_last_epoch() -> None:
    cosine = SCHEDULES["cosine"]
    assert [cosine(e, 4) for e in range(5)] == pytest.approx(
        [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]
    )
    assert cosine(0, 1) == 1, "a task of one epoch learns"


def test_cosine_early_is_the_schedule_of_the_authors() -> None:
    """Epoch e of 100 runs at end + (rate - end) (1 + cos(pi (e + 1) / 100)) / 2."""
    for epoch in (0, 1, 49, 98, 99):
        theirs = END + 0.5 * (RATE - END) * (1 + math.cos(math.pi * (epoch + 1) / 100))
        ours = RATE * SCHEDULES["cosine_early"](epoch, 100)
        assert ours == pytest.approx(theirs, rel=1e-12)
    assert RATE * SCHEDULES["cosine_early"](99, 100) == pytest.approx(END)


def test_cosine_early_is_one_epoch_ahead_of_cosine() -> None:
    early, cosine = SCHEDULES["cosine_early"], SCHEDULES["cosine"]
    for epoch in range(19):
        assert early(epoch, 20) == pytest.approx(cosine(epoch + 1, 20), rel=1e-9)
