"""The page of one conversion: metric, levels, bootstraps and seconds of each stage, and what each site got."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from markupsafe import Markup

from unmask.errors import BadInput
from unmask.report.page import asset, environment
from unmask.storage import replace

FIELDS = {"name", "metric", "ranges", "seconds"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one stage left and took.

    Args:
        name: of the stage.
        accuracy: on held-out inputs; None if it is not known.
        loss: on them.
        largest: input of a non-linearity.
        levels: from ciphertext to logits; 0 while functions are in place.
        bootstraps: at least so many; 0 while functions are in place.
        seconds: of the stage.
        share: of the slowest stage's seconds, in per cent.
    """

    name: str
    accuracy: float | None
    loss: float | None
    largest: float
    levels: int
    bootstraps: int
    seconds: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """What one site got.

    Args:
        path: its module path, without what all paths begin with.
        degree: of its polynomial; None if it has none.
        first: (low, high) of its input after the first stage.
        last: after the last.
    """

    path: str
    degree: int | None
    first: tuple[float, float]
    last: tuple[float, float]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the stages that `unmask poly convert` wrote.

    Args:
        path: its `stages.json`.

    Raises:
        BadInput: if it is missing or holds no stages.
    """
    remedy = "give the stages.json that unmask poly convert writes"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("stages", str(path), f"cannot be read ({error})", remedy) from error
    if not isinstance(found, list) or not found or not all(isinstance(s, dict) and set(s) >= FIELDS for s in found):
        raise BadInput("stages", str(path), "holds no stages", remedy)
    return found


def rows(
    stages: Sequence[Mapping[str, Any]], refreshed: int, original: Mapping[str, float] | None = None
) -> tuple[Row, ...]:
    """Return the lines of the first table, the original's before the stages'.

    Args:
        stages: in their order.
        refreshed: levels after a bootstrap.
        original: its metric, if it was judged.
    """
    slowest = max(float(stage["seconds"]) for stage in stages) or 1.0
    first = [] if original is None else [{"name": "original", "metric": original, "ranges": {}, "seconds": 0.0}]
    return tuple(
        Row(
            name=stage["name"],
            accuracy=stage["metric"].get("accuracy"),
            loss=stage["metric"].get("loss"),
            largest=max((max(-low, high) for low, high in stage["ranges"].values()), default=0.0),
            levels=(levels := int(stage.get("levels", 0))),
            bootstraps=max(0, -(-levels // refreshed) - 1),
            seconds=float(stage["seconds"]),
            share=100 * float(stage["seconds"]) / slowest,
        )
        for stage in [*first, *stages]
    )


def places(stages: Sequence[Mapping[str, Any]]) -> tuple[Place, ...]:
    """Return the lines of the second table, one a site.

    Args:
        stages: in their order.
    """
    degrees, begin = stages[-1].get("degrees", {}), len(shared(stages[-1]["ranges"]))
    first = stages[0]["ranges"]
    return tuple(
        Place(path=path[begin:], degree=degrees.get(path), first=tuple(first.get(path, ends)), last=tuple(ends))
        for path, ends in stages[-1]["ranges"].items()
    )


def shared(paths: Iterable[str]) -> str:
    """Return the modules that all of several paths begin with, such as `module.bert.`; never a whole path.

    Args:
        paths: of sites.
    """
    rooms = [path.split(".")[:-1] for path in paths]
    steps = takewhile(lambda names: len(set(names)) == 1, zip(*rooms, strict=False))
    return "".join(f"{names[0]}." for names in steps) if len(rooms) > 1 else ""


def write(
    stages: Path,
    out: Path,
    *,
    refreshed: int,
    source: str = "",
    original: Mapping[str, float] | None = None,
    inside: float | None = None,
    farthest: float = 0.0,
) -> Path:
    """Write a self-contained page and return its path.

    Args:
        stages: the `stages.json` of a conversion.
        out: the page.
        refreshed: levels after a bootstrap.
        source: name of the model.
        original: its metric on the same held-out inputs.
        inside: share of held-out inputs that stay in every interval; None if nobody looked.
        farthest: of them, in halves of an interval from its middle.

    Raises:
        BadInput: if there are no stages.
        StorageError: if the page cannot be written.
    """
    found = read(stages)
    template = environment().get_template("conversion.html.j2")
    page = template.render(
        source=source,
        rows=rows(found, refreshed, original),
        places=places(found),
        shared=shared(found[-1]["ranges"]).rstrip("."),
        stages=len(found),
        inside=inside,
        farthest=farthest,
        refreshed=refreshed,
        style=Markup(asset("page.css") + asset("figures.css")),
    )
    replace(out, page)
    return out
