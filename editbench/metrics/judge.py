"""A vision-language model as judge, behind any OpenAI-compatible server (vLLM, SGLang, llama.cpp, a vendor's).

A judge's answer is data, not truth: it is kept as it was given, it is asked for several times, and one that cannot be
read is an error of that value, never a number.
"""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date as Day
from typing import Any, ClassVar, Literal, TypeAlias

from editbench.metrics import judge_cache
from editbench.metrics.judge_cache import Answer
from editbench.metrics.judge_client import CHECK_SECONDS, Connection, Request, check_endpoint
from editbench.metrics.judge_questions import SETS, ParseError, PromptSet, Question, file_sha256, files, question
from editbench.registry import bare
from editbench.specs import quote
from editbench.transport import ApiError
from editbench.types import Detailed, Direction, EditbenchError, Failed, Need, Sample, Scenario, Value

URL = "EDITBENCH_JUDGE_URL"
"""Environment variable with the address of the judge's API, or `cache`: answers that are kept, and no others."""
CONCURRENT = 8
"""Questions that wait for an answer at the same time."""
LEVEL = 0.95

_WRITTEN = ("passes", "seed", "temperature", "max_tokens", "date")
"""Options beside the model that are written in the spec where they differ from their default."""


@dataclass(frozen=True)
class _Asked:  # one question of one pass, and the name of its answer
    question: Question
    identity: Mapping[str, Any]
    key: str
    seed: int


Pass: TypeAlias = list[_Asked]
"""The questions of one pass over one sample."""


@dataclass(frozen=True)
class Judge:
    """What a vision-language model says about an edit: `judge:viescore,model=Qwen/Qwen2.5-VL-7B-Instruct`.

    Prompt sets:

    - `viescore_sc`: semantic consistency, min(success, restraint), 0 to 10; source and output are shown.
    - `viescore_pq`: perceptual quality, min(naturalness, freedom from artefacts), 0 to 10; the output alone is shown.
    - `viescore`: sqrt(SC · PQ) of each pass, 0 to 10.
    - `region_edit`: "was the change made inside the marked region?", 1 or 0; the region is cut out and outlined, with
      the source around it in both images, so that damage elsewhere cannot be seen.
    - `region_keep`: "did anything outside change?", 1 for no; the source stands inside the region in both images.
    - `multiple_choice`: 1 if the right instruction is picked among four and "none of these"; the wrong ones come from
      the instruction and a shipped list, so that a value does not depend on other scenarios.

    The value is the mean over passes. Only if every answer of every pass can be read is there one; otherwise the first
    failure, in the order of passes, is the reason: `parse_error`, `refused` (the server's refusal field or its content
    filter) or `api_error` (no answer). Details hold the answers as they were given, the value of each pass, a t
    interval over them (95 %, None for one pass), the id that the server gave for its model, whether it was bound to the
    schema, and the days on which the answers were given.

    Address, timeout and retries say how to get an answer, not which: they are no part of the spec. Model, prompt set,
    passes, seed, temperature, length and date are, and the hashes of the prompt files are in the signature beside it.
    A server that answers as another model than was asked is an error: name a dated snapshot, not an alias that moves.

    References:
        Ku et al. 2024, VIEScore (arXiv 2312.14867), as GEdit-Bench uses it; the words are our own.

    Disagreements:
        Judges disagree with each other and with people: no two models, nor sets of words, share a column.

    Args:
        prompts: the prompt set.
        model: the id under which the server serves it (`GET /v1/models`).
        endpoint: address of the API; by default that in `EDITBENCH_JUDGE_URL`. `cache` stands for the answers that are
            kept, and no others.
        passes: how many times each question is asked. At temperature 0 the spread shows what the server itself leaves
            to chance, and for `multiple_choice` the influence of the order.
        seed: of the first pass; the following ones count up from it.
        temperature: of sampling, 0 to 2.
        max_tokens: of an answer, thinking included; a longer one is cut off, which is a parse error.
        date: a day (2026-01-31) that names a round of judging. Answers of one round are not used in another: give a
            new one where a vendor may have changed what stands behind a name.
        timeout: seconds for one attempt.
        retries: how many times an attempt is repeated that failed for no fault of the question.
    """

    model: str
    prompts: PromptSet = bare()
    endpoint: str | None = None
    passes: int = 3
    seed: int = 0
    temperature: float = 0.0
    max_tokens: int = 2048
    date: str | None = None
    timeout: float = 120.0
    retries: int = 3

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.prompts not in SETS:
            raise ValueError(f"prompts={self.prompts!r}, expected one of {', '.join(SETS)}")
        if not self.model.strip():
            raise ValueError("model is empty, expected the id under which the server serves it")
        limits: dict[str, tuple[float, float]] = {
            "passes": (1, 100),
            "seed": (0, 2**31 - 101),  # passes count up from it
            "temperature": (0, 2),
            "max_tokens": (1, 10**6),
            "timeout": (0.01, 86400),
            "retries": (0, 20),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)}, expected {low} to {high}")
        if self.date is not None and not _is_day(self.date):
            raise ValueError(f"date={self.date!r}, expected a day such as 2026-01-31")
        if self.endpoint is not None:
            check_endpoint(self.endpoint, "endpoint")

    @property
    def spec(self) -> str:
        """The canonical spec, without what says only how to get an answer."""
        parts = [self.prompts, f"model={quote(self.model)}"]
        for name in _WRITTEN:
            value = float(self.temperature) if name == "temperature" else getattr(self, name)
            if value != getattr(Judge, name):
                parts.append(f"{name}={value}")
        return f"judge:{','.join(parts)}"

    @property
    def range(self) -> tuple[float, float]:
        """0 to 10 for scores, 0 to 1 for the share of right answers."""
        return (0.0, 10.0) if self.prompts.startswith("viescore") else (0.0, 1.0)

    @property
    def failed_value(self) -> float | None:
        """0 where the question is whether the edit was made; a failed edit has no quality and no restraint."""
        return None if self.prompts in ("viescore_pq", "region_keep") else 0.0

    @property
    def weights(self) -> Mapping[str, str]:
        """The name of the model, which stays with its server, and the sha256 of each prompt file.

        Raises:
            EditbenchError: if there is no address, no server or no such model there.
        """
        address = self._address()
        if address != "cache":
            with Connection(address, min(self.timeout, CHECK_SECONDS), min(self.retries, 1)) as connection:
                connection.check(self.model)
        names = [name for prompt in SETS[self.prompts] for name in files(prompt)]
        return {"model": self.model, **{name: file_sha256(name) for name in names}}

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why a question makes no sense on a scenario."""
        if self.prompts not in ("viescore_pq", "region_keep") and not scenario.instruction.strip():
            return "no instruction"
        if self.prompts == "multiple_choice" and not scenario.mask.any():
            return "no-op"
        if self.prompts in ("region_edit", "region_keep"):
            region: Literal["edit", "keep"] = "edit" if self.prompts == "region_edit" else "keep"
            return None if scenario.region(region).any() else f"empty {region} region"
        return None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        asked = [[self._pass(sample, number) for number in range(self.passes)] for sample in samples]
        answers = self._answers(asked)
        return [self._value(passes, answers) for passes in asked]

    # ------------------------------------------------------------------------------------------------- asking

    def _address(self) -> str:
        address = self.endpoint or os.environ.get(URL, "").strip()
        if not address:
            raise EditbenchError(
                f"judge has no server: `vllm serve {self.model}` starts one; then {URL}=http://127.0.0.1:8000/v1"
            )
        check_endpoint(address, URL)
        return address

    def _pass(self, sample: Sample, number: int) -> Pass:
        asked = []
        seed = self.seed + number
        for prompt in SETS[self.prompts]:
            put = question(prompt, sample, seed)
            identity = {
                **put.identity(),
                "model": self.model,
                "pass": number,
                "seed": seed,
                "temperature": float(self.temperature),
                "max_tokens": self.max_tokens,
                "date": self.date,
                "version": self.version,
            }
            asked.append(_Asked(put, identity, judge_cache.key_of(identity), seed))
        return asked

    def _answers(self, samples: Sequence[Sequence[Pass]]) -> dict[str, Answer | ApiError]:
        """Return the answer to each question, by key: one that is kept, or a new one; equal questions are put once."""
        questions = {asked.key: asked for passes in samples for number in passes for asked in number}
        known: dict[str, Answer | ApiError] = {}
        for key, asked in questions.items():
            kept = judge_cache.recall(asked.identity)
            if kept is not None:
                known[key] = kept
        missing = [key for key in questions if key not in known]
        if not missing:
            return known
        address = self._address()
        if address == "cache":
            return {**known, **dict.fromkeys(missing, ApiError("no answer is kept"))}
        with (
            Connection(address, self.timeout, self.retries) as connection,
            ThreadPoolExecutor(min(CONCURRENT, len(missing))) as pool,
        ):
            try:
                made = list(pool.map(lambda key: self._ask(connection, questions[key]), missing))
            except BaseException:  # Ctrl-C must not wait for what will be thrown away
                connection.stop()
                raise
            return {**known, **dict(zip(missing, made, strict=True))}

    def _ask(self, connection: Connection, asked: _Asked) -> Answer | ApiError:
        put = asked.question
        request = Request(
            self.model, put.text, put.images, put.schema, asked.seed, float(self.temperature), self.max_tokens
        )
        try:
            return judge_cache.keep(asked.identity, connection.ask(request))
        except ApiError as error:
            return error

    # ------------------------------------------------------------------------------------------------ reading

    def _value(self, passes: Sequence[Pass], answers: Mapping[str, Answer | ApiError]) -> Value:
        values: list[float] = []
        texts: list[dict[str, str]] = []
        given: list[Answer] = []
        for number, questions in enumerate(passes, start=1):
            scores: list[float] = []
            texts.append({})
            for asked in questions:
                try:
                    score, answer = _read(asked.question, answers[asked.key])
                except _NoValueError as error:
                    return Failed(f"{error.kind}: {asked.question.prompt}, pass {number}: {error}")
                scores.append(score)
                given.append(answer)
                texts[-1][asked.question.prompt] = answer.reply.text
            values.append(math.sqrt(math.prod(scores)) if len(scores) > 1 else scores[0])
        details = {
            "answers": texts,
            "passes": values,
            "interval": interval(values, self.range),
            "model": self.model,
            "json_schema": all(answer.reply.json_schema for answer in given),
            "dates": sorted({answer.date for answer in given}),
        }
        return Detailed(math.fsum(values) / len(values), details)


class _NoValueError(Exception):
    """An answer that is no number: what kind of failure, and why."""

    def __init__(self, kind: Literal["parse_error", "refused", "api_error"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _read(put: Question, answer: Answer | ApiError) -> tuple[float, Answer]:
    if isinstance(answer, ApiError):
        raise _NoValueError("api_error", str(answer))
    reply = answer.reply
    if reply.refusal:
        raise _NoValueError("refused", "by the judge")
    if reply.finish_reason == "content_filter":
        raise _NoValueError("refused", "by the server's content filter")
    if reply.finish_reason == "length":
        raise _NoValueError("parse_error", "cut off at max_tokens")
    try:
        return put.read(reply.text), answer
    except ParseError as error:
        raise _NoValueError("parse_error", str(error)) from None


def interval(values: Sequence[float], bounds: tuple[float, float]) -> list[float] | None:
    """Return a 95 % t interval for the mean of independent passes, within the metric's range; None for one pass."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    mean = math.fsum(values) / len(values)
    factor = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2))
    margin = factor * statistics.stdev(values) / math.sqrt(len(values))
    return [max(mean - margin, bounds[0]), min(mean + margin, bounds[1])]


def _is_day(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text)) and bool(Day.fromisoformat(text))
    except ValueError:
        return False
