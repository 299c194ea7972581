"""`vae:MODEL`: a picture encoded and decoded. No editor that does both keeps more of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from editbench.editors.diffusers_loading import Dtype, chosen_device, fetched, pipeline_class
from editbench.editors.sizes import Fit, fit_source
from editbench.images import Accepted, as_image
from editbench.records import loads
from editbench.registry import bare
from editbench.types import EditbenchError, EditRequest, MaskAccess

FOLDERS = ("vae", "movq", "")
"""Where a pipeline keeps its autoencoder; the last is for a folder that holds nothing else."""


@dataclass(frozen=True)
class Vae:
    """Encode and decode the source with the autoencoder of a model: no edit, and no better fidelity than this.

    The latent is the mode of what the encoder says, not a sample: nothing is drawn.

    Args:
        model: a pipeline's folder, a folder with an autoencoder alone, or the name of either on the hub.
        multiple: what both sides are padded to a multiple of; 16 divides the sizes that diffusers' models take.
        area: pixels to work at; by default the source's own size.
        max_side: longer side to work at, at most.
        fit: how another size is made legal: `reflect`, `edge` (padded) or `resize`.
        dtype: of the weights.
        device: `auto` (an accelerator if there is one), `cpu`, `cuda:1`, …
        revision: branch, tag or commit on the hub; the commit found is written into the spec.
    """

    model: str = bare()
    multiple: int = 16
    area: int | None = None
    max_side: int | None = None
    fit: Fit = "reflect"
    dtype: Dtype = "float32"
    device: str = "auto"
    revision: str | None = None

    mask_access: ClassVar[MaskAccess] = "none"
    control: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for option in ("multiple", "area", "max_side"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise ValueError(f"{option}={value}, expected at least 1")
        object.__setattr__(self, "revision", self._found[2] or self.revision)

    @cached_property
    def _found(self) -> tuple[str, str, str | None]:
        """The folder in the model, the class of what is there, and the commit."""
        for folder in FOLDERS:
            name = f"{folder}/config.json" if folder else "config.json"
            try:
                path, commit = fetched(self.model, name, self.revision)
                config = loads(path.read_bytes())
            except FileNotFoundError:
                continue
            if "latent_channels" in config or "z_dim" in config:
                return folder, str(config["_class_name"]), commit
        places = ", ".join(FOLDERS[:-1])
        raise EditbenchError(f"vae: {self.model!r} holds no autoencoder, neither in {places} nor by itself")

    @cached_property
    def _vae(self) -> Any:
        import torch

        folder, name, _ = self._found
        options = {"subfolder": folder} if folder else {}
        model = str(Path(self.model).expanduser()) if Path(self.model).expanduser().is_dir() else self.model
        loaded = pipeline_class(name).from_pretrained(
            model, revision=self.revision, dtype=getattr(torch, self.dtype), use_safetensors=True, **options
        )
        return loaded.eval().to(chosen_device(self.device))

    def start(self) -> None:
        """Load the autoencoder; raises whatever that raises."""
        _ = self._vae

    def edit(self, requests: Sequence[EditRequest]) -> list[Accepted]:
        """Return what comes back, one picture at a time."""
        return [self._round_trip(request) for request in requests]

    def _round_trip(self, request: EditRequest) -> Accepted:
        import torch

        fitted = fit_source(request.source, None, self.multiple, self.fit, self.area, self.max_side)
        pixels = torch.from_numpy(fitted.source).permute(2, 0, 1)[None].to(self._vae.device, self._vae.dtype)
        pixels = pixels / 127.5 - 1
        video = "Qwen" in type(self._vae).__name__  # a picture is a film of one frame
        with torch.inference_mode():
            latents = self._vae.encode(pixels[:, :, None] if video else pixels).latent_dist.mode()
            decoded = self._vae.decode(latents).sample
        decoded = decoded[:, :, 0] if video else decoded
        accepted = as_image((decoded[0].float() / 2 + 0.5).clamp(0, 1))
        return Accepted(fitted.undo(accepted.image), tuple(sorted({*accepted.flags, *fitted.flags})))
