"""Perceptual metrics against the packages whose definitions they share, and what must hold for every region."""

import hashlib
import importlib.metadata
import shutil
import socket
import subprocess
import sys
import types
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage import data
from skimage.transform import resize

from editbench import cli
from editbench.metrics import features, load_metrics, lpips_weights, score
from editbench.metrics.lpips_cells import cell_weights
from editbench.metrics.lpips_network import Network
from editbench.metrics.lpips_trunks import LAYOUTS
from editbench.regions import band_width
from editbench.types import Content, EditbenchError, Sample, Scenario, Undefined

PROPERTY = settings(max_examples=5, deadline=None, database=None, derandomize=True)


@pytest.fixture(autouse=True)
def nothing_known():
    features.forget()


def scene(source, mask, target=None):
    return Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask, target))


def measure(spec, source, output, mask):
    (row,) = score(load_metrics([spec]), [Sample(scene(source, mask), output)])
    (value,) = row.values()
    return value


def disc(height, width, radius, row=None, column=None):
    rows, columns = np.mgrid[:height, :width]
    row, column = (height // 2 if row is None else row), (width // 2 if column is None else column)
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def photograph(height, width, name="astronaut", top=60, left=150):
    return getattr(data, name)()[top : top + height, left : left + width].copy()


def noisy(source, size=20.0, seed=0):
    noise = np.random.default_rng(seed).normal(0, 1, source.shape)
    return np.clip(source + size * noise, 0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------- the packages themselves


@pytest.fixture(scope="module")
def shift_tolerant():
    """The networks of the package stlpips-pytorch, which imports two packages for no use and declares neither."""
    stubs = {"IPython": types.SimpleNamespace(embed=None), "torchsummary": types.SimpleNamespace(summary=None)}
    with pytest.MonkeyPatch.context() as patch:
        for name, stub in stubs.items():
            patch.setitem(sys.modules, name, stub)
        from stlpips_pytorch import stlpips
    return {net: stlpips.LPIPS(net=net, variant="shift_tolerant", verbose=False) for net in ("alex", "vgg")}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """For each net of the package lpips: the network with a random trunk, and that trunk as torchvision's file."""
    import lpips
    import torch

    made = {}
    for net in ("alex", "vgg", "squeeze"):
        torch.manual_seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torchvision's arguments
            network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        trunk = {f"features.{name.split('.', 1)[1]}": weight for name, weight in network.net.state_dict().items()}
        file = tmp_path_factory.mktemp("trunks") / f"{net}.pth"
        torch.save(trunk | {"classifier.0.weight": torch.zeros(1)}, file)
        made[net] = network, file
    return made


def by_package(network, first, second, spatial=False):
    """The package's distance, or its map."""
    import torch

    tensors = (torch.from_numpy(image / 127.5 - 1).float().permute(2, 0, 1)[None] for image in (first, second))
    network.spatial = spatial
    with torch.inference_mode():
        result = network(*tensors).numpy()
    return result[0, 0] if spatial else float(result.item())


@pytest.mark.parametrize(("net", "sizes"), [("alex", [(96, 128), (65, 90), (21, 40)]), ("vgg", [(48, 61)])])
def test_st_lpips_is_that_of_its_package(shift_tolerant, net, sizes):
    for height, width in sizes:
        source = photograph(height, width)
        output, mask = noisy(source), disc(height, width, 8)
        expected = by_package(shift_tolerant[net], source, output)
        assert measure(f"st_lpips:region=all,net={net}", source, output, mask) == pytest.approx(expected, abs=1e-5)
        keep = by_package(shift_tolerant[net], source, np.where(mask[..., None], source, output), spatial=True)
        far = distance_transform_edt(~mask) > 3
        ours = measure(f"st_lpips:region=keep,net={net},margin=3", source, output, mask)
        assert ours == pytest.approx(keep[far].mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("same", 0.0), ("shift", 0.005), ("noise", 0.170), ("blur", 0.479), ("brightness", 0.014), ("other", 0.685)],
)
def test_st_lpips_meets_the_published_measurements(name, expected):
    def small(picture):
        return (resize(picture, (256, 256), anti_aliasing=True) * 255).round().astype(np.uint8)

    source = small(data.astronaut())
    light = source / 255
    noise = np.random.default_rng(0).normal(0, 0.05, light.shape)
    output = {
        "same": lambda: light,
        "shift": lambda: np.roll(light, 1, axis=1),
        "noise": lambda: light + noise,
        "blur": lambda: gaussian_filter(light, (2, 2, 0)),
        "brightness": lambda: light + 0.1,
        "other": lambda: small(data.chelsea()) / 255,
    }[name]()
    output = (np.clip(output, 0, 1) * 255).round().astype(np.uint8)
    value = measure("st_lpips:region=all", source, output, disc(256, 256, 50))
    assert value == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_is_that_of_its_package(untrained, net):
    package, file = untrained[net]
    source = photograph(63, 84)
    output, mask = noisy(source), disc(63, 84, 18)
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    band = np.maximum(inside, outside) <= band_width(63, 84)

    def expected(region, averaged):
        filled = np.where(region[..., None], output, source)
        return pytest.approx(by_package(package, source, filled, spatial=True)[averaged].mean(), abs=1e-5)

    def ours(region):
        return measure(f"lpips:region={region},net={net},margin=6,trunk={file}", source, output, mask)

    assert ours("all") == pytest.approx(by_package(package, source, output), abs=1e-5) and ours("all") > 1e-3
    assert ours("keep") == expected(~mask, outside > 6)
    assert ours("edit") == expected(mask, inside > 6)
    assert ours("band") == expected(band, band)
    full = np.ones_like(mask)
    assert measure(f"lpips:region=edit,net={net},trunk={file}", source, output, full) == pytest.approx(ours("all"))


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_the_map_of_the_package_is_averaged(untrained, net):
    package, file = untrained[net]
    source = photograph(52, 70, "chelsea")
    output = noisy(source, 30)
    (metric,) = load_metrics([f"lpips:region=all,net={net},trunk={file}"]).values()
    network = lpips_weights.network(net, metric._files())
    ((maps,),) = network.distances([(source, output)])
    expected = by_package(package, source, output, spatial=True)
    for row, column in np.random.default_rng(0).integers(0, (52, 70), (40, 2)):
        pixel = np.zeros((52, 70), bool)
        pixel[row, column] = True
        found = sum((stage * cell_weights(pixel, stage.shape)).sum() for stage in maps)
        assert found == pytest.approx(expected[row, column], abs=1e-5)


# ------------------------------------------------------------------------------------------------------- regions


@st.composite
def cases(draw):
    height, width = draw(st.integers(40, 72)), draw(st.integers(40, 72))
    source = photograph(height, width, draw(st.sampled_from(["astronaut", "coffee"])), draw(st.integers(0, 200)))
    row, column = draw(st.integers(0, height)), draw(st.integers(0, width))
    mask = disc(height, width, draw(st.integers(9, 18)), row, column)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    other = random.integers(0, 256, source.shape, dtype=np.uint8)
    return source, mask, noisy(source, 15, random.integers(99)), other


@PROPERTY
@given(cases())
def test_no_region_is_influenced_by_what_lies_outside_it(case):
    source, mask, output, other = case
    scenario = scene(source, mask)
    band = scenario.region("band")
    for region, where in (("keep", ~mask), ("edit", mask), ("band", band)):
        spec = f"st_lpips:region={region},margin=2"
        plain = measure(spec, source, output, mask)
        assert measure(spec, source, np.where(where[..., None], output, other), mask) == plain
        assert measure(spec, source, np.where(where[..., None], source, other), mask) == 0.0
        assert plain > 0


@PROPERTY
@given(st.lists(cases(), min_size=2, max_size=3))
def test_values_depend_neither_on_the_batch_nor_on_the_order_nor_on_what_is_known(some):
    def samples():
        return [Sample(scene(source, mask), output) for source, mask, output, _ in some]

    metrics = load_metrics("st_lpips:region=all,st_lpips:region=keep,margin=2,ring")
    features.forget()
    together = score(metrics, samples())
    assert score(metrics, samples()[::-1]) == together[::-1]
    for sample, row in zip(samples(), together, strict=True):
        features.forget()
        assert score(load_metrics(list(metrics)[::-1]), [sample]) == [row]


@PROPERTY
@given(cases())
def test_a_mirrored_picture_has_a_similar_value(case):
    """Trunks are not symmetric: the tolerance is what was seen on photographs, rounded up."""
    source, mask, output, _ = case
    for spec in ("st_lpips:region=all", "st_lpips:region=keep,margin=2", "ring"):
        plain = measure(spec, source, output, mask)
        mirrored = measure(spec, *(np.fliplr(array).copy() for array in (source, output, mask)))
        assert abs(mirrored - plain) <= 0.4 * plain + 0.03


def test_padding_far_from_the_edit_hardly_changes_its_value():
    source = photograph(128, 128)
    output, mask = noisy(source), disc(128, 128, 30)

    def padded(array):
        return np.pad(array, ((16, 16), (16, 16)) + ((0, 0),) * (array.ndim - 2), mode="reflect")

    plain = measure("st_lpips:region=edit", source, output, mask)
    wide = measure("st_lpips:region=edit", *map(padded, (source, output)), np.pad(mask, 16))
    assert wide == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize(
    "spec", ["st_lpips:region=keep", "st_lpips:region=edit,margin=8", "st_lpips:region=all", "ring"]
)
def test_more_noise_is_worse(spec):
    source, mask = photograph(96, 96), disc(96, 96, 24)
    values = [measure(spec, source, noisy(source, size), mask) for size in (0, 3, 10, 30)]
    assert values[0] == 0.0
    assert all(less < more for less, more in pairwise(values))


def test_the_margin_leaves_out_what_is_near_the_border():
    source, mask = photograph(192, 192), disc(192, 192, 30)
    near = ~mask & disc(192, 192, 34)
    output = np.where(near[..., None], 255 - source, source)
    values = [measure(f"st_lpips:region=keep,margin={margin}", source, output, mask) for margin in (0, 8, 16, 40)]
    assert all(less > more for less, more in pairwise(values))


@pytest.mark.parametrize(
    ("spec", "mask", "reason"),
    [
        ("st_lpips:region=edit", disc(64, 64, 12), "region narrower than the margin"),
        ("st_lpips:region=edit,margin=8", disc(64, 64, 12), None),
        ("st_lpips:region=keep", ~disc(64, 64, 12), "region narrower than the margin"),
        ("st_lpips:region=band", disc(64, 64, 12), None),
        ("st_lpips:region=edit", disc(64, 64, 99), None),
        ("st_lpips:region=edit", np.zeros((64, 64), bool), "empty edit region"),
        ("st_lpips:region=keep", disc(64, 64, 99), "empty keep region"),
        ("ring", disc(64, 64, 99), "empty keep region"),
        ("ring", ~disc(64, 64, 99), "empty edit region"),
        ("st_lpips:region=band", ~disc(64, 64, 99), "empty band region"),
        ("st_lpips:region=all", disc(20, 64, 5), "image smaller than 21 pixels"),
        ("st_lpips:region=all,net=vgg", disc(64, 17, 5), "image smaller than 18 pixels"),
        ("ring", disc(20, 64, 5), "image smaller than 21 pixels"),
        ("lpips:region=all,trunk=/nowhere", disc(64, 30, 5), "image smaller than 31 pixels"),
    ],
)
def test_what_no_editor_can_have_a_value_on_is_undefined(spec, mask, reason):
    source = np.zeros((*mask.shape, 3), np.uint8)
    (metric,) = load_metrics([spec]).values()
    assert metric.undefined(scene(source, mask)) == reason
    if reason:
        assert measure(spec, source, 255 - source, mask) == Undefined(reason)


@pytest.mark.parametrize("trunk", LAYOUTS)
def test_the_smallest_image_of_a_trunk_is_the_smallest(trunk, untrained):
    import torch

    if trunk.startswith("st_"):
        files = lpips_weights.shift_tolerant_files(trunk[3:])
    else:
        files = load_metrics([f"lpips:region=all,net={trunk},trunk={untrained[trunk][1]}"]).popitem()[1]._files()
    network, smallest = lpips_weights.network(trunk, files), LAYOUTS[trunk].smallest
    source = photograph(smallest, 40)
    assert network.distances([(source, noisy(source))])[0][0][-1].size
    with pytest.raises(RuntimeError), torch.inference_mode():
        network.distances([(source[1:], noisy(source)[1:])])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("st_lpips:region=keep,margin=-1", "margin=-1, expected 0 or more"),
        ("ring:width=1", "width=1, expected at least 2"),
        ("st_lpips:region=keep,net=squeeze", "net='squeeze', expected one of alex, vgg"),
    ],
)
def test_options_without_a_meaning_are_refused(spec, message):
    with pytest.raises(EditbenchError, match=message):
        load_metrics([spec])


# ---------------------------------------------------------------------------------------------------------- ring


def test_ring_sees_seams_halos_and_spill_and_nothing_else():
    source, mask = photograph(256, 256, top=0), disc(256, 256, 60)
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    width = 4  # 8 where the smaller side is 512

    def damaged(where):
        return measure("ring", source, np.where(where[..., None], 255 - source, source), mask)

    assert damaged(inside > width) == 0.0
    assert damaged(outside > width) == 0.0
    seam = damaged((inside > 0) & (inside <= width))
    halo = damaged((outside > 0) & (outside <= width))
    assert seam > 0.05 and halo > seam
    core_too = damaged(inside > 0)
    assert core_too == seam


def test_ring_is_the_mean_of_the_packages_map_over_the_ring(shift_tolerant):
    source = photograph(150, 128)
    output, mask = noisy(source), disc(150, 128, 30)
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    shown = np.maximum(inside, outside) <= 6  # the band's 2, times 12 / 4
    expected = by_package(shift_tolerant["alex"], source, np.where(shown[..., None], output, source), spatial=True)
    ring = (outside > 0) & (outside <= 6)
    assert measure("ring:width=12", source, output, mask) == pytest.approx(expected[ring].mean(), abs=1e-5)


# --------------------------------------------------------------------------------------------------- work done once


def test_a_source_is_described_once_and_equal_outputs_are_compared_once(monkeypatch):
    described, compared = [], []
    describe, compare = Network._describe, Network._compare
    monkeypatch.setattr(Network, "_describe", lambda self, images: described.extend(images) or describe(self, images))

    def counted(self, series):
        compared.extend(image for _, *images in series for image in images)
        return compare(self, series)

    monkeypatch.setattr(Network, "_compare", counted)
    source, mask = photograph(64, 80), disc(64, 80, 20)
    regions = ("all", "keep", "edit", "band")
    metrics = load_metrics([f"st_lpips:region={region},margin=4" for region in regions] + ["ring"])
    score(metrics, [Sample(scene(source, mask), noisy(source))])
    assert (len(described), len(compared)) == (1, 5)
    score(metrics, [Sample(scene(source, mask), np.where(mask[..., None], noisy(source), source))])
    assert (len(described), len(compared)) == (1, 5 + 3)  # all is edit, and keep is the source
    score(metrics, [Sample(scene(source, mask), source.copy())])
    assert (len(described), len(compared)) == (1, 5 + 3)


def test_features_from_the_disk_give_the_same_value(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    source, mask = photograph(64, 64), disc(64, 64, 12)
    spec = "st_lpips:region=keep,margin=4"
    plain = measure(spec, source, noisy(source), mask)
    features.forget()
    monkeypatch.setattr(Network, "_describe", None)
    assert measure(spec, source, noisy(source), mask) == plain
    assert any(tmp_path.rglob("*.safetensors"))


def test_features_that_must_not_be_written_to_are_only_read():
    source, mask = photograph(64, 64), disc(64, 64, 12)
    plain = measure("ring", source, noisy(source), mask)
    for arrays in features._memory._kept.values():
        for array in arrays:
            array.setflags(write=False)
    assert measure("ring", source, noisy(source), mask) == plain


def test_where_nothing_is_active_nothing_differs(untrained, tmp_path):
    import torch

    trunk = torch.load(untrained["squeeze"][1], weights_only=True)
    torch.save({name: torch.zeros_like(weight) for name, weight in trunk.items()}, tmp_path / "zeros.pth")
    source, mask = photograph(40, 40), disc(40, 40, 12)
    spec = f"lpips:region=keep,net=squeeze,margin=2,trunk={tmp_path / 'zeros.pth'}"
    assert measure(spec, source, noisy(source), mask) == 0.0


def test_the_ground_truth_can_take_the_place_of_the_source():
    source, mask = photograph(64, 64), disc(64, 64, 20)
    target = np.where(mask[..., None], 255 - source, source)
    sample = Sample(scene(source, mask, target), target)
    (row,) = score(load_metrics(["target:st_lpips,region=all", "st_lpips:region=all"]), [sample])
    assert row["target:st_lpips,region=all"] == 0.0 < row["st_lpips:region=all"]


# -------------------------------------------------------------------------------------------------------- weights


def run(metrics, folder):
    """Run the CLI; return its exit code and whether anything was edited."""
    arguments = ["run", "--editor", "recolor", "--suite", "shapes@1:size=64", "--limit", "2", "--metrics", metrics]
    with pytest.raises(SystemExit) as ended:
        cli.app([*arguments, "--output-dir", str(folder)])
    return ended.value.code, any(folder.rglob("*.png"))


def test_the_default_runs_without_a_network(tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run("st_lpips:region=band,ring", tmp_path / "run") == (0, True)
    capsys.readouterr()
    assert '"ring":{"value":' in (tmp_path / "run" / "records.jsonl").read_text().replace(" ", "")


@pytest.mark.parametrize("metric", ["st_lpips:region=keep", "ring", "st_lpips:region=keep,net=vgg"])
def test_missing_packaged_weights_end_a_run_before_the_first_edit(metric, tmp_path, monkeypatch, capsys):
    found = importlib.metadata.files

    def without(name):
        if name == "stlpips-pytorch":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "files", without)
    assert run(metric, tmp_path / "run") == (2, False)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pip install stlpips-pytorch" in line


@pytest.mark.parametrize(
    ("net", "file"),
    [
        ("alex", "alexnet-owt-7be5be79.pth"),
        ("vgg", "vgg16-397923af.pth"),
        ("squeeze", "squeezenet1_1-b8a52dc0.pth"),
    ],
)
def test_a_missing_trunk_ends_a_run_before_the_first_edit(net, file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert run(f"lpips:region=keep,net={net}", tmp_path / "run") == (2, False)
    (line,) = capsys.readouterr().err.strip().splitlines()
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    assert str(folder / file) in line and f"https://download.pytorch.org/models/{file}" in line and "trunk=" in line
    folder.mkdir(parents=True)
    (folder / file).write_bytes(b"cut off")
    with pytest.raises(EditbenchError, match=f"begins with {hashlib.sha256(b'cut off').hexdigest()[:8]}, not"):
        _ = load_metrics([f"lpips:region=keep,net={net}"]).popitem()[1].weights


def test_a_trunk_in_the_hub_is_used_and_signed_for(tmp_path, monkeypatch, untrained):
    import torch

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    assert str(folder.parent) == torch.hub.get_dir()
    folder.mkdir(parents=True)
    _, file = untrained["squeeze"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    name = f"squeezenet1_1-{digest[:8]}.pth"
    shutil.copy(file, folder / name)
    monkeypatch.setattr(lpips_weights, "_TRUNKS", {"squeeze": name})
    (metric,) = load_metrics(["lpips:region=all,net=squeeze"]).values()
    assert metric.weights[name] == digest and set(metric.weights) == {name, "lpips v0.1 squeeze.pth"}
    source = photograph(40, 40)
    output, mask = noisy(source), disc(40, 40, 9)
    given = measure(f"lpips:region=all,net=squeeze,trunk={file}", source, output, mask)
    assert measure("lpips:region=all,net=squeeze", source, output, mask) == given


@pytest.mark.parametrize("home", [{"XDG_CACHE_HOME": "/xdg"}, {"TORCH_HOME": "~/t", "XDG_CACHE_HOME": "/xdg"}, {}])
def test_the_hub_is_where_torch_says(home, monkeypatch):
    import torch

    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in home.items():
        monkeypatch.setenv(name, folder)
    assert str(lpips_weights._hub()) == torch.hub.get_dir()


def test_another_nets_file_is_refused(untrained):
    (metric,) = load_metrics([f"lpips:region=all,net=squeeze,trunk={untrained['alex'][1]}"]).values()
    source = photograph(40, 40)
    with pytest.raises(EditbenchError, match=r"alex.pth: not the weights of squeeze: it has no 'features"):
        metric.score([Sample(scene(source, disc(40, 40, 9)), noisy(source))])


def test_a_file_that_is_no_state_dict_is_refused(tmp_path):
    (tmp_path / "trunk.pth").write_bytes(b"not a pickle")
    (metric,) = load_metrics([f"lpips:region=all,trunk={tmp_path / 'trunk.pth'}"]).values()
    source = photograph(40, 40)
    with pytest.raises(EditbenchError, match="not a PyTorch state dict"):
        metric.score([Sample(scene(source, disc(40, 40, 9)), noisy(source))])


def test_finding_weights_does_not_import_torch():
    code = (
        "import sys; from editbench.metrics.perceptual import *; StLpips('keep').weights; Ring().weights\n"
        "assert not {'torch', 'lpips', 'stlpips_pytorch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
