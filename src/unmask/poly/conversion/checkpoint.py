"""Training state as safetensors: weights, the optimiser's moments, and how far it came."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.conversion.ranges import sites
from unmask.poly.polynomial import Polynomial
from unmask.storage import replace_bytes


def keep(path: Path, model: nn.Module, adam: torch.optim.Optimizer | None = None, done: int = 0) -> None:
    """Write a model, and with an optimiser its moments, whole or not at all.

    Args:
        path: the file.
        model: its state goes in, polynomials included.
        adam: the optimiser, if training goes on from here.
        done: number of finished epochs.
    """
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if adam is not None:
        for index, parameter in enumerate(_parameters(adam)):
            state |= {f"adam.{index}.{name}": value for name, value in adam.state[parameter].items()}
    packed = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    replace_bytes(path, save(packed, {"done": str(done)}))


def restore(path: Path, model: nn.Module) -> tuple[int, dict[str, Tensor]]:
    """Read a model's weights and polynomials, and return the finished epochs and the optimiser's tensors.

    Args:
        path: what `keep` wrote.
        model: the same architecture; polynomials of the file are put into it.

    Raises:
        BadInput: if the file is damaged or belongs to another architecture.
    """
    try:
        with safe_open(path, "pt") as file:
            done = int((file.metadata() or {}).get("done", "0"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise BadInput("checkpoint", str(path), f"cannot be read ({error})", "delete it to start anew") from error
    own = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    for name, site in sites(model).items():
        if f"{name}.coefficients" in own:
            values = tuple(own[f"{name}.coefficients"].double().tolist())
            low, high = own[f"{name}.interval"].tolist()
            site.substitute(Polynomial(coefficients=values, interval=(low, high)))
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        rule = f"belongs to another architecture ({str(error).splitlines()[0]})"
        raise BadInput("checkpoint", str(path), rule, "delete it to start anew") from error
    return done, {name: tensor for name, tensor in tensors.items() if name.startswith("adam.")}


def resume(adam: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    """Put the moments that `restore` returned back.

    Args:
        adam: an optimiser of the same parameters in the same order.
        moments: its tensors.
    """
    for index, parameter in enumerate(_parameters(adam)):
        prefix = f"adam.{index}."
        found = {name.removeprefix(prefix): t for name, t in moments.items() if name.startswith(prefix)}
        if found:
            adam.state[parameter] = found


def _parameters(adam: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in adam.param_groups for parameter in group["params"]]
