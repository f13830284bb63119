from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unmask.errors import BadInput
from unmask.victims.weight_files import perceptron, read, square


def sequential() -> dict[str, torch.Tensor]:
    return torch.nn.Sequential(torch.nn.Linear(4, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2)).state_dict()


def test_a_sequential_network_is_read_and_computes_the_same(tmp_path: Path) -> None:
    weights = sequential()
    save_file(weights, tmp_path / "weights.safetensors")
    model, named = perceptron(read(tmp_path / "weights.safetensors", argument="--weights-before"), None, argument="x")
    assert (model.sizes, model.shape, model.bias) == ((4, 7, 2), (1, 2, 2), True)
    network = torch.nn.Sequential(torch.nn.Linear(4, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    network.load_state_dict(weights)
    x = torch.rand(3, 4)
    assert torch.allclose(model(named, x), network(x), atol=1e-6)


def test_layers_are_ordered_by_number() -> None:
    sizes = [(3, 4)] + [(3, 3)] * 11
    weights = {f"{at}.weight": torch.full(size, float(at)) for at, size in enumerate(sizes)}
    _, named = perceptron(weights, None, argument="x")
    assert [float(named[f"layer.{at}.weight"][0, 0]) for at in range(12)] == list(map(float, range(12)))


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"never opened.*safetensors\.torch\.save_file"):
        read(tmp_path / "model.pt", argument="--weights-after")
    with pytest.raises(BadInput, match="is no file"):
        read(tmp_path / "none.safetensors", argument="--weights-after")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path / "broken.safetensors", argument="--weights-after")


def test_other_architectures_are_refused() -> None:
    weights = sequential()
    with pytest.raises(BadInput, match="are not the layers"):
        perceptron({"0.weight": weights["0.weight"]}, None, argument="x")
    with pytest.raises(BadInput, match="are not the layers"):
        perceptron(weights | {"scale": torch.ones(1)}, None, argument="x")
    with pytest.raises(BadInput, match="do not follow"):
        perceptron(weights | {"2.weight": torch.ones(2, 6)}, None, argument="x")
    with pytest.raises(BadInput, match="not all matrices"):
        perceptron(weights | {"0.weight": torch.ones(7, 1, 2, 2)}, None, argument="x")
    with pytest.raises(BadInput, match="are not the 4 inputs"):
        perceptron(weights, (1, 3, 3), argument="x")


def test_squares() -> None:
    assert square(12) == (3, 2, 2)
    assert square(5) == (1, 1, 5)
