"""The nouns of the harness, and the protocols at its seams. Everything that crosses a boundary is defined here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from editbench.names import ID, ID_RULE, NAME_RULE, is_name, shown
from editbench.regions import Mask, RegionName, Regions

Image: TypeAlias = npt.NDArray[np.uint8]
"""`uint8 (H, W, 3)`, sRGB. Checked once, in `images.py`, where data enters."""

MaskAccess = Literal["none", "hint", "region"]
"""What an editor does with the mask: never sees it, sees it but may edit anywhere, or promises to stay inside."""

EditStatus = Literal[
    "ok",
    "editor_error",
    "editor_timeout",
    "editor_oom",
    "editor_killed",
    "output_missing",
    "output_invalid",
    "input_invalid",
    "not_run",
]
EDIT_STATUSES: tuple[EditStatus, ...] = get_args(EditStatus)

Direction = Literal["higher", "lower", "none"]

Zone = Literal["core", "band", "near", "far"]
"""Where an audit plants damage: inside the mask, on both sides of its border, in its surroundings, beyond them."""

Need = Literal["target", "checks", "target_prompt"]
"""What a metric needs from the scenario; where it is absent, the value is undefined for every editor alike."""


class EditbenchError(Exception):
    """Something the user can mend: shown as one line, without a traceback, exit code 2."""


class OutputMissing(Exception):
    """Given by an editor in the place of an image that it did not make."""


class EditFailed(Exception):
    """Given by an editor in the place of an image where it knows how the edit failed elsewhere.

    Args:
        status: of the edit; not `ok`.
        reason: for the record, the same whenever it happens.
    """

    def __init__(self, status: EditStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


# ------------------------------------------------------------------------------------------------ scenarios


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check says about one output."""

    passed: bool
    grade: float
    """How far the output got, in [0, 1]: 0 = as the source was, 1 = as asked."""


class Check(Protocol):
    """A programmatic verifier of one requirement of a scenario."""

    @property
    def name(self) -> str:
        """What is verified, for people: `colour of the star is blue`."""

    @property
    def guard(self) -> bool:
        """True if the source already satisfies it (it guards against damage instead of demanding an edit)."""

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`, an image of the scenario's size."""


@dataclass(frozen=True)
class Content:
    """The part of a scenario that costs time or memory, loaded on first use."""

    source: Image
    mask: Mask
    target: Image | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """One source image, where it may be edited, and what is asked for."""

    id: str
    cluster: str
    """The source scene or photograph: scenarios of one cluster are not independent."""
    category: str
    instruction: str
    load: Callable[[], Content] = field(repr=False, compare=False)
    source_prompt: str | None = None
    target_prompt: str | None = None
    chain: str | None = None
    """Scenarios of one chain are turns of one session: the source of a turn is the target of the turn before it."""
    turn: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise EditbenchError(f"scenario {shown(self.id)}, expected an id of {ID_RULE}")
        if not is_name(self.category):
            raise EditbenchError(f"scenario {self.id!r}: category {shown(self.category)}, expected {NAME_RULE}")

    @cached_property
    def content(self) -> Content:
        """Pixels and checks; kept as long as this object lives."""
        return self.load()

    @property
    def source(self) -> Image:
        """The image to edit."""
        return self.content.source

    @property
    def mask(self) -> Mask:
        """Where the edit may happen: `bool (H, W)`, True = edit."""
        return self.content.mask

    @property
    def target(self) -> Image | None:
        """The exact result, where the suite has one."""
        return self.content.target

    @property
    def checks(self) -> tuple[Check, ...]:
        """The verifiers that decide success; empty where the suite has none for this scenario."""
        return self.content.checks

    @cached_property
    def regions(self) -> Regions:
        """The regions of the mask."""
        return Regions(self.mask)

    def region(self, name: RegionName) -> Mask:
        """Return one region as `bool (H, W)`."""
        return self.regions[name]

    @cached_property
    def pixels_sha256(self) -> str:
        """Hash of source, mask and target: two runs with different values saw different data."""
        digest = hashlib.sha256()
        for array in (self.source, self.mask, self.target):
            digest.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        return digest.hexdigest()


class Suite(Protocol):
    """A named, versioned, identified sequence of scenarios."""

    @property
    def name(self) -> str:
        """Identity for people, free of machine paths: `shapes@1:size=64`."""

    @property
    def identity(self) -> str:
        """sha256 of the manifest, or of the generator and its options; known without decoding pixels."""

    @property
    def licence(self) -> str:
        """Terms of the data, shown to the user."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Scenario: ...

    def __iter__(self) -> Iterator[Scenario]: ...


# ---------------------------------------------------------------------------------------------------- edits


@dataclass(frozen=True)
class EditRequest:
    """What an editor is shown. It carries no id, category, target or check."""

    source: Image
    instruction: str
    seed: int
    mask: Mask | None = None
    """None unless the editor declares a `mask_access` other than `none`."""
    source_prompt: str | None = None
    target_prompt: str | None = None


@runtime_checkable
class Editor(Protocol):
    """Anything that turns requests into images.

    Optional attributes:

    - `trained_on`: specs of the metrics that it was trained on;
    - `batch_size`: requests that it wants in one call (1), and `mixes_sizes`: whether images of different sizes may be
      among them (False);
    - `peak_bytes`: peak memory of the last call, for work done elsewhere;
    - `code_sha256`: hash of whatever decides its answers, such as its weights, beside the file that its spec names;
    - `start()`: load what the first edit needs; it is called before that, and before any deadline begins;
    - `close()`: leave no process, thread or connection behind; it may be called twice, and `edit` again after it.
    """

    @property
    def mask_access(self) -> MaskAccess:
        """Whether requests carry the mask."""

    def edit(self, requests: Sequence[EditRequest], /) -> Sequence[object]:
        """Return one image a request, in order.

        An image is anything `images.as_image` accepts (uint8 or [0, 1] float arrays, Pillow images, tensors).
        An exception instance in the place of an image fails that request alone; a raised one fails the batch,
        whose requests are then tried one by one.
        """


@dataclass(frozen=True)
class Task:
    """One unit of work: a scenario and which repeat of it."""

    scenario: Scenario
    repeat: int
    seed: int
    given: Scenario | None = None
    """In a chain of the editor's own outputs, a later turn: the scenario with the output before it as its source."""

    @property
    def shown(self) -> Scenario:
        """What the editor and the metrics see."""
        return self.scenario if self.given is None else self.given

    @property
    def key(self) -> tuple[str, int]:
        """Scenario id and repeat."""
        return self.scenario.id, self.repeat

    def request(self, access: MaskAccess) -> EditRequest:
        """Return what an editor of this `mask_access` may see, in arrays of its own."""
        scenario = self.shown
        return EditRequest(
            source=scenario.source.copy(),
            instruction=scenario.instruction,
            seed=self.seed,
            mask=None if access == "none" else scenario.mask.copy(),
            source_prompt=scenario.source_prompt,
            target_prompt=scenario.target_prompt,
        )


@runtime_checkable
class Answers(Protocol):
    """Finished images looked up by scenario; built in only, the one source of edits that knows ids."""

    @property
    def mask_access(self) -> MaskAccess:
        """As declared by whoever made the images."""

    def prepare(self, suite: Suite) -> Sequence[str]:
        """Look at the suite before the first answer; return warnings for the user (missing and extra ids)."""

    def answer(self, task: Task) -> object | None:
        """Return the image for a task, None where there is none, or raise."""


@runtime_checkable
class Composite(Protocol):
    """An editor made of another one and a step that knows the scenario (`paste`)."""

    @property
    def mask_access(self) -> MaskAccess:
        """What the composition does with the mask."""

    @property
    def editor(self) -> Editor | Answers:
        """Whose outputs are composed."""

    def compose(self, scenario: Scenario, output: Image) -> Image:
        """Return the final image; `output` is aligned to the source."""


AnyEditor: TypeAlias = Editor | Answers | Composite


# -------------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class Sample:
    """What a metric sees: a scenario and a finished edit of it."""

    scenario: Scenario
    output: Image
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    """Intermediate results that the metrics of one sample share."""


@dataclass(frozen=True, slots=True)
class Undefined:
    """No value, for a reason that lies in the scenario and is the same for every editor."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No value, because computing it failed."""

    reason: str


class Detailed(float):
    """A number with what was seen on the way to it: a curve, the answers of a judge, how many words were cut off.

    It is a float wherever a number is expected; records keep the details, statistics do not see them.

    Args:
        value: the number.
        details: JSON data, the same whenever the edit is.
    """

    details: Mapping[str, Any]

    def __new__(cls, value: float, details: Mapping[str, Any]) -> Detailed:
        """Return a number that carries `details`."""
        number = super().__new__(cls, value)
        number.details = dict(details)
        return number

    def __getnewargs__(self) -> tuple[float, Mapping[str, Any]]:  # type: ignore[override]
        """Return what a copy is made from."""
        return float(self), self.details


Value: TypeAlias = float | Undefined | Failed


@runtime_checkable
class Metric(Protocol):
    """A frozen dataclass: its fields are its options, its spec string is its identity.

    The harness finds out what is undefined before it calls `score`: a metric with a field `region` where that region
    is empty, and a metric whose `needs` the scenario does not have. Optional attributes:

    - `failed_value`: what a failed edit counts as (edit success: 0);
    - `cap`: the value at which the metric is cut off (the board counts such cells);
    - `weights`: a mapping from file to sha256, which raises EditbenchError where one is missing;
    - `device`: what a network runs on, and in which precision;
    - `undefined(scenario) -> str | None`: other reasons to have no value;
    - `watches`, `blind`, `sees`: for an audit, the zones in which it is meant to see damage, those in which it must
      not, and the kinds of damage it is made for, where the region does not say so;
    - `whole`: True for one that measures what happened to the keep region as a whole, which then is damaged so;
    - `reads`: True for one that depends on the instruction; its audit is wrong words, not damage. So is that of one
      that needs the target prompt.
    """

    @property
    def version(self) -> int:
        """Raised whenever a value can change."""

    @property
    def direction(self) -> Direction:
        """Which way is better."""

    @property
    def unit(self) -> str:
        """Unit of the value, empty for a pure number."""

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """What else the scenario must have."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose version can change a value; part of the signature."""

    def score(self, samples: Sequence[Sample], /) -> Sequence[Value]:
        """Return one value a sample, in order, independent of what else is in the batch."""


# -------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class Record:
    """Everything that is kept about one (scenario, repeat); identical whenever the edits are."""

    scenario_id: str
    cluster: str
    category: str
    repeat: int
    edit_status: EditStatus
    edit_sha256: str | None
    pixels_sha256: str | None
    """Hash of the scenario's pixels; None if they could not be read."""
    reason: str | None = None
    flags: tuple[str, ...] = ()
    turn: int = 1
    values: Mapping[str, Value] = field(default_factory=dict)
