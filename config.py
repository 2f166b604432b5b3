"""`from config import get_lora_config`: the configuration as the documents import it."""

from surestep.config import Config, get_default_config, get_lora_config

__all__ = ["Config", "get_default_config", "get_lora_config"]
