"""What makes scoring fast and flat must not change a value; times are compared within one run only."""

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage import data
from skimage.metrics import structural_similarity

import editbench as eb
from editbench.metrics import DEFAULT_METRICS, features, load_metrics, lpips_network, lpips_weights, score
from editbench.metrics.perceptual_averages import _farther_than
from editbench.types import Content, Sample, Scenario


def scene(source, mask):
    return Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask))


def disc(height, width, radius, row, column):
    rows, columns = np.mgrid[:height, :width]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.fixture
def pair():
    """Source, mask and output at 512x512."""
    source = data.astronaut()
    noise = np.random.default_rng(0).normal(0, 12, source.shape)
    return source, disc(512, 512, 110, 200, 260), np.clip(source + noise, 0, 255).astype(np.uint8)


def fastest(function, rounds=7):
    """Processor seconds of the fastest round: what disturbs a machine only adds."""
    function()
    took = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        took.append(time.process_time() - start)
    return min(took)


# -------------------------------------------------------------------------------------------------------- shortcuts


def test_what_regions_share_changes_no_value(pair):
    source, mask, output = pair
    specs = [f"{name}:region={region}" for name in ("ssim", "mae", "changed") for region in ("all", "keep", "edit")]
    together = score(load_metrics(specs), [Sample(scene(source, mask), output)])[0]
    backwards = score(load_metrics(specs[::-1]), [Sample(scene(source, mask), output)])[0]
    alone = {spec: score(load_metrics([spec]), [Sample(scene(source, mask), output)])[0][spec] for spec in specs}
    assert together == alone == backwards


def test_a_margin_is_the_same_whichever_box_it_is_measured_in():
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width = random.integers(1, 50, 2)
        round_one = disc(height, width, *random.integers(1, (25, height + 1, width + 1)))
        for region in (round_one, ~round_one, random.random((height, width)) < random.random()):
            margin = int(random.integers(0, 12))
            expected = distance_transform_edt(np.pad(region, 1, "edge"))[1:-1, 1:-1] > margin
            if region.all():
                expected[:] = True
            if region.any():
                np.testing.assert_array_equal(_farther_than(margin, region), expected)


@pytest.fixture(scope="module")
def trunks(tmp_path_factory):
    """Random trunks by the name of their net."""
    import torch
    from torchvision import models

    files = {}
    for net, build in {"alex": models.alexnet, "vgg": models.vgg16, "squeeze": models.squeezenet1_1}.items():
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            empty = {name: weight for name, weight in build().state_dict().items() if name.startswith("features")}
        random = torch.Generator().manual_seed(5)
        state = {}
        for name, weight in empty.items():
            fan_in = weight[0].numel() if weight.dim() > 1 else 100
            state[name] = torch.randn(weight.shape, generator=random) * (2 / fan_in) ** 0.5
        files[net] = tmp_path_factory.mktemp("trunks") / f"{net}.pth"
        torch.save(state, files[net])
    return files


@pytest.mark.parametrize(("net", "rounds"), [("squeeze", 25), ("alex", 25), ("vgg", 6), ("st_alex", 40), ("st_vgg", 6)])
def test_a_box_has_the_distances_that_the_whole_image_has(net, rounds, trunks, monkeypatch):
    features.forget()
    random = np.random.default_rng(1)
    for _ in range(rounds):
        height, width = random.integers(31, 140, 2)
        source = data.chelsea()[:height, :width].copy()
        top, left = random.integers(0, (height, width))
        down, across = random.integers(1, 50, 2)
        output = source.copy()
        output[top : top + down, left : left + across] = random.integers(0, 256, 3)
        if net.startswith("st_"):
            files = lpips_weights.shift_tolerant_files(net.removeprefix("st_"))
        else:
            files = lpips_weights.lpips_files(net, trunks[net], "lpips")
        network = lpips_weights.network(net, files)
        found = {}
        for largest in (0, 2):
            monkeypatch.setattr(lpips_network, "_LARGEST_BOX", largest)
            ((found[largest],),) = network.distances([(source, output)])
        for whole, part in zip(found[0], found[2], strict=True):
            np.testing.assert_allclose(part, whole, atol=1e-6)
            assert whole[part == 0].max(initial=0) < 1e-10
        noise = random.integers(-9, 10, source.shape)
        first, second = (np.clip(image + noise, 0, 255).astype(np.uint8) for image in (source, output))
        monkeypatch.setattr(lpips_network, "_LARGEST_BOX", -1)
        ((first_whole, second_whole),) = network.distances([(source, first, second)])
        monkeypatch.setattr(lpips_network, "_LARGEST_BOX", 0.9)  # the noise is everywhere, the box is not
        ((first_too, second_too),) = network.distances([(source, first, second)])
        for index, stage in enumerate(second_whole):
            assert np.array_equal(first_too[index], first_whole[index])
            np.testing.assert_allclose(second_too[index], stage, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ times


def test_pixel_metrics_cost_a_fraction_of_their_formulas(pair):
    """PSNR, MAE, MSE and changed over three regions: 2 ms, twenty times that as written down in numpy."""
    source, mask, output = pair
    regions = {"all": np.ones_like(mask), "keep": ~mask, "edit": mask}
    metrics = load_metrics(
        [f"{name}:region={region}" for name in ("psnr", "mae", "mse", "changed") for region in regions]
    )

    def written_down():
        values = []
        for region in regions.values():
            for formula in (np.square, np.abs, np.square):
                error = formula(output / 255 - source / 255)[region]
                values.append(error.mean())
            values.append((np.abs(output / 255 - source / 255).max(axis=2) > 0.03)[region].mean())
        return values

    def ours():
        return list(score(metrics, [Sample(scene(source, mask), output)])[0].values())

    expected = np.array(written_down()).reshape(3, 4)
    np.testing.assert_allclose(np.array(ours()).reshape(4, 3)[1:].T, expected[:, 1:], rtol=1e-9)
    assert fastest(written_down, 3) > 5 * fastest(ours)


def test_ssim_costs_a_fraction_of_scikit_images(pair):
    source, mask, output = pair
    (metric,) = load_metrics(["ssim:region=keep"]).values()

    def theirs():
        structural_similarity(
            source, output, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )

    assert fastest(theirs, 3) > 2 * fastest(lambda: metric.score([Sample(scene(source, mask), output)]))


def test_ssim_has_the_same_bits_whatever_the_number_of_threads():
    code = (
        "import numpy as np; from skimage import data; from editbench.metrics.structural import ssim_over_region\n"
        "source = data.astronaut(); output = source // 2 + source[::-1] // 2\n"
        "print(*(ssim_over_region(source, output, source[..., 0] > level) for level in (-1, 40)))"
    )
    values = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(values) == 1


# ----------------------------------------------------------------------------------------------------------- memory


PIXELS = [spec for spec in DEFAULT_METRICS if not spec.startswith("st_lpips")]
"""Networks keep features up to a bound of their own (`test_features.py`)."""


@pytest.mark.parametrize("size", [64, 256])
def test_memory_does_not_grow_with_the_number_of_scenarios(size, tmp_path):
    def peak(count):
        tracemalloc.start()
        try:
            folder = str(tmp_path / str(count))
            eb.run("recolor", suite=f"shapes@1:size={size}", limit=count, metrics=PIXELS, output_dir=folder)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(48)  # imports, and caches of bounded size
    few, many = peak(12), peak(48)
    assert many < 1.1 * few + (1 << 20), (few, many)
