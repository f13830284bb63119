"""The defence of a model in Python: private training with a guarantee in writing, as `unmask defend` does it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import nn

from unmask import api, settings, storage
from unmask.defence import Defence
from unmask.defences.dp_sgd import DpSgd
from unmask.defences.training import frozen as frozen_head
from unmask.defences.training.loop import CHECKPOINT, Progress
from unmask.defences.training.plan import Training
from unmask.defences.training.private_model import PrivateModel, describe
from unmask.defences.training.private_model import defend as trained
from unmask.errors import BadInput, StorageError
from unmask.victims import hf
from unmask.victims.corpora import Example
from unmask.victims.secrets import secrets

WEIGHTS = "model.safetensors"
"""File of the weights of a model that is not the transformers library's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Defended:
    """A defended model and where it was written.

    Args:
        path: its folder, which `unmask audit --model` takes.
        found: the trained module, the guarantee, the self-test and the utility.
    """

    path: Path
    found: PrivateModel


def defend(
    model: "api.Audited | tuple[nn.Module, object] | str | Path | None",
    texts: Sequence[str | Example] | str | Path,
    *,
    out: str | Path,
    defence: Defence | None = None,
    training: Training | Mapping[str, object] | None = None,
    frozen: bool = False,
    labels: Sequence[int] | None = None,
    held: Sequence[str | Example] | str | Path | None = None,
    limit: int | None = None,
    classes: int = 2,
    task: str = "auto",
    online: bool = False,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda now: None,
) -> Defended:
    """Train a model privately and write it, with what is guaranteed, into a folder.

    Args:
        model: see `unmask.api.subject`; it is not changed.
        texts: the private examples, see `unmask.api.examples`.
        out: the folder; its `defence.json` states guarantee, self-test and utility.
        defence: `DpSgd(epsilon=3)` or `DpSgd(noise=1)`; None trains plainly, for comparison.
        training: how to train, or some of the settings by name; the others are those of `Training()`, or with a frozen
            encoder 40 steps over all examples of size 0.03.
        frozen: train a linear head alone, on the mean of the last layer's states. The noise has then fewer numbers to
            cover, and each text passes through the encoder once: the sensible choice at a small epsilon.
        labels: class indices of given texts.
        held: public texts with labels on which the utility is measured.
        limit: number of examples to use, from the first; None for all.
        classes: number of classes of a head that the model lacks.
        task: `classification`, `causal-lm` or `auto`, for a folder.
        online: take `model` for a name on the hub if it is no folder.
        resume: go on with the training in `out`.
        progress: called after every step.

    Raises:
        BadInput: if an argument cannot be used, or the self-test fails.
        MissingExtra: if Opacus or dp-accounting is not installed.
        StorageError: if the folder cannot be written.

    Example:
        >>> defend(None, "train.csv", out="private", defence=DpSgd(epsilon=3)).path  # doctest: +SKIP
        PosixPath('private')
    """
    if defence is not None and not isinstance(defence, DpSgd):
        remedy = "choose dp-sgd; the others protect what a run shows: unmask audit --defence"
        raise BadInput("--defence", defence.name, "does not train a model", remedy)
    if not isinstance(training, Training):
        settings.from_json(Training(), training or {})  # before anything is read or written
    folder = _folder(Path(out), resume=resume)
    examples = api.examples(texts, labels)[:limit]
    who = api.subject(model, task=task, classes=classes, online=online)
    if frozen:
        who = _on_frozen(who)
    own = secrets(examples, who.model, who.encode, batch=1, argument="--data")
    judged = () if held is None else secrets(api.examples(held), who.model, who.encode, batch=1, argument="--test")
    training = _settings(who, len(own), training, frozen=frozen)
    found = trained(who.model, own, training, defence, held=judged, folder=folder, resume=resume, progress=progress)
    _written(who, found.module, folder)
    describe(found, training, folder)
    return Defended(path=folder, found=found)


def _on_frozen(who: "api.Audited") -> hf.Loaded:
    if not isinstance(who, hf.Loaded):
        remedy = "leave it out, and name the head's parameters to train"
        raise BadInput("--frozen", type(who).__name__, "is no classifier of the transformers library", remedy)
    return hf.mean_pooled(who)


def _settings(
    who: "api.Audited", records: int, given: Training | Mapping[str, object] | None, *, frozen: bool
) -> Training:
    if isinstance(given, Training):
        return given
    name = hf.head_name(who.model.module) if frozen else None
    usual = Training() if name is None else frozen_head.settings(records, name)
    made: Training = settings.from_json(usual, given or {})
    return made


def _folder(folder: Path, *, resume: bool) -> Path:
    if folder.exists() and not folder.is_dir():
        raise BadInput("--out", str(folder), "is a file", "name a folder")
    begun = folder.is_dir() and any(folder.iterdir())
    if begun and not resume:
        raise BadInput("--out", str(folder), "is not empty", "add --resume to go on, or name another folder")
    if begun and not (folder / CHECKPOINT).is_file():
        raise BadInput("--resume", str(folder), "holds no training that was cut off", "name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(str(folder), error.strerror or str(error)) from error
    return folder


def _written(who: "api.Audited", module: nn.Module, folder: Path) -> None:
    if isinstance(who, hf.Loaded):
        hf.save(module, who.tokenizer, folder)
        return
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    storage.replace_bytes(folder / WEIGHTS, save(state))
