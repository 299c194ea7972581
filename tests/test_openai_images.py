"""The image-edit route of OpenAI, asked for as it is documented, of a server that refuses everything else."""

import base64
import contextlib
import io
import json
import os
import re
import threading
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

import editbench as eb
from editbench.editors import client, load_editor
from editbench.editors.openai_images import fit
from editbench.images import Accepted, InvalidImage
from editbench.registry import spec_of
from editbench.types import EditbenchError, EditFailed, EditRequest

SIZES = {
    "gpt-image-1": ("1024x1024", "1536x1024", "1024x1536", "auto"),
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
}
RED = (200, 30, 40)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "EDITBENCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(client, "BACKOFF", 0.001)
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "editbench-http"]


def fields_of(headers, body):
    """Take a multipart body apart: text and files by name."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    assert message.get_content_type() == "multipart/form-data"
    fields, files = {}, {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        assert name not in fields and name not in files
        if part.get_filename() is None:
            fields[name] = part.get_payload(decode=True).decode()
        else:
            assert part.get_content_type() == "image/png" and part.get_filename().endswith(".png")
            files[name] = part.get_payload(decode=True)
    return fields, files


class RefusedError(Exception):
    pass


class ImagesServer(ThreadingHTTPServer):
    """Paints red whatever is transparent in the mask, and nothing else; refuses what OpenAI would refuse."""

    daemon_threads = True

    def __init__(self, models=("gpt-image-1", "dall-e-2", "local"), respond=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.respond = models, respond
        self.asked, self.headers = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def send(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.server.headers.append(self.headers)
        if self.path == "/v1/models" and self.server.models:
            return self.send(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})
        if self.path.startswith("/v1/files/"):
            return self.send(200, base64.urlsafe_b64decode(self.path.rpartition("/")[2]))
        return self.send(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append(self.headers)
        fields, files = fields_of(self.headers, body)
        self.server.asked.append((fields, files))
        if self.path != "/v1/images/edits":
            return self.send(404, {})
        try:
            image = self.edit(fields, files)
        except RefusedError as error:
            return self.send(
                400, {"error": {"message": f"req_{id(self)}", "type": "invalid_request", "code": str(error)}}
            )
        if self.server.respond is not None:
            return self.server.respond(self, image)
        form = fields.get("response_format", "url" if fields["model"] != "gpt-image-1" else "b64_json")
        if form == "url":
            address = f"{self.server.url}/files/{base64.urlsafe_b64encode(image).decode()}"
            return self.send(200, {"created": 1, "data": [{"url": address}]})
        return self.send(200, {"created": 1, "data": [{"b64_json": base64.b64encode(image).decode()}]})

    def edit(self, fields, files):
        model = fields["model"]
        if (
            set(fields)
            - {"model", "prompt", "n", "size", "response_format"}
            - ({"seed"} if model == "local" else set())
        ):
            raise RefusedError("unknown_parameter")
        if model == "gpt-image-1" and "response_format" in fields:
            raise RefusedError("unknown_parameter")
        if model not in self.server.models or fields["n"] != "1":
            raise RefusedError("invalid_value")
        if not fields["prompt"] or "forbidden" in fields["prompt"]:
            raise RefusedError("moderation_blocked")
        image = Image.open(io.BytesIO(files["image"]))
        if fields["size"] not in SIZES.get(model, (fields["size"],)):
            raise RefusedError("invalid_size")
        if image.format != "PNG" or (model == "dall-e-2" and image.width != image.height):
            raise RefusedError("invalid_image")
        pixels = np.array(image.convert("RGB"))
        if "mask" in files:
            mask = Image.open(io.BytesIO(files["mask"]))
            if mask.mode != "RGBA" or mask.size != image.size:
                raise RefusedError("invalid_mask")
            alpha = np.asarray(mask)[..., 3]
            assert set(np.unique(alpha)) <= {0, 255}
            pixels[alpha == 0] = RED
        width, height = map(int, fields["size"].split("x"))
        assert (width, height) == image.size
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture
def server():
    with ImagesServer() as running:
        yield running


@contextlib.contextmanager
def opened(spec):
    editor = load_editor(spec)
    yield editor
    editor.close()


def ask(height=48, width=64, mask=True, instruction="Make it red.", **more):
    rows, columns = np.mgrid[:height, :width]
    source = np.stack([rows * 2 % 256, columns * 2 % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    inside = (rows > height // 4) & (rows < height // 2) & (columns > width // 2)
    return EditRequest(source, instruction, 7, inside if mask else None, **more)


# ------------------------------------------------------------------------------------------------------- the route


def test_what_is_transparent_in_the_mask_is_what_is_edited(server):
    request = ask()
    with opened(f"openai_images:local,url={server.url}") as editor:
        assert editor.mask_access == "hint" and spec_of(editor) == f"openai_images:local,url={server.url}"
        (output,) = editor.edit([request])
    expected = request.source.copy()
    expected[request.mask] = RED
    assert np.array_equal(output.image, expected) and output.flags == ()
    ((fields, files),) = server.asked
    assert fields == {
        "model": "local",
        "prompt": "Make it red.",
        "n": "1",
        "size": "64x48",
        "response_format": "b64_json",
    }
    assert set(files) == {"image", "mask"}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(files["mask"])))[..., :3], request.source)


@pytest.mark.parametrize(("model", "size"), [("gpt-image-1", "1536x1024"), ("dall-e-2", "512x512")])
def test_a_model_of_known_sizes_gets_one_and_the_answer_comes_back_in_its_own(server, model, size):
    request = ask(300, 451)
    with opened(f"openai_images:{model},url={server.url}") as editor:
        (output,) = editor.edit([request])
    assert server.asked[0][0]["size"] == size and output.flags == ("aligned=resize",)
    assert output.image.shape == request.source.shape
    away = ~request.mask
    away[1:] &= ~request.mask[:-1]
    away[:-1] &= ~request.mask[1:]
    away[:, 1:] &= ~request.mask[:, :-1]
    away[:, :-1] &= ~request.mask[:, 1:]
    rows = np.flatnonzero(request.mask.any(axis=1))
    columns = np.flatnonzero(request.mask.any(axis=0))
    heart = output.image[rows[3] : rows[-3], columns[3] : columns[-3]]
    assert np.abs(heart.astype(int) - RED).max() <= 8  # Lanczos rings a little beside an edge
    far = np.abs(output.image.astype(int) - request.source)[5 : rows[0] - 5, 5:-5]
    assert np.median(far) <= 1


@pytest.mark.parametrize(("height", "width"), [(1024, 1024), (512, 512), (300, 451), (1600, 300), (20, 2000), (1, 1)])
def test_a_frame_is_undone_exactly(height, width):
    frame = fit(height, width, [(1024, 1024), (1024, 1536), (1536, 1024)])
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 255 // height, columns * 255 // width, rows * 0], axis=2).astype(np.uint8)
    mask = columns < width / 2
    large = frame.enlarge(image)
    assert large.shape[:2] == (frame.height, frame.width) in [(1024, 1024), (1024, 1536), (1536, 1024)]
    assert frame.enlarge_mask(mask).shape == large.shape[:2]
    assert frame.enlarge_mask(~mask).sum() + frame.enlarge_mask(mask).sum() == frame.inner_height * frame.inner_width
    back = frame.cut(large)
    assert back.shape == image.shape and np.abs(back.astype(int) - image).max() <= 6
    assert abs(frame.inner_height * width - frame.inner_width * height) <= max(height, width)


def test_the_size_that_is_filled_best_is_taken_and_of_those_the_nearest():
    sizes = [(256, 256), (512, 512), (1024, 1024), (1024, 1536)]
    assert fit(500, 500, sizes)[:2] == (512, 512) and fit(2000, 3000, sizes)[:2] == (1024, 1536)
    same = fit(512, 512, sizes)
    assert not same.scaled and same[:4] == (512, 512, 0, 0)


def test_an_address_on_the_same_server_is_fetched_and_no_other(server):
    request = ask()

    def without_format(handler, image):
        address = f"{server.url}/files/{base64.urlsafe_b64encode(image).decode()}"
        handler.send(200, {"data": [{"url": address if handler.server.here else handler.server.elsewhere}]})

    server.respond, server.here = without_format, True
    with opened(f"openai_images:local,url={server.url}") as editor:
        (output,) = editor.edit([request])
        assert isinstance(output, Accepted)
        server.here = False
        with ImagesServer() as other:
            for elsewhere in (
                f"{other.url}/files/eA==",
                "file:///etc/hostname",
                "//127.0.0.1:1/x",
                "https://127.0.0.1/x",
            ):
                server.elsewhere = elsewhere
                (output,) = editor.edit([request])
                assert str(output) == "the image is at another address than the server's: not fetched"
            assert not other.headers


def test_no_mask_is_sent_where_none_may_be_seen(server):
    with opened(f"openai_images:local,url={server.url},mask_access=none") as editor:
        assert editor.mask_access == "none"
        editor.edit([ask(mask=False)])
    assert set(server.asked[0][1]) == {"image"}


def test_seed_and_target_prompt_are_sent_where_that_is_asked_for(server):
    with opened(f"openai_images:local,url={server.url},send_seed=true,prompt=target_prompt,concurrency=2") as editor:
        assert editor.batch_size == 2
        good, bad = editor.edit([ask(target_prompt="a red thing"), ask()])
    assert isinstance(good, Accepted) and str(bad) == "the scenario has no target_prompt"
    assert [(fields["prompt"], fields["seed"]) for fields, _ in server.asked] == [("a red thing", "7")]


def test_the_key_reaches_the_server_and_nothing_else(server, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-other-key")
    monkeypatch.setenv("EDITBENCH_IMAGES_KEY", "sk-very-secret-0123")
    spec = f"openai_images:local,url={server.url}"
    result = eb.run(spec, "shapes@1:size=32", ["mae:region=keep"], limit=2, label="x", output_dir=str(tmp_path / "run"))
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-very-secret-0123"}
    assert all(record.values["mae:region=keep"] == 0 for record in result.records().records)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"very-secret" in path.read_bytes()]


# ---------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("respond", "kind", "reason"),
    [
        (lambda h, image: h.send(200, {"data": []}), EditFailed, "malformed response (0 images, expected 1)"),
        (lambda h, image: h.send(200, {"data": [{}]}), EditFailed, "malformed response (no image)"),
        (lambda h, image: h.send(200, {"data": [{"b64_json": "%"}]}), InvalidImage, "image is no base64"),
        (lambda h, image: h.send(200, {"data": [{"b64_json": "eA=="}]}), InvalidImage, "not a PNG, JPEG or WebP image"),
        (lambda h, image: h.send(200, b"<html>"), EditFailed, "malformed response (not JSON)"),
        (lambda h, image: h.send(500, {}), EditFailed, "HTTP 500"),
    ],
)
def test_a_wrong_answer_has_a_stable_reason(server, respond, kind, reason):
    server.respond = respond
    with opened(f"openai_images:local,url={server.url},retries=1") as editor:
        (output,) = editor.edit([ask()])
    assert type(output) is kind and str(output) == reason


def test_a_refusal_is_told_by_its_code(server):
    with opened(f"openai_images:gpt-image-1,url={server.url}") as editor:
        (output,) = editor.edit([ask(instruction="forbidden")])
    assert str(output) == "HTTP 400 (moderation_blocked)" and len(server.asked) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (":nosuch,url={url}", "'nosuch' is not served, but gpt-image-1, dall-e-2, local"),
        (":locl,url={url}", "did you mean 'local'?"),
        (":local,url={url}?key=1", "url is no plain address"),
        (":local,url={url},sizes=large", "sizes='large', expected source, or such as 1024x1024/1536x1024"),
        (":local,url={url},concurrency=0", "concurrency=0, expected 1 to 256"),
        (":local,url=http://127.0.0.1:9/v1", "no connection: is a server running there?"),
        ("", "needs model: write openai_images:MODEL"),
    ],
)
def test_what_cannot_work_is_found_before_the_first_edit(server, options, message):
    with pytest.raises(EditbenchError, match=re.escape(message)):
        load_editor("openai_images" + options.format(url=server.url))


def test_a_server_without_a_list_of_models_is_taken_at_its_word():
    with ImagesServer(models=()) as server:
        load_editor(f"openai_images:any,url={server.url}")


@pytest.mark.parametrize("suite", ["shapes@1", "photos@1"])
def test_a_run_over_the_route_is_complete(server, suite, tmp_path):
    result = eb.run(
        f"openai_images:local,url={server.url},concurrency=4",
        suite,
        ["mae:region=keep"],
        limit=12,
        label="x",
        output_dir=str(tmp_path / "run"),
    )
    records = result.records().records
    assert [record.edit_status for record in records] == ["ok"] * 12
    values = [record.values["mae:region=keep"] for record in records]
    assert {value for value in values if isinstance(value, float)} == {0.0}
    assert {value.reason for value in values if not isinstance(value, float)} <= {"empty keep region"}
