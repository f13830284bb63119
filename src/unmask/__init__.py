"""What private data does a transformer give away, through which surface, and what closes it?"""

from importlib import import_module
from typing import Any

# Loaded when first asked for: the report of a finished run needs none of them, and no torch.
_HOMES = {
    "ActivationSurface": "unmask.surfaces.activation",
    "BadInput": "unmask.errors",
    "DpSgd": "unmask.defences.dp_sgd",
    "GradientSurface": "unmask.surfaces.gradient",
    "Knowledge": "unmask.observation",
    "MissingExtra": "unmask.errors",
    "Observation": "unmask.observation",
    "Reconstruction": "unmask.attack",
    "Release": "unmask.surface",
    "Result": "unmask.api",
    "StorageError": "unmask.errors",
    "UnmaskError": "unmask.errors",
    "audit": "unmask.api",
    "audit_weights": "unmask.parameters",
    "wrap_module": "unmask.victims.module",
}

__all__ = [  # noqa: F822 - see `__getattr__`
    "ActivationSurface",
    "BadInput",
    "DpSgd",
    "GradientSurface",
    "Knowledge",
    "MissingExtra",
    "Observation",
    "Reconstruction",
    "Release",
    "Result",
    "StorageError",
    "UnmaskError",
    "audit",
    "audit_weights",
    "wrap_module",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
