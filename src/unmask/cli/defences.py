"""The `--defence` option: a registered name with its settings, as in `dp-sgd:noise=1.0,clip=0.5`."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from unmask.cli.options import GRADIENT
from unmask.defence import Defence
from unmask.errors import BadInput
from unmask.registry import Group, make

Option = Annotated[
    list[str] | None,
    typer.Option(
        help="Protect what is seen: NAME or NAME:key=value,key=value, such as dp-sgd:noise=1.0 or "
        "dp-attention:epsilon=1; may repeat."
    ),
]


SEEN = {
    "dp-attention": ("attention", "0.probabilities.0"),
    "token-noise": ("attention", "grid"),
    "encryption": ("attention", "grid"),
    "noisy-read": ("store", "0.heads.0"),
    "linear-state": ("store", "0.heads.0"),
    "bounded-decoding": ("answer", "grid"),
}
"""Surface and selection of the audit where a defence fits one surface alone and the user names none."""


def home(texts: Sequence[str]) -> tuple[str, str | None]:
    """Return the surface that defences fit, and what is selected there unless the user says otherwise.

    Args:
        texts: what was given to `--defence`.
    """
    found = [SEEN[name] for name in (text.partition(":")[0] for text in texts) if name in SEEN]
    return found[0] if found else (GRADIENT, None)


def parse(text: str) -> Defence:
    """Return the defence that an option names, with its settings.

    Args:
        text: such as `perturb:noise=0.01,dtype=bfloat16`.

    Raises:
        BadInput: if the name or a setting is unknown, or a setting has no value.

    Example:
        >>> parse("perturb:noise=0.01").name
        'perturb'
    """
    name, data = split(text)
    defence: Defence = make(Group.DEFENCE, name, data, argument="--defence")
    return defence


def split(text: str) -> tuple[str, dict[str, object]]:
    """Return the name and the settings of an option.

    Args:
        text: such as `perturb:noise=0.01,dtype=bfloat16`.

    Raises:
        BadInput: if a setting has no value.
    """
    name, _, rest = text.partition(":")
    data: dict[str, object] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not value:
            raise BadInput("--defence", text, f"gives no value to {key!r}", "write key=value, with commas between")
        data[key.strip()] = _value(value.strip())
    return name, data


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
