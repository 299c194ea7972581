"""A plain Python function as an editor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from editbench.types import EditbenchError, EditRequest, MaskAccess


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
