"""Cells of the surfaces on which a private text is asked: one for each head of a store, one for an answer."""

from collections.abc import Sequence
from dataclasses import replace

from unmask.auditor.plan import SeenCell
from unmask.auditor.prepare import GRID
from unmask.errors import BadInput
from unmask.public import PublicModel
from unmask.record import Cell
from unmask.surfaces.answer import ANSWER, AnswerSurface
from unmask.surfaces.store import StoreSurface, chosen, public_queries
from unmask.victims.secrets import Encode


def shared_cells(
    model: PublicModel, encode: Encode, surface: StoreSurface | AnswerSurface, selections: Sequence[str]
) -> tuple[SeenCell, ...]:
    """Return one cell for each selected head of a store, or the one cell of an answer.

    Args:
        model: the public model.
        encode: its tokenizer.
        surface: what is seen, apart from the selection.
        selections: `0.heads.3` and the like, `grid` for every head of the first layer; of an answer only `grid`.

    Raises:
        BadInput: if a selection does not fit.
    """
    if isinstance(surface, AnswerSurface):
        return (_answer(model, encode, surface, selections),)
    found = {}
    for selection in selections:
        for single in [f"0.heads.{head}" for head in range(model.heads)] if selection == GRID else [selection]:
            own = replace(surface, select=single)
            site = chosen(own, model)
            size = public_queries(own, model, site).size
            cell = Cell(
                layer=site.layer, component=f"heads.{site.head}", parameters=size, share=size / model.parameters
            )
            found[site] = SeenCell(cell=cell, surface=own)
    return tuple(found.values())


def _answer(model: PublicModel, encode: Encode, surface: AnswerSurface, selections: Sequence[str]) -> SeenCell:
    for selection in selections:
        if selection not in (GRID, ANSWER):
            raise BadInput("--select", selection, "is no part of an answer", "leave it out")
    own = surface.encoded(lambda text: tuple(encode(text)), model.vocabulary.special)
    cell = Cell(layer=None, component=ANSWER, parameters=own.tokens, share=own.tokens / model.parameters)
    return SeenCell(cell=cell, surface=own)
