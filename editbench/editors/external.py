"""Editors that are not ours: finished images in a folder, any program, a plain Python function."""

from __future__ import annotations

import inspect
import os
import resource
import shlex
import shutil
import subprocess
import sys
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
    mixes_sizes: ClassVar[bool] = True

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
                output = self.function(**{name: getattr(request, name) for name in self.parameters})
                outputs.append(output.copy() if isinstance(output, np.ndarray) else output)  # it may reuse a buffer
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
        gone = {key: path for key, path in self._images.items() if not path.is_file()}
        for key in gone:
            del self._images[key]
        ids = {scenario.id for scenario in suite}
        found = {scenario_id for scenario_id, _ in self._images}
        absent = sorted(str(path) for path in gone.values())
        if not ids & found:
            hint = f"it names files that do not exist: {_some(absent)}" if absent else f"expected {min(ids)}.png, …"
            raise EditbenchError(f"{self.path} has no image for any of the {len(ids)} scenarios; {hint}")
        findings = [(absent, f"of {len(gone) + len(self._images)} files do not exist")]
        for repeat in sorted({0} | {repeat for scenario_id, repeat in self._images if scenario_id in ids}):
            words = f"of {len(ids)} scenarios have no image" + (f" for repeat {repeat}" if repeat else "")
            findings.append((sorted(name for name in ids if (name, repeat) not in self._images), words))
        findings.append((sorted(found - ids), f"of {len(found)} ids are not in the suite"))
        return [f"{self.path}: {len(which)} {words}: {_some(which)}" for which, words in findings if which]

    def _read_folder(self) -> None:
        for path in sorted(self.path.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                name, _, repeat = path.stem.rpartition("@")
                if name and repeat.isdecimal():
                    self._add(name, int(repeat), path)
                else:
                    self._add(path.stem, 0, path)

    def _read_list(self) -> None:
        lines = self.path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
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


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


# ------------------------------------------------------------------------------------------------- any program


class ProgramFailed(RuntimeError):
    """A program ended badly, and left a request without an answer."""


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
    _peaks: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    trained_on: ClassVar[tuple[str, ...]] = ()
    mixes_sizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for placeholder in ("{request}", "{out}"):
            if placeholder not in self.program:
                raise ValueError(f"the command lacks {placeholder}, expected PROGRAM {{request}} {{out}}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}, expected at least 1")
        try:
            words = shlex.split(self.program)
        except ValueError as error:
            raise EditbenchError(f"command {self.program!r} cannot be split into words: {error}") from None
        if shutil.which(words[0]) is None:
            raise EditbenchError(f"command {self.program!r}: no program {words[0]!r} (not found, or not executable)")
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        if Path(words[0]).name.startswith("python") and script.endswith(".py") and not Path(script).is_file():
            raise EditbenchError(f"command {self.program!r}: no file {script!r}")

    @property
    def peak_bytes(self) -> int:
        """Peak memory of the program during the last `edit`; 0 if it was too little to be told from our own."""
        return max(self._peaks, default=0)

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Start the program once for all requests; each output is judged on its own.

        If it ends badly, what it left without an answer is tried again one by one: the culprit alone is charged.
        """
        self._peaks.clear()
        outputs = self._answers(requests)
        if len(requests) == 1:
            return outputs
        return [
            self._answers([request])[0] if isinstance(output, ProgramFailed) else output
            for request, output in zip(requests, outputs, strict=True)
        ]

    def _answers(self, requests: Sequence[EditRequest]) -> list[object]:
        with tempfile.TemporaryDirectory(prefix="editbench-") as temporary:
            folder = Path(temporary).resolve()
            for name in ("request", "out"):
                (folder / name).mkdir()
            names = [f"{index:04d}" for index in range(len(requests))]
            lines = [_write(folder / "request", *pair) for pair in zip(names, requests, strict=True)]
            text = "".join(dumps(line) + "\n" for line in lines)
            (folder / "request" / "requests.jsonl").write_text(text, "utf-8")
            failure = self._start(folder)
            return [_output(folder, name, failure) for name in names]

    def _start(self, folder: Path) -> str | None:
        """Run the program to its end; return how it failed."""
        places = {"{request}": str(folder / "request"), "{out}": str(folder / "out")}
        words = shlex.split(self.program)
        for placeholder, place in places.items():
            words = [word.replace(placeholder, place) for word in words]
        with (folder / "stderr").open("wb") as stderr:
            try:
                nothing = subprocess.DEVNULL  # a worker's own standard input holds its next requests
                process = subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=stderr)
            except OSError as error:
                raise RuntimeError(f"cannot start {words[0]!r}: {error.strerror}") from None
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
        process.returncode = os.waitstatus_to_exitcode(status)
        self._peaks.append(_beyond_ours(usage.ru_maxrss))
        if process.returncode == 0:
            return None
        said = (folder / "stderr").read_bytes()[-10_000:].decode(errors="replace").strip().splitlines()
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
        return f"the program ended with {how}" + (f": {said[-1]}" if said else "")


def _beyond_ours(peak: int) -> int:
    """Return the peak memory of a child in bytes; 0 unless it is more than ours, which Linux counts for the child."""
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) if peak > 1.02 * ours else 0


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


def _output(folder: Path, name: str, failure: str | None) -> object:
    reason = folder / "out" / f"{name}.error.txt"
    if reason.is_file():
        return RuntimeError(_stable(reason.read_text("utf-8", "replace").strip(), folder, name))
    image = folder / "out" / f"{name}.png"
    if image.is_file():
        try:
            return decode(image)
        except InvalidImage as error:
            if failure is None:
                return error
    if failure is not None:
        return ProgramFailed(_stable(failure, folder, name))
    return OutputMissing("the program ended well without writing {out}/{name}.png")


def _stable(text: str, folder: Path, name: str) -> str:
    """Return what a program said without what depends on the batch: its temporary folders, the name of a request."""
    for place in ("request", "out"):
        text = text.replace(str(folder / place), f"{{{place}}}")
    for ending in (".source.png", ".mask.png", ".png", ".error.txt"):
        text = text.replace(name + ending, "{name}" + ending)
    return text[:500]
