"""Arithmetic in Python's notation, without Python: its parser reads, what is not named here is refused.

No step can be slow, since no number gets longer than ``BITS``, and an expression has at most ``LONGEST`` of them.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

LONGEST = 1000
BITS = 4096
"""Of a whole number: about 1,200 digits."""
_MOST_FACTORS = 500

Number = int | float


def calculated(text: str) -> str:
    """The value: whole numbers in full, others with 15 digits. Raises ValueError, whose text is for who asked."""
    if len(text) > LONGEST:
        raise ValueError(f"the expression has more than {LONGEST} characters")
    if foreign := re.search(r"[^0-9A-Za-z_.+\-*/%(), ]", text):
        raise ValueError(f"the character {foreign.group()!r} is not known here{_HINTS.get(foreign.group(), '')}")
    try:
        if _GLUED.search(text):
            raise SyntaxError
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError):
        raise ValueError("the expression cannot be read; check the parentheses and what functions are given") from None
    except (RecursionError, MemoryError):
        raise ValueError("the expression is nested too deeply") from None
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError(_TOO_LARGE) from None
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(int() | float() as number) if not isinstance(number, bool):
            return _checked(number)
        case ast.Name(name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op, operand) if type(op) in _SIGNS:
            return _checked(_SIGNS[type(op)](_value(operand)))
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            return _checked(_OPERATORS[type(op)](_value(left), _value(right)))
        case ast.Call(ast.Name(name), arguments, []) if name in FUNCTIONS:
            return _checked(FUNCTIONS[name](*[_value(argument) for argument in arguments]))
        case ast.Name(name) | ast.Call(ast.Name(name)):
            raise ValueError(f"{name} is not known here")
        case ast.Tuple():
            raise ValueError("write numbers without thousands separators, and with a decimal point")
    raise ValueError("only numbers, + - * / // % **, parentheses and the functions named can be used")


def _checked(value: object) -> Number:
    if isinstance(value, int):
        if value.bit_length() > BITS:
            raise OverflowError
        return value
    if not isinstance(value, float):
        raise ValueError("the result is not a real number")
    if math.isnan(value):
        raise ValueError("the result is not defined")
    if math.isinf(value):
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> object:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1 and exponent > BITS / math.log2(abs(base)):
        raise OverflowError
    return base**exponent


def _factorial(number: Number) -> int:
    if number > _MOST_FACTORS:
        raise OverflowError
    return math.factorial(_whole(number))


def _whole(number: Number) -> int:
    if number != int(number):
        raise ValueError("a whole number is needed here")
    return int(number)


def _round(number: Number, digits: Number = 0) -> Number:
    if abs(digits) > LONGEST:
        raise OverflowError
    return round(number, _whole(digits)) if digits > 0 else int(round(number, _whole(digits)))


def _lcm(*numbers: Number) -> Number:
    found: Number = 1
    for number in numbers:
        found = _checked(math.lcm(_whole(found), _whole(number)))
    return found


_GLUED = re.compile(r"[0-9A-Fa-f_.](and|else|for|if|in|is|not|or)")
"""A number that runs into a keyword: Python's parser would warn of it in the server's log."""
_TOO_LARGE = "a number became too large"
_HINTS = {"^": "; powers are written **", "×": "; use *", "÷": "; use /", "−": "; use -"}
_SIGNS: Mapping[type[ast.unaryop], Callable[[Number], object]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e}
FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "abs": abs,
    "round": _round,
    "floor": math.floor,
    "ceil": math.ceil,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "atan2": math.atan2,
    "degrees": math.degrees,
    "radians": math.radians,
    "factorial": _factorial,
    "gcd": math.gcd,
    "lcm": _lcm,
}
