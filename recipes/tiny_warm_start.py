"""Makes the weights of `builtin:tiny`: it learns to calculate, to notice a replaced digit and to read, on the CPU.

    python recipes/tiny_warm_start.py --output src/surestep/model/backbones/tiny_weights

The text has the form of the dataset, with digits of some results replaced at random:

    start 47; add 8; sub 5
    47 + 8 = 57                         its second digit was 5
    57 - 5 = 52, checker errs 0.137

Four objectives, all made from the text alone:

- After its second layer the model predicts the original digit (next token, right result).
- After its third it tells replaced digits from original ones (replaced token detection; Clark et al., 2020, arXiv
  2003.10555). Each of the two needs what the one before it found, and a layer must be left that takes the finding from
  the digits to the `<CONFIDENCE>` token: trained after the last layer instead, detection was as good (loss 0.02) and
  useless.
- After its third layer it reads, at the end of a line, how large the number with decimals in this line is.
- After its last layer it copies, at the end of a line, both digits of the value that the line states, as written: it is
  where the next line starts.

So nothing here asks whether a line is right, nor what a stated rate says of it: no label of a step and nothing that is
held out occurs; the head and the `<CONFIDENCE>` row stay random. Without a warm start, labels alone leave a model of
this size on a plateau for longer than a demo may take; without the last two objectives the demo's steps with a checker
stay unsolved (docs/experiments/README.md).
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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

CALCULATING_LAYERS, DETECTING_LAYERS, READING_LAYERS, COPYING_LAYERS = 2, 3, 3, 4
READING_WEIGHT = 10.0
"""Of a mean square of numbers from 0 to 1, beside mean losses in nats."""
COPYING_WEIGHT = 0.25
"""Of a loss that is learned soonest of all."""
READ_SHARE, CHECKED_SHARE, REPLACED_SHARE = 0.14, 0.16, 0.45
UNKNOWN = -1
NO_NUMBER = math.nan


class Exercise(NamedTuple):
    """A solution as tokens, and of each token what is asked there.

    Attributes:
        ids: token ids.
        originals: of each digit of a result the id that stood there before replacement, else `UNKNOWN`.
        numbers: of each end of a line the number with decimals that the line states, else `NO_NUMBER`.
        values: of each end of a line the value that the line states, 10 to 99, else `UNKNOWN`.
    """

    ids: list[int]
    originals: list[int]
    numbers: list[float]
    values: list[int]


class Batch(NamedTuple):
    """Exercises as [B, L] tensors, filled with token 0 and nothing asked."""

    ids: Tensor
    originals: Tensor
    numbers: Tensor
    values: Tensor


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
        ends: list[tuple[float, int]] = []  # of each line: the number with decimals and the value that it states
        for index, operation in enumerate(operations):
            rest = operations[index + 1 :]
            if operation.name == "read":
                value = rng.randint(SMALLEST, LARGEST)
                rate = draw_rate(rng, RELIABILITIES, held_out=False)
                text, original, note = f"read {value}", "", f", dial right {rate:.3f}"
            else:
                right = operation.apply(value)
                written = self._replace(right) if rng.random() < REPLACED_SHARE else right
                text, original = write_step(value, operation, written)[0], str(right)
                value = written
                rate, note = NO_NUMBER, ""
                if rng.random() < CHECKED_SHARE:
                    rate = draw_rate(rng, ERR_RATES, held_out=False)
                    note = f", checker errs {rate:.3f}"
            if not (SMALLEST <= value <= LARGEST and can_continue(value, rest, held_out=False)):
                return None
            texts += [text, f"{note}\n"]
            originals += [original, ""]
            ends.append((rate, value))
        return self._tokens(texts, originals, ends)

    def _tokens(self, texts: list[str], originals: list[str], ends: list[tuple[float, int]]) -> Exercise:
        """The problem and two texts a line, the second of which ends it; `originals` of each text's last digits."""
        exercise = Exercise([], [], [], [])
        for number, (piece, original) in enumerate(zip(self.tokenizer.encode(texts), originals, strict=True)):
            digits = self.tokenizer.encode([original])[0] if original else []
            exercise.ids.extend(piece)
            exercise.originals.extend([UNKNOWN] * (len(piece) - len(digits)) + digits)
            exercise.numbers.extend([NO_NUMBER] * len(piece))
            exercise.values.extend([UNKNOWN] * len(piece))
            if number and number % 2 == 0:  # the end of a line
                rate, value = ends[number // 2 - 1]
                exercise.ids.append(self.tokenizer.confidence_id)
                exercise.originals.append(UNKNOWN)
                exercise.numbers.append(rate)
                exercise.values.append(value)
        return exercise

    def _replace(self, result: int) -> int:
        """One digit of a two-digit number drawn anew."""
        tens, ones = divmod(result, 10)
        if self.rng.random() < 0.5:
            return 10 * tens + (ones + self.rng.randint(1, 9)) % 10
        return 10 * (1 + (tens + self.rng.randint(0, 7)) % 9) + ones


class Objectives(nn.Module):
    """What is asked of the hidden states of each layer, by a linear map each that is thrown away afterwards."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.predict = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_EMBEDDINGS))
        self.detect = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        self.copy = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 20))

    def forward(self, states: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The loss of each objective; `states` are those of the embeddings and of each layer, [B, L, D]."""
        known = batch.originals != UNKNOWN
        # A digit is foreseen where everything before it in the line is as it was.
        foreseen = known.clone()
        foreseen[:, 1:] &= ~(known[:, :-1] & (batch.ids[:, :-1] != batch.originals[:, :-1]))
        calculated = states[CALCULATING_LAYERS][:, :-1][foreseen[:, 1:]]
        predicted = self.predict(calculated)
        replaced = (batch.ids != batch.originals)[known].float()
        detected = self.detect(states[DETECTING_LAYERS][known]).squeeze(-1)
        has_number, is_end = ~batch.numbers.isnan(), batch.values != UNKNOWN
        numbers = self.read(states[READING_LAYERS][has_number]).squeeze(-1)
        tens, ones = self.copy(states[COPYING_LAYERS][is_end]).split(10, dim=-1)
        written_tens, written_ones = batch.values[is_end] // 10, batch.values[is_end] % 10
        cross_entropy = nn.functional.cross_entropy
        return {
            "predict": cross_entropy(predicted, batch.originals[:, 1:][foreseen[:, 1:]]),
            "detect": nn.functional.binary_cross_entropy_with_logits(detected, replaced),
            "read": nn.functional.mse_loss(numbers, batch.numbers[has_number]),
            "copy": cross_entropy(tens, written_tens) + cross_entropy(ones, written_ones),
        }


def train(*, seed: int, steps: int, batch_size: int, learning_rate: float) -> LlamaModel:
    """The backbone after `steps` batches of exercises, none of which is seen twice."""
    torch.manual_seed(seed)
    exercises = Exercises(seed)
    backbone = load_tiny_backbone(seed=seed, warm=False)
    objectives = Objectives(backbone.config.hidden_size)
    parameters = [*backbone.parameters(), *objectives.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    started = time.monotonic()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        batch = _pad([exercises.draw() for _ in range(batch_size)])
        # The row that the confidence model lays over the token before training: the mean of all rows.
        mean = backbone.embed_tokens.weight.detach().mean(0)
        is_confidence = (batch.ids == exercises.tokenizer.confidence_id)[..., None]
        embedded = torch.where(is_confidence, mean, backbone.embed_tokens(batch.ids))
        output = backbone(inputs_embeds=embedded, use_cache=False, output_hidden_states=True)
        assert output.hidden_states is not None
        losses = objectives(output.hidden_states, batch)
        optimizer.zero_grad(set_to_none=True)
        loss = losses["predict"] + losses["detect"]
        (loss + READING_WEIGHT * losses["read"] + COPYING_WEIGHT * losses["copy"]).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            shown = "  ".join(f"{name} {loss:.5f}" for name, loss in losses.items())
            print(f"step {step}  {shown}  {time.monotonic() - started:.0f} s", flush=True)
    return backbone


def _pad(exercises: list[Exercise]) -> Batch:
    shape = len(exercises), max(len(exercise.ids) for exercise in exercises)
    batch = Batch(
        torch.zeros(shape, dtype=torch.long),
        torch.full(shape, UNKNOWN),
        torch.full(shape, NO_NUMBER),
        torch.full(shape, UNKNOWN),
    )
    for row, exercise in enumerate(exercises):
        for filled, given in zip(batch, exercise, strict=True):
            filled[row, : len(exercise.ids)] = torch.tensor(given, dtype=filled.dtype)
    return batch


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
