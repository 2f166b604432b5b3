"""Makes the weights of `builtin:tiny`: it learns to calculate and to notice a replaced digit, on the CPU.

    python recipes/tiny_warm_start.py --output src/surestep/model/backbones/tiny_weights

The text has the form of the dataset, with digits of some results replaced at random:

    start 47; add 8; sub 5
    47 + 8 = 57                 its second digit was 5
    57 - 5 = 52

Two objectives, both made from the text alone: after its second layer the model predicts the original digit (next
token, right result), and after its third it tells replaced digits from original ones (replaced token detection; Clark
et al., 2020, arXiv 2003.10555). Each needs what the one before it found, and a last layer must be left that carries
the finding from the digits to the `<CONFIDENCE>` token: trained after the last layer instead, detection was as good
(loss 0.02) and useless. No label of a step, no meaning of a stated rate and nothing that is held out occurs; the last
layer, the head and the `<CONFIDENCE>` row stay random. Without a warm start, labels alone leave a model of this size on
a plateau for longer than a demo may take (docs/experiments/README.md).
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaModel

from surestep.data.synthetic.arithmetic import ERR_RATES, RELIABILITIES, split_of_problem
from surestep.data.synthetic.operations import (
    LARGEST,
    SMALLEST,
    can_continue,
    draw_operations,
    draw_rate,
    write_step,
)
from surestep.encoding.formatter import Formatter
from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.model.backbones.tiny import NUM_EMBEDDINGS, load_tiny_backbone

CALCULATING_LAYERS, DETECTING_LAYERS = 2, 3
READ_SHARE, CHECKED_SHARE, REPLACED_SHARE = 0.14, 0.16, 0.45
UNKNOWN = -1

Exercise = tuple[list[int], list[int]]
"""Token ids, and for each digit of a result the id that stood there before replacement; else `UNKNOWN`."""


class Exercises:
    """An endless stream of solutions to training problems, some digits of their results replaced."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"exercises:{seed}")
        self.formatter = Formatter()
        self.tokenizer = StepTokenizer(build_tiny_tokenizer())

    def draw(self) -> Exercise:
        """The next exercise; numbers are drawn again until every line can be continued."""
        while True:
            exercise = self._try()
            if exercise is not None:
                return exercise

    def _try(self) -> Exercise | None:
        rng = self.rng
        names = ["read" if rng.random() < READ_SHARE else "" for _ in range(rng.randint(3, 5))]
        drawn = draw_operations(rng, names, held_out=False)
        if drawn is None:
            return None
        value, operations = drawn
        problem = "; ".join((f"start {value}", *map(str, operations)))
        if split_of_problem(problem) != "train":
            return None
        texts, originals = [self.formatter.format_problem(problem)], [""]
        for index, operation in enumerate(operations):
            rest = operations[index + 1 :]
            if operation.name == "read":
                value = rng.randint(SMALLEST, LARGEST)
                text, original, note = (
                    f"read {value}",
                    "",
                    f", dial right {draw_rate(rng, RELIABILITIES, held_out=False):.3f}",
                )
            else:
                right = operation.apply(value)
                written = self._replace(right) if rng.random() < REPLACED_SHARE else right
                text, original = write_step(value, operation, written)[0], str(right)
                value = written
                note = ""
                if rng.random() < CHECKED_SHARE:
                    note = f", checker errs {draw_rate(rng, ERR_RATES, held_out=False):.3f}"
            if not (SMALLEST <= value <= LARGEST and can_continue(value, rest, held_out=False)):
                return None
            texts += [text, f"{note}\n"]
            originals += [original, ""]
        ids: list[int] = []
        before: list[int] = []
        for number, (piece, original) in enumerate(zip(self.tokenizer.encode(texts), originals, strict=True)):
            digits = self.tokenizer.encode([original])[0] if original else []
            ids += piece
            before += [UNKNOWN] * (len(piece) - len(digits)) + digits
            if number and number % 2 == 0:  # the end of a line
                ids.append(self.tokenizer.confidence_id)
                before.append(UNKNOWN)
        return ids, before

    def _replace(self, result: int) -> int:
        """One digit of a two-digit number drawn anew."""
        tens, ones = divmod(result, 10)
        if self.rng.random() < 0.5:
            return 10 * tens + (ones + self.rng.randint(1, 9)) % 10
        return 10 * (1 + (tens + self.rng.randint(0, 7)) % 9) + ones


def train(*, seed: int, steps: int, batch_size: int, learning_rate: float) -> LlamaModel:
    """The backbone after `steps` batches of exercises, none of which is seen twice."""
    torch.manual_seed(seed)
    exercises = Exercises(seed)
    backbone = load_tiny_backbone(seed=seed, warm=False)
    width = backbone.config.hidden_size
    predict = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_EMBEDDINGS))
    detect = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
    parameters = [*backbone.parameters(), *predict.parameters(), *detect.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    started = time.monotonic()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        tokens, before = _pad([exercises.draw() for _ in range(batch_size)])
        # The row that the confidence model lays over the token before training: the mean of all rows.
        mean = backbone.embed_tokens.weight.detach().mean(0)
        is_confidence = (tokens == exercises.tokenizer.confidence_id)[..., None]
        embedded = torch.where(is_confidence, mean, backbone.embed_tokens(tokens))
        output = backbone(inputs_embeds=embedded, use_cache=False, output_hidden_states=True)
        assert output.hidden_states is not None
        known = before != UNKNOWN
        # A digit is foreseen where everything before it in the line is as it was.
        foreseen = known.clone()
        foreseen[:, 1:] &= ~(known[:, :-1] & (tokens[:, :-1] != before[:, :-1]))
        calculated = output.hidden_states[CALCULATING_LAYERS][:, :-1][foreseen[:, 1:]]
        predicting = nn.functional.cross_entropy(predict(calculated), before[:, 1:][foreseen[:, 1:]])
        logits = detect(output.hidden_states[DETECTING_LAYERS][known]).squeeze(-1)
        replaced = (tokens != before)[known].float()
        detecting = nn.functional.binary_cross_entropy_with_logits(logits, replaced)
        optimizer.zero_grad(set_to_none=True)
        (predicting + detecting).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            seconds = time.monotonic() - started
            print(f"step {step}  predict {predicting:.4f}  detect {detecting:.4f}  {seconds:.0f} s", flush=True)
    return backbone


def _pad(exercises: list[Exercise]) -> tuple[Tensor, Tensor]:
    length = max(len(ids) for ids, _ in exercises)
    tokens = torch.zeros(len(exercises), length, dtype=torch.long)
    before = torch.full((len(exercises), length), UNKNOWN)
    for row, (ids, originals) in enumerate(exercises):
        tokens[row, : len(ids)] = torch.tensor(ids)
        before[row, : len(ids)] = torch.tensor(originals)
    return tokens, before


def main() -> None:
    """Train and write `model.safetensors`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch_size", type=int, default=48)
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    arguments = parser.parse_args()
    backbone = train(
        seed=arguments.seed,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in backbone.state_dict().items()},
        arguments.output / "model.safetensors",
    )


if __name__ == "__main__":
    main()
