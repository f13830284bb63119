"""Choose sites of a model by layer, by signal and by attention head.

A selection is one of the following, or several joined by `+`:

- `3.hidden`, `0-2.block`, `*.key`, `-1.value`: layer (`-1` is the last one), then signal;
- `0.heads`, `0.heads.5`: the attention outputs of all heads side by side, or of one;
- `0.heads.*`: of every head, one site each;
- `block`: a signal wherever it is;
- `0.*`: every whole signal of a layer;
- `all`: every whole signal of every layer.

Signals are heads, block, probabilities, hidden, key and value; see `unmask.site.Signal`.
"""

import difflib
import re
from collections.abc import Sequence

from unmask.errors import BadInput
from unmask.site import Signal, Site

ALL = "all"
_TERM = re.compile(r"(?:(\*|-?\d+|\d+-\d+)\.)?([a-z*]+)(?:\.(\d+|\*))?")
_WHOLE = (Signal.BLOCK, Signal.HIDDEN)


def select_sites(sites: Sequence[Site], heads: int, selection: str, *, argument: str = "--select") -> tuple[Site, ...]:
    """Return the chosen sites, layer by layer.

    Args:
        sites: the whole signals that there are.
        heads: number of attention heads of a layer.
        selection: see the module's text.
        argument: what the caller calls `selection`; errors use it.

    Raises:
        BadInput: if a part of the selection matches nothing, with the nearest that would.

    Example:
        >>> [s.name for s in select_sites([Site(layer=0, signal=Signal.HEADS)], 2, "heads.*")]
        ['0.heads.0', '0.heads.1']
    """
    terms = [term.strip() for term in selection.split("+") if term.strip()]
    if not terms:
        raise BadInput(argument, selection, "names nothing", "write all, or such as 0.block")
    chosen: dict[Site, None] = {}
    for term in terms:
        found = _matching(sites, heads, term, argument)
        if not found:
            raise BadInput(argument, term, "matches nothing", _nearest(sites, term))
        chosen.update(dict.fromkeys(found))
    order = {(site.layer, site.signal): index for index, site in enumerate(sites)}
    return tuple(
        sorted(chosen, key=lambda site: (order[site.layer, site.signal], -1 if site.head is None else site.head))
    )


def site_grid(sites: Sequence[Site], heads: int) -> tuple[str, ...]:
    """Return one selection for every cell of the map: each head alone, then each other signal, layer by layer.

    Args:
        sites: the whole signals that there are.
        heads: number of attention heads of a layer.
    """
    found: list[str] = []
    for layer in dict.fromkeys(site.layer for site in sites):
        inside = [site for site in sites if site.layer == layer]
        for site in inside:
            if site.signal is Signal.HEADS and heads > 1:
                found += [f"{site.name}.{head}" for head in range(heads)]
            elif site.signal is Signal.HEADS:
                found.append(site.name)
        last = [Signal.BLOCK, Signal.HIDDEN, Signal.KEY, Signal.VALUE, Signal.PROBABILITIES]
        rest = [site for site in inside if site.signal in last]
        found += [site.name for site in sorted(rest, key=lambda site: last.index(site.signal))]
    return tuple(found)


def describe_sites(sites: Sequence[Site], chosen: Sequence[Site]) -> tuple[int | None, str]:
    """Return the layer, if there is only one, and the names of what was chosen there joined by `+`.

    Args:
        sites: the whole signals that there are.
        chosen: some of them, or heads of them.
    """
    if set(chosen) == set(sites) and len(sites) > 1:
        return None, ALL
    layers = {site.layer for site in chosen}
    if len(layers) == 1:
        return layers.pop(), "+".join(site.name.partition(".")[2] for site in chosen)
    return None, "+".join(site.name for site in chosen)


def _matching(sites: Sequence[Site], heads: int, term: str, argument: str) -> list[Site]:
    if term == ALL:
        return list(sites)
    found = _TERM.fullmatch(term)
    if found is None:
        return []
    layer, signal, head = found.groups()
    fits = [s for s in sites if signal in ("*", str(s.signal)) and (layer is None or _in_layers(s, layer, sites))]
    if head is None:
        return fits
    mixed = [site for site in fits if site.signal in _WHOLE]
    if mixed and signal != "*":
        remedy = "leave the head out, or choose heads, probabilities, key or value"
        raise BadInput(argument, term, "has no heads: they are mixed there", remedy)
    if head != "*" and int(head) >= heads:
        raise BadInput(argument, term, f"names head {head} where there are {heads}", f"choose 0 to {heads - 1}")
    numbers = range(heads) if head == "*" else (int(head),)
    parted = [site for site in fits if site.signal not in _WHOLE]
    return [Site(layer=site.layer, signal=site.signal, head=number) for site in parted for number in numbers]


def _in_layers(site: Site, text: str, sites: Sequence[Site]) -> bool:
    if text == "*":
        return True
    low, dash, high = text.partition("-") if not text.startswith("-") else (text, "", "")
    if dash:
        return int(low) <= site.layer <= int(high)
    count = 1 + max(other.layer for other in sites)
    return site.layer == (int(low) if int(low) >= 0 else count + int(low))


def _nearest(sites: Sequence[Site], term: str) -> str:
    if not sites:
        return "this model shows no activations"
    names = list(dict.fromkeys([site.name for site in sites] + [str(site.signal) for site in sites]))
    near = difflib.get_close_matches(term, names, n=3, cutoff=0.3) or names[:3]
    return f"the nearest are {', '.join(near)}"
