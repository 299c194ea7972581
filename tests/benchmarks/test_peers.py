"""What people use beside us, doing the same work on the same data. docs/speed.md keeps the ratios, and says why."""

import io
import json
import os
import time
import zlib
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image as Pillow
from skimage import data

from editbench.config import RunConfig
from editbench.images import resize
from editbench.loops import carry_out
from editbench.metrics import features, load_metrics, score
from editbench.plan import make_plan
from editbench.types import Content, Sample, Scenario

pytestmark = pytest.mark.slow

SIDE = 512
PIXELS = ("psnr:region=keep", "mae:region=keep", "mse:region=keep", "changed:region=keep", "psnr:region=edit")


@pytest.fixture(scope="module")
def photograph():
    """A photograph, a disc of 15 % as its mask, and the photograph with noise everywhere."""
    source = resize(data.astronaut(), SIDE, SIDE)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = (rows - 256) ** 2 + (columns - 256) ** 2 < 112**2
    noise = np.random.default_rng(0).normal(0, 12, source.shape)
    return source, mask, np.clip(source + noise, 0, 255).astype(np.uint8)


def scored(spec, photograph):
    """Return a call that evaluates one metric on a scenario that nobody has seen before."""
    source, mask, output = photograph
    metrics = load_metrics([spec])

    def call():
        features.forget()
        scenario = Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask), target_prompt="a red square")
        (row,) = score(metrics, [Sample(scenario, output)])
        return row[spec]

    return call


def test_ssim(race, photograph):
    import torch
    from pytorch_msssim import ssim
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    source, _, output = photograph
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in (output, source)]
    ours = scored("ssim:region=all", photograph)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    peers = {
        "scikit-image": lambda: structural_similarity(source, output, data_range=255, **gaussian),
        "torchmetrics": lambda: structural_similarity_index_measure(*tensors, data_range=1.0).item(),
        "pytorch-msssim": lambda: ssim(*tensors, data_range=1.0).item(),
    }
    for name, peer in peers.items():
        assert float(ours()) == pytest.approx(float(peer()), abs=5e-3), name
    race("`ssim:region=all`, 512×512", ours, peers, least=1.0)


@pytest.mark.filterwarnings(
    "ignore:.*deprecated since 0.13:UserWarning", "ignore:Arguments other than a weight:UserWarning"
)
def test_lpips(race, photograph, tmp_path):
    import torch
    from lpips import LPIPS

    source, _, output = photograph
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        peer = LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    state = {}
    for name, weight in peer.net.state_dict().items():
        state[f"features.{name.split('.', 1)[1]}"] = weight
    torch.save(state, tmp_path / "squeeze.pth")
    spec = f"lpips:region=all,net=squeeze,trunk={tmp_path / 'squeeze.pth'}"
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in (output, source)]

    def theirs():
        with torch.no_grad():
            return peer(*tensors).item()

    ours = scored(spec, photograph)
    assert float(ours()) == pytest.approx(theirs(), abs=1e-4)
    race("`lpips:region=all,net=squeeze`, 512×512, source new", ours, {"lpips": theirs}, least=0.8, rounds=4)


def test_clip_score(race, photograph):
    """One image and one text at a time, as every script has it."""
    import torch
    import torch.nn.functional as functional

    from editbench.metrics.clip_models import load_clip

    held = load_clip("shapes-tiny", None, "clip_score")
    model, preprocess, tokenizer = held._model, held._preprocess, held._tokenizer
    output = photograph[2]

    def theirs():
        with torch.no_grad():
            image = functional.normalize(model.encode_image(preprocess(Pillow.fromarray(output))[None]), dim=-1)
            text = functional.normalize(model.encode_text(tokenizer(["a red square"])), dim=-1)
        return 100 * max((image * text).sum().item(), 0.0)

    ours = scored("clip_score:region=all,model=shapes-tiny", photograph)
    assert float(ours()) == pytest.approx(theirs(), abs=1e-3)
    race(
        "`clip_score:region=all,model=shapes-tiny`, text and image new",
        ours,
        {"open_clip, one by one": theirs},
        least=0.7,
        note="ours makes sure that the weights are those that were hashed",
    )


def bare_loop(folder, lines, out):
    """The loop that everybody writes: decode, edit, encode, score, a line of JSON; nothing is checked or kept safe."""
    metrics = load_metrics(PIXELS)
    (out / "edits").mkdir(parents=True)
    with (out / "values.jsonl").open("w") as values:
        for line in lines:
            source = np.array(Pillow.open(folder / line["source"]))
            mask = np.array(Pillow.open(folder / line["mask"]))
            edit = source.copy()
            encoded = io.BytesIO()
            Pillow.fromarray(edit).save(encoded, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
            (out / "edits" / f"{line['id']}.png").write_bytes(encoded.getvalue())
            scenario = Scenario(line["id"], line["cluster"], "edit", "Go.", lambda s=source, m=mask: Content(s, m))
            (row,) = score(metrics, [Sample(scenario, edit)])
            values.write(json.dumps({"id": line["id"], **row}) + "\n")


def test_harness(race, write_suite, tmp_path):
    """`identity` with five pixel metrics, everything from the command on: loading, checks, journal, records, fsync."""
    lines = write_suite(tmp_path / "suite", 24)
    names = iter(range(10**6))

    def ours():
        out = tmp_path / f"ours{next(names)}"
        plan = make_plan(
            RunConfig(f"folder:{tmp_path / 'suite'}", "identity", metrics=",".join(PIXELS), output_dir=str(out))
        )
        for _ in carry_out(plan):
            pass

    bare = {"bare loop": lambda: bare_loop(tmp_path / "suite", lines, tmp_path / f"bare{next(names)}")}
    what = "a run of 24 scenarios, `identity`, five pixel metrics, 512×512"
    race(what, ours, bare, least=1 / 1.5)
    if (os.cpu_count() or 1) > 1:  # 1.5 times the floor, which is half a loop on each of two cores
        race(f"{what}, seconds of a clock", ours, bare, least=2 / 1.5, clock=time.perf_counter)


def test_intervals(race):
    """A mean of 700 scenarios from 120 photographs with its interval; the peer resamples clusters, as is common."""
    from scipy.stats import bootstrap

    from editbench.stats import estimate

    generator = np.random.default_rng(0)
    values = generator.beta(2, 3, 700)
    clusters = [f"c{index % 120}" for index in range(700)]
    sums = np.array([values[np.array(clusters) == name].sum() for name in sorted(set(clusters))])
    counts = np.array([clusters.count(name) for name in sorted(set(clusters))])

    def theirs():
        def ratio(total, count, axis):
            return total.sum(axis=axis) / count.sum(axis=axis)

        found = bootstrap((sums, counts), ratio, paired=True, n_resamples=9999, method="percentile", random_state=0)
        return found.confidence_interval

    ours = estimate(list(values), clusters, (0.0, 1.0))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs()), abs=0.005)
    race(
        "a mean with its interval, 700 scenarios of 120 clusters",
        lambda: estimate(list(values), clusters, (0.0, 1.0)),
        {"scipy.stats.bootstrap, 9,999 resamples": theirs},
        least=2.0,
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_run_lengths(race):
    from pycocotools import mask as coco

    from editbench.suites.runs import decode_runs, encode_runs

    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc = (rows - 256) ** 2 + (columns - 256) ** 2 < 130**2
    runs = encode_runs(disc)
    code = coco.encode(np.asfortranarray(disc.astype(np.uint8)))

    def double_loop():
        flat = np.zeros(SIDE * SIDE)
        for start, length in zip(runs[::2], runs[1::2], strict=True):
            for offset in range(min(length, flat.size - start)):
                flat[start + offset] = 1
        return flat.reshape(SIDE, SIDE)

    for decoded in (decode_runs(runs, SIDE, SIDE).mask, coco.decode(code).astype(bool), double_loop().astype(bool)):
        np.testing.assert_array_equal(decoded, disc)

    def times(call, count):
        return lambda: [call() for _ in range(count)]

    peers = {
        "pycocotools, 50 times": times(lambda: coco.decode(code), 50),
        "PnPInversion's double loop, 50 times": times(double_loop, 50),
    }
    race("run lengths of a 512×512 mask, 50 times", times(lambda: decode_runs(runs, SIDE, SIDE), 50), peers, least=0.9)


def test_board(race, tmp_path):
    """20 runs of 240 records and ten metrics; the peer's table has no statuses, no reasons, and gets no intervals."""
    import pandas as pd

    from editbench.board import build_boards
    from editbench.record_files import format_records, read_records
    from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
    from editbench.types import Record

    info = {f"metric_{index}": MetricInfo(1, "higher", "", (0.0, 1.0)) for index in range(10)}
    generator = np.random.default_rng(0)
    suite = SuiteInfo("s@1", "ab" * 32, 240, "s@1")
    rows, paths = [], []
    for run in range(20):
        values = generator.random((240, 10)).tolist()
        header = Header(suite, EditorInfo("x", f"editor {run}", "none"), 0, 1, "error", info)
        records = [
            Record(
                f"s{i:03}",
                f"c{i % 40}",
                "edit",
                0,
                "ok",
                "ed" * 32,
                f"{i:064}",
                values=dict(zip(info, row, strict=True)),
            )
            for i, row in enumerate(values)
        ]
        paths.append(tmp_path / f"{run}.jsonl")
        paths[-1].write_bytes(b"".join(format_records(header, records)))
        rows += [{"editor": run, "scenario": i, **dict(zip(info, row, strict=True))} for i, row in enumerate(values)]
    pd.DataFrame(rows).to_csv(tmp_path / "wide.csv")
    race(
        "a board of 20 runs, 240 scenarios, ten metrics, with intervals",
        lambda: build_boards([read_records(path) for path in paths]),
        {"pandas, means of a wide CSV": lambda: pd.read_csv(tmp_path / "wide.csv").groupby("editor").mean()},
        note="means alone, without intervals, reasons or checks",
    )


def test_step_of_training(race, tmp_path):
    """A step of Flow-GRPO on the embedded policy, and the same one written straight from the paper."""
    from dataclasses import replace

    import torch

    from edit_grpo_ref.config import Config
    from edit_grpo_ref.session import open_session
    from edit_grpo_ref.train import one_step

    config = Config(suite="edit_grpo_ref.scenes:Scenes", validation=None, output_dir=str(tmp_path), steps=10**6)
    with open_session(config) as run:
        config = replace(run.config, credit="global_sum", window="all")
        numbers = iter(range(10**9))
        peer = paper_step(run, config)
        race(
            "a step of Flow-GRPO, 6 prompts × 10 samples, embedded policy",
            lambda: one_step(run, config, next(numbers)),
            {"as in the paper, prompt after prompt": peer},
            least=0.9,
            rounds=3,
        )
        assert torch.isfinite(next(iter(run.policy.trainable().values()))).all()


def paper_step(run, config):
    """Flow-GRPO (arXiv 2505.05470, equations 4, 5, 8 and 9), one prompt at a time, one step of time at a time."""
    import math

    import torch

    from editbench.types import Task

    policy, a, clip = run.policy, config.noise, 1e-4
    parameters = list(policy.trainable().values())

    def moments(x, sigma, after, condition):
        level = torch.full((len(x),), sigma)
        v = policy.predict(x, level, condition)
        spread = a * math.sqrt(sigma / (1 - min(sigma, 0.96)))
        dt = after - sigma
        mean = x + (v + spread**2 / (2 * sigma) * (x + (1 - sigma) * v)) * dt
        return mean, spread * math.sqrt(-dt)

    def step():
        for scenario in run.prompts(0):
            request = Task(scenario, 0, 0).request("hint")
            condition = policy.encode([request] * config.samples)
            levels = policy.levels(config.denoising_steps, condition).tolist()
            x = torch.randn(config.samples, *policy.shape(condition))
            path = []
            with torch.no_grad():
                for sigma, after in pairwise(levels):
                    mean, std = moments(x, sigma, after, condition)
                    new = mean + std * torch.randn_like(mean)
                    logp = (-((new - mean) ** 2) / (2 * std**2)).flatten(1).mean(1)
                    path.append((x, sigma, after, new, logp))
                    x = new
                images = policy.decode(x, condition)
            rewards = run.rewards([Sample(scenario, image) for image in images])
            reward = torch.from_numpy(rewards.values["edit"] + rewards.values["keep"]).float()
            advantage = (reward - reward.mean()) / (reward.std() + 1e-4)
            for x, sigma, after, new, old in path:
                mean, std = moments(x, sigma, after, condition)
                logp = (-((new - mean) ** 2) / (2 * std**2)).flatten(1).mean(1)
                ratio = torch.exp(logp - old)
                loss = -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
                loss.backward()
        for parameter in parameters:
            parameter.grad = None

    return step
