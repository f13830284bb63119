"""A vision transformer as the adversary holds it: any `torch.nn.Module` that makes tokens of images in one place."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unmask import settings
from unmask.errors import BadInput
from unmask.public import Kind
from unmask.site import Site
from unmask.victims import sites
from unmask.victims.anatomy import places
from unmask.victims.capture import Reader, mode, reading, recording, replaced
from unmask.victims.sites import Signals
from unmask.victims.vit import Vit, VitShape
from unmask.vision import Images

Call = Callable[[nn.Module, Tensor], object]
"""(module, images (C, channels, height, width) in [0, 1]) -> anything; only the modules inside are read."""

DEMO = "vit-demo"
"""Name of the model that ships with the project."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchVision:
    """Implements `unmask.vision.VisionModel` for a module; it computes in the number format of what it is given.

    Args:
        name: how reports call it.
        module: the model; it is never changed, dropout is off while the adversary computes.
        call: how to call it; see `Call`.
        embedding: path of the module whose output is the first layer's tokens.
        shape: channels, height and width of an image.
        classes: number of classes.
        signals: what can be read where.
        examples: public pictures of the kind that the model was trained on, in its shape, or None.

    Raises:
        BadInput: if the examples are of another shape.
    """

    name: str
    module: nn.Module
    call: Call
    embedding: str
    shape: tuple[int, int, int]
    classes: int
    signals: Signals
    examples: Images | None = field(default=None)
    _copies: dict[torch.dtype, nn.Module] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.examples is not None and tuple(self.examples.pixels.shape[1:]) != self.shape:
            rule = f"are not of the model's shape {self.shape}"
            raise BadInput("examples", tuple(self.examples.pixels.shape), rule, "use unmask.victims.images.fit")

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def layers(self) -> int:
        """Number of transformer layers."""
        return 1 + max(site.layer for site in self.sites)

    @property
    def heads(self) -> int:
        """Number of attention heads of a layer."""
        return self.signals.heads

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every whole signal that can be seen, layer by layer."""
        return tuple(self.signals.readers)

    def weights(self) -> Mapping[str, Tensor]:
        """Return every parameter by name."""
        return {name: parameter.detach() for name, parameter in self.module.named_parameters()}

    def activations(self, images: Tensor, sites: Sequence[Site]) -> dict[str, Tensor]:
        """Return what stands at each site for images (C, channels, height, width); gradients flow to them."""
        return self._read(images, sites, None)

    def embed(self, images: Tensor) -> Tensor:
        """Return the tokens (C, n, d) that enter the first layer."""
        return self._read(images, (), None)["tokens"]

    def activations_from_tokens(self, tokens: Tensor, sites: Sequence[Site]) -> dict[str, Tensor]:
        """Return what stands at each site for tokens (C, n, d) in place of the embedded image's."""
        return self._read(torch.zeros(1, *self.shape, dtype=tokens.dtype), sites, tokens)

    def _read(self, images: Tensor, sites: Sequence[Site], tokens: Tensor | None) -> dict[str, Tensor]:
        module = self._as(images.dtype)
        modules = dict(module.named_modules())
        readers = [self.signals.reader(site) for site in sites] or [_tokens(self.embedding)]
        with (
            mode(module, training=False),
            reading(modules, readers) as tape,
            replaced(modules[self.embedding], tokens),
        ):
            self.call(module, images)
        return tape

    def _as(self, dtype: torch.dtype) -> nn.Module:
        own = next(self.module.parameters()).dtype
        if dtype == own:
            return self.module
        if dtype not in self._copies:
            # Attacks solve in float64 what was seen in float32: rounding of the replay would be their floor.
            self._copies[dtype] = copy.deepcopy(self.module).to(dtype).requires_grad_(False)
        return self._copies[dtype]


def wrap(
    module: nn.Module, *, name: str, call: Call, embedding: str, shape: tuple[int, int, int], classes: int, heads: int
) -> TorchVision:
    """Turn a module into a public model; its signals are found by names and by measuring.

    Args:
        module: makes tokens of images, and has layers such as `blocks.0` with `query`, `key`, `value` maps.
        name: how reports call it.
        call: how to call it.
        embedding: path of the module whose output is the first layer's tokens (C, n, d).
        shape: channels, height and width of an image.
        classes: number of classes.
        heads: number of attention heads.

    Raises:
        BadInput: if it cannot be called on images of that shape, or no layer is found in it.
    """
    modules = dict(module.named_modules())
    weights = [place for place in places(module, heads) if place.kind is Kind.WEIGHT]
    try:
        with torch.no_grad(), mode(module, training=False), recording(modules, stop=False) as tape:
            call(module, torch.zeros(1, *shape))
        length = tape.outputs[embedding].shape[1]
    except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        rule = f"cannot be called on an image of shape {shape} ({str(error).splitlines()[0][:120]})"
        raise BadInput("--model", name, rule, "give a vision transformer of that form") from error
    signals = sites.find(module, weights, heads, tape.outputs, length)
    if not signals.readers:
        raise BadInput("--model", name, "has no layer that was recognised", "name its layers blocks.0, blocks.1, ...")
    module.requires_grad_(False)
    return TorchVision(
        name=name, module=module, call=call, embedding=embedding, shape=shape, classes=classes, signals=signals
    )


def plain(module: Vit, *, name: str) -> TorchVision:
    """Turn the project's own vision transformer into a public model.

    Args:
        module: the model.
        name: how reports call it.
    """
    form = module.shape
    return wrap(
        module,
        name=name,
        call=lambda net, images: net(images),
        embedding="embedding",
        shape=(form.channels, form.side, form.side),
        classes=form.classes,
        heads=form.heads,
    )


def load(path: str | Path, *, argument: str = "--model") -> TorchVision:
    """Load a vision transformer of this project from a safetensors file whose header holds its shape.

    Args:
        path: the file.
        argument: what the caller calls `path`; errors use it.

    Raises:
        BadInput: if the file is missing, of another kind, or its tensors do not fit its shape.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(argument, str(path), "is no file", f"name a .safetensors file, or {DEMO}")
    try:
        with safe_open(path, "pt") as file:
            form = json.loads((file.metadata() or {})["shape"])
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        shape: VitShape = settings.from_json(VitShape, form)
        module = Vit(shape)
        module.load_state_dict(state)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        rule = f"holds no vision transformer of this project ({str(error).splitlines()[0][:120]})"
        raise BadInput(argument, str(path), rule, "train one with benchmarks/train_vit.py") from error
    return plain(module.eval(), name=path.stem)


def demo() -> TorchVision:
    """Return the small vision transformer that ships with the project, trained on Fashion-MNIST by its recipe."""
    with resources.as_file(resources.files("unmask.victims").joinpath(f"data/{DEMO}.safetensors")) as path:
        return load(path)


def _tokens(path: str) -> Reader:
    return Reader(name="tokens", path=path, before=False, read=lambda found: cast(Tensor, found))
