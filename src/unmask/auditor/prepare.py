"""From options to a plan: which cells, which secrets, which controls."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from unmask.auditor.plan import SeenCell
from unmask.errors import BadInput
from unmask.metrics.tokens import FUNCTION_WORDS
from unmask.public import Place, PublicModel
from unmask.record import Cell
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.gradient import GradientSurface
from unmask.surfaces.gradient_file import GradientFile
from unmask.surfaces.selector import describe, grid, select
from unmask.surfaces.site_selector import describe_sites, select_sites, site_grid
from unmask.victim import Secret
from unmask.victims.corpora import private
from unmask.victims.secrets import Encode, secrets

GRID = "grid"
"""Selection that stands for every part of every layer, one cell each; `grid:0-2.*` for some of them."""


def cells(
    model: PublicModel,
    surface: GradientSurface | GradientFile,
    selections: Sequence[str],
    *,
    places: Sequence[Place] | None = None,
) -> tuple[SeenCell, ...]:
    """Return one cell for each selection, and for `grid` one for each linear map of each layer.

    Args:
        model: the public model.
        surface: what is seen, apart from the selection.
        selections: see `unmask.surfaces.selector`.
        places: what there is to select from; by default all places of the model.

    Raises:
        BadInput: if a selection matches nothing.
    """
    whole = places is None
    places = model.places if places is None else places
    found: dict[tuple[int | None, str], SeenCell] = {}
    for selection in selections:
        for single in _singles(places, selection):
            chosen = select(places, single)
            # Named by what it is of the model: all of a file may be little of that.
            layer, component = describe(model.places, chosen, single if whole else f"{len(chosen)} tensors")
            size = sum(place.size for place in chosen)
            cell = Cell(layer=layer, component=component, parameters=size, share=size / model.parameters)
            found.setdefault((layer, component), SeenCell(cell=cell, surface=replace(surface, select=single)))
    return tuple(found.values())


def activation_cells(model: PublicModel, surface: ActivationSurface, selections: Sequence[str]) -> tuple[SeenCell, ...]:
    """Return one cell for each selection of sites, and for `grid` one for each head and signal of each layer.

    Args:
        model: the public model.
        surface: what is seen, apart from the selection.
        selections: see `unmask.surfaces.site_selector`.

    Raises:
        BadInput: if a selection matches nothing.
    """
    singles = dict.fromkeys(single for selection in selections for single in _site_singles(model, selection))
    chosen = {single: select_sites(model.sites, model.heads, single) for single in singles}
    every = list(dict.fromkeys(site for sites in chosen.values() for site in sites))
    # One token's pass says how many numbers a token leaves at each site.
    probe = model.activations(torch.zeros(1, 1, dtype=torch.long), every)
    found: dict[tuple[int | None, str], SeenCell] = {}
    for single, sites in chosen.items():
        layer, component = describe_sites(model.sites, sites)
        size = sum(probe[site.name].numel() for site in sites)
        cell = Cell(layer=layer, component=component, parameters=size, share=size / model.parameters)
        found.setdefault((layer, component), SeenCell(cell=cell, surface=replace(surface, select=single)))
    return tuple(found.values())


def controls(model: PublicModel, encode: Encode, batch: int) -> tuple[Secret, ...]:
    """Return secrets of the project's own corpus, against which a single item's guess is scored.

    Args:
        model: the public model.
        encode: its tokenizer.
        batch: number of sequences in a batch.
    """
    usable = []
    for example in private()[: 8 * batch]:
        try:
            secrets([replace(example, label=0)], model, encode, batch=1)
        except (BadInput, KeyError):
            continue  # a tokenizer of another kind of text: the control has one sentence less
        usable.append(replace(example, label=0))
    return secrets(usable, model, encode, batch=batch) if usable else ()


def common(model: PublicModel, encode: Encode) -> tuple[int, ...]:
    """Return the ids of frequent English words, most frequent first, for the trivial guess.

    Args:
        model: the public model.
        encode: its tokenizer.
    """
    try:
        ids = [int(i) for i in encode(" ".join(FUNCTION_WORDS))]
    except (KeyError, ValueError):
        return ()  # a tokenizer of another kind of text has no word for them
    ordinary = [i for i in ids if i not in model.vocabulary.special and 0 <= i < model.vocabulary.size]
    return tuple(dict.fromkeys(ordinary))


def _singles(places: Sequence[Place], selection: str) -> tuple[str, ...]:
    if selection == GRID:
        return _grid(places, selection)
    if selection.startswith(f"{GRID}:"):
        return _grid(select(places, selection.removeprefix(f"{GRID}:")), selection)
    return (selection,)


def _site_singles(model: PublicModel, selection: str) -> tuple[str, ...]:
    if selection == GRID:
        return site_grid(model.sites, model.heads)
    if selection.startswith(f"{GRID}:"):
        return site_grid(select_sites(model.sites, model.heads, selection.removeprefix(f"{GRID}:")), model.heads)
    return (selection,)


def _grid(places: Sequence[Place], selection: str) -> tuple[str, ...]:
    found = grid(places)
    if not found:
        raise BadInput("--select", selection, "holds no linear map", "select all, or tensors by name")
    return found
