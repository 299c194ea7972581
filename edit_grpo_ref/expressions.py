"""Reward expressions: arithmetic over terms in brackets, read by a parser of our own and never by `eval`.

A term is a metric spec (`[target:mae,region=edit]`) or the address of a reward service (`[http://localhost:8000/]`).
Around terms stand numbers, `+ - * / **`, parentheses, and the functions `min`, `max`, `sqrt`, `clip(value, low, high)`.
Nothing is rescaled behind the scenes: `1 - 10*[mae:region=keep]` is worth exactly that.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from editbench.specs import did_you_mean
from editbench.types import EditbenchError

Values: TypeAlias = npt.NDArray[np.float64]
"""`(N,)`: one value a sample, NaN where there is none."""
Node: TypeAlias = Callable[[Mapping[str, Values]], Any]
"""A part of an expression: terms to its values."""
Operators: TypeAlias = Mapping[str, Callable[[Any, Any], Any]]

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<operator>\*\*|[-+*/(),\[]))"
)
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "min": (lambda *values: _fold(np.minimum, values), 1, 8),
    "max": (lambda *values: _fold(np.maximum, values), 1, 8),
    "sqrt": (np.sqrt, 1, 1),
    "clip": (lambda value, low, high: np.minimum(np.maximum(value, low), high), 3, 3),
}
"""Name to function, smallest and largest number of arguments."""
SUMS: Operators = {"+": operator.add, "-": operator.sub}
PRODUCTS: Operators = {"*": operator.mul, "/": np.divide}
DEPTH = 50
"""Parentheses and signs may nest this deep."""


def _fold(function: Callable[[Any, Any], Any], values: tuple[Any, ...]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


class ExpressionError(EditbenchError):
    """A reward expression that cannot be read; the message points at the place."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"reward {text!r}, at character {position + 1}: {message}")


@dataclass(frozen=True)
class Expression:
    """A parsed reward expression."""

    text: str
    terms: Mapping[str, int]
    """The distinct terms in order of appearance, and the position of each."""
    _node: Node = field(repr=False, compare=False)

    def __call__(self, values: Mapping[str, Values]) -> Values:
        """Evaluate.

        Args:
            values: for each term, float64 `(N,)`.

        Returns:
            float64 `(N,)`; not finite where a term is not, or where the arithmetic has no answer (`1/0`, `sqrt(-1)`).
        """
        with np.errstate(all="ignore"):
            result = self._node(values)
        return np.broadcast_to(np.asarray(result, np.float64), next(iter(values.values())).shape).copy()


def parse(text: str) -> Expression:
    """Read an expression.

    >>> parse("1 - 10*[mae:region=keep]").terms
    {'mae:region=keep': 7}

    Raises:
        ExpressionError: naming the position, what stands there and what was expected.
    """
    parser = _Parser(text)
    node = parser.sum(0)
    if parser.kind != "end":
        raise parser.unexpected("an operator")
    if not parser.terms:
        raise ExpressionError(text, 0, "no metric in it: write metrics in brackets, such as [mae:region=keep]")
    return Expression(text, parser.terms, node)


class _Parser:
    """Recursive descent with one token of look-ahead: sum > product > sign > power > atom."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.terms: dict[str, int] = {}
        self.kind, self.token, self.start, self.end = "", "", 0, 0
        self.advance()

    def advance(self) -> None:
        match = TOKEN.match(self.text, self.end)
        if match is not None and match.lastgroup is not None:
            self.kind, self.token = match.lastgroup, match[match.lastgroup]
            self.start, self.end = match.start(match.lastgroup), match.end()
            return
        rest = self.text[self.end :]
        self.start = self.end + len(rest) - len(rest.lstrip())
        self.kind, self.token = ("other", self.text[self.start]) if rest.strip() else ("end", "")

    def unexpected(self, expected: str) -> ExpressionError:
        found = repr(self.token) if self.token else "the end"
        return ExpressionError(self.text, self.start, f"{found}, expected {expected}")

    def take(self, *tokens: str) -> str | None:
        """Return the current token and go on if it is one of these operators."""
        if self.kind != "operator" or self.token not in tokens:
            return None
        token = self.token
        self.advance()
        return token

    def need(self, token: str) -> None:
        if self.take(token) is None:
            raise self.unexpected(repr(token))

    def sum(self, depth: int) -> Node:
        return self.chain(SUMS, self.product, depth)

    def product(self, depth: int) -> Node:
        return self.chain(PRODUCTS, self.sign, depth)

    def chain(self, operators: Operators, part: Callable[[int], Node], depth: int) -> Node:
        node = part(depth)
        while token := self.take(*operators):
            node = _binary(operators[token], node, part(depth))
        return node

    def sign(self, depth: int) -> Node:
        if depth > DEPTH:
            raise ExpressionError(self.text, self.start, f"nested deeper than {DEPTH}")
        if token := self.take("+", "-"):
            inner = self.sign(depth + 1)
            return inner if token == "+" else lambda values: -inner(values)
        node = self.atom(depth)
        if self.take("**"):  # binds tighter than a sign on its left, looser than one on its right, as in Python
            return _binary(np.power, node, self.sign(depth + 1))
        return node

    def atom(self, depth: int) -> Node:
        kind, token, start = self.kind, self.token, self.start
        if kind == "number":
            self.advance()
            number = np.float64(token)
            return lambda values: number
        if kind == "name":
            self.advance()
            return self.call(token, start, depth)
        if token == "[":
            return self.term(start)
        if self.take("("):
            node = self.sum(depth + 1)
            self.need(")")
            return node
        raise self.unexpected("a number, a function, '(' or a metric in brackets")

    def call(self, name: str, start: int, depth: int) -> Node:
        if name not in FUNCTIONS or self.token != "(":
            hint = did_you_mean(
                name, FUNCTIONS
            ) or f": write a metric in brackets, [{name}], or one of the functions " + (", ".join(FUNCTIONS))
            raise ExpressionError(self.text, start, f"{name!r} is no function call{hint}")
        self.need("(")
        arguments = [self.sum(depth + 1)]
        while self.take(","):
            arguments.append(self.sum(depth + 1))
        self.need(")")
        function, least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise ExpressionError(self.text, start, f"{name} takes {wanted} arguments, {len(arguments)} given")
        return lambda values: function(*(argument(values) for argument in arguments))

    def term(self, start: int) -> Node:
        """Read up to the bracket that closes `[`; specs may hold brackets and quoted text themselves."""
        position, depth = start, 0
        while position < len(self.text):
            character = self.text[position]
            if character == '"' and self.text[position - 1] in "=:,":
                try:
                    _, position = json.JSONDecoder().raw_decode(self.text, position)
                except json.JSONDecodeError:
                    raise ExpressionError(self.text, position, "an unfinished quoted value") from None
                continue
            depth += (character == "[") - (character == "]")
            position += 1
            if depth == 0:
                break
        if depth:
            raise ExpressionError(self.text, start, "this bracket is never closed")
        spec = self.text[start + 1 : position - 1].strip()
        if not spec:
            raise ExpressionError(self.text, start, "empty brackets, expected a metric such as [mae:region=keep]")
        self.terms.setdefault(spec, start)
        self.end = position
        self.advance()
        return lambda values: values[spec]


def _binary(function: Callable[[Any, Any], Any], left: Node, right: Node) -> Node:
    return lambda values: function(left(values), right(values))
