"""Two steps of TRL's GRPO and RLOO with the reward functions of Surestep, on texts and on conversations.

Needs trl, in an environment of its own or beside Surestep, and a small language model:

    python benchmarks/plug_in_trl.py MODEL_FOLDER CHECKPOINT

It prints the rewards that TRL logged. Nothing is measured: what is shown is that TRL takes the functions.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from surestep import Scorer
from surestep.inference.reward_functions.answer_rewards import AnswerRewards
from surestep.inference.reward_functions.trl import async_grpo_reward, grpo_reward

_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
_TEMPLATE += "{% if add_generation_prompt %}assistant: {% endif %}"
_TEXTS = ["Once upon a time", "One day, Lily"] * 4


def train(kind: str, folder: str, scorer: Scorer) -> list[dict[str, Any]]:
    """The rewards of two steps, as TRL logged them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    prompts: list[Any] = list(_TEXTS)
    if kind == "grpo on conversations":
        tokenizer.chat_template = _TEMPLATE
        prompts = [[{"role": "user", "content": text}] for text in _TEXTS]
    trainer_class, config_class = (RLOOTrainer, RLOOConfig) if kind == "rloo" else (GRPOTrainer, GRPOConfig)
    with tempfile.TemporaryDirectory() as output:
        args = config_class(
            output_dir=output,
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=24,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
        )
        rewards = [grpo_reward(scorer), async_grpo_reward(AnswerRewards(scorer, unreadable=0.0), name="surestep_async")]
        trainer = trainer_class(
            model=AutoModelForCausalLM.from_pretrained(folder),
            reward_funcs=rewards,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": prompts, "answer": ["x"] * len(prompts)}),
            processing_class=tokenizer,
        )
        trainer.train()
        return [{key: value for key, value in row.items() if "surestep" in key} for row in trainer.state.log_history]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a small causal language model with its tokenizer")
    parser.add_argument("checkpoint", help="a Surestep checkpoint")
    options = parser.parse_args()
    for kind in ("grpo on texts", "grpo on conversations", "rloo"):
        for row in train(kind, options.model, Scorer.load(options.checkpoint, device="cpu")):
            if row:
                print(kind, row)
