"""Settings as JSON and back: frozen dataclasses, whose fields are checked at construction."""

import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from types import UnionType
from typing import Any

from unmask.errors import BadInput

LABELS = ("name", "source")
"""Fields that say what an instance is, and are no settings."""


def to_json(instance: object) -> dict[str, object]:
    """Return the settings of a dataclass instance as values that JSON can hold.

    Args:
        instance: an attack, a surface or a defence. A field that JSON cannot hold, such as a language
            model, is named by its class and cannot be read back.

    Raises:
        BadInput: if it is no dataclass.

    Example:
        >>> from unmask.surface import Release
        >>> to_json(Release(noise=0.5))["noise"]
        0.5
    """
    if not is_dataclass(instance) or isinstance(instance, type):
        raise BadInput("settings", type(instance).__name__, "is no dataclass instance", "write one with frozen fields")
    names = [entry.name for entry in fields(instance) if entry.name not in LABELS]
    return {name: _plain(getattr(instance, name)) for name in names}


def from_json(base: Any, data: Mapping[str, object]) -> Any:
    """Return an instance with settings that `to_json` returned.

    Args:
        base: the dataclass, or an instance of it from which missing fields are taken.
        data: field names to values.

    Raises:
        BadInput: if a field is unknown or has a value of the wrong kind.
    """
    kind = base if isinstance(base, type) else type(base)
    names = [entry.name for entry in fields(kind) if entry.init] if is_dataclass(kind) else []
    known = sorted(set(names) - set(LABELS))
    for name in data:
        if name not in known:
            rule = f"is no setting of {kind.__name__}"
            raise BadInput("settings", name, rule, f"choose {', '.join(known) or 'none: it has no settings'}")
    hints = typing.get_type_hints(kind)
    values = {name: _typed(hints[name], value, name) for name, value in data.items()}
    try:
        return kind(**values) if isinstance(base, type) else replace(base, **values)
    except TypeError as error:
        raise BadInput(
            "settings", dict(data), f"do not fit {kind.__name__} ({error})", "give what is missing"
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(part) for part in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    return type(value).__name__


_NO = object()


def _typed(hint: Any, value: object, name: str) -> object:
    options = typing.get_args(hint) if typing.get_origin(hint) in (UnionType, typing.Union) else (hint,)
    for option in options:
        made = _as(option, value)
        if made is not _NO:
            return made
    raise BadInput(f"setting {name}", value, "is of the wrong kind", f"give {getattr(hint, '__name__', hint)}")


def _as(option: Any, value: object) -> object:
    origin: Any = typing.get_origin(option) or option
    if not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return value if option is Any else _NO
    if is_dataclass(origin) and isinstance(value, Mapping):
        return from_json(origin, value)
    if issubclass(origin, Enum):
        return origin(value) if value in [member.value for member in origin] else _NO
    if origin in (tuple, frozenset) and isinstance(value, list):
        return origin(tuple(part) if isinstance(part, list) else part for part in value)
    if origin in (int, float) and isinstance(value, bool):
        return _NO
    if origin is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, origin) else _NO
