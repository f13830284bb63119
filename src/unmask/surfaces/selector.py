"""Choose tensors of a model by layer, by component, or by a pattern over parameter names.

A selection is one of the following, or several joined by `+`:

- `0.query`, `0-2.ffn.in`, `*.key`, `-1.value`: layer (`-1` is the last one), then component;
- `query`, `embedding`, `head`: a component wherever it is;
- `0.*`: everything in a layer; `0.bias`, `0.query.bias`, `0.norm`: its biases and norms;
- `layer=0,3 component=query,key`: the same in words; either part may be left out;
- `layer.3.query.weight`: one place by its name;
- `re:attention.*weight`: every parameter whose name the pattern finds (takes the rest of the text);
- `all`: the whole gradient.

A component's name means its weight. Components are query, key, value, attention.output, ffn.gate,
ffn.in, ffn.out, norm, bias, embedding and head.
"""

import difflib
import re
from collections.abc import Sequence

from unmask.errors import BadInput
from unmask.public import Component, Kind, Place

ALL = "all"
_DOTTED = re.compile(r"(?:(\*|-?\d+|\d+-\d+)\.)?(.+)")
_LAYERS = re.compile(r"(-?\d+)|(\d+)-(\d+)")
_SHOWN = 6


def select(places: Sequence[Place], selection: str, *, argument: str = "--select") -> tuple[Place, ...]:
    """Return the chosen places, in the model's order.

    Args:
        places: the places to choose from.
        selection: see the module's text.
        argument: what the caller calls `selection`; errors use it.

    Raises:
        BadInput: if a part of the selection matches nothing, with the nearest that would.

    Example:
        >>> select((), "0.query")
        Traceback (most recent call last):
        unmask.errors.BadInput: --select '0.query' matches nothing; this model has no places
    """
    before, marker, pattern = selection.partition("re:")
    terms = [term.strip() for term in before.split("+") if term.strip()] + ([marker + pattern] if marker else [])
    if not terms:
        raise BadInput(argument, selection, "names nothing", "write all, or such as 0.query")
    chosen: set[str] = set()
    for term in terms:
        found = [place.name for place in places if _matches(place, term, places, argument)]
        if not found:
            raise BadInput(argument, term, "matches nothing", _nearest(term, places))
        chosen.update(found)
    return tuple(place for place in places if place.name in chosen)


def grid(places: Sequence[Place]) -> tuple[str, ...]:
    """Return one selection for every linear map of every layer: the cells of the heat map.

    Args:
        places: the places of a model. Weights that this project has no word for stand by their names;
            the head is left out.
    """
    weights = [place for place in places if place.kind is Kind.WEIGHT and place.component is not Component.HEAD]
    named = [
        place.name if place.layer is None or place.component is None else f"{place.layer}.{place.component}"
        for place in weights
    ]
    return tuple(dict.fromkeys(named))


def describe(places: Sequence[Place], chosen: Sequence[Place], selection: str) -> tuple[int | None, str]:
    """Return the layer, if there is only one, and the names of the chosen components joined by `+`.

    Different choices get different descriptions; a long one falls back on the selection's text.

    Args:
        places: the places of the model.
        chosen: some of them.
        selection: the text that chose them.
    """
    if len(chosen) == len(places):
        return None, ALL
    layers = {place.layer for place in chosen}
    names = {place.name for place in chosen}
    if len(layers) == 1:
        layer = layers.pop()
        inside = [place for place in places if place.layer == layer]
        return layer, ALL if layer is not None and len(inside) == len(chosen) else "+".join(_labels(inside, names))
    parts = []
    for layer in dict.fromkeys(place.layer for place in chosen):
        inside = [place for place in places if place.layer == layer]
        prefix = "" if layer is None else f"{layer}."
        parts += [prefix + label for label in _labels(inside, names)]
    return None, "+".join(parts) if len(parts) <= _SHOWN else selection


def _labels(inside: Sequence[Place], names: set[str]) -> list[str]:
    found: dict[str, None] = {}
    for place in inside:
        if place.name in names:
            alike = {other.name for other in inside if label(other) == label(place)}
            found[label(place) if alike <= names else place.name] = None
    return list(found)


def label(place: Place) -> str:
    """Return the word for a place inside its layer: its component, `query.bias`, or its module's path.

    Args:
        place: any place.
    """
    if place.kind in (Kind.NORM, Kind.EMBEDDING):
        return str(place.kind)
    known = place.module if place.component is None else str(place.component)
    return f"{known}.bias" if place.kind is Kind.BIAS else known


def _matches(place: Place, term: str, places: Sequence[Place], argument: str) -> bool:
    if term in (ALL, place.name):
        return True
    if term.startswith("re:"):
        return _pattern(term, argument).search(place.parameter) is not None
    if "=" in term:
        return _worded(place, term, places, argument)
    found = _DOTTED.fullmatch(term)
    if found is None:
        return False
    layer, component = found.groups()
    return (layer is None or _in_layers(place, layer, places)) and _is(place, component)


def _pattern(term: str, argument: str) -> re.Pattern[str]:
    try:
        return re.compile(term.removeprefix("re:"))
    except re.error as error:
        raise BadInput(argument, term, f"is no regular expression ({error})", "mend the pattern") from error


def _worded(place: Place, term: str, places: Sequence[Place], argument: str) -> bool:
    for clause in term.split():
        key, _, value = clause.partition("=")
        options = value.split(",")
        if key == "layer":
            fits = any(_in_layers(place, option, places) for option in options)
        elif key == "component":
            fits = any(_is(place, option) for option in options)
        else:
            raise BadInput(argument, term, f"has the unknown key {key!r}", "use layer= and component=")
        if not fits:
            return False
    return True


def _in_layers(place: Place, text: str, places: Sequence[Place]) -> bool:
    if text == "*":
        return True
    found = _LAYERS.fullmatch(text)
    if found is None or place.layer is None:
        return False
    single, low, high = found.groups()
    if single is None:
        return int(low) <= place.layer <= int(high)
    count = 1 + max(p.layer for p in places if p.layer is not None)
    return place.layer == (int(single) if int(single) >= 0 else count + int(single))


def _is(place: Place, component: str) -> bool:
    if component == "*" or (component == "bias" and place.kind is Kind.BIAS):
        return True
    return label(place) == component.removesuffix(".weight")


def _nearest(term: str, places: Sequence[Place]) -> str:
    labels = [label(place) if place.layer is None else f"{place.layer}.{label(place)}" for place in places]
    names = list(dict.fromkeys(labels))
    if term.startswith("re:"):
        # A pattern is a piece of a name, so names are ranked by the longest piece that they share with it.
        parameters = dict.fromkeys(place.parameter for place in places)
        near = sorted(parameters, key=lambda name: -_shared(term.removeprefix("re:"), name))[:3]
        return f"the nearest are {', '.join(near)}" if near else "this model has no places"
    if "=" in term:
        term = ".".join(part.partition("=")[2].split(",")[0] for part in term.split())
    near = difflib.get_close_matches(term, names, n=3, cutoff=0.3) or names[:3]
    return f"the nearest are {', '.join(near)}" if near else "this model has no places"


def _shared(one: str, other: str) -> int:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).find_longest_match().size
