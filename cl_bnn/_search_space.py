"""What settings may be searched: the table `[search]` of a strategy's recipe, and the budget."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cl_bnn.errors import UserError, near

Value = bool | int | float | str

#: Trials of a search unless another number is asked for: the same for every strategy.
TRIALS = 20
#: Tasks at the beginning of a stream that a search may see, unless another number is asked for.
TASKS_SEEN = 3
#: The first of the seeds to search on. Reports have the seeds from 0, so that none of theirs was
#: searched on.
FIRST_SEED = 1000
#: Share of the training images held out to search on, where a benchmark holds out none.
VALIDATION = 0.1
#: Significant digits of the numbers that are tried: as many as one would write into a recipe.
DIGITS = 3

KEYS = ("low", "high", "log", "step", "choices")


@dataclass(frozen=True)
class Span:
    """Numbers from `low` to `high`, both included; whole numbers where both are whole."""

    low: float
    high: float
    log: bool = False
    step: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return type(self.low) is int and type(self.high) is int

    def holds(self, value: object) -> bool:
        """Whether a value belongs to it."""
        if type(value) not in (int, float):
            return False
        number = float(value)  # type: ignore[arg-type]
        fits = not self.whole or (number - self.low) % (self.step or 1) == 0
        return self.low <= number <= self.high and fits

    def settle(self, value: Any) -> Value:
        """A proposed value as it is tried: a whole number, or one of few digits."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), float(self.low)), float(self.high))

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Values that show whether all of them suit a setting."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Choices:
    """Some values."""

    values: tuple[Value, ...]

    def holds(self, value: object) -> bool:
        """Whether a value is one of them; a whole number may stand for a float, true for nothing
        but itself.
        """
        return any(value == v and (type(v) is bool) == (type(value) is bool) for v in self.values)

    def settle(self, value: Any) -> Value:
        """A proposed value as it is tried: as it is."""
        found: Value = value
        return found

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Values that show whether all of them suit a setting."""
        return self.values

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.values))}"


Axis = Span | Choices


def read_axes(table: Mapping[str, Any], known: Iterable[str], where: str) -> dict[str, Axis]:
    """The axes of a table, by setting.

    Args:
        table: part of a recipe's `[search]`, as TOML has it.
        known: the settings that the recipe gives a value to. A search begins with these values, so
            that no other setting can be searched.
        where: file and table, for messages.

    Raises:
        UserError: a setting that has no value in the recipe, or a range that holds nothing.
    """
    known = list(known)
    for key in table:
        if key not in known:
            raise UserError(
                f"{where}{key}: no setting in the recipe's [defaults]{near(key, known)}"
            )
    return {key: _axis(value, f"{where}{key}") for key, value in table.items()}


def _axis(value: Any, where: str) -> Axis:
    if not isinstance(value, dict) or not value.keys() & {"low", "high", "choices"}:
        wanted = "{low = 1e-4, high = 1e-1, log = true} or {choices = [1, 10]}"
        raise UserError(f"{where} = {value!r}: expected a range, as in {wanted}")
    for key in value:
        if key not in KEYS:
            raise UserError(f"{where}: unknown key {key!r}{near(key, KEYS)}")
    return _choices(value, where) if "choices" in value else _span(value, where)


def _choices(value: dict[str, Any], where: str) -> Choices:
    choices = value["choices"]
    if len(value) > 1:
        raise UserError(
            f"{where}: choices stand alone, without {', '.join(value.keys() - {'choices'})}"
        )
    if not isinstance(choices, list) or not choices:
        raise UserError(f"{where}.choices = {choices!r}: expected a list of at least one value")
    for choice in choices:
        if not (_is_number(choice) or type(choice) in (bool, str)):
            raise UserError(f"{where}.choices: {choice!r} is no number, text, true or false")
    return Choices(tuple(choices))


def _span(value: dict[str, Any], where: str) -> Span:
    for key in ("low", "high"):
        if not _is_number(value.get(key)):
            raise UserError(f"{where}.{key} = {value.get(key)!r}: expected a finite number")
    span = Span(value["low"], value["high"], value.get("log", False), value.get("step"))
    if span.low >= span.high:
        raise UserError(f"{where}: low = {span.low} must be below high = {span.high}")
    if type(span.log) is not bool:
        raise UserError(f"{where}.log = {span.log!r}: expected true or false")
    if span.log and span.low <= 0:
        raise UserError(f"{where}: low = {span.low} must be above 0 with log = true")
    if span.step is not None:
        _check_step(span, where)
    return span


def _check_step(span: Span, where: str) -> None:
    if type(span.step) is not int or span.step < 1 or not span.whole or span.log:
        raise UserError(
            f"{where}.step = {span.step!r}: expected a whole number of at least 1, with whole low "
            "and high and without log"
        )
    if (span.high - span.low) % span.step:
        raise UserError(f"{where}: no number of steps of {span.step} leads from low to high")


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is float and math.isfinite(value)
