r"""The answer that a solution ends with.

The rule, in this order: the last `\boxed{...}`; what follows the last `####` that begins no heading; what follows the
last "answer is", "Answer:" or heading "Answer"; the last mathematics of the last sentence that has any: a formula
between dollars or brackets, or a number, fraction, power, product or the like that stands in plain text. Knows text
only; whether two answers say the same is `answers`' to say. The time is proportional to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from surestep.data.benchmarks.answer_spelling import latex_signs, normalize_answer
from surestep.data.benchmarks.plain_answers import has_comma, number_of

_LONGEST_SEARCHED = 6_000
"""Characters at the end of a solution in which an answer without a box is looked for."""
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?P<bare>[\w.+-]+))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
"""GSM8K's notes of a computation, `<<9*2=18>>`."""
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*(?P<answer>[^\n]*)")
_HEADING_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_STEP_HEADING = re.compile(r"\W*(?:step|part|case|solution|conclusion|explanation|method|approach)\b", re.IGNORECASE)
_VERDICT = re.compile(r"(?:in)?correct\b|right\b|wrong\b|reasonable\b|valid\b|verified\b|obvious\b", re.IGNORECASE)
_FILLER = re.compile(
    r"\A(?:(?:approximately|about|around|exactly|roughly|simply|just|clearly|indeed|given by|equal to)\s+)+",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\s*,?\s+(?:since|because|as|so|which|where|when|and (?:we|this|that|so)|by|after)\b.*", re.DOTALL
)
_REMARK = re.compile(r"(?<=[\w}$])\s+\([^()\\]*[A-Za-z]{3,}[^()\\]*\)\Z")
_SEVERAL = re.compile(
    r"\b(?:solutions|roots|zeros|zeroes|values|answers)\b[^.]*?\bare\b(?P<list>.*)", re.DOTALL | re.IGNORECASE
)
_ONLY_LISTED = re.compile(r"(?:\s|,|:|and|or|both)*")
_EMPHASIS = r"(?:[*_]{1,2})?"
_LINE = r"(?:\A|(?<=\n))[ \t]*"
_MARKED = re.compile(
    r"(?:\b(?:(?:final|correct|right)\s+)*(?:answer|option|choice)\b[ \t]*(?:to [^.\n:]{1,80}? )?"
    + rf"{_EMPHASIS}[ \t]*(?:is|are|would be|must be|will be|equals|=|:){_EMPHASIS}"
    + r"(?:[ \t]*(?:therefore|thus|option|choice|equal to)\b)?[ \t]*:?"
    + rf"|{_LINE}[*_]{{0,2}}A[ \t]*:"
    + rf"|{_LINE}(?:#{{1,6}}|\*\*)[ \t]*(?:the )?(?:final )?answer[ \t]*:?[ \t]*(?:\*\*)?[ \t]*(?=\n))"
    + _EMPHASIS,
    re.IGNORECASE,
)
_FORMULA = re.compile(
    r"\\begin\{(?P<env>align|aligned|gather|gathered|equation|eqnarray|multline)(?P<star>\*?)\}(?P<rows>(?:(?!\\begin\{(?P=env)).)+?)\\end\{(?P=env)(?P=star)\}|"
    r"(?<!\\)\$\$(?P<double>.+?)(?<!\\)\$\$|(?<!\\)\\\[(?P<display>(?:(?!\\\[).)+?)(?<!\\)\\\]|(?<!\\)\\\((?P<inline>(?:(?!\\\().)+?)(?<!\\)\\\)"
    r"|(?<!\\)\$(?P<dollar>(?!\s*\d[\d,.]*[A-Za-z ,.]* $)(?:\\.|[^$\\\n])+?)(?<!\\)\$(?!\d)",
    re.DOTALL,
)
_SENTENCE_END = re.compile(r"(?<=[^\s.\\])[.!?](?=\s|\Z)|\n+")
_JOINED = re.compile(r"\s*(?:,\s*(?:and|or)(?![a-z])|,|(?:and|or)(?![a-z]))\s*")

_COMMAND = r"\\(?:[A-Za-z]+\*?|[^A-Za-z\s])"
_GROUP = r"\{[^{}]*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}[^{}]*)*\}"
_TOKEN = re.compile(
    rf"(?P<math>\\begin\{{(?P<env>[a-z]*matrix|cases)\}}.*?\\end\{{(?P=env)\}}|\\(?:text|mbox|mathrm|textbf)\s*{_GROUP}|{_COMMAND}|{_GROUP}|"
    r"\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?(?![A-Za-z]{2})|\.\d+|[()\[\]^_+*/=<>|!%°$€£'-]|[A-Za-z](?![A-Za-z])|[,:;](?=\s*[^\s])|"
    r"(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt)(?![A-Za-z]))"
    r"|(?P<word>[^\W\d_]{2,}[\w'’-]*)|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)
_HAS_VALUE = re.compile(r"\d|\\[A-Za-z]{2,}|[A-Za-z]\s*[-+*/^=]|[-+*/^=]\s*[A-Za-z]")
_CHOICE = re.compile(r"\\(?:text(?:bf)?|mathrm|mathbf)\s*\{\s*\(?[A-E]\)?[.:]?\s*\}")
_LONE_NAME = re.compile(r"(?:[A-Za-z]+|\\(?!pi|infty|text)[a-z]+)(?:_\{?\w+\}?)?(?:\([A-Za-z]\))?")
_CHAIN = re.compile(r"(?<![<>:])(?<!\s!)=|\\(?:approx|equiv|implies|Rightarrow|Longrightarrow)(?![A-Za-z])")
_ROW = re.compile(r"(?:\\begin\{(\w+)\}.*?\\end\{\1\}|\\(?!\\).|[^\\])+", re.DOTALL)
_MODULUS = re.compile(r"\s*\\(?:pmod|bmod|mod)\s*(?:\{[^{}]*\}|\d+)\s*$")
_ENDS = " \t\r\n.,;:*_"


def extract_answer(text: str) -> str | None:
    """The answer of a solution in a short spelling, None where the text has none.

    >>> extract_answer(r"so it is $\\boxed{\\frac{1}{2}}$."), extract_answer("#### 1,200"), extract_answer("A: 18.0")
    ('1/2', '1200', '18')
    """
    answer = written_answer(text)
    return None if answer is None else normalize_answer(answer)


def written_answer(text: str, *, only_marked: bool = False) -> str | None:
    """The answer of a solution as it stands there, None where the text has none.

    Args:
        text: the solution.
        only_marked: an answer that is marked as one and ends before the text does: of a text that breaks off, the last
            number is no answer, nor is "the answer is 12", which may have become 125.

    >>> written_answer(r"so it is $\\boxed{\\frac{1}{2}}$."), written_answer("12 + 6", only_marked=True)
    ('\\\\frac{1}{2}', None)
    >>> written_answer("The answer is −3/4."), written_answer("#### Step 2: Add\\nThis makes 7 apples.")
    ('-3/4', '7')
    """
    if (boxed := _last_boxed(text)) is not None:
        return boxed
    text = latex_signs(_DRAWING.sub("", _CALCULATOR.sub("", _tail(text))))
    if (hashed := _behind_hashes(text)) is not None:
        return hashed
    if (marked := _behind_mark(text, only_ended=only_marked)) is not None:
        return marked
    return None if only_marked else _last_mathematics(text)


def _tail(text: str) -> str:
    """Its last lines: an answer that is not boxed stands there, and a search of them is never long."""
    if len(text) <= _LONGEST_SEARCHED:
        return text
    cut = text.find("\n", len(text) - _LONGEST_SEARCHED)
    return text[-_LONGEST_SEARCHED:] if cut < 0 else text[cut:]


def _last_boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{}` whose braces close; its brackets may be left out: `\boxed 5`."""
    found = list(_BOXED.finditer(text))
    if not found:
        return None
    closed: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(text, found[0].start()):
        if brace[0] == "{":
            opened.append(brace.end())
        elif brace[0] == "}" and opened:
            closed[opened.pop()] = brace.start()
    for start in reversed(found):
        if start["bare"]:
            return start["bare"].rstrip(_ENDS)
        if start.end() in closed:
            return text[start.end() : closed[start.end()]]
    return None


def _behind_hashes(text: str) -> str | None:
    """What stands on the last line behind `####` that begins no heading.

    A heading has words and more text below it, or begins with "Step"; words on the last line may be an answer.
    """
    for found in reversed(list(_HASHES.finditer(text))):
        answer = found["answer"].strip()
        mark = _MARKED.search(answer)
        answer = (answer[mark.end() :] if mark else answer).strip()
        is_last = not text[found.end() :].strip()
        if not answer or _STEP_HEADING.match(answer):
            continue
        outside = _FORMULA.sub("", re.sub(_COMMAND + rf"(?:{_GROUP})?", "", answer))
        words = _HEADING_WORDS.findall(outside)
        if is_last or mark or not words or (len(words) == 1 and _is_measure(answer)):
            return answer
    return None


def _is_measure(answer: str) -> bool:
    """Whether it is a number with its unit."""
    return number_of(answer) is not None


def _behind_mark(text: str, *, only_ended: bool) -> str | None:
    """What follows the last "answer is" and its like, to the end of its sentence."""
    for mark in reversed(list(_MARKED.finditer(text))):
        rest = text[mark.end() :]
        below = rest.lstrip()
        if not below:
            continue
        formula = _FORMULA.match(below)
        line = below.splitlines()[0]
        if formula:
            return _formulas_from(below, formula)
        if only_ended and "\n" not in below:
            continue
        answer = _said(_sentence(line))
        if _STEP_HEADING.match(answer) or _VERDICT.match(answer):
            continue
        inner = _FORMULA.search(answer)
        if inner is None or _reads_as_answer(answer):
            found = _of_sentence(answer) if _is_wordy(answer) else answer
        else:
            found = _last_mathematics(answer)
        if found and found.strip(_ENDS):
            return found.strip().rstrip(_ENDS) or None
    return None


def _said(answer: str) -> str:
    """Without "approximately" before it, a reason behind it, a remark in brackets after it."""
    for pattern in (_FILLER, _REASON, _REMARK):
        answer = pattern.sub("", answer).strip() or answer
    return answer


def _is_wordy(answer: str) -> bool:
    """Whether more than a name or a number with its unit is said."""
    return len(_HEADING_WORDS.findall(re.sub(_COMMAND, "", answer))) > 3 and _HAS_VALUE.search(answer) is not None


def _reads_as_answer(answer: str) -> bool:
    return not _FORMULA.search(answer)


def _sentence(line: str) -> str:
    """To the end of the sentence, not to a decimal point."""
    end = next((found.start() for found in _SENTENCE_END.finditer(line)), len(line))
    return line[:end].strip().strip("*_ ")


def _formulas_from(text: str, first: re.Match[str]) -> str:
    """A formula and those joined to it by commas, `and` and `or`: `$x = 1$ or $x = 2$` is one answer."""
    parts = [_inner(first)]
    end = first.end()
    while (joint := _JOINED.match(text, end)) and (following := _FORMULA.match(text, joint.end())):
        parts.append(_inner(following))
        end = following.end()
    return _joined(parts)


def _joined(parts: list[str]) -> str:
    """Values alone, or all of one name, are a list; else the last one is the answer."""
    names = {part.rpartition("=")[0].strip() for part in parts}
    if len(parts) == 1 or len(names) > 1:
        return _value_of_chain(parts[-1])
    return ", ".join(parts)


def _inner(formula: re.Match[str]) -> str:
    """What stands between the delimiters; of an environment its last row."""
    if formula["rows"] is not None:
        rows = [row for row in (found[0] for found in _ROW.finditer(formula["rows"])) if row.strip()]
        whole = re.sub(r"(?:\A|(?<=\s))&|&(?==)", "", rows[-1]) if rows else ""
    else:
        whole = next(part for part in formula.group("double", "display", "inline", "dollar") if part is not None)
        if nested := _FORMULA.fullmatch(whole.strip()):
            return _inner(nested)
    return whole.strip().rstrip(_ENDS)


def _last_mathematics(text: str) -> str | None:
    """The last formula, or mathematics in plain text, of the last sentence that has any."""
    for sentence in reversed(list(_sentences(text))):
        if found := _of_sentence(sentence):
            return found
    return None


def _sentences(text: str) -> Iterator[str]:
    """Its sentences; a formula is never cut."""
    formulas = [found.span() for found in _FORMULA.finditer(text)]
    start = number = 0
    for end in _SENTENCE_END.finditer(text):
        while number < len(formulas) and formulas[number][1] <= end.start():
            number += 1
        if number < len(formulas) and formulas[number][0] < end.start():
            continue
        yield text[start : end.start()]
        start = end.end()
    yield text[start:]


def _of_sentence(sentence: str) -> str | None:
    formulas = list(_FORMULA.finditer(sentence))
    last = formulas[-1] if formulas else None
    plain = _runs(sentence[last.end() :] if last else sentence)
    if plain:
        return _several(sentence) or plain[-1]
    if last is None:
        return None
    if _LONE_NAME.fullmatch(_inner(last)):  # "501 values of $k$"
        said = [formula for formula in formulas if not _LONE_NAME.fullmatch(_inner(formula))]
        if said:
            return _value_of_chain(_inner(said[-1]))
        if before := _runs(sentence[: formulas[0].start()]):
            return before[-1]
    first = last
    for formula in reversed(formulas[:-1]):  # those that are joined to the last one
        if not _JOINED.fullmatch(sentence[formula.end() : first.start()]):
            break
        first = formula
    return _formulas_from(sentence, first)


def _several(sentence: str) -> str | None:
    """All of them, where a sentence lists solutions: "the roots are 1 and 2"."""
    listed = _SEVERAL.search(sentence)
    if listed is None:
        return None
    runs = _runs(listed["list"])
    rest = listed["list"]
    for run in runs:
        rest = rest.replace(run, "", 1)
    return ", ".join(runs) if len(runs) > 1 and _ONLY_LISTED.fullmatch(rest.rstrip(_ENDS)) else None


def _runs(text: str) -> list[str]:
    """Stretches of plain text that are mathematics and have a value."""
    found: list[str] = []
    run = ""
    for token in _TOKEN.finditer(text):
        if token["math"] is not None or (token["space"] is not None and run):
            run += token[0]
            continue
        found.append(run)
        run = ""
    found.append(run)
    return [value for run in found if (value := _value_of_run(run))]


def _value_of_run(run: str) -> str | None:
    run = re.sub(r"^(?:[\s,;:=*)\]/]|[aAI]\s+(?=[\d\\(]))+", "", run).rstrip(_ENDS + "=<>([")
    run = re.sub(r"\s+[aAI]$", "", run)
    if len(re.findall(r"[)\]]", run)) < len(re.findall(r"[(\[]", run)):
        run = run.lstrip("([ ")
    if len(re.findall(r"[)\]]", run)) > len(re.findall(r"[(\[]", run)):
        run = run.rstrip(")] ")
    if not _HAS_VALUE.search(run):
        return None
    return _value_of_chain(run) or None


def _value_of_chain(formula: str) -> str:
    """What a chain of equations ends with: of `9 * 2 = 18` the 18; an equation with 0 or a variable stays whole."""
    formula = _MODULUS.sub("", formula).strip()
    *before, last = [part.strip() for part in _CHAIN.split(formula)]
    if before and not last:
        return formula.rstrip("= ")
    if choice := _CHOICE.match(formula):
        return choice[0]
    if not before or any(map(has_comma, before)):
        return formula
    if len(before) > 1 and _LONE_NAME.fullmatch(last):
        return before[-1]
    if len(before) == 1 and _LONE_NAME.fullmatch(before[0]):
        return formula  # a name of the answer, which says no more than its value
    if last == "0" and re.search(r"[A-Za-z]\s*[-+]|[-+]\s*\d*\s*[A-Za-z]", before[-1]):
        return f"{before[-1]} = 0"
    return last
