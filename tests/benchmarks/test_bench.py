"""Unit costs of the harness on this machine; compare rows of one run with each other, not runs with each other."""

import numpy as np
import pytest

import editbench as eb
from editbench.images import decode
from editbench.metrics import DEFAULT_METRICS, load_metrics, score
from editbench.png import encode_png


def samples(count=4):
    suite = eb.load_suite("shapes@1")
    random = np.random.default_rng(0)
    for index in range(count):
        scenario = suite[index]
        noise = random.normal(0, 20, scenario.source.shape)
        yield eb.Sample(scenario, np.clip(scenario.source + noise, 0, 255).astype(np.uint8))


@pytest.mark.benchmark(group="score one 256x256 sample")
@pytest.mark.parametrize("spec", [*DEFAULT_METRICS, "all"])
def test_metric(benchmark, spec):
    metrics = load_metrics(None if spec == "all" else [spec])
    ready = list(samples())
    benchmark(lambda: score(metrics, [eb.Sample(sample.scenario, sample.output) for sample in ready]))


@pytest.mark.benchmark(group="pixels")
def test_render_a_scenario(benchmark):
    suite = eb.load_suite("shapes@1")
    positions = iter(range(10**9))
    benchmark(lambda: suite[next(positions) % len(suite)].load())


@pytest.mark.benchmark(group="pixels")
def test_encode_png(benchmark):
    image = next(samples(1)).output
    benchmark(lambda: encode_png(image))


@pytest.mark.benchmark(group="pixels")
def test_decode_png(benchmark):
    data = encode_png(next(samples(1)).output)
    benchmark(lambda: decode(data))


@pytest.mark.benchmark(group="run of 12 scenarios at 64x64")
@pytest.mark.parametrize("editor", ["identity", "recolor", "biharmonic"])
def test_run(benchmark, editor, tmp_path):
    names = iter(range(10**9))

    def once():
        eb.run(editor, suite="shapes@1:size=64", limit=12, output_dir=str(tmp_path / str(next(names))))

    benchmark.pedantic(once, rounds=3)
