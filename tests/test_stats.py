import math
import random

import numpy as np
import pytest
import scipy.stats

from editbench.stats import FEW_CLUSTERS, Estimate, estimate

EVERYTHING = (-math.inf, math.inf)


def names(count, size=1):
    return [f"c{index // size}" for index in range(count * size)]


# ------------------------------------------------------------------------------------------------ few clusters


@pytest.mark.parametrize("count", [2, 3, 6, 20, FEW_CLUSTERS - 1])
def test_with_one_scenario_a_cluster_it_is_the_t_interval(count):
    values = np.random.default_rng(count).normal(5, 2, count)
    found = estimate(values.tolist(), names(count), EVERYTHING)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.n, found.clusters) == (count, count)
    assert found.mean == pytest.approx(values.mean(), rel=1e-14)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)


@pytest.mark.parametrize(("count", "size"), [(2, 5), (6, 4), (30, 10)])
def test_with_clusters_of_one_size_it_is_the_t_interval_of_their_means(count, size):
    values = np.random.default_rng(count).normal(0, 1, (count, size)) + np.arange(count)[:, None]
    found = estimate(values.ravel().tolist(), names(count, size), EVERYTHING)
    expected = scipy.stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert (found.n, found.clusters) == (count * size, count)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_with_unequal_clusters_the_mean_is_over_scenarios_and_the_interval_cluster_robust():
    generator = np.random.default_rng(1)
    clusters = sorted(f"c{index}" for index in generator.integers(0, 9, 50))
    values = generator.normal(0, 1, 50) + np.array([int(name[1:]) for name in clusters])
    found = estimate(values.tolist(), clusters, EVERYTHING)
    # The sandwich estimator, pair by pair: residuals of one cluster may move together, those of two do not.
    residuals = values - values.mean()
    together = np.array([[a == b for a in clusters] for b in clusters])
    groups = len(set(clusters))
    variance = groups / (groups - 1) * (np.outer(residuals, residuals) * together).sum() / 50**2
    margin = scipy.stats.t.ppf(0.975, groups - 1) * math.sqrt(variance)
    assert found.clusters == groups
    assert found.mean == pytest.approx(values.mean(), rel=1e-13)
    assert (found.low, found.high) == pytest.approx((values.mean() - margin, values.mean() + margin), rel=1e-10)


def test_the_interval_of_two_values_by_hand():
    # Mean 1, standard error 1, t with one degree of freedom: 12.706.
    found = estimate([0.0, 2.0], ["a", "b"], EVERYTHING)
    assert (found.mean, found.low, found.high) == pytest.approx((1, 1 - 12.706204736, 1 + 12.706204736))


def test_copies_of_a_scenario_do_not_narrow_the_interval():
    values = [0.1, 0.5, 0.7, 0.2, 0.9]
    once = estimate(values, names(5), EVERYTHING)
    often = estimate([value for value in values for _ in range(20)], names(5, 20), EVERYTHING)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), rel=1e-12)
    assert (often.n, often.clusters) == (100, 5)


# ----------------------------------------------------------------------------------------------- many clusters


def test_with_many_clusters_it_is_the_percentile_bootstrap():
    values = np.random.default_rng(2).exponential(1, 60)
    found = estimate(values.tolist(), names(60), EVERYTHING)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)


def test_the_bootstrap_draws_clusters_and_not_scenarios():
    generator = np.random.default_rng(4)
    sizes = generator.integers(1, 12, 50)
    clusters = [f"c{index}" for index, size in enumerate(sizes) for _ in range(size)]
    scenes = generator.normal(5, 1, 50)
    values = [float(scenes[index]) for index, size in enumerate(sizes) for _ in range(size)]
    found = estimate(values, clusters, EVERYTHING)
    rows = np.stack([scenes * sizes, sizes], axis=1)
    expected = scipy.stats.bootstrap(
        (rows[:, 0], rows[:, 1]),
        lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.06 * width)
    alone = estimate(values, [f"s{index:03}" for index in range(len(values))], EVERYTHING)
    assert found.high - found.low > 1.5 * (alone.high - alone.low)


@pytest.mark.parametrize("count", [7, FEW_CLUSTERS, 100])
def test_an_estimate_is_reproducible_and_does_not_depend_on_the_order(count):
    generator = random.Random(count)
    values = [generator.lognormvariate(0, 8) for _ in range(3 * count)]
    pairs = list(zip(values, names(count, 3), strict=True))
    first = estimate(*zip(*pairs, strict=True), EVERYTHING)
    for _ in range(5):
        generator.shuffle(pairs)
        assert estimate(*zip(*pairs, strict=True), EVERYTHING) == first


def test_the_draws_are_the_same_on_every_machine():
    found = estimate([index**2 / 100 for index in range(50)], names(50), EVERYTHING)
    assert found.mean == pytest.approx(8.085, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((6.197755, 10.132005), rel=1e-12)


# ------------------------------------------------------------------------------------------- degenerate inputs


def test_without_values_there_is_no_mean():
    assert estimate([], [], (0.0, 1.0)) == Estimate(None, None, None, 0, 0)


@pytest.mark.parametrize("values", [[0.25], [0.0, 0.5, 0.25]])
def test_one_cluster_has_a_mean_and_no_interval(values):
    assert estimate(values, ["a"] * len(values), (0.0, 1.0)) == Estimate(0.25, None, None, len(values), 1)


@pytest.mark.parametrize("count", [2, 6, FEW_CLUSTERS, 200])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -3.7, 1e-300, 1e12])
def test_a_constant_has_an_interval_without_width(count, value):
    found = estimate([value] * (3 * count), names(count, 3), EVERYTHING)
    assert (found.mean, found.low, found.high) == pytest.approx((value,) * 3, rel=1e-12, abs=0)
    assert found.low <= found.mean <= found.high


def test_the_interval_stays_within_the_range_of_the_metric():
    found = estimate([0.0, 1.0, 1.0], names(3), (0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)
    free = estimate([0.0, 1.0, 1.0], names(3), EVERYTHING)
    assert free.low < 0 and free.high > 1
    assert estimate([0.0, 1.0, 1.0], names(3), (0.0, math.inf)) == Estimate(free.mean, 0.0, free.high, 3, 3)


def test_the_mean_is_exact_whatever_the_sizes_of_the_values():
    assert estimate([1e16, 1.0, -1e16, 1.0], ["a", "b", "c", "d"], EVERYTHING).mean == 0.5


def test_a_cluster_too_few_is_an_error_and_not_a_guess():
    with pytest.raises(ValueError):
        estimate([1.0, 2.0], ["a"], EVERYTHING)


# ---------------------------------------------------------------------------------------------------- coverage


@pytest.mark.parametrize(("count", "trials"), [(6, 1500), (20, 1500), (60, 1000)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(count, trials):
    """Clusters of 1 to 6 scenarios with a common part: what scenes of one photograph are like."""
    generator = np.random.default_rng(count)
    covered = 0
    for _ in range(trials):
        sizes = generator.integers(1, 7, count)
        common = np.repeat(generator.normal(0, 1, count), sizes)
        values = common + generator.normal(0, 1, sizes.sum())
        clusters = [f"c{index}" for index in np.repeat(np.arange(count), sizes)]
        found = estimate(values.tolist(), clusters, EVERYTHING)
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / trials <= 0.98
