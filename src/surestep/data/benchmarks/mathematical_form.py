r"""A name for what an answer means as mathematics: equal for equal values, functions, sets, tuples, relations.

math-verify (https://github.com/huggingface/Math-Verify) reads the LaTeX; what it finds is named here, part by part.
math-verify's own verdict on two answers is not asked for: it rounds to six decimals and calls a set like a tuple in
some orders only, so that a = b and b = c do not make a = c, and a vote would hang on the order of the candidates.
Equal names do. Values are computed to 60 digits and compared by 30; functions at points given by the names of their
variables, so two functions are called equal though they differ with a chance below 1e-25.

Runs in a process of its own (`answer_process`), for some answers would take for ever.
"""

from __future__ import annotations

import hashlib
import logging
from fractions import Fraction
from typing import Any

_DIGITS = 60
_COMPARED = 30
"""Significant digits of a value that is no fraction; far more than rounding spoils, far fewer than are computed."""
_LARGEST_BOTTOM = 10**12
"""Of a fraction that is recognised in a computed value: by chance one comes as near only once in 1e24."""
_POINTS = (1, -1, 1)
"""Signs of the variables' values: |x| and x differ at a negative one only."""


class NotNamedError(Exception):
    """An answer that has no mathematical name."""


def mathematical_name(answer: str) -> str | None:
    r"""The name of an answer's meaning; None where math-verify reads nothing in it.

    >>> mathematical_name(r"\sqrt{8}") == mathematical_name(r"2\sqrt{2}")
    True
    >>> mathematical_name(r"\{2, 1\}"), mathematical_name("(1, 2]"), mathematical_name(r"\frac{x}{x}")
    ('set(number:1; number:2)', '(number:1; number:2]', 'number:1')
    """
    from math_verify import LatexExtractionConfig, parse
    from sympy import Basic, MatrixBase

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    found = parse(f"${answer}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    if not found or not isinstance(found[0], Basic | MatrixBase):
        return None
    try:
        return _name(found[0])
    except Exception:  # SymPy fails in every way over what models write
        return None


def _name(value: Any) -> str:
    import sympy
    from sympy.core.relational import Relational

    if isinstance(value, sympy.MatrixBase):
        return f"matrix {value.rows}x{value.cols}({_names(list(value))})"
    if isinstance(value, sympy.MatrixExpr):
        return _name(value.doit().as_explicit())
    if isinstance(value, sympy.Tuple):
        return f"({_names(value.args)})"
    if isinstance(value, sympy.Interval):
        start, end = ("(" if value.left_open else "["), (")" if value.right_open else "]")
        return f"{start}{_names([value.start, value.end])}{end}"
    if isinstance(value, sympy.FiniteSet):
        members = _members(value)
        return members[0] if len(members) == 1 else f"set({'; '.join(members)})"
    if isinstance(value, sympy.Union):
        return " or ".join(sorted({_name(part) for part in value.args}))
    if isinstance(value, sympy.Set):
        return f"set {value}"
    if isinstance(value, sympy.And):
        return _conjunction(value)
    if isinstance(value, Relational):
        return _relation(value)
    if isinstance(value, sympy.Expr):
        return _expression(value)
    raise NotNamedError


def _names(values: Any) -> str:
    return "; ".join(map(_name, values))


def _members(value: Any) -> list[str]:
    """Names of a set's members, each once; a set among them gives its own, as in {1 ± 2, 3}."""
    import sympy

    found: set[str] = set()
    for part in value.args:
        part = _without_variable(part)
        found.update(_members(part) if isinstance(part, sympy.FiniteSet) else [_name(part)])
    return sorted(found)


def _without_variable(value: Any) -> Any:
    """5 of `x = 5` and of `5 = x`, as of `f(x) = 5`; else the value itself."""
    import sympy
    from sympy.core.function import AppliedUndef

    if not isinstance(value, sympy.Eq):
        return value
    if isinstance(value.lhs, sympy.Symbol | AppliedUndef):
        return value.rhs
    if isinstance(value.rhs, sympy.Symbol) and not value.lhs.free_symbols:
        return value.lhs
    return value


def _relation(value: Any) -> str:
    import sympy

    inner = _without_variable(value)
    if inner is not value:
        return _name(inner)
    bound = _bound(value)
    if bound is not None:
        side, number, is_open = bound
        ends = (
            ("(-oo", f"{number}{')' if is_open else ']'}")
            if side == "above"
            else (f"{'(' if is_open else '['}{number}", "oo)")
        )
        return f"{ends[0]}; {ends[1]}"
    kind = type(value).__name__
    left, right = value.lhs, value.rhs
    if isinstance(value, sympy.StrictGreaterThan | sympy.GreaterThan):
        left, right = right, left
        kind = {"StrictGreaterThan": "StrictLessThan", "GreaterThan": "LessThan"}[kind]
    # Both sides may be multiplied: by anything but 0 in an equation, by a positive number in an inequality.
    values = _values(left - right)
    size = values[0] if isinstance(value, sympy.Eq | sympy.Ne) else abs(values[0])
    return f"{kind}({'; '.join(_number(one / size) for one in values)})"


def _bound(value: Any) -> tuple[str, str, bool] | None:
    """Of `x > 5`: ("below", "number:5", True); None of a relation that bounds no single variable by a number."""
    import sympy

    if isinstance(value, sympy.Eq | sympy.Ne):
        return None
    left, right = value.lhs, value.rhs
    if isinstance(left, sympy.Symbol) and not right.free_symbols:
        side = "below" if isinstance(value, sympy.GreaterThan | sympy.StrictGreaterThan) else "above"
    elif isinstance(right, sympy.Symbol) and not left.free_symbols:
        side = "above" if isinstance(value, sympy.GreaterThan | sympy.StrictGreaterThan) else "below"
        right = left
    else:
        return None
    return side, _name(right), isinstance(value, sympy.StrictGreaterThan | sympy.StrictLessThan)


def _conjunction(value: Any) -> str:
    """`1 < x <= 2` as the interval that it is; else its relations in an order of their own."""
    bounds = [_bound(part) for part in value.args]
    if len(bounds) == 2 and len(value.free_symbols) == 1 and None not in bounds:
        by_side = {bound[0]: bound[1:] for bound in bounds if bound}
        if len(by_side) == 2:
            low, high = by_side["below"], by_side["above"]
            return f"{'(' if low[1] else '['}{low[0]}; {high[0]}{')' if high[1] else ']'}"
    return " and ".join(sorted(map(_name, value.args)))


def _expression(value: Any) -> str:
    import sympy

    if value in (sympy.oo, -sympy.oo):
        return str(value)
    values = _values(value)
    if len({_number(one) for one in values}) == 1:
        return _number(values[0])
    return f"f({'; '.join(map(_number, values))})"


def _values(value: Any) -> list[Any]:
    """An expression's values at each point, as SymPy numbers of `_DIGITS` digits; one of a constant."""
    import sympy

    value = value.xreplace({one: sympy.Rational(str(one)) for one in value.atoms(sympy.Float)})
    value = value.xreplace({one: sympy.I for one in value.free_symbols if one.name == "i"})
    points = _POINTS if value.free_symbols else (1,)
    found = []
    for number, sign in enumerate(points):
        at = {one: sign * _point(one.name, number) for one in value.free_symbols}
        result = value.xreplace(at).evalf(_DIGITS, maxn=1000)
        if not result.is_number or result.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
            raise NotNamedError
        found.append(result)
    return found


def _point(name: str, number: int) -> Any:
    """A value for a variable between 1 and 2, the same everywhere."""
    import sympy

    digest = hashlib.blake2b(f"{name}/{number}".encode(), digest_size=16).digest()
    return 1 + sympy.Rational(int.from_bytes(digest), 2**128)


def _number(value: Any) -> str:
    real, imaginary = value.as_real_imag()
    if abs(imaginary) <= abs(real) * 10.0**-_COMPARED or imaginary == 0:
        return _real(real)
    return (
        f"complex({_real(real) if abs(real) > abs(imaginary) * 10.0**-_COMPARED else 'number:0'}; {_real(imaginary)})"
    )


def _real(value: Any) -> str:
    """A fraction where it is one, else its leading digits."""
    import sympy

    if value.is_Rational:
        return f"number:{Fraction(int(value.p), int(value.q))}"
    precise = sympy.Float(value, _DIGITS)
    if abs(precise) < sympy.Float(10) ** -40:
        return "number:0"
    exact = Fraction(sympy.Rational(precise).p, sympy.Rational(precise).q)
    near = exact.limit_denominator(_LARGEST_BOTTOM)
    if abs(exact - near) <= abs(exact) / 10**45:
        return f"number:{near}"
    return f"real:{sympy.Float(precise, _COMPARED)}"
