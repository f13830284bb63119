"""A gradient saved to disk and read back: safetensors with what the adversary knows as JSON beside it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unmask import settings, storage
from unmask.errors import BadInput
from unmask.observation import Knowledge, Observation
from unmask.public import Place, PublicModel
from unmask.surface import Release
from unmask.surfaces.gradient import GradientSurface, as_seen, check
from unmask.surfaces.release import perturb
from unmask.surfaces.rounding import gradient_rounding
from unmask.surfaces.selector import ALL, select
from unmask.victim import Victim

SCHEMA = 1
_KEY = "unmask"


@dataclass(frozen=True, kw_only=True)
class GradientFile:
    """What a file holds, taken as seen by the adversary.

    Args:
        path: a file written by `write`, or safetensors under the names of `named_parameters()`.
        select: which of the file's tensors to show; see `unmask.surfaces.selector`.
        knowledge: what is known about a file that does not say it itself.
        release: what is done to the tensors on top of what the file says.

    Example:
        >>> GradientFile(path="client.safetensors", select="0.query")  # doctest: +SKIP
    """

    name: ClassVar[str] = "gradient-file"
    path: str
    select: str = field(default=ALL)
    knowledge: Knowledge = field(default=Knowledge())
    release: Release = field(default=Release())

    def with_release(self, release: Release) -> "GradientFile":
        """Return the same surface with another release.

        Args:
            release: what is done to the tensors before they are seen.
        """
        return replace(self, release=release)

    def observe(self, victim: Victim, generator: torch.Generator) -> Observation:
        """Return the selected tensors of the file.

        Args:
            victim: whose model the file must fit; its secret is not used.
            generator: randomness of the release's noise.

        Raises:
            BadInput: if the file is unreadable, belongs to another model, or is not finite.
            NoSignal: if every entry is zero.
        """
        found = read(Path(self.path), victim.model, self.knowledge)
        inside = [place for place in found.places if place.name in found.tensors]
        chosen = {place.name: found.tensors[place.name] for place in select(inside, self.select)}
        check(chosen, argument="--gradients", value=self.path)
        if self.release == Release():
            return replace(found, tensors=chosen)
        stated = {key: value for key, value in asdict(self.release).items() if value != getattr(Release(), key)}
        return replace(
            found,
            tensors=perturb(chosen, self.release, generator),
            knowledge=replace(found.knowledge, **stated),
        )

    def rounding(self, victim: Victim) -> float:
        """Return how far the replay of a decoy lies from its gradient at the places that the file shows.

        Args:
            victim: a victim with a decoy for a secret.

        Raises:
            BadInput: if the file cannot be used, or the decoy leaves no trace there.
        """
        places = replace(self, release=Release()).observe(victim, torch.Generator()).places
        whole = GradientSurface().observe(victim, torch.Generator())
        seen = {place.name: whole.tensors[place.name] for place in places}
        check(seen, argument="decoy", value=self.path)
        return gradient_rounding(victim, seen, places)


def fingerprint(model: PublicModel) -> dict[str, object]:
    """Return what tells a model from others: the shape of each place, and a digest of its token embeddings.

    Args:
        model: any public model.
    """
    table = model.embedding().detach().float().contiguous()
    return {
        "shapes": {place.name: list(place.shape) for place in model.places},
        "embedding": hashlib.sha256(table.numpy().tobytes()).hexdigest()[:32],
    }


def write(observation: Observation, path: Path) -> Path:
    """Save an observation: its tensors under their place names, the rest as JSON in the header.

    Args:
        observation: what was seen.
        path: the file to write.

    Returns:
        The path.

    Raises:
        StorageError: if the disk is full or the file cannot be written.
    """
    header = {
        "schema": SCHEMA,
        "model": observation.model.name,
        "fingerprint": fingerprint(observation.model),
        "knowledge": asdict(observation.knowledge),
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in observation.tensors.items()}
    return storage.replace_bytes(path, save(tensors, metadata={_KEY: json.dumps(header)}))


def read(path: Path, model: PublicModel, knowledge: Knowledge) -> Observation:
    """Load an observation of `model`.

    Args:
        path: a file written by `write`, or safetensors under the names of `named_parameters()`.
        model: the public model that the gradient belongs to.
        knowledge: what is known about a file that does not say it itself.

    Raises:
        BadInput: if the file is missing, no safetensors, or of another model; shapes that differ are named.
        NoSignal: if every entry is zero.
    """
    if not path.is_file():
        raise BadInput("--gradients", str(path), "is no file", "check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise BadInput("--gradients", str(path), f"is no safetensors file ({error})", "write it again") from error
    if _KEY in metadata:
        header = _header(metadata[_KEY], path)
        _same_model(header, model, path, list(tensors))
        seen, knowledge = _by_place(tensors, model, path), _knowledge(header.get("knowledge"), path)
    else:
        seen = _by_parameter(tensors, model, path)
    check(seen, argument="--gradients", value=str(path))
    return Observation(tensors=seen, model=model, knowledge=knowledge)


def _header(text: str, path: Path) -> Mapping[str, object]:
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput("--gradients", str(path), f"has a damaged header ({error})", "write it again") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise BadInput("--gradients", str(path), "has a header of an unknown schema", "write it with this version")
    return header


def _same_model(header: Mapping[str, object], model: PublicModel, path: Path, seen: list[str]) -> None:
    theirs = header.get("fingerprint")
    theirs = theirs if isinstance(theirs, dict) else {}
    own = fingerprint(model)
    shapes = theirs.get("shapes")
    shapes = shapes if isinstance(shapes, dict) else {}
    expected = {place.name: list(place.shape) for place in model.places}
    differing = [
        f"{name} is {_shape(shapes.get(name))}, here {_shape(expected.get(name))}"
        for name in dict.fromkeys([*seen, *shapes, *expected])
        if shapes.get(name) != expected.get(name)
    ]
    remedy = f"name the model it was made with ({header.get('model')})"
    if differing:
        raise BadInput("--gradients", str(path), f"belongs to another model: {_few(differing)}", remedy)
    if theirs.get("embedding") != own["embedding"]:
        rule = f"belongs to another model: all shapes agree, but the token embeddings are not those of {model.name}"
        raise BadInput("--gradients", str(path), rule, remedy)


def _by_place(tensors: Mapping[str, Tensor], model: PublicModel, path: Path) -> dict[str, Tensor]:
    places = {place.name: place for place in model.places}
    differing = [
        f"{name} is {_shape(tensor.shape)}, here {_shape(places[name].shape if name in places else None)}"
        for name, tensor in tensors.items()
        if name not in places or tuple(tensor.shape) != places[name].shape
    ]
    if differing:
        raise BadInput("--gradients", str(path), f"belongs to another model: {_few(differing)}", "check the file")
    return {name: tensor.float() for name, tensor in tensors.items()}


def _by_parameter(tensors: Mapping[str, Tensor], model: PublicModel, path: Path) -> dict[str, Tensor]:
    # DistributedDataParallel puts its own name before every other.
    named = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    owners: dict[str, list[Place]] = {}
    for place in model.places:
        owners.setdefault(place.parameter, []).append(place)
    differing = [
        f"{name} is {_shape(tensor.shape)}, here {_shape(_stored(owners[name]) if name in owners else None)}"
        for name, tensor in named.items()
        if name not in owners or tuple(tensor.shape) != _stored(owners[name])
    ]
    if differing:
        remedy = f"name the model it was made with, or save it under the parameter names of {model.name}"
        raise BadInput("--gradients", str(path), f"belongs to another model: {_few(differing)}", remedy)
    return {place.name: as_seen(place, named[place.parameter]) for place in model.places if place.parameter in named}


def _stored(places: list[Place]) -> tuple[int, ...]:
    """Return the shape of the parameter that these places are parts of."""
    first = places[0]
    rows = max((place.rows[1] for place in places if place.rows is not None), default=first.shape[0])
    shape = (rows, *first.shape[1:])
    return shape[::-1] if first.transposed else shape


def _knowledge(data: object, path: Path) -> Knowledge:
    if not isinstance(data, dict):
        raise BadInput("--gradients", str(path), "does not say what is known", "write it with this version")
    known: Knowledge = settings.from_json(Knowledge, data)
    return known


def _shape(shape: object) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) if isinstance(shape, list | tuple) else str(shape)


def _few(clauses: list[str]) -> str:
    more = f" and {len(clauses) - 3} more" if len(clauses) > 3 else ""
    return ", ".join(clauses[:3]) + more
