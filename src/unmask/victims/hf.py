"""Hugging Face models: the only file that knows their library."""

import copy
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from unmask.errors import BadInput, StorageError
from unmask.public import Vocabulary
from unmask.rng import generator
from unmask.victims.build import build
from unmask.victims.torch_model import Forward, TorchModel
from unmask.victims.torch_vision import TorchVision
from unmask.victims.torch_vision import wrap as wrap_module

POOLING = "unmask_pooling"
"""Entry of a model's configuration that says what its classifier reads; see `mean_pooled`."""
POSITION_SHIFT = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"}


def load(model: str, *, task: str = "auto", classes: int = 2, seed: int = 0, offline: bool = True) -> "Loaded":
    """Load a model and its tokenizer from a directory, or from the hub when `offline` is False.

    Args:
        model: directory with `config.json`, or a hub name.
        task: `classification`, `causal-lm`, or `auto` (from the checkpoint's architecture).
        classes: number of classes when the checkpoint has no classification head; the head is
            then drawn from `seed` and public, as in the first round of federated fine-tuning.
        seed: seed of a new head.
        offline: never ask the hub.

    Raises:
        BadInput: if the directory, the tokenizer or the task is unusable.
    """
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    local = Path(model)
    if offline and not (local / "config.json").is_file():
        remedy = "give a model directory, or add --online for a hub name"
        raise BadInput("--model", model, "is no directory with a config.json", remedy)
    try:
        config = AutoConfig.from_pretrained(model, local_files_only=offline)
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=offline)
    except (OSError, ValueError, KeyError) as error:
        remedy = "save it with save_pretrained, tokenizer included"
        raise BadInput("--model", model, f"cannot be read ({_line(error)})", remedy) from error
    if task == "auto":
        architecture = (config.architectures or [""])[0]
        task = "causal-lm" if "CausalLM" in architecture or "LMHead" in architecture else "classification"
    if task not in ("classification", "causal-lm"):
        raise BadInput("--task", task, "is no task", "choose auto, classification or causal-lm")
    try:
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator(seed, "head"))))
            if task == "causal-lm":
                network = AutoModelForCausalLM.from_pretrained(
                    model, local_files_only=offline, dtype=torch.float32, attn_implementation="eager"
                )
            else:
                count = config.num_labels if "Classification" in str(config.architectures) else classes
                network = AutoModelForSequenceClassification.from_pretrained(
                    model, local_files_only=offline, dtype=torch.float32, attn_implementation="eager", num_labels=count
                )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        remedy = "check the weights, or choose another --task"
        raise BadInput("--model", model, f"cannot be loaded for {task} ({_line(error)})", remedy) from error
    return wrap(network, tokenizer, name=local.name if local.exists() else model, causal_lm=task == "causal-lm")


class Loaded:
    """A public model beside the tokenizer that turns texts into ids."""

    def __init__(self, model: TorchModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text, special tokens included."""
        return tuple(self.tokenizer(text, truncation=False, verbose=False)["input_ids"])


def wrap(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, causal_lm: bool) -> Loaded:
    """Turn a model and tokenizer already in memory into a public model.

    Raises:
        BadInput: if the tokenizer knows ids that the model has no embedding for.
    """
    embedding = cast(nn.Embedding, network.get_input_embeddings())
    rows = embedding.num_embeddings
    if len(tokenizer) > rows:
        rule = f"has {rows} token embeddings but its tokenizer has {len(tokenizer)} tokens"
        raise BadInput("--model", name, rule, "use the tokenizer that was trained with it")
    path = next(found for found, module in network.named_modules() if module is embedding)
    config: Any = network.config
    shift = 1 + (embedding.padding_idx or 0) if config.model_type in POSITION_SHIFT else 0
    model = build(
        module=network,
        name=name,
        forward=_forward(
            shift,
            decoder_classifier=not causal_lm and _pools_last(network),
            mean=not causal_lm and getattr(config, POOLING, "") == "mean",
        ),
        token_embedding=path,
        vocabulary=vocabulary(tokenizer, rows),
        classes=None if causal_lm else config.num_labels,
        heads=getattr(config, "num_attention_heads", 1),
        max_length=_max_length(config, tokenizer, shift),
        masks=True,
        text=lambda ids: str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)),
    )
    return Loaded(model, tokenizer)


def mean_pooled(loaded: Loaded) -> Loaded:
    """Return a copy of a classifier whose linear head reads the mean of the last layer's states.

    An encoder of sentences keeps what they mean there, which its pooler, if it has one, was never trained for.
    The configuration remembers it, so that `load` reads what `save` wrote; elsewhere the model is an ordinary one,
    with a head that was trained on something else.

    Args:
        loaded: a classifier.

    Raises:
        BadInput: if it has no linear head as wide as its states.
    """
    network: Any = copy.deepcopy(loaded.model.module)
    head = head_name(network)
    if head is None or loaded.model.classes is None:
        rule = "has no linear classifier on its states that could read their mean"
        raise BadInput("--frozen", loaded.model.name, rule, "leave it out, and choose --train")
    setattr(network.config, POOLING, "mean")
    return wrap(network, loaded.tokenizer, name=loaded.model.name, causal_lm=False)


def head_name(network: nn.Module) -> str | None:
    """Return the name of a classifier's linear head on its states, or None.

    Args:
        network: a model of the library.
    """
    width = getattr(getattr(network, "config", None), "hidden_size", None)
    for name in ("classifier", "score"):
        head = getattr(network, name, None)
        if isinstance(head, nn.Linear) and head.in_features == width:
            return name
    return None


def from_memory(network: nn.Module, tokenizer: object, *, name: str | None = None) -> Loaded:
    """Turn a model and tokenizer of the library that are already in memory into a public model.

    Whether it predicts the next token is read off its class's name.

    Raises:
        BadInput: if either is of another kind, or the tokenizer knows ids that the model has no embedding for.
    """
    if not isinstance(network, PreTrainedModel):
        remedy = "wrap your own module with unmask.wrap_module"
        raise BadInput("model", type(network).__name__, "is no transformers model", remedy)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise BadInput(
            "tokenizer", type(tokenizer).__name__, "is no transformers tokenizer", "load it with AutoTokenizer"
        )
    kind = type(network).__name__
    causal_lm = "CausalLM" in kind or "LMHead" in kind
    if not causal_lm and "SequenceClassification" not in kind:
        remedy = "load it for sequence classification or next-token prediction"
        raise BadInput("model", kind, "has no head that this project knows", remedy)
    return wrap(network, tokenizer, name=name or Path(network.name_or_path or kind).name, causal_lm=causal_lm)


def save(network: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model and its tokenizer into a folder that `load` reads.

    Args:
        network: a model of the library.
        tokenizer: its tokenizer.
        folder: where to.

    Raises:
        StorageError: if a file cannot be written.
    """
    try:
        cast(PreTrainedModel, network).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise StorageError(str(folder), error.strerror or str(error)) from error


def pictured(model: str) -> bool:
    """Whether a directory holds a classifier of images, by its configuration.

    Args:
        model: the directory.
    """
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return any("ImageClassification" in str(name) for name in config.get("architectures") or ())


def load_vision(model: str, *, offline: bool = True) -> TorchVision:
    """Load a vision transformer from a directory, or from the hub when `offline` is False.

    Args:
        model: directory with `config.json`, or a hub name.
        offline: never ask the hub.

    Raises:
        BadInput: if the directory or the model is unusable.
    """
    hf_logging.set_verbosity_error()
    local = Path(model)
    if offline and not (local / "config.json").is_file():
        remedy = "give a model directory, or add --online for a hub name"
        raise BadInput("--model", model, "is no directory with a config.json", remedy)
    try:
        network = AutoModelForImageClassification.from_pretrained(
            model, local_files_only=offline, dtype=torch.float32, attn_implementation="eager"
        )
        file = local / "preprocessor_config.json"
        processing = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        remedy = "check the configuration and the weights"
        raise BadInput(
            "--model", model, f"cannot be loaded as a classifier of images ({_line(error)})", remedy
        ) from error
    normalised = processing.get("do_normalize", True)
    mean, deviation = processing.get("image_mean", 0.5), processing.get("image_std", 0.5)
    name = local.name if local.exists() else model
    return wrap_vision(network, name=name, mean=mean if normalised else 0.0, deviation=deviation if normalised else 1.0)


def wrap_vision(
    network: PreTrainedModel,
    *,
    name: str,
    mean: float | Sequence[float] = 0.5,
    deviation: float | Sequence[float] = 0.5,
) -> TorchVision:
    """Turn a classifier of images already in memory into a public model that takes pixels in [0, 1].

    Args:
        network: such as `ViTForImageClassification`, with attention that shows its weights ("eager").
        name: how reports call it.
        mean: of the pixels, taken off before the first layer; one number or one a channel.
        deviation: of the pixels, by which they are divided.

    Raises:
        BadInput: if no module of it makes tokens of images.
    """
    config: Any = network.config
    path = next((path for path, module in network.named_modules() if hasattr(module, "patch_embeddings")), None)
    size = getattr(config, "image_size", None)
    if path is None or size is None:
        raise BadInput("model", type(network).__name__, "makes no tokens of images", "give a vision transformer")
    height, width = (size, size) if isinstance(size, int) else size
    shift, scale = (torch.as_tensor(value, dtype=torch.float64).view(1, -1, 1, 1) for value in (mean, deviation))

    def call(module: nn.Module, images: Tensor) -> object:
        return module(pixel_values=(images - shift.to(images.dtype)) / scale.to(images.dtype), output_attentions=True)

    return wrap_module(
        network,
        name=name,
        call=call,
        embedding=path,
        shape=(config.num_channels, height, width),
        classes=config.num_labels,
        heads=config.num_attention_heads,
    )


def vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """Describe a tokenizer by its ids: which are special, and what it puts around a sentence."""
    size = min(len(tokenizer), rows)
    pieces = tuple(map(str, tokenizer.convert_ids_to_tokens(list(range(size)))))
    special = set(tokenizer.all_special_ids)
    special |= {i for i, piece in enumerate(pieces) if piece.startswith("[unused") or piece == "None"}
    probe = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    start = next((i for i in range(len(full)) if full[i : i + len(probe)] == probe), 0)
    pad = tokenizer.pad_token_id
    return Vocabulary(
        size=size,
        pieces=pieces,
        special=frozenset(i for i in special if i < size),
        prefix=tuple(full[:start]),
        suffix=tuple(full[start + len(probe) :]),
        pad=pad if pad is not None else tokenizer.eos_token_id,
    )


def _forward(shift: int, *, decoder_classifier: bool, mean: bool) -> Forward:
    def forward(module: nn.Module, ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        where = torch.arange(ids.shape[1])[None].expand(ids.shape) if positions is None else positions
        if mask is not None and mask.dim() == 2:
            mask = mask.long()
        if mean:
            return _mean_logits(module, ids, mask, where + shift)
        if decoder_classifier and (mask is None or mask.dim() == 2):
            return _last_token_logits(module, ids, mask, where)
        return cast(Tensor, module(input_ids=ids, attention_mask=mask, position_ids=where + shift).logits)

    return forward


def _last_token_logits(module: nn.Module, ids: Tensor, mask: Tensor | None, where: Tensor) -> Tensor:
    # The library finds the last token by looking for padding ids, which embeddings in place of ids
    # and unknown lengths would mislead; the mask says it directly.
    network: Any = module
    hidden = network.base_model(input_ids=ids, attention_mask=mask, position_ids=where).last_hidden_state
    last = torch.full((len(ids),), ids.shape[1] - 1) if mask is None else mask.sum(1) - 1
    return cast(Tensor, network.score(hidden[torch.arange(len(ids)), last]))


def _mean_logits(module: nn.Module, ids: Tensor, mask: Tensor | None, where: Tensor) -> Tensor:
    network: Any = module
    hidden = network.base_model(input_ids=ids, attention_mask=mask, position_ids=where).last_hidden_state
    counts = torch.ones(ids.shape) if mask is None or mask.dim() != 2 else mask
    counts = counts.to(hidden.dtype)[..., None]
    head = getattr(network, str(head_name(network)))
    return cast(Tensor, head((hidden * counts).sum(1) / counts.sum(1)))


def _pools_last(network: PreTrainedModel) -> bool:
    return isinstance(getattr(network, "score", None), nn.Linear)


def _max_length(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, shift: int) -> int:
    limit: int = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 512
    return min(limit - shift, int(tokenizer.model_max_length))


def _line(error: Exception) -> str:
    text: Sequence[str] = str(error).strip().splitlines() or [type(error).__name__]
    return text[0][:160]
