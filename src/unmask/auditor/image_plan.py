"""From options to a plan for a model of images: which cells, which secrets, which controls."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unmask.auditor.images import ImageSubject
from unmask.auditor.plan import Plan, Role, SeenCell
from unmask.auditor.prepare import site_cells
from unmask.errors import BadInput
from unmask.site import Site
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.victims.images import fit
from unmask.victims.torch_vision import TorchVision
from unmask.vision import Images, VisionModel

CONTROLS = 8
"""Images of the same source that a single image's guess is scored against."""


def image_cells(model: VisionModel, surface: ImageActivationSurface, selections: Sequence[str]) -> tuple[SeenCell, ...]:
    """Return one cell for each selection of sites, and for `grid` one for each head and signal of each layer.

    Args:
        model: the public model.
        surface: what is seen, apart from the selection.
        selections: see `unmask.surfaces.site_selector`; `grid:0-2.block` for some of the grid.

    Raises:
        BadInput: if a selection matches nothing.
    """

    def probe(sites: Sequence[Site]) -> Mapping[str, Tensor]:
        with torch.no_grad():
            return model.activations(torch.zeros(1, *model.shape), sites)

    return site_cells(model, surface, selections, probe)


def image_plan(
    model: TorchVision,
    images: Images,
    roles: Sequence[Role],
    cells: Sequence[SeenCell],
    *,
    limit: int,
    seed: int = 0,
    run_seconds: float = 120.0,
    budget: float | None = None,
    show_private: bool = False,
    fail_on: float | None = None,
    command: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of an audit of images, one image an item.

    Args:
        model: the public model.
        images: private images of any one size; the first `limit` are attacked, later ones are controls.
        roles: the attacks; their cells are indices into `cells`.
        cells: what is shown, see `image_cells`.
        limit: number of images to attack.
        seed: the run's seed.
        run_seconds: time limit of one attack on one image.
        budget: time limit of the whole audit in seconds, or None.
        show_private: whether pictures are stored and shown.
        fail_on: highest SSIM that passes, or None.
        command: the command line.

    Raises:
        BadInput: if there is no image or `limit` is below 1.
    """
    if limit < 1 or not images.size:
        raise BadInput("--limit", min(limit, images.size), "leaves no image", "give at least 1")
    items = singles(fit(images, model.shape))
    return Plan(
        subject=ImageSubject(model=model, tensors=model.weights()),
        cells=tuple(cells),
        items=items[:limit],
        roles=tuple(roles),
        controls=items[limit : limit + CONTROLS],
        seed=seed,
        run_seconds=run_seconds,
        budget=budget,
        show_private=show_private,
        fail_on=fail_on,
        command=command,
    )


def singles(images: Images) -> tuple[Images, ...]:
    """Return every image by itself.

    Args:
        images: any number of them.
    """
    labels = [None] * images.size if images.labels is None else list(images.labels[:, None])
    return tuple(Images(pixels=row[None], labels=label) for row, label in zip(images.pixels, labels, strict=True))
