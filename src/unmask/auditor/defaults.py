"""Which attacks belong to which surface, and whether an attack can read what a surface shows."""

import typing
from collections.abc import Callable, Mapping
from typing import Any

from unmask.attack import Attack
from unmask.errors import BadInput
from unmask.surface import Release, Surface

STRONGEST: Mapping[str, str] = {
    "gradient": "span",
    "gradient-file": "span",
    "attention": "activation-span",
    "attention-images": "image-newton",
    "parameters": "closed-neurons",
    "store": "record-match",
    "answer": "span-guess",
}
"""The strongest attack by the surface's name."""
BASELINE: Mapping[str, str] = {
    "gradient": "lamp",
    "gradient-file": "lamp",
    "attention": "embedding-match",
    "attention-images": "image-match",
}
"""The published method to compare with, by the surface's name."""


def strongest(surface: Surface[Any, Any]) -> str:
    """Return the name of the strongest attack on a surface.

    Args:
        surface: what is seen.
    """
    return STRONGEST.get(surface.name, STRONGEST["gradient"])


def strongest_all(surface: Surface[Any, Any], *, defended: bool) -> tuple[str, ...]:
    """Return the names of the attacks that are tried by default: on an inexact gradient the soft one as well.

    Args:
        surface: what is seen, before any defence.
        defended: whether a defence will change it.
    """
    first = strongest(surface)
    inexact = defended or surface.release != Release()
    return (first, "soft-span") if first == "span" and inexact else (first,)


def fitting(attack: Attack[Any], surface: Surface[Any, Any], *, argument: str) -> None:
    """Pass an attack that reads the kind of observation that a surface makes.

    Both say it in their signatures; what is not said is not checked.

    Args:
        attack: the attack.
        surface: what is seen.
        argument: what the caller calls the attack; errors use it.

    Raises:
        BadInput: if it reads another kind.
    """
    reads, made = _hint(attack.run, "observation"), _hint(surface.observe, "return")
    if reads is not None and made is not None and not issubclass(made, reads):
        rule = f"does not read the {surface.name} surface"
        raise BadInput(argument, attack.name, rule, f"choose {strongest(surface)}, or see `unmask list`")


def _hint(method: Callable[..., object], name: str) -> type | None:
    try:
        hint = typing.get_type_hints(method).get(name)
    except (NameError, TypeError):
        return None  # a class of another package with a name that cannot be looked up
    found = typing.get_origin(hint) or hint
    return found if isinstance(found, type) else None
