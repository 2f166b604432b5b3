"""The known forms of process reward models: how a problem and its steps become tokens, and where a score is read.

A form is a record. All of them read one number at one token of each step, which a linear head (or one with a hidden
layer) makes of its hidden state: the difference of two logits is the logit of their softmax. Knows no file.

    form            text                                              a step's score
    qwen-prm        chat; `<extra_0>` behind each step                P(class 1) of two at `<extra_0>`
    math-shepherd   "problem Step 1: ... ки" and a line for each      P("+") against "-" at `ки`
    rlhflow         chat; a turn for each step, answered by `+`       P("+") against "-" in front of that `+`
    trl             problem and steps, a separator behind each        P(class 1) of two at the separator
    value-head      the same, the problem on a line of its own        sigmoid of one number at the line end
    yes-no          chat; a question about each step                  P("Yes") against "No" as its answer

Sources: the model cards of Qwen2.5-Math-PRM-7B, math-shepherd-mistral-7b-prm, Llama3.1-8B-PRM-Deepseek-Data; TRL's
`PRMTrainer` (0.24); SkyworkAI/skywork-o1-prm-inference, `model_utils/io_utils.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from surestep.errors import ConfigError
from surestep.untrusted.bounds import shown

Layout = Literal["chat_tags", "chat_turns", "text", "pieces", "question"]
"""How texts are laid out, see `layouts`."""

Head = Literal["two_class_mlp", "two_class", "token_pair", "value"]
"""Which weights make the score, see `heads`."""

QUESTION = (
    "Below are a problem and the first steps of a solution. Is the last of these steps right? Answer with one word: "
    "{good} or {bad}.\n\nProblem:\n{problem}\n\nSteps:\n{steps}"
)


@dataclass(frozen=True, slots=True)
class Form:
    """One form of process reward model.

    Attributes:
        name: as `--scorer` names it.
        layout: how texts are laid out.
        head: which weights make the score.
        tag: the text at whose token a score is read; of `pieces` the separator.
        good, bad: the tokens that say right and wrong, of the head `token_pair`.
        right_class: which of two classes says right.
        system: the system message of a chat; None: none.
        problem: how a problem is written; `{problem}` stands for it.
        step: how a step is written; `{step}` and `{number}`, from 1, stand for it.
        question: what is asked about the last step; `{problem}`, `{steps}`, `{good}`, `{bad}`.
        numbered: a step that begins with "Step N:" itself gets no second one.
    """

    name: str
    layout: Layout
    head: Head
    tag: str = ""
    good: str = "+"
    bad: str = "-"
    right_class: Literal[0, 1] = 1
    system: str | None = None
    problem: str = "{problem}"
    step: str = "{step}"
    question: str = QUESTION
    numbered: bool = False

    def changed(self, fields: dict[str, Any]) -> Form:
        """The form with some of its texts as a user wants them.

        Raises:
            ConfigError: an unknown field, or a value of the wrong type.
        """
        for name, value in fields.items():
            if name not in _CHANGEABLE:
                raise ConfigError(
                    f"the scorer's field {shown(name)} is unknown to the form {self.name}; allowed: form, path, "
                    f"calibration, {', '.join(_CHANGEABLE)}"
                )
            fits = value in (0, 1) and type(value) is int if name == "right_class" else isinstance(value, str)
            if not fits and not (name == "system" and value is None):
                allowed = "0 or 1" if name == "right_class" else "text"
                raise ConfigError(f"the scorer's {name} is {shown(value)}; allowed: {allowed}")
            for placeholder in _CHANGEABLE[name]:
                if placeholder not in value:
                    raise ConfigError(f"the scorer's {name} is {shown(value)}; needed in it: {placeholder}")
        return replace(self, **fields)


_CHANGEABLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tag", "good", "bad", "right_class", "system"), ()),
    "problem": ("{problem}",),
    "step": ("{step}",),
    "question": ("{problem}", "{steps}"),
}
"""Fields that a user may change, and what a text in them must hold."""

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            "qwen-prm",
            "chat_tags",
            "two_class_mlp",
            tag="<extra_0>",
            system="Please reason step by step, and put your final answer within \\boxed{}.",
        ),
        Form(
            "math-shepherd",
            "text",
            "token_pair",
            tag="ки",
            problem="{problem} ",
            step="Step {number}: {step} ",
            numbered=True,
        ),
        Form("rlhflow", "chat_turns", "token_pair", problem="{problem} "),
        Form("trl", "pieces", "two_class", tag="\n"),
        Form("value-head", "pieces", "value", tag="\n", problem="{problem}\n"),
        Form("yes-no", "question", "token_pair", good="Yes", bad="No", step="Step {number}: {step}"),
    )
}
"""Every form, by its name."""
