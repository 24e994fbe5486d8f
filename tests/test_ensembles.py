"""Rules and votes of ensembles against the published table and numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from cl_bnn import ensembles
from cl_bnn.ensembles import ALIASES, RULES, VOTES, Vote, rule_of
from cl_bnn.errors import UserError

CLASSES, SAMPLES = 10, 50_000
START = 1 / SAMPLES


def after_first(name: str, error: float) -> tuple[float, float]:
    """D of a wrong and of a right sample after the first member, which has this error."""
    weights = torch.full((SAMPLES,), START, dtype=torch.float64)
    wrong = torch.arange(SAMPLES) < round(error * SAMPLES)
    rule = rule_of(name)
    assert rule.update is not None
    alpha = rule.weigh(ensembles.weighted_error(weights, wrong), CLASSES)
    found = rule.update(weights, wrong, alpha, CLASSES)
    assert found.unique().numel() == 2
    return found[0].item(), found[-1].item()


# Computed by hand from the published code, from D = 1 / 50000: by what the weight of a wrong and of
# a right sample is multiplied (A and B, D), and their new weights (C).
EXPONENTIAL = [(0.1, 3.00, 0.333), (0.2, 2.00, 0.500), (0.3, 1.53, 0.655), (0.4, 1.22, 0.816)]
TENTH = [(0.1, 1.552, 0.644), (0.2, 1.431, 0.699), (0.3, 1.356, 0.738), (0.4, 1.297, 0.771)]
FIRST = [
    ("cifar_boost_a", EXPONENTIAL),
    ("cifar_boost_b_sequential", EXPONENTIAL),
    ("cifar_boost_d", TENTH),
]


@pytest.mark.parametrize(("name", "rows"), FIRST)
def test_first_update_multiplies_as_published(
    name: str, rows: list[tuple[float, float, float]]
) -> None:
    for error, wrong, right in rows:
        found = [weight / START for weight in after_first(name, error)]
        assert found == [pytest.approx(wrong, abs=5.1e-3), pytest.approx(right, abs=5.1e-4)]


@pytest.mark.parametrize(
    ("error", "wrong", "right"),
    [(0.1, 0.988, 0.890), (0.2, 0.971, 0.882), (0.3, 0.948, 0.879), (0.4, 0.923, 0.885)],
)
def test_first_update_of_mildboost_is_nearly_uniform(
    error: float, wrong: float, right: float
) -> None:
    assert after_first("cifar_boost_c", error) == (
        pytest.approx(wrong, abs=5.1e-4), pytest.approx(right, abs=5.1e-4)
    )  # fmt: skip


def test_independent_boost_b_has_the_alpha_of_boost_d() -> None:
    """Published under one letter with two formulas."""
    b, d = rule_of("cifar_boost_b_independent"), rule_of("cifar_boost_d")
    assert b.weigh(0.3, 10) == d.weigh(0.3, 10) == pytest.approx(0.1 * math.log(7 / 3 * 9))
    assert b.update is rule_of("cifar_boost_b_sequential").update


def test_letters_mean_other_rules_on_imagenet() -> None:
    assert rule_of("imagenet_boost_a").update is rule_of("cifar_boost_c").update
    assert rule_of("imagenet_boost_b").update is rule_of("cifar_boost_b_sequential").update
    assert rule_of("imagenet_boost_c").update is rule_of("cifar_boost_d").update
    expected = math.log(0.51 / 0.49) + math.log(999)
    for letter, factor in (("a", 1), ("b", 1), ("c", 1e-3)):
        found = rule_of(f"imagenet_boost_{letter}").weigh(0.49, 1000)
        assert found == pytest.approx(factor * expected)
    assert set(ALIASES.values()) <= set(RULES)


def test_samme_leaves_right_samples_alone_and_knows_chance() -> None:
    rule = rule_of("samme")
    assert rule.weigh(0.9, 10) == pytest.approx(0, abs=1e-12)
    wrong, right = after_first("samme", 0.3)
    assert wrong / START == pytest.approx(7 / 3 * 9) and right == START


def test_adaboost_balances_wrong_and_right() -> None:
    """Its defining property: the member is no better than a coin on the new weights."""
    wrong, right = after_first("adaboost", 0.2)
    assert 0.2 * wrong == pytest.approx(0.8 * right)


def test_logistic_update_is_a_shift_of_the_logit() -> None:
    weights = torch.tensor([0.5, 0.25, 0.9], dtype=torch.float64)
    wrong = torch.tensor([True, False, True])
    found = ensembles.logistic_update(weights, wrong, 0.7, 10)
    shift = torch.tensor([0.7, -0.7, 0.7], dtype=torch.float64)
    torch.testing.assert_close(found.logit(), weights.logit() + shift)


@pytest.mark.parametrize("name", [n for n, rule in RULES.items() if rule.boosts])
@pytest.mark.parametrize("error", [0.0, 0.003, 0.5, 0.97, 1.0])
def test_weights_stay_positive_and_finite_for_many_members(name: str, error: float) -> None:
    rule, weights = RULES[name], torch.full((1000,), 1e-3, dtype=torch.float64)
    assert rule.update is not None
    for k in range(32):
        wrong = torch.rand(1000, generator=torch.Generator().manual_seed(k)) < error
        alpha = rule.weigh(ensembles.weighted_error(weights, wrong), 10)
        weights = rule.update(weights, wrong, alpha, 10)
        assert math.isfinite(alpha)
        assert bool((weights > 0).all()) and bool(torch.isfinite(weights).all())


def test_error_is_weighted_and_never_0_or_1() -> None:
    weights = torch.tensor([1.0, 2.0, 3.0, 2.0])
    wrong = torch.tensor([True, False, True, False])
    assert ensembles.weighted_error(weights, wrong) == 0.5
    assert ensembles.weighted_error(weights, torch.zeros(4, dtype=torch.bool)) == 1 / 8
    assert ensembles.weighted_error(weights, torch.ones(4, dtype=torch.bool)) == 7 / 8


@pytest.mark.parametrize("name", ["boost_b", "adabost"])
def test_unknown_rules_offer_those_there_are(name: str) -> None:
    with pytest.raises(
        UserError, match=f"^unknown rule '{name}'; did you mean '.*boost.*'.* known:"
    ):
        rule_of(name)


def test_samples_are_drawn_as_often_as_their_weights_say() -> None:
    weights = torch.tensor([1.0, 0.0, 3.0, 4.0]).repeat(20_000)
    found = ensembles.resample(weights, torch.Generator().manual_seed(0))
    assert found.shape == (80_000,)
    share = torch.bincount(found % 4, minlength=4) / 80_000
    torch.testing.assert_close(share, torch.tensor([1 / 8, 0, 3 / 8, 1 / 2]), atol=0.008, rtol=0)
    assert torch.equal(found, ensembles.resample(weights, torch.Generator().manual_seed(0)))


def test_a_bootstrap_holds_63_percent_of_the_samples() -> None:
    found = ensembles.bootstrap(100_000, torch.Generator().manual_seed(0))
    assert found.unique().numel() / 100_000 == pytest.approx(1 - math.exp(-1), abs=0.005)


# Three members, one sample, three classes: two weak votes for class 1, one sure one for class 0.
OUTPUTS = torch.tensor([[[9.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]]])


def predicted(how: Vote, *alphas: float, outputs: Tensor = OUTPUTS) -> int:
    return int(ensembles.vote(outputs, torch.tensor(alphas), how).argmax(1))


def test_votes_by_hand() -> None:
    assert predicted("hard", 1, 1, 1) == 1
    assert predicted("weighted", 1, 1, 1) == 1 and predicted("weighted", 3, 1, 1) == 0
    assert predicted("hard", 3, 1, 1) == 1, "a hard vote knows no alpha"
    assert predicted("soft_outputs", 1, 1, 1) == 0, "9 against 1 + 1"
    assert predicted("soft", 1, 1, 1) == 0 and predicted("soft", 0.1, 1, 1) == 1
    # Raw outputs count by their size, probabilities do not.
    assert predicted("soft_outputs", 0.3, 1, 1) == 0


def test_soft_votes_are_those_of_the_formula() -> None:
    outputs, alphas = torch.randn(4, 6, 5), torch.rand(4)
    p = (alphas / alphas.sum()).view(-1, 1, 1) * outputs.softmax(2)
    torch.testing.assert_close(ensembles.vote(outputs, alphas, "soft").exp(), p.sum(0))
    z = (alphas.view(-1, 1, 1) * outputs).sum(0)
    torch.testing.assert_close(ensembles.vote(outputs, alphas, "soft_outputs"), z.log_softmax(1))


@pytest.mark.parametrize("how", ["hard", "weighted"])
def test_ties_go_to_the_lowest_class_and_no_class_is_impossible(how: Vote) -> None:
    outputs = torch.tensor([[[0.0, 0.0, 5.0]], [[0.0, 5.0, 0.0]]])
    found = ensembles.vote(outputs, torch.ones(2), how)
    assert int(found.argmax(1)) == 1
    expected = [1 / 3 / 3, (1 + 1 / 3) / 3, (1 + 1 / 3) / 3]
    assert found.exp().flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("how", VOTES)
def test_votes_are_distributions_and_one_member_votes_as_it_predicts(how: Vote) -> None:
    outputs = torch.randn(3, 7, 4)
    found = ensembles.vote(outputs, torch.tensor([0.5, 1.5, 1.0]), how)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(7))
    alone = ensembles.vote(outputs[:1], torch.ones(1), how)
    assert torch.equal(alone.argmax(1), outputs[0].argmax(1))


@pytest.mark.parametrize("how", ["soft", "weighted"])
def test_a_member_worse_than_chance_is_not_asked(how: Vote) -> None:
    assert predicted(how, -5.0, 1.0, 1.0) == 1
    assert predicted(how, -5.0, -1.0, -1.0) == (1 if how == "weighted" else 0)


def test_disagreement_of_pairs() -> None:
    """Classes 0 0 1 1, 0 1 1 1 and 0 0 0 0 for four samples: the pairs differ in 1, 2, 3 of 4."""
    classes = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]])
    outputs = torch.nn.functional.one_hot(classes, 2).float()
    assert ensembles.disagreement(outputs) == pytest.approx((1 + 2 + 3) / 12)
    assert math.isnan(ensembles.disagreement(outputs[:1]))
