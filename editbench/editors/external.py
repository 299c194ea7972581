"""Editors that are not ours: finished images in a folder, any program, a plain Python function."""

from __future__ import annotations

import inspect
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from editbench.images import InvalidImage, decode, encode_png
from editbench.records import dumps, loads
from editbench.registry import bare
from editbench.types import EditbenchError, EditRequest, MaskAccess, OutputMissing, Suite, Task

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


# ---------------------------------------------------------------------------------------------- plain function


@dataclass(frozen=True)
class FunctionEditor:
    """A plain function `(source, instruction, mask, seed) -> image` as an editor.

    Its parameters are filled by name: any of source, instruction, mask, seed, source_prompt, target_prompt. What it
    may see is its attribute `mask_access` (default `none`: mask is None).
    """

    function: Callable[..., object] = field(repr=False)
    spec: str
    parameters: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        known = ("source", "instruction", "mask", "seed", "source_prompt", "target_prompt")
        given = inspect.signature(self.function).parameters.values()
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in given if p.default is p.empty and p.kind not in variadic]
        unknown = [name for name in needed if name not in known]
        if unknown:
            raise EditbenchError(
                f"editor {self.spec!r} has parameter {unknown[0]!r}, expected any of {', '.join(known)}"
            )
        if self.mask_access not in ("none", "hint", "region"):
            raise EditbenchError(f"editor {self.spec!r}: mask_access={self.mask_access!r}, expected none, hint, region")
        everything = any(p.kind is p.VAR_KEYWORD for p in given)
        names = known if everything else tuple(p.name for p in given if p.name in known)
        object.__setattr__(self, "parameters", names)

    @property
    def mask_access(self) -> MaskAccess:
        """As declared by the function's attribute of that name."""
        access: MaskAccess = getattr(self.function, "mask_access", "none")
        return access

    @property
    def trained_on(self) -> tuple[str, ...]:
        """As declared by the function's attribute of that name."""
        return tuple(getattr(self.function, "trained_on", ()))

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Call the function once a request; what it raises fails that request alone."""
        outputs: list[object] = []
        for request in requests:
            try:
                outputs.append(self.function(**{name: getattr(request, name) for name in self.parameters}))
            except Exception as error:
                outputs.append(error)
        return outputs


# --------------------------------------------------------------------------------------------- finished images


@dataclass(frozen=True)
class FolderAnswers:
    """Finished images, matched by scenario id and never by order.

    Args:
        path: a folder of `<id>.png` (or .jpg, .jpeg, .webp; `<id>@1.png` answers repeat 1), or a JSONL file with
            `{"id": …, "image_path": …}` and optional `repeat` a line, paths relative to the file.
        mask_access: what whoever made the images saw of the mask.
    """

    path: Path = bare()
    mask_access: MaskAccess = "none"
    _images: dict[tuple[str, int], Path] = field(default_factory=dict, init=False, repr=False, compare=False)

    def prepare(self, suite: Suite) -> list[str]:
        """Find the images, and say which are missing or extra.

        Raises:
            EditbenchError: if nothing is there, two files answer one scenario, or no file answers any.
        """
        self._images.clear()
        if self.path.is_dir():
            self._read_folder()
        elif self.path.is_file():
            self._read_list()
        else:
            raise EditbenchError(f"no folder or JSONL file {str(self.path)!r} with finished images")
        ids = {scenario.id for scenario in suite}
        found = {scenario_id for scenario_id, _ in self._images}
        if not ids & found:
            example = min(ids)
            raise EditbenchError(
                f"{self.path} has no image for any of the {len(ids)} scenarios; expected names like {example}.png"
            )
        warnings = []
        missing, extra = f"of {len(ids)} scenarios have no image", f"of {len(found)} ids are not in the suite"
        for which, words in ((ids - found, missing), (found - ids, extra)):
            if which:
                shown = ", ".join(sorted(which)[:5]) + (", …" if len(which) > 5 else "")
                warnings.append(f"{self.path}: {len(which)} {words}: {shown}")
        return warnings

    def _read_folder(self) -> None:
        for path in sorted(self.path.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                name, _, repeat = path.stem.rpartition("@")
                if name and repeat.isdecimal():
                    self._add(name, int(repeat), path)
                else:
                    self._add(path.stem, 0, path)

    def _read_list(self) -> None:
        for number, line in enumerate(self.path.read_text("utf-8-sig").splitlines(), start=1):
            try:
                item: Any = loads(line)
                scenario_id, image_path, repeat = item["id"], item["image_path"], item.get("repeat", 0)
                if not (isinstance(scenario_id, str) and isinstance(image_path, str) and isinstance(repeat, int)):
                    raise TypeError("id and image_path must be text, repeat a whole number")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EditbenchError(
                    f'{self.path}:{number}: {error}; expected {{"id": "…", "image_path": "…"}} on each line'
                ) from None
            self._add(scenario_id, repeat, self.path.parent / image_path)

    def _add(self, scenario_id: str, repeat: int, path: Path) -> None:
        other = self._images.setdefault((scenario_id, repeat), path)
        if other is not path:
            raise EditbenchError(f"{other} and {path} both answer scenario {scenario_id!r}")

    def answer(self, task: Task) -> object | None:
        """Return the decoded image, None where there is none."""
        path = self._images.get((task.scenario.id, task.repeat))
        if path is None or not path.exists():
            return None
        return decode(path)


# ------------------------------------------------------------------------------------------------- any program


@dataclass(frozen=True)
class Command:
    """Run any program, in any environment, on a folder of requests.

    The program finds `requests.jsonl` in `{request}`: one object a line with `name`, `instruction`, `seed`, `source` (a
    PNG beside it), and `mask` (white = edit, only with mask_access hint or region), `source_prompt`, `target_prompt`
    where there are any. It writes `{out}/<name>.png`, or `{out}/<name>.error.txt` with the reason of a failure.

    Args:
        program: command line with `{request}` and `{out}`; split as a shell would, but run without one.
        mask_access: whether requests carry the mask.
        batch_size: requests for one start of the program.
    """

    program: str = bare()
    mask_access: MaskAccess = "none"
    batch_size: int = 16

    trained_on: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for placeholder in ("{request}", "{out}"):
            if placeholder not in self.program:
                raise ValueError(f"the command lacks {placeholder}, expected PROGRAM {{request}} {{out}}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}, expected at least 1")

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Start the program once for all requests; each output is judged on its own."""
        with tempfile.TemporaryDirectory(prefix="editbench-") as folder:
            request_folder, out = Path(folder, "request"), Path(folder, "out")
            request_folder.mkdir()
            out.mkdir()
            names = [f"{index:04d}" for index in range(len(requests))]
            lines = [_write(request_folder, *pair) for pair in zip(names, requests, strict=True)]
            (request_folder / "requests.jsonl").write_text("".join(dumps(line) + "\n" for line in lines), "utf-8")
            words = [
                word.replace("{request}", str(request_folder)).replace("{out}", str(out))
                for word in shlex.split(self.program)
            ]
            try:
                done = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,  # a worker's own holds its next requests
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    check=False,
                )
            except OSError as error:
                raise RuntimeError(f"cannot start {words[0]!r}: {error.strerror}") from None
            return [_output(out, name, done) for name in names]


def _write(folder: Path, name: str, request: EditRequest) -> dict[str, object]:
    source = f"{name}.source.png"
    (folder / source).write_bytes(encode_png(request.source))
    line: dict[str, object] = {
        "name": name,
        "source": source,
        "instruction": request.instruction,
        "source_prompt": request.source_prompt,
        "target_prompt": request.target_prompt,
        "seed": request.seed,
    }
    if request.mask is not None:
        line["mask"] = f"{name}.mask.png"
        (folder / f"{name}.mask.png").write_bytes(encode_png(request.mask.astype(np.uint8) * np.uint8(255)))
    return {key: value for key, value in line.items() if value is not None}


def _output(out: Path, name: str, done: subprocess.CompletedProcess[bytes]) -> object:
    reason = out / f"{name}.error.txt"
    if reason.is_file():
        return RuntimeError(reason.read_text("utf-8", "replace").strip()[:500])
    image = out / f"{name}.png"
    if image.is_file():
        try:
            return decode(image)
        except InvalidImage as error:
            return error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        status = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        return RuntimeError(f"the program ended with {status}" + (f": {said[-1][:300]}" if said else ""))
    return OutputMissing(f"the program ended well without writing {name}.png")
