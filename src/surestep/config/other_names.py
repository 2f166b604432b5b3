"""What other trainers call things: for each name, the field that it is here, or what there is in its place.

The names are those of transformers' `TrainingArguments`, TRL, axolotl, LLaMA-Factory and OpenRLHF. Knows names; sets
nothing.
"""

from __future__ import annotations

ALIASES: dict[str, tuple[str, ...]] = {
    "experiment_name": ("run_name",),
    "model.backbone": ("model_name_or_path", "base_model"),
    "lora.lora_r": ("lora_rank",),
    "lora.lora_target_modules": ("lora_target",),
    "data.own_columns": ("columns",),
    "data.max_length": ("max_seq_length", "cutoff_len", "sequence_len"),
    "training.num_train_epochs": ("num_epochs",),
    "training.per_device_train_batch_size": ("batch_size", "micro_batch_size"),
    "training.lr_scheduler_type": ("lr_scheduler",),
    "training.optimizer": ("optim",),
    "training.best_metric": ("metric_for_best_model",),
}
"""Dotted path of a field to the other flags that it answers to: they mean the same, in the same unit."""

_EVAL_PACKS = "steps are scored in packs of tokens, not in batches: --eval_token_budget N"
_ALWAYS_PACKED = "trees are always packed into passes of --token_budget tokens, without padding"

ANSWERS: dict[str, str] = {
    "use_wandb": "--report_to wandb",
    "wandb_project": "--report_to wandb; the project is WANDB_PROJECT in the environment, or surestep",
    "use_mlflow": "--report_to mlflow",
    "use_tensorboard": "--report_to tensorboard",
    "log_with": "--report_to tensorboard|wandb|mlflow|aim|all|none",
    "per_device_eval_batch_size": _EVAL_PACKS,
    "eval_batch_size": _EVAL_PACKS,
    "bf16": "--mixed_precision bf16",
    "fp16": "--mixed_precision fp16",
    "torch_dtype": "--mixed_precision bf16; a full run keeps its weights in float32",
    "dtype": "--mixed_precision bf16; a full run keeps its weights in float32",
    "resume_from_checkpoint": "--resume goes on from the run's last checkpoint; --init_from FOLDER starts anew",
    "auto_resume_from_checkpoints": "--resume goes on from the run's last checkpoint",
    "eval_strategy": "--eval_steps N",
    "evaluation_strategy": "--eval_steps N",
    "save_strategy": "--save_steps N; each checkpoint is validated",
    "logging_strategy": "--logging_steps N",
    "load_best_model_at_end": "the best checkpoint is always kept, in best_checkpoint.json, by --best_metric",
    "greater_is_better": "each figure knows its direction: --best_metric NAME",
    "push_to_hub": "`surestep push CHECKPOINT OWNER/NAME`",
    "hub_model_id": "`surestep push CHECKPOINT OWNER/NAME`",
    "use_peft": "--preset lora",
    "finetuning_type": "--preset lora or --preset full",
    "adapter": "--preset lora",
    "lora_modules_to_save": "the head and the row of <CONFIDENCE> are always trained and saved",
    "modules_to_save": "the head and the row of <CONFIDENCE> are always trained and saved",
    "load_in_4bit": "--base_precision nf4",
    "load_in_8bit": "--base_precision fp8",
    "quantization": "--base_precision nf4 or fp8",
    "attn_implementation": "--attention auto|dense|triton|varlen|flex",
    "flash_attention": "--attention auto takes the fastest kernel that suits",
    "flash_attn": "--attention auto takes the fastest kernel that suits",
    "torch_compile": "--compile true",
    "packing": _ALWAYS_PACKED,
    "sample_packing": _ALWAYS_PACKED,
    "group_by_length": _ALWAYS_PACKED,
    "dataloader_num_workers": "packs are laid out ahead by the run itself",
    "dataset_name": "your own data: --own_train FILE",
    "dataset": "your own data: --own_train FILE",
    "train_file": "your own data: --own_train FILE",
    "num_labels": "the head gives one confidence in [0, 1] a step",
    "step_separator": "steps are given one by one; a raw solution is split by `surestep.split_steps`",
    "train_on_last_step_only": "leave out the labels of the other steps in the data",
    "deepspeed": "several GPUs: accelerate launch train.py; a model too large for one: --fsdp true",
    "fsdp_config": "--fsdp true; each decoder layer is a unit",
    "fsdp_version": "--fsdp true is FSDP2",
    "do_train": "`surestep train`",
    "do_eval": "`surestep evaluate`",
    "gradient_clipping": "--max_grad_norm X",
    "early_stopping": "--early_stopping_patience N",
    "neftune_noise_alpha": "there is no noise on embeddings; dropout is --mlp_dropout and --lora_dropout",
    "adam_beta1": "AdamW's betas are 0.9 and 0.999",
    "adam_beta2": "AdamW's betas are 0.9 and 0.999",
    "adam_epsilon": "AdamW's epsilon is 1e-8",
}
"""Name to what a user of it finds here."""

OPTIMIZERS = {
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_hf": "adamw",
    "adamw_bnb_8bit": "adamw_8bit",
}
"""transformers' names of the optimisers that are here."""


def hint(name: str, paths: list[str]) -> str:
    """What to say of an unknown name, to be put behind "no such field"; "" where nothing is known of it.

    Args:
        name: the last part of an unknown field, or a flag without its dashes.
        paths: dotted paths of all fields.

    >>> paths = ["experiment_name", "training.max_steps"]
    >>> hint("bf16", paths), hint("max_steps", paths), hint("run_name", paths), hint("nothing", paths)
    ('; here: --mixed_precision bf16', "; it is 'training.max_steps'", "; here it is 'experiment_name'", '')
    """
    name = name.replace("-", "_")
    if name in ANSWERS:
        return f"; here: {ANSWERS[name]}"
    for path in paths:
        if path.rpartition(".")[2] == name:
            return f"; it is '{path}'"
    for path, names in ALIASES.items():
        if name in names:
            return f"; here it is '{path}'"
    return ""
