"""Problem and steps to the tokens that a model of some form reads, with the token of each step where its score stands.

A whole text is tokenised at once, as the models' own code does, and the tags are found by their places in it: a step
that quotes a tag moves nothing. A user's text never makes an added token (see `encoding.tokenizer`). Knows tokenizers
and forms; knows no model.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from surestep.encoding.tokenizer import added_tokens_pattern, cut_inside
from surestep.errors import BackboneError
from surestep.scoring.other_scorers.forms import Form
from surestep.scoring.other_scorers.path_scores import plain
from surestep.scoring.other_scorers.sequence_tree import Tokens
from surestep.types import ReasoningTree

_NUMBERED = re.compile(r"\s*step\s*\d+\s*[:.]\s*", re.IGNORECASE)


class _Marks(NamedTuple):
    """Two characters of the private area that no text holds: they mark places, and are taken out again."""

    tag: str
    cut: str

    @classmethod
    def unused_in(cls, *texts: str) -> _Marks:
        used = set().union(*map(set, texts))
        free = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in used)
        return cls(next(free), next(free))


class FormLayout:
    """What a form's tokenizer makes of trees.

    Args:
        form: the form.
        tokenizer: a fast Hugging Face tokenizer.
        name: of the model, for messages.

    Raises:
        BackboneError: the tokenizer lacks what the form needs.
    """

    def __init__(self, form: Form, tokenizer: Any, name: str) -> None:
        self.form, self._tokenizer, self._name = form, tokenizer, name
        if not getattr(tokenizer, "is_fast", False):
            raise BackboneError(
                f"{name}: {form.name} needs a fast tokenizer (tokenizer.json), which says where tags lie"
            )
        if form.layout.startswith("chat") and not tokenizer.chat_template:
            raise BackboneError(f"{name}: {form.name} needs a chat template, and its tokenizer has none")
        self._added = added_tokens_pattern(tokenizer)
        bos = tokenizer.bos_token_id
        opens = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
        self._opening: Tokens = (bos,) if opens else ()
        if form.layout == "pieces":
            self._separator = self._plain(form.tag)
            if not self._separator:
                raise BackboneError(f"{name}: the separator {form.tag!r} is no token of its vocabulary")
            self._opening = () if bos is None else (bos,)
        if form.layout in ("chat_tags", "text"):
            self._tag_id = self.token_of(form.tag)

    def token_of(self, text: str) -> int:
        """The one token of a tag or an answer.

        Raises:
            BackboneError: the vocabulary has no such token.
        """
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        before = self._tokenizer.decode(ids[:-1]) if ids else ""
        known = ids and before.strip() == "" and ids[-1] != self._tokenizer.unk_token_id
        if not known:
            raise BackboneError(
                f"{self._name}: the tag {text!r} of the form {self.form.name} is no token of its vocabulary; is the "
                'model of another form, or has another tag ({"form": ..., "path": ..., "tag": ...})?'
            )
        return int(ids[-1])

    def answers(self) -> tuple[int, int]:
        """The tokens for right and wrong, as they stand where a score is read.

        Raises:
            BackboneError: the vocabulary has no such token.
        """
        # Behind "Answer:", without a chat template, an answer begins with a space.
        space = " " if self.form.layout == "question" and not self._tokenizer.chat_template else ""
        return self.token_of(space + self.form.good), self.token_of(space + self.form.bad)

    def sequences(self, tree: ReasoningTree) -> list[Tokens]:
        """For each step all tokens up to the one that its score is read at."""
        problem, steps = plain(tree)
        marks = _Marks.unused_in(problem, *steps)
        # What users wrote is cut within what would be an added token; the form's own texts make theirs.
        problem, *steps = (marks.cut.join(cut_inside(text, self._added)) for text in (problem, *steps))
        if self.form.layout == "question":
            return [
                self._question(problem, [steps[node] for node in tree.path(last)], marks) for last in range(len(steps))
            ]
        make = self._pieces if self.form.layout == "pieces" else self._marked
        found: dict[int, Tokens] = {}
        for path in tree.paths():
            tokens, reads = make(problem, [steps[node] for node in path], marks)
            for node, read in zip(path, reads, strict=True):
                if node not in found:
                    found[node] = tokens[: read + 1]
        return [found[node] for node in range(len(steps))]

    def _step(self, number: int, step: str) -> str:
        template = self.form.step
        if self.form.numbered and _NUMBERED.match(step):
            template = template[template.index("{step}") :]
        return _filled(template, {"step": step, "number": str(number)})

    def _pieces(self, problem: str, steps: Sequence[str], marks: _Marks) -> tuple[Tokens, list[int]]:
        """Each piece tokenised alone."""
        tokens = [*self._opening, *self._plain(_filled(self.form.problem, {"problem": problem}), marks.cut)]
        reads = []
        for number, step in enumerate(steps, start=1):
            tokens += [*self._plain(self._step(number, step), marks.cut), *self._separator]
            reads.append(len(tokens) - 1)
        return tuple(tokens), reads

    def _plain(self, text: str, cut: str | None = None) -> Tokens:
        pieces = [text] if cut is None else text.split(cut)
        found = self._tokenizer(pieces, add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(token for ids in found for token in ids)

    def _marked(self, problem: str, steps: Sequence[str], marks: _Marks) -> tuple[Tokens, list[int]]:
        """The whole text tokenised at once; where its tags stand."""
        form = self.form
        opening = _filled(form.problem, {"problem": problem})
        written = [self._step(number, step) for number, step in enumerate(steps, start=1)]
        if form.layout == "text":
            text = opening + "\n".join(step + marks.tag + form.tag for step in written)
            return self._tokens_of(text, marks, form.tag, opening=self._opening)
        messages = self._system()
        if form.layout == "chat_tags":
            answer = "".join(step + marks.tag + form.tag for step in written)
            messages += [{"role": "user", "content": opening}, {"role": "assistant", "content": answer}]
            return self._tokens_of(self._chat(messages), marks, form.tag)
        for number, step in enumerate(written):
            messages += [
                {"role": "user", "content": step if number else opening + step},
                {"role": "assistant", "content": marks.tag + form.good},
            ]
        return self._tokens_of(self._chat(messages), marks, form.good, before=True)

    def _question(self, problem: str, steps: Sequence[str], marks: _Marks) -> Tokens:
        """A question about the last step, up to where its answer begins."""
        written = "\n".join(self._step(number, step) for number, step in enumerate(steps, start=1))
        values = {"problem": problem, "steps": written, "good": self.form.good, "bad": self.form.bad}
        asked = _filled(self.form.question, values)
        if self._tokenizer.chat_template:
            text = self._chat([*self._system(), {"role": "user", "content": asked}], answer=True)
            return tuple(self._offsets_of(text, marks.cut)[0])
        return (*self._opening, *self._offsets_of(f"{asked}\n\nAnswer:", marks.cut)[0])

    def _system(self) -> list[dict[str, str]]:
        return [] if self.form.system is None else [{"role": "system", "content": self.form.system}]

    def _chat(self, messages: list[dict[str, str]], *, answer: bool = False) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer))
        except Exception as error:  # a template is a program of others, and fails as it likes
            reason = " ".join(str(error).split())[:200]
            raise BackboneError(f"{self._name}: its chat template refuses a {self.form.name} chat ({reason})") from None

    def _tokens_of(
        self, text: str, marks: _Marks, tag: str, *, opening: Tokens = (), before: bool = False
    ) -> tuple[Tokens, list[int]]:
        """Tokens of a text whose tags have a mark in front, and the index of each tag, or of the token `before` it."""
        starts, plain = [], []
        position = 0
        for number, part in enumerate(text.split(marks.tag)):
            if number:
                starts.append(position)
            plain.append(part)
            position += len(part.replace(marks.cut, ""))
        ids, ends = self._offsets_of("".join(plain), marks.cut)
        tag_id = self.token_of(tag)
        reads = []
        for start in starts:
            index = bisect_left(ends, start + len(tag))
            if index >= len(ids) or ids[index] != tag_id or (before and ends[index - 1] > start):
                raise BackboneError(
                    f"{self._name}: in a chat or text of the form {self.form.name} the tag {tag!r} is not the token "
                    f"that it is alone ({tag_id}); is the model of another form?"
                )
            reads.append(len(opening) + index - before)
        return (*opening, *ids), reads

    def _offsets_of(self, text: str, cut: str) -> tuple[list[int], list[int]]:
        """The tokens of a text, cut where it has marks, and where each ends in the text without them."""
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        for piece in text.split(cut):
            found = self._tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            ids += found["input_ids"]
            ends += [start + end for _, end in found["offset_mapping"]]
            start += len(piece)
        return ids, ends


def _filled(template: str, values: dict[str, str]) -> str:
    """A template with its placeholders replaced, all at once: a text that holds one itself stays as it is."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
