"""Tiny random process reward models of others' forms, saved as their makers save them, and their own way to score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
_SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3,
}  # fmt: skip


def tokenizer_of(form: str) -> Any:
    """The tiny tokenizer with what a form needs."""
    from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer

    tokenizer = build_tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<extra_0>"]})
    if form == "math-shepherd":
        tokenizer.add_tokens(["ки"])
    if form == "yes-no":
        tokenizer.add_tokens(["Yes", "No"])
    tokenizer.chat_template = CHATML
    return tokenizer


def save_reward_model(form: str, folder: Path, *, tied: bool = False, positions: int = 512) -> Path:
    """Write a random model of `form` with large weights, so that every token shows in its scores."""
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    from surestep.model.backbones.silence_transformers import silence_transformers

    tokenizer = tokenizer_of(form)
    with torch.random.fork_rng(devices=[]), silence_transformers():
        torch.manual_seed(7)
        sizes = {**_SIZES, "max_position_embeddings": positions, "vocab_size": len(tokenizer)}
        config = transformers.Qwen2Config(**sizes, num_labels=2, tie_word_embeddings=tied)
        if form == "trl":
            transformers.Qwen2ForTokenClassification(config).save_pretrained(folder)
        else:
            transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
        weights = load_file(folder / "model.safetensors")
        width = config.hidden_size
        if form == "qwen-prm":
            weights = {name: value for name, value in weights.items() if name != "lm_head.weight"}
            weights |= {"score.0.weight": torch.randn(width, width) / 5, "score.0.bias": torch.randn(width)}
            weights |= {"score.2.weight": torch.randn(2, width) / 5, "score.2.bias": torch.randn(2)}
        if form == "value-head":
            weights |= {"v_head.summary.weight": torch.randn(1, width) / 5, "v_head.summary.bias": torch.randn(1)}
        if form == "trl":
            weights["score.bias"] = torch.randn(2)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if form == "qwen-prm":  # as its makers write it: a class of their repository, which must not be run
            path = folder / "config.json"
            values = json.loads(path.read_text())
            values |= {"architectures": ["Qwen2ForProcessRewardModel"]}
            values["auto_map"] = {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}
            path.write_text(json.dumps(values))
            (folder / "modeling_qwen2_rm.py").write_text("raise SystemExit('code of a repository was run')\n")
        tokenizer.save_pretrained(folder)
    return folder


class PlainLoop:
    """The published way to score solutions with a model of a form: padded rows, logits of all tokens."""

    def __init__(self, form: str, folder: Path) -> None:
        import transformers
        from safetensors.torch import load_file

        self.form = form
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.weights = load_file(folder / "model.safetensors")
        classes = {"trl": transformers.AutoModelForTokenClassification, "qwen-prm": transformers.Qwen2Model}
        classes["value-head"] = transformers.Qwen2Model
        loader = classes.get(form, transformers.AutoModelForCausalLM)
        self.model = loader.from_pretrained(folder, dtype="float32").eval()

    def score(self, solutions: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """The score of every step."""
        import torch

        rows = [self._row(problem, steps) for problem, steps in solutions]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in rows])
        with torch.no_grad():
            output = self.model(input_ids=ids, attention_mask=mask)
        found = self._read(output)
        return [[float(found[i, place]) for place in places] for i, (_, places) in enumerate(rows)]

    def _read(self, output: Any) -> Any:
        import torch

        if self.form == "trl":
            return output.logits.softmax(-1)[..., 1]
        if self.form in ("qwen-prm", "value-head"):
            hidden, w = output.last_hidden_state, self.weights
            if self.form == "value-head":
                return (hidden @ w["v_head.summary.weight"].T + w["v_head.summary.bias"]).squeeze(-1).sigmoid()
            inner = torch.relu(hidden @ w["score.0.weight"].T + w["score.0.bias"])
            return (inner @ w["score.2.weight"].T + w["score.2.bias"]).softmax(-1)[..., 1]
        pair = ("Yes", "No") if self.form == "yes-no" else ("+", "-")
        tokens = [self.tokenizer.encode(text)[-1] for text in pair]
        return output.logits[..., tokens].softmax(-1)[..., 0]

    def _row(self, problem: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
        """Tokens, and where the scores of the steps stand."""
        encode = self.tokenizer.encode
        if self.form in ("trl", "value-head"):
            ids = encode(problem + ("\n" if self.form == "value-head" else ""))
            places = []
            for step in steps:
                ids = ids + encode(step) + encode("\n")
                places.append(len(ids) - 1)
            return ids, places
        if self.form == "math-shepherd":
            text = problem + " " + "\n".join(f"Step {i}: {step} ки" for i, step in enumerate(steps, start=1))
            ids = encode(text)
            return ids, [i for i, token in enumerate(ids) if token == encode("ки")[-1]]
        if self.form == "rlhflow":
            turns = []
            places = []
            for number, step in enumerate(steps):
                turns += [{"role": "user", "content": f"{problem} {step}" if number == 0 else step}]
                turns += [{"role": "assistant", "content": "+"}]
                ids = self.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
                places.append(len(ids) - 4)  # in front of "+", <|im_end|>, "\n"
            return ids, places
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": problem}]
        turns += [{"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"}]
        ids = encode(self.tokenizer.apply_chat_template(turns, tokenize=False))
        return ids, [i for i, token in enumerate(ids) if token == encode("<extra_0>")[0]]
