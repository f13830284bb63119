"""Rows of one attention head in a first layer, where each is a function of its own token."""

from torch import Tensor

from unmask.errors import BadInput
from unmask.public import Component, Kind, Place, PublicModel
from unmask.site import Site


def head_rows(model: PublicModel, ids: Tensor, site: Site, component: Component, *, defence: str) -> Tensor:
    """Return one head's queries, keys or values (n, d_h), before any turn by position.

    Args:
        model: the public model.
        ids: (n,) tokens.
        site: names layer and head.
        component: query, key or value.
        defence: what needs the rows; errors name it.

    Raises:
        BadInput: if the layer has no such map, one token moves several rows, or no head was chosen.
    """
    place = _place(model, site.layer, component, defence)
    if model.input_table(place) is None:
        rule = "lies in a layer where one token moves every row, and the guarantee is for one token's rows"
        raise BadInput("--select", site.name, rule, "select layer 0 of a model whose first layer reads single tokens")
    if site.head is None:
        raise BadInput("--select", site.name, "names no head", f"add one: {site.name}.0")
    weight, bias = model.affine(place)
    rows = (model.inputs(ids[None], (place,))[place.name][0] @ weight.T + bias).detach()
    # Several heads may share their keys and values.
    width = len(model.affine(_place(model, site.layer, Component.QUERY, defence))[0]) // model.heads
    own = site.head * (rows.shape[1] // width) // model.heads
    return rows[:, own * width :][:, :width]


def _place(model: PublicModel, layer: int, component: Component, defence: str) -> Place:
    for place in model.places:
        if place.layer == layer and place.component is component and place.kind is Kind.WEIGHT:
            return place
    rule = f"has no {component} of layer {layer} that can be told apart"
    raise BadInput("--defence", defence, rule, "protect it with token-noise instead")
