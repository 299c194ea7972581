"""A browser; checkpoints of a few kilobytes with random weights, saved as transformers saves the real ones."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest


def save(build, folder, seed):
    """Save a model whose weights are large enough that every layer matters; the same ones every time."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build().eval()
        for weight in model.parameters():
            weight += 0.15 * torch.randn(weight.shape)
    model.save_pretrained(folder)
    return SimpleNamespace(folder=folder, model=model)


@pytest.fixture
def one_thread():
    """Sums have one order, and what other processes do counts for nobody."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; a test that needs it fails where there is none."""
    with run_path(str(Path(__file__).with_name("browser.py")))["chromium"]() as started:
        yield started


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory):
    """A DINO-like transformer: patches of 8 pixels, trained at 32x32, three layers."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    return save(lambda: ViTModel(config, add_pooling_layer=False), tmp_path_factory.mktemp("vit"), seed=1)


@pytest.fixture(scope="session")
def tiny_dinov2(tmp_path_factory):
    """A DINOv2-like transformer: patches of 14 pixels, trained at 56x56, two layers."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, mlp_ratio=2, image_size=56, patch_size=14
    )
    return save(lambda: Dinov2Model(config), tmp_path_factory.mktemp("dinov2"), seed=2)


def byte_vocabulary():
    """CLIP's alphabet without a single merge: each byte, each byte that ends a word, start and end of the text."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {word: place for place, word in enumerate(words)}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """A CLIP that sees 56x56 pixels in patches of 14 and reads 24 tokens, one a letter."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    words = byte_vocabulary()
    start, end = words["<|startoftext|>"], words["<|endoftext|>"]
    shape = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3}
    ends = {"bos_token_id": start, "eos_token_id": 2, "pad_token_id": end}  # 2, as OpenAI's configurations have it
    config = CLIPConfig(
        text_config={**shape, **ends, "vocab_size": len(words), "max_position_embeddings": 24},
        vision_config={**shape, "image_size": 56, "patch_size": 14},
        projection_dim=16,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPTokenizer(vocab=words, merges=[]).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}).save_pretrained(folder)
    return save(lambda: CLIPModel(config), folder, seed=6)


@pytest.fixture(scope="session")
def tiny_trunk(tmp_path_factory):
    """A state dict of SqueezeNet 1.1 with random weights, and the file that it is saved in."""
    import torch
    from torchvision.models import squeezenet1_1

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        state = squeezenet1_1(weights=None).state_dict()
    path = tmp_path_factory.mktemp("trunk") / "squeezenet.pth"
    torch.save(state, path)
    return SimpleNamespace(path=path, state=state)


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """A machine on which nothing was ever downloaded: empty caches of the hub and of torch."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.fixture(scope="session")
def toy_pipeline(tmp_path_factory):
    """Return, by family, a pipeline of diffusers and the folder it is saved in; each is built once."""
    build, built = run_path(str(Path(__file__).parent / "toy_pipelines.py"))["build"], {}

    def get(family):
        if family not in built:
            folder = tmp_path_factory.mktemp(family)
            pipe = build(family)
            pipe.save_pretrained(folder)
            built[family] = SimpleNamespace(pipe=pipe, folder=folder)
        return built[family]

    return get
