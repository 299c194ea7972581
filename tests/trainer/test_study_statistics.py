"""Statistics of the study: values by hand, scipy, brute force, simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from edit_grpo_ref.study.statistics import (
    Values,
    along,
    front,
    hypervolume,
    jackknife,
    number,
    ratio,
    scene_draws,
    sign_flip,
    weighted_means,
)
from editbench.stats import holm

POINTS = np.array([[0.4, 0.2], [0.1, 0.8], [0.4, 0.5], [0.2, 0.4], [0.9, 0.1], [0.2, 0.4]])


def test_the_frontier_is_what_nothing_dominates():
    def dominated(p, q):
        return (q <= p).all() and (q < p).any()

    assert front(POINTS).tolist() == [1, 3, 0, 4]
    random = np.random.default_rng(1)
    for _ in range(50):
        points = random.integers(0, 6, (7, 2)) / 6
        kept = {tuple(p) for p in points if not any(dominated(p, q) for q in points)}
        assert {tuple(p) for p in points[front(points)]} == kept


def test_a_point_without_a_value_is_on_no_frontier():
    assert front(np.array([[math.nan, 0.0], [0.5, 0.5], [0.1, math.nan]])).tolist() == [1]
    assert front(np.full((2, 2), math.nan)).tolist() == []


def test_hypervolume_by_hand():
    # (0.2, 0.4) and (0.4, 0.2) in the unit square: 0.8 * 0.6 + 0.6 * 0.2
    assert hypervolume(np.array([[0.4, 0.2], [0.2, 0.4]]), (1.0, 1.0)) == pytest.approx(0.6)
    assert hypervolume(np.array([[0.0, 0.0]]), (0.2, 0.05)) == 1.0
    beyond = np.array([[0.3, 0.01], [0.1, 0.06]])
    assert hypervolume(beyond, (0.2, 0.05)) == 0.0
    # a coordinate beyond the reference must not give a negative area either
    assert hypervolume(np.array([[0.1, 0.025], [0.3, 0.0]]), (0.2, 0.05)) == pytest.approx(0.25)


def test_hypervolume_is_the_share_of_dominated_places_and_goes_over_leading_axes():
    random = np.random.default_rng(2)
    many = random.random((3, 2, 5, 2))
    grid = (np.arange(400) + 0.5) / 400
    x, y = np.meshgrid(grid * 0.8, grid * 0.7, indexing="ij")
    found = hypervolume(many, (0.8, 0.7))
    assert found.shape == (3, 2)
    for index in itertools.product(range(3), range(2)):
        covered = np.zeros_like(x, bool)
        for px, py in many[index]:
            covered |= (x >= px) & (y >= py)
        assert found[index] == pytest.approx(covered.mean(), abs=5e-3)


def test_a_dominated_point_adds_nothing_to_the_hypervolume():
    assert hypervolume(POINTS, (1.0, 1.0)) == hypervolume(POINTS[front(POINTS)], (1.0, 1.0))


def test_values_along_a_frontier_are_interpolated_and_never_extrapolated():
    payload = np.array([1.0, 10.0, 99.0, 2.0, 0.0, 99.0])
    assert along(POINTS, POINTS[:, 1], 0.3) == pytest.approx(0.3)
    assert along(POINTS, payload, 0.15) == pytest.approx(6.0)
    assert along(POINTS, payload, 0.4) == 1.0  # not the dominated point at the same place
    assert along(POINTS, payload, 0.9) == 0.0
    assert math.isnan(along(POINTS, payload, 0.0999)) and math.isnan(along(POINTS, payload, 0.9001))
    assert math.isnan(along(np.empty((0, 2)), np.empty(0), 0.5))


def test_the_t_interval_is_scipys_and_nan_seeds_are_left_out():
    values = [0.31, 0.35, 0.29, 0.40, 0.33]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    found = number([*values, math.nan], "t")
    assert (found.n, found.mean) == (5, pytest.approx(np.mean(values)))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert number([0.5], "t").low is None and number([math.nan], "t").mean is None


def test_the_bootstrap_interval_is_scipys_but_for_its_draws():
    values = np.random.default_rng(3).normal(0.3, 0.05, 12)
    reference = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=4).confidence_interval
    found = number(values, "bootstrap")
    assert found.low == pytest.approx(reference.low, abs=2e-3) and found.high == pytest.approx(reference.high, abs=2e-3)
    assert number(values, "bootstrap") == found


def test_eight_differences_of_one_sign_have_the_smallest_p():
    assert sign_flip([0.1, 0.2, 0.3, 0.1, 0.5, 0.2, 0.1, 0.4]) == 2 / 256
    assert sign_flip([-1.0, -1.0, -1.0]) == 2 / 8
    assert sign_flip([1.0, 2.0, -3.0]) == 1.0
    # sums of all signs of (3, 1, 1): ±5, ±3, ±3, ±1; at least 3 away from 0: 6 of 8
    assert sign_flip([3.0, 1.0, -1.0]) == 6 / 8
    assert sign_flip([]) is None and sign_flip([math.nan]) is None
    assert sign_flip([0.0, 0.0]) == 1.0


def test_the_sign_flip_test_is_scipys():
    random = np.random.default_rng(5)
    for _ in range(5):
        differences = random.normal(0.4, 1, 7)
        found = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert sign_flip(differences) == pytest.approx(found.pvalue)


def test_the_sign_flip_test_keeps_its_level():
    random = np.random.default_rng(6)
    values = [sign_flip(random.standard_t(3, 8)) for _ in range(2000)]
    assert 0.03 < np.mean(np.array(values) <= 0.05) < 0.065


def test_too_many_seeds_are_refused():
    with pytest.raises(ValueError, match="21 seeds"):
        sign_flip([1.0] * 21)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06), None]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_scenes_are_drawn_whole():
    draws = scene_draws(["b", "a", "b", "c"])
    assert draws.shape == (2000, 4)
    assert (draws[:, 0] == draws[:, 2]).all()
    assert (draws[:, 0] + draws[:, 1] + draws[:, 3] == 3).all()
    assert draws.mean() == pytest.approx(1, abs=0.05)


def test_means_of_resamples_leave_out_what_is_missing():
    values = np.array([[1.0, math.nan, 3.0], [2.0, 2.0, 2.0], [math.nan] * 3])
    draws = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    found = weighted_means(values, draws)
    expected = [[2.0, 2.0, math.nan], [1.0, 2.0, math.nan], [math.nan, 2.0, math.nan]]
    assert np.array_equal(found, expected, equal_nan=True)


def test_jackknife_values_of_a_mean_are_the_values_and_those_of_a_curved_estimate_spread_as_simulation_says():
    values = np.array([3.0, 1.0, 4.0, 1.5])
    assert jackknife(lambda rows: values[rows].mean(), [8, 9, 11, 12]).each == pytest.approx(
        dict(zip([8, 9, 11, 12], values, strict=True))
    )
    assert jackknife(lambda rows: values[rows].mean(), [5]).each == {5: 3.0}
    assert all(map(math.isnan, jackknife(lambda rows: math.nan, range(3)).each.values()))
    random = np.random.default_rng(3)
    draws = random.normal(5.0, 1.0, (4000, 16)), random.normal(3.0, 0.5, (4000, 16))
    truth = np.std([a.mean() / b.mean() for a, b in zip(*draws, strict=True)])
    told = []
    for a, b in zip(draws[0][:300], draws[1][:300], strict=True):
        found = list(jackknife(lambda rows, a=a, b=b: a[rows].mean() / b[rows].mean(), range(16)).each.values())
        assert np.mean(found) == pytest.approx(a.mean() / b.mean()), "the estimate from all of them"
        told.append(np.std(found, ddof=1) / 4)
    assert np.mean(told) == pytest.approx(truth, rel=0.06)


def test_an_estimate_that_needs_a_seed_has_the_value_of_all_and_no_interval():
    """Seeds that carry the estimate must not be left out of its mean, which would then be that of the others."""
    values = np.array([3.0, 1.0, 4.0, 1.5])
    found = jackknife(lambda rows: values[rows].mean() if 2 in rows else math.nan, [8, 9, 10, 11])
    assert found.without == (10,) and set(map(math.isnan, found.each.values())) == {True}
    told = found.number("t")
    assert (told.mean, told.low, told.high, told.n, told.without) == (2.375, None, None, 4, (10,))


def test_the_interval_of_a_ratio_holds_the_truth_and_pairs_seeds():
    random = np.random.default_rng(7)
    held = 0
    for _ in range(2000):
        shared = random.normal(0, 0.5, 10)
        x, y = 6 + shared + random.normal(0, 0.5, 10), 3 + shared + random.normal(0, 0.3, 10)
        found = ratio(Values(dict(enumerate(x))), Values(dict(enumerate(y))))
        held += found.low <= 2 <= found.high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)
    # its ends are where the difference of the one mean and a multiple of the other has an interval that ends at 0
    for end in (found.low, found.high):
        difference = number(x - end * y, "t")
        assert min(abs(difference.low), abs(difference.high)) < 1e-9
    assert found.n == 10 and found.mean == pytest.approx(x.mean() / y.mean())


def test_a_ratio_to_what_may_be_nothing_is_unbounded():
    above = Values({0: 5.0, 1: 6.0, 2: 5.5, 3: math.nan})
    found = ratio(above, Values({0: 1.0, 1: -0.5, 2: 1.0, 3: 2.0}))
    assert (found.low, found.high, found.n) == (None, None, 3) and found.mean == pytest.approx(11.0)
    assert ratio(above, Values({2: 2.0})).n == 1 and ratio(above, Values({2: 2.0})).low is None
    assert ratio(above, Values({7: 2.0})).mean is None
    without = ratio(above, Values({0: math.nan}, 2.0, (0,)))
    assert (without.mean, without.low, without.n) == (2.75, None, 0)
