"""PSNR, MSE, SSIM and LPIPS over all, keep and edit, against torchmetrics called as PnPInversion calls it.

Both sides see the same photographs and the same SqueezeNet, whose trunk is random: it takes as long as a trained one.
"""

import warnings
from itertools import cycle

import numpy as np
import pytest

from editbench.metrics import features, load_metrics, score
from editbench.types import Content, Sample, Scenario

SIDE = 512
REGIONS = ("all", "keep", "edit")
NAMES = ("psnr", "mse", "ssim", "lpips")


def made_cases(photographs):
    """Source, mask and an output that is moved inside a disc of 10 to 27 % of the image and noisy everywhere."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for index, source in enumerate(photographs):
        mask = (rows - 200 - 30 * index) ** 2 + (columns - 260) ** 2 <= (90 + 20 * index) ** 2
        noise = np.random.default_rng(index).normal(0, 12, source.shape)
        output = np.clip(source + noise, 0, 255).astype(np.uint8)
        yield source, mask, np.where(mask[..., None], np.roll(output, 40, 0), output)


@pytest.fixture(scope="module")
def cases(photographs):
    return list(made_cases(photographs))


class Peer:
    """The calculator of PnPInversion: one image, one region and one metric at a time."""

    def __init__(self, trunk):
        import torch
        from torchmetrics.functional.image import lpips as networks
        from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        from torchmetrics.regression import MeanSquaredError

        layers = networks._get_tv_model_features
        with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(3)
            patch.setattr(networks, "_get_tv_model_features", lambda net, pretrained: layers(net, False))
            lpips = LearnedPerceptualImagePatchSimilarity(net_type="squeeze")
        state = lpips.net.net.state_dict()
        torch.save({f"features.{name.split('.', 2)[2]}": weight for name, weight in state.items()}, trunk)
        self._metrics = {
            "psnr": PeakSignalNoiseRatio(data_range=1.0),
            "mse": MeanSquaredError(),
            "ssim": StructuralSimilarityIndexMeasure(data_range=1.0),
            "lpips": lpips,
        }

    def __call__(self, source, mask, output):
        wide = np.repeat(mask[..., None], 3, axis=2).astype(np.int64)
        regions = {"all": None, "keep": 1 - wide, "edit": wide}
        return {
            (name, region): self._value(name, output, source, kept)
            for region, kept in regions.items()
            for name in NAMES
        }

    def _value(self, name, first, second, kept):
        import torch

        tensors = []
        for image in (first, second):
            pixels = np.array(image).astype(np.float32) / 255
            if kept is not None:
                pixels = pixels * np.array(kept).astype(np.float32)
            tensor = torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0)
            tensors.append(
                {"lpips": lambda x: x * 2 - 1, "mse": lambda x: x.contiguous()}.get(name, lambda x: x)(tensor)
            )
        return self._metrics[name](*tensors).cpu().item()


class Ours:
    """The twelve metrics by their specs."""

    def __init__(self, trunk):
        ends = {name: f",net=squeeze,trunk={trunk}" if name == "lpips" else "" for name in NAMES}
        self._keys = [(name, region) for name in NAMES for region in REGIONS]
        self._metrics = load_metrics([f"{name}:region={region}{ends[name]}" for name, region in self._keys])

    def seen(self, scenario, output):
        (row,) = score(self._metrics, [Sample(scenario, output)])
        return dict(zip(self._keys, row.values(), strict=True))

    def cold(self, source, mask, output):
        features.forget()
        return self.seen(scene(source, mask), output)


def scene(source, mask):
    return Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask))


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    trunk = tmp_path_factory.mktemp("trunk") / "squeeze.pth"
    peer = Peer(trunk)
    return peer, Ours(trunk)


@pytest.fixture(autouse=True)
def nothing_on_disk(monkeypatch):
    monkeypatch.delenv(features.CACHE, raising=False)


def test_values_are_equal_where_definitions_are(cases, sides):
    peer, ours = sides
    for case in cases:
        theirs, found = peer(*case), ours.cold(*case)
        for name in ("psnr", "mse", "lpips"):
            assert found[name, "all"] == pytest.approx(theirs[name, "all"], abs=1e-5), name
        assert theirs["lpips", "all"] > 1e-3, "the trunk must see the noise"
        # The peer mirrors the picture at its frame, ours has no pixels there: 4 % of the windows are others.
        assert found["ssim", "all"] == pytest.approx(theirs["ssim", "all"], abs=1e-3)
        for region in ("keep", "edit"):  # the peer averages over black pixels too
            assert found["psnr", region] < theirs["psnr", region] - 0.1
            assert found["ssim", region] < theirs["ssim", region]


def test_ours_is_several_times_as_fast(cases, sides, race):
    """Loose, so that a busy machine passes: docs/speed.md has what an idle one does."""
    peer, ours = sides
    few = cases[:2]
    ready = [(scene(source, mask), output) for source, mask, output in few]
    theirs = {"torchmetrics, as PnPInversion calls it": lambda: [peer(*case) for case in few]}
    what = "twelve numbers (PSNR, MSE, SSIM, LPIPS × all, keep, edit) of two photographs, 512×512"
    race(what, lambda: [ours.cold(*case) for case in few], theirs, least=5, rounds=2)
    race(f"{what}, sources seen before", lambda: [ours.seen(*pair) for pair in ready], theirs, least=7, rounds=2)


@pytest.mark.benchmark(group="twelve numbers")
def test_peer(benchmark, cases, sides):
    turns = cycle(cases)
    benchmark.pedantic(lambda: sides[0](*next(turns)), rounds=8, warmup_rounds=1)


@pytest.mark.benchmark(group="twelve numbers")
def test_ours_cold(benchmark, cases, sides):
    turns = cycle(cases)
    benchmark.pedantic(lambda: sides[1].cold(*next(turns)), rounds=12, warmup_rounds=1)


@pytest.mark.benchmark(group="twelve numbers")
def test_ours_with_sources_seen_before(benchmark, cases, sides):
    ready = [(scene(source, mask), output) for source, mask, output in cases]
    for scenario, output in ready:
        sides[1].seen(scenario, output)
    turns = cycle(ready)
    benchmark.pedantic(lambda: sides[1].seen(*next(turns)), rounds=12, warmup_rounds=1)
