"""Names and what they stand for: surfaces, attacks and defences, this project's and other packages'.

Another package adds its own under the entry point groups `unmask.attacks`, `unmask.surfaces` and
`unmask.defences`; nothing is imported before it is asked for.
"""

import difflib
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from unmask import settings
from unmask.errors import BadInput


class Group(StrEnum):
    """What can be registered; the value is the name of the entry point group."""

    SURFACE = "unmask.surfaces"
    ATTACK = "unmask.attacks"
    DEFENCE = "unmask.defences"

    @property
    def noun(self) -> str:
        """The singular."""
        return self.value.removeprefix("unmask.").removesuffix("s")


BUILT_IN: Mapping[Group, Mapping[str, str]] = {
    Group.SURFACE: {
        "gradient": "unmask.surfaces.gradient:GradientSurface",
        "gradient-file": "unmask.surfaces.gradient_file:GradientFile",
        "dp-gradient": "unmask.surfaces.dp_gradient:DpGradientSurface",
        "attention": "unmask.surfaces.activation:ActivationSurface",
        "attention-images": "unmask.surfaces.image_activation:ImageActivationSurface",
        "noisy-tokens": "unmask.surfaces.noisy_tokens:NoisyTokenSurface",
        "released-attention": "unmask.surfaces.released_attention:ReleasedAttentionSurface",
        "parameters": "unmask.surfaces.published_weights:PublishedWeights",
        "store": "unmask.surfaces.store:StoreSurface",
        "noisy-store": "unmask.surfaces.private_store:NoisyReadSurface",
        "store-state": "unmask.surfaces.private_store:LinearStateSurface",
        "answer": "unmask.surfaces.answer:AnswerSurface",
        "bounded-answer": "unmask.surfaces.bounded_answer:BoundedAnswerSurface",
    },
    Group.ATTACK: {
        "span": "unmask.attacks.span:SpanSearch",
        "soft-span": "unmask.attacks.matching.soft_span:SoftSpan",
        "lamp": "unmask.attacks.matching.lamp:Lamp",
        "tag": "unmask.attacks.matching.matching:tag",
        "dlg": "unmask.attacks.matching.matching:dlg",
        "bag": "unmask.attacks.bag:EmbeddingBag",
        "embedding-rows": "unmask.attacks.deltas.embedding_rows:EmbeddingRows",
        "activation-span": "unmask.attacks.activations.activation_span:ActivationSpan",
        "embedding-match": "unmask.attacks.activations.embedding_match:EmbeddingMatch",
        "image-newton": "unmask.attacks.images.newton:ImageNewton",
        "image-match": "unmask.attacks.images.match:ImageMatch",
        "closed-neurons": "unmask.attacks.weights.closed_neurons:ClosedNeurons",
        "dual-matching": "unmask.attacks.weights.dual_matching:DualMatching",
        "stationarity": "unmask.attacks.weights.stationarity:Stationarity",
        "parameter-span": "unmask.attacks.weights.parameter_span:ParameterSpan",
        "record-match": "unmask.attacks.shared.record_match:RecordMatch",
        "span-guess": "unmask.attacks.shared.span_guess:SpanGuess",
    },
    Group.DEFENCE: {
        "perturb": "unmask.defences.perturb:Perturb",
        "dp-sgd": "unmask.defences.dp_sgd:DpSgd",
        "dp-attention": "unmask.defences.dp_attention:DpAttention",
        "encryption": "unmask.defences.encryption:Encryption",
        "token-noise": "unmask.defences.noisy_tokens:NoisyTokens",
        "noisy-read": "unmask.defences.private_store:NoisyReads",
        "linear-state": "unmask.defences.private_store:LinearStates",
        "bounded-decoding": "unmask.defences.bounded_decoding:BoundedDecodings",
    },
}


def names(group: Group) -> tuple[str, ...]:
    """Return the registered names of a group, this project's first.

    Args:
        group: surfaces, attacks or defences.

    Example:
        >>> names(Group.DEFENCE)
        ('perturb',)
    """
    return tuple(_entries(group))


def find(group: Group, name: str, *, argument: str | None = None) -> Callable[[], Any]:
    """Return what stands behind a name: a class, or a function that returns an instance.

    Args:
        group: surfaces, attacks or defences.
        name: a registered name.
        argument: what the caller calls `name`; errors use it.

    Raises:
        BadInput: if nothing has that name, with the nearest that has, or if it cannot be imported.

    Example:
        >>> find(Group.DEFENCE, "perturb").__name__
        'Perturb'
    """
    argument = argument or f"--{group.noun}"
    entries = _entries(group)
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4) or list(entries)
        raise BadInput(argument, name, f"is no {group.noun}", f"choose {', '.join(near)}")
    try:
        found = entries[name].load()
    except (ImportError, AttributeError) as error:
        raise BadInput(argument, name, f"cannot be imported ({error})", "install what it needs") from error
    if not callable(found):
        raise BadInput(argument, name, f"is no class but {found!r}", "mend the entry point of the package")
    return cast(Callable[[], Any], found)


def make(group: Group, name: str, data: Mapping[str, object] | None = None, *, argument: str | None = None) -> Any:
    """Return an instance with the given settings, the others at their defaults.

    Args:
        group: surfaces, attacks or defences.
        name: a registered name.
        data: settings as JSON values, see `unmask.settings`.
        argument: what the caller calls `name`; errors use it.

    Raises:
        BadInput: if the name or a setting is unknown.

    Example:
        >>> make(Group.DEFENCE, "perturb", {"noise": 0.1}).noise
        0.1
    """
    found = find(group, name, argument=argument)
    return settings.from_json(found if isinstance(found, type) else found(), data or {})


def _entries(group: Group) -> dict[str, EntryPoint]:
    own = {name: EntryPoint(name, value, str(group)) for name, value in BUILT_IN[group].items()}
    # A name of this project's cannot be taken over: a report has to mean the same everywhere.
    return own | {entry.name: entry for entry in entry_points(group=str(group)) if entry.name not in own}
