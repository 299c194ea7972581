"""Metrics that are networks, beside what people use for them, on the same weights."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings(
    "ignore:.*deprecated since 0.13:UserWarning", "ignore:Arguments other than a weight:UserWarning"
)
def test_lpips(race, photograph, scored, tmp_path):
    import torch
    from lpips import LPIPS
    from torchmetrics.functional.image.lpips import _NoTrainLpips
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    source, _, output = photograph
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        peer = LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    state = {name.split(".", 1)[1]: weight for name, weight in peer.net.state_dict().items()}
    torch.save({f"features.{name}": weight for name, weight in state.items()}, tmp_path / "squeeze.pth")
    with pytest.MonkeyPatch.context() as patch:  # which would download a trunk
        patch.setattr("torchmetrics.image.lpip._NoTrainLpips", partial(_NoTrainLpips, pnet_rand=True))
        metric = LearnedPerceptualImagePatchSimilarity(net_type="squeeze")
    slices = {name.split(".", 2)[2]: name for name in metric.net.net.state_dict()}
    metric.net.net.load_state_dict({slices[name]: weight for name, weight in state.items()})
    spec = f"lpips:region=all,net=squeeze,trunk={tmp_path / 'squeeze.pth'}"
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in (output, source)]

    def lpips():
        with torch.no_grad():
            return peer(*tensors).item()

    trunk = deepcopy(peer.net).to(memory_format=torch.channels_last)

    def passes():
        with torch.inference_mode():
            for tensor in tensors:
                trunk(tensor.contiguous(memory_format=torch.channels_last))

    ours, peers = scored(spec), {"lpips": lpips, "torchmetrics": lambda: metric(*tensors).item()}
    value = float(ours())
    assert value > 0.01
    for name, theirs in peers.items():
        assert theirs() == pytest.approx(value, abs=1e-4), name
    what = "`lpips:region=all,net=squeeze`, 512×512, source new"
    race(what, ours, peers, least=0.8, rounds=4, floor=passes)


def as_transformers(model, preprocess, tokenizer):
    """Return a model of open_clip and its preparation of inputs as torchmetrics asks transformers for them."""
    import torch
    from torchvision.transforms.functional import to_pil_image

    class Model(torch.nn.Module):
        config = SimpleNamespace()

        def get_image_features(self, pixels):
            return model.encode_image(pixels)

        def get_text_features(self, tokens, attention_mask):
            return model.encode_text(tokens)

    def processor(text=None, images=None, **options):
        if text is None:
            return {"pixel_values": torch.stack([preprocess(to_pil_image(image)) for image in images])}
        tokens = tokenizer(text)
        return {"input_ids": tokens, "attention_mask": tokens != 0}

    return Model(), processor


def test_clip_score(race):
    """One image and one text at a time, as every script has it; each call gets others."""
    import torch
    import torch.nn.functional as functional
    from torchmetrics.functional.multimodal import clip_score

    from editbench.metrics import load_metrics, score
    from editbench.metrics.clip_models import load_clip
    from editbench.suites import load_suite
    from editbench.types import Content, Sample, Scenario

    rounds = 20
    suite = load_suite("shapes@1:size=512")  # the network has seen such pictures only, and all below 0 counts as 0
    scenes = [suite[7 * number] for number in range(rounds + 2)]
    pairs = [(scene.target, scene.target_prompt) for scene in scenes]
    assert len({text for _, text in pairs}) == len(pairs)
    metrics = load_metrics(["clip_score:region=all,model=shapes-tiny"])
    held = load_clip("shapes-tiny", None, "clip_score")
    model, preprocess, tokenizer = parts = held._model, held._preprocess, held._tokenizer
    given = as_transformers(*parts)

    def ours(image, text):
        scenario = Scenario("s", "c", "edit", "Go.", load=lambda: Content(image, whole), target_prompt=text)
        (row,) = score(metrics, [Sample(scenario, image)])
        return float(next(iter(row.values())))

    def open_clip(image, text):
        with torch.no_grad():
            pixels = functional.normalize(model.encode_image(preprocess(Pillow.fromarray(image))[None]), dim=-1)
            words = functional.normalize(model.encode_text(tokenizer([text])), dim=-1)
        return 100 * max((pixels * words).sum().item(), 0.0)

    def torchmetrics(image, text):
        with torch.no_grad():
            return clip_score(torch.from_numpy(image).permute(2, 0, 1), text, lambda: given).item()

    def network():
        with torch.inference_mode():
            model.encode_image(pixels)
            model.encode_text(tokens)

    def fresh(call):
        left = iter(pairs)
        return lambda: call(*next(left))

    whole = np.ones((512, 512), bool)
    pixels, tokens = preprocess(Pillow.fromarray(pairs[0][0]))[None], tokenizer([pairs[0][1]])
    calls = {"ours": fresh(ours), "open_clip, one by one": fresh(open_clip), "torchmetrics": fresh(torchmetrics)}
    first = calls.pop("ours")
    value = first()
    assert value > 1
    for name, call in calls.items():
        assert call() == pytest.approx(value, abs=1e-3), name
    race(
        "`clip_score:region=all,model=shapes-tiny`, text and image new",
        first,
        calls,
        least=0.7,
        rounds=rounds,
        note="ours makes sure that the weights are those that were hashed; torchmetrics is given open_clip's network",
        floor=network,
    )
