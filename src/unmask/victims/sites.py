"""Find where each signal of each layer passes through a module, by its places and by measuring."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn

from unmask.public import Component, Kind, Place
from unmask.site import Signal, Site
from unmask.victims.capture import Reader

LAYER = re.compile(r"^((?:.*?\.)?(?:layers?|h|blocks?)\.(\d+))\.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """The readers of a module's whole signals, and how to cut one head out of them.

    Args:
        readers: reader of each whole site.
        heads: number of attention heads.
        cached: number of heads of keys and values, fewer where several query heads share one.
    """

    readers: Mapping[Site, Reader]
    heads: int
    cached: int

    def reader(self, site: Site) -> Reader:
        """Return the reader of a whole site or of one head's part of it.

        Args:
            site: a site of the model.
        """
        whole = self.readers[replace(site, head=None)]
        head = site.head
        if head is None:
            return whole
        count = self.cached if site.signal in (Signal.KEY, Signal.VALUE) else self.heads

        def read(found: object) -> Tensor:
            tensor = whole.read(found)
            if site.signal is Signal.PROBABILITIES:
                return tensor[:, head]
            width = tensor.shape[-1] // count
            return tensor[..., head * width : (head + 1) * width]

        return replace(whole, name=site.name, read=read)


def find(module: nn.Module, places: Sequence[Place], heads: int, outputs: Mapping[str, object], length: int) -> Signals:
    """Return the readers of every signal that a module shows.

    Args:
        module: the model, in a mode in which attention weights are returned.
        places: its weights.
        heads: number of attention heads.
        outputs: output of every module in one forward pass of `length` tokens.
        length: number of tokens of that pass.
    """
    readers: dict[Site, Reader] = {}
    cached = heads
    for path, layer in _layers(module).items():
        found = {p.component: p for p in places if p.kind is Kind.WEIGHT and p.module.startswith(f"{path}.")}
        last = found.get(Component.ATTENTION_OUTPUT)
        if last is not None:
            readers |= _reader(Site(layer=layer, signal=Signal.HEADS), last.module, before=True)
            readers |= _reader(Site(layer=layer, signal=Signal.BLOCK), last.module)
        for signal, component in ((Signal.KEY, Component.KEY), (Signal.VALUE, Component.VALUE)):
            place = found.get(component)
            if place is not None:
                readers |= _reader(Site(layer=layer, signal=signal), place.module, read=_rows(place.rows))
                if last is not None:
                    cached = max(1, heads * place.shape[0] // last.shape[1])
        readers |= _reader(Site(layer=layer, signal=Signal.HIDDEN), path)
        inside = [name for name in outputs if name.startswith(f"{path}.")]
        weights = next((name for name in inside if _probabilities(outputs[name], heads, length) is not None), None)
        if weights is not None:
            readers |= _reader(Site(layer=layer, signal=Signal.PROBABILITIES), weights, read=_weights(heads))
    order = list(Signal)
    ordered = sorted(readers, key=lambda site: (site.layer, order.index(site.signal)))
    return Signals(readers={site: readers[site] for site in ordered}, heads=heads, cached=cached)


def _layers(module: nn.Module) -> dict[str, int]:
    found = (LAYER.match(f"{path}.x") for path, _ in module.named_modules())
    return {match.group(1): int(match.group(2)) for match in found if match}


def _reader(
    site: Site, path: str, *, before: bool = False, read: Callable[[object], Tensor] | None = None
) -> dict[Site, Reader]:
    return {site: Reader(name=site.name, path=path, before=before, read=read or _first)}


def _first(found: object) -> Tensor:
    """Return a tensor, or the first of a tuple: some libraries' layers return more than their output."""
    return cast(Tensor, found[0] if isinstance(found, tuple) else found)


def _rows(rows: tuple[int, int] | None) -> Callable[[object], Tensor]:
    return _first if rows is None else lambda found: _first(found)[..., rows[0] : rows[1]]


def _probabilities(found: object, heads: int, length: int) -> Tensor | None:
    parts = found if isinstance(found, tuple) else ()
    square = (heads, length, length)
    return next((p for p in parts if isinstance(p, Tensor) and p.dim() == 4 and tuple(p.shape[1:]) == square), None)


def _weights(heads: int) -> Callable[[object], Tensor]:
    def read(found: object) -> Tensor:
        parts = found if isinstance(found, tuple) else (found,)
        # By its form, not by its place in the tuple: the number of tokens is another one now.
        return next(p for p in parts if isinstance(p, Tensor) and p.dim() == 4 and p.shape[1] == heads)

    return read
