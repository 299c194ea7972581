"""Image models behind the image-edit route of OpenAI and of servers compatible with it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import urljoin, urlsplit

import numpy as np

from editbench.editors.client import RANGES, Client, DeadlinePassed
from editbench.images import Accepted, InvalidImage, decode, resize
from editbench.png import encode_png
from editbench.regions import Mask
from editbench.registry import bare, written_spec
from editbench.specs import did_you_mean, printable
from editbench.transport import ApiError, check_address, check_ranges, key_from, without_key
from editbench.types import EditbenchError, EditFailed, EditRequest, Image, MaskAccess

KEYS = ("EDITBENCH_IMAGES_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; the first that is set counts. It is kept nowhere else."""
CHECK_SECONDS = 10.0
"""How long the list of models may take: whoever starts a run is waiting for it."""

FAMILIES: tuple[tuple[str, str], ...] = (
    (r"(chat)?gpt-image-.*", "1024x1024/1536x1024/1024x1536"),
    (r"dall-e-2", "256x256/512x512/1024x1024"),
)
"""Models whose sizes are known, and these; any other model is sent each source in its own size."""


@dataclass(frozen=True)
class OpenaiImages:
    """A model behind `POST /v1/images/edits`: `openai_images:MODEL[,url=http://HOST:PORT/v1,…]`.

    The key is read from `EDITBENCH_IMAGES_KEY`, or else from `OPENAI_API_KEY`. The mask is sent as the route has it: a
    PNG of the source's size whose transparent pixels are to be edited. A model that accepts certain sizes only is sent
    the source scaled into the one whose shape is nearest, its borders continued to fill the rest, which the mask never
    includes; the answer is cut and scaled back (flag `aligned=resize`). Answers are asked for as base64; one that is an
    address is fetched from the same server only.

    Args:
        model: the name under which it is served.
        url: address of the API.
        mask_access: whether masks are sent. Models are free to edit elsewhere, hence `hint`.
        prompt: what the model is told, `instruction` or `target_prompt`. A scenario without the latter fails.
        sizes: `source`, or the sizes that the model accepts, as 1024x1024/1536x1024; by default what is known of it.
        send_seed: whether to send `seed`, which OpenAI's own models refuse and others need to repeat themselves.
        concurrency: edits at the same time.
        timeout: seconds for one edit: connecting, all repetitions and waits, the last byte.
        retries: how many times a lost connection, or one of HTTP 408, 409, 429 and 5xx is tried again.
        max_bytes: longer responses are refused while they arrive.
    """

    model: str = bare()
    url: str = "https://api.openai.com/v1"
    mask_access: MaskAccess = "hint"
    prompt: Literal["instruction", "target_prompt"] = "instruction"
    sizes: str | None = None
    send_seed: bool = False
    concurrency: int = 1
    timeout: float = 600.0
    retries: int = 3
    max_bytes: int = 1 << 27

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("model is empty, expected the name under which it is served")
        check_address(self.url, "openai_images: url", f"http://HOST:PORT/v1 without a key in it ({KEYS[0]})")
        check_ranges(self, RANGES)
        if self.sizes not in (None, "source") and not re.fullmatch(
            r"[1-9]\d{1,4}x[1-9]\d{1,4}(/[1-9]\d{1,4}x[1-9]\d{1,4})*", self.sizes
        ):
            raise ValueError(f"sizes={self.sizes!r}, expected source, or such as 1024x1024/1536x1024")

    def opened(self) -> ImagesApi:
        """Find out whether the server is there and serves the model, where it says so; return it as an editor.

        Raises:
            EditbenchError: if not; one line.
        """
        key = key_from(KEYS)
        url, timeout, retries = self.url.rstrip("/"), min(self.timeout, CHECK_SECONDS), min(self.retries, 1)
        with Client(url, timeout, retries, 1 << 22, key) as client:
            try:
                _check_model(self.model, client.run(client.json("GET", f"{url}/models")), key)
            except ApiError as error:
                if error.status in (401, 403):
                    raise EditbenchError(
                        f"openai_images: {url}: {error}: set {KEYS[0]} to a key that it accepts"
                    ) from None
                if error.status not in (404, 405, 501):  # a server of images alone may have no list
                    raise EditbenchError(f"openai_images: {url}: {error}: is a server running there?") from None
        return ImagesApi(self, Client(url, self.timeout, self.retries, self.max_bytes, key))


def _check_model(model: str, told: object, key: str) -> None:
    match told:
        case {"data": [_, *_] as cards}:
            names = [card["id"] for card in cards if isinstance(card, dict) and isinstance(card.get("id"), str)]
            if names and model not in names:
                served = [printable(without_key(name, key))[:120] for name in names]
                hint = did_you_mean(model, served)
                raise EditbenchError(f"openai_images: {model!r} is not served, but {', '.join(served[:5])}{hint}")


class ImagesApi:
    """The route, once the server is known to be there."""

    peak_bytes: ClassVar[int] = 0
    trained_on: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: OpenaiImages, client: Client) -> None:
        self.spec = written_spec(options, "openai_images")
        self.mask_access = options.mask_access
        self.batch_size = options.concurrency
        self._options, self._client = options, client
        self._url = options.url.rstrip("/")
        known = next((sizes for family, sizes in FAMILIES if re.fullmatch(family, options.model)), "source")
        sizes = options.sizes or known
        self._sizes = [] if sizes == "source" else [_size(text) for text in sizes.split("/")]

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Return what the model makes of each request: an image of the source's size, or how it failed."""
        return self._client.run(self._all(requests))

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    async def _all(self, requests: Sequence[EditRequest]) -> list[object]:
        gate = asyncio.Semaphore(self._options.concurrency)

        async def one(request: EditRequest) -> object:
            async with gate:
                try:
                    return await self._one(request)
                except DeadlinePassed as error:
                    return EditFailed("editor_timeout", str(error))
                except ApiError as error:
                    return EditFailed("editor_error", str(error))
                except InvalidImage as error:
                    return error

        return await asyncio.gather(*(one(request) for request in requests))

    async def _one(self, request: EditRequest) -> object:
        prompt = getattr(request, self._options.prompt)
        if prompt is None:
            return EditFailed("editor_error", f"the scenario has no {self._options.prompt}")
        height, width = request.source.shape[:2]
        frame = fit(height, width, self._sizes)
        files = {"image": ("image.png", encode_png(frame.enlarge(request.source)), "image/png")}
        if request.mask is not None:
            files["mask"] = (
                "mask.png",
                _mask_png(frame.enlarge(request.source), frame.enlarge_mask(request.mask)),
                "image/png",
            )
        fields = {"model": self._options.model, "prompt": prompt, "n": "1", "size": f"{frame.width}x{frame.height}"}
        if re.fullmatch(FAMILIES[0][0], self._options.model) is None:  # these answer in base64 and refuse to be asked
            fields["response_format"] = "b64_json"
        if self._options.send_seed:
            fields["seed"] = str(request.seed)
        answer = await self._client.json("POST", f"{self._url}/images/edits", data=fields, files=files)
        accepted = decode(await self._image(answer))
        if accepted.image.shape[:2] == (frame.height, frame.width) and self._sizes:
            flags = {*accepted.flags, *(("aligned=resize",) if frame.scaled else ())}
            return Accepted(frame.cut(accepted.image), tuple(sorted(flags)))
        return accepted

    async def _image(self, answer: object) -> bytes:
        match answer:
            case {"data": [{"b64_json": str() as text}]}:
                try:
                    return base64.b64decode(text, validate=True)
                except (binascii.Error, ValueError):
                    raise InvalidImage("image is no base64") from None
            case {"data": [{"url": str() as address}]}:
                try:
                    address = urljoin(f"{self._url}/", address)
                    same = urlsplit(address)[:2] == urlsplit(self._url)[:2]
                except ValueError:
                    raise ApiError("malformed response (no address)") from None
                if not same:
                    raise ApiError("the image is at another address than the server's: not fetched")
                return await self._client.exchange("GET", address)
            case {"data": list() as images} if len(images) != 1:
                raise ApiError(f"malformed response ({len(images)} images, expected 1)")
        raise ApiError("malformed response (no image)")


# -------------------------------------------------------------------------------------------------------- sizes


class Frame(NamedTuple):
    """A size that a model accepts, and where in it a source lies: all in pixels."""

    height: int
    width: int
    top: int
    left: int
    inner_height: int
    inner_width: int
    source_height: int
    source_width: int

    @property
    def scaled(self) -> bool:
        """Whether the source is resampled on its way."""
        return (self.inner_height, self.inner_width) != (self.source_height, self.source_width)

    def enlarge(self, image: Image) -> Image:
        """Put an image into the frame; its border pixels are repeated around it."""
        inner = resize(image, self.inner_height, self.inner_width) if self.scaled else image
        return np.pad(inner, (*self._margins(), (0, 0)), mode="edge")

    def enlarge_mask(self, mask: Mask) -> Mask:
        """Put a mask into the frame; nothing around it is masked. A pixel stays masked as its nearest neighbour is."""
        rows = np.arange(self.inner_height) * self.source_height // self.inner_height
        columns = np.arange(self.inner_width) * self.source_width // self.inner_width
        return np.pad(mask[np.ix_(rows, columns)], self._margins())

    def cut(self, image: Image) -> Image:
        """Undo `enlarge`."""
        inner = image[self.top : self.top + self.inner_height, self.left : self.left + self.inner_width]
        return resize(inner, self.source_height, self.source_width) if self.scaled else inner.copy()

    def _margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        below = self.height - self.top - self.inner_height
        right = self.width - self.left - self.inner_width
        return (self.top, below), (self.left, right)


def fit(height: int, width: int, sizes: Sequence[tuple[int, int]]) -> Frame:
    """Return where a source of a size lies in the accepted size that suits it best.

    That is the one that it fills best once it is scaled to fit; of equal ones, the one that needs the least scaling.

    Args:
        height: of the source.
        width: of the source.
        sizes: (height, width) of each accepted size; empty for any.
    """
    frames = []
    for frame_height, frame_width in sizes or [(height, width)]:
        scale = min(frame_height / height, frame_width / width)
        inner_height = min(frame_height, max(1, round(height * scale)))
        inner_width = min(frame_width, max(1, round(width * scale)))
        top, left = (frame_height - inner_height) // 2, (frame_width - inner_width) // 2
        filled = inner_height * inner_width / (frame_height * frame_width)
        frame = Frame(frame_height, frame_width, top, left, inner_height, inner_width, height, width)
        frames.append((-round(filled, 2), abs(np.log(scale)), frame))
    return min(frames)[-1]


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(height), int(width)


def _mask_png(image: Image, mask: Mask) -> bytes:
    """Encode a mask as the route has it: the image itself, transparent where it is to be edited."""
    alpha: Any = np.where(mask, 0, 255).astype(np.uint8)
    return encode_png(np.dstack([image, alpha]))
