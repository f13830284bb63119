import pytest
import torch

from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surfaces.parameters import ParameterSurface
from unmask.victims.mlp import initial
from unmask.weights import PublicMLP, WeightsObservation

MODEL = PublicMLP(shape=(1, 1, 4), hidden=(6,))


def pair() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    noise = generator(0, "weights")
    return initial(MODEL, noise), initial(MODEL, noise)


def seen(surface: ParameterSurface, linearised: bool = True) -> WeightsObservation:
    start, final = pair()
    return surface.observe(MODEL, start, final, generator(0, "noise"), count=5, linearised=linearised)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_both_sets_of_weights_are_rounded_to_the_format_and_nothing_else(dtype: str) -> None:
    observation, (start, final) = seen(ParameterSurface(dtype=dtype)), pair()
    assert observation.start is not None
    kind = getattr(torch, dtype)
    for name in start:
        assert torch.equal(observation.start[name], start[name].to(kind))
        assert torch.equal(observation.final[name], final[name].to(kind))
        change = final[name].to(kind).double() - start[name].to(kind).double()
        assert torch.equal(observation.tensors[name], change)


def test_an_unknown_start_and_count_stay_unknown() -> None:
    hidden = seen(ParameterSurface(knows_start=False))
    assert hidden.start is None
    assert hidden.knowledge.count is None
    assert "The weights before training are unknown." in hidden.knowledge.sentences()
    assert all(torch.equal(hidden.tensors[name], hidden.final[name].double()) for name in hidden.final)
    assert seen(ParameterSurface(knows_count=True)).knowledge.count == 5


def test_a_replay_is_exact_only_for_a_linearised_training_without_noise_in_a_fine_format() -> None:
    assert seen(ParameterSurface(dtype="float32")).knowledge.exact
    assert seen(ParameterSurface(dtype="float64")).knowledge.exact
    assert not seen(ParameterSurface(dtype="float16")).knowledge.exact
    assert not seen(ParameterSurface(noise=1e-3)).knowledge.exact
    assert not seen(ParameterSurface(knows_start=False)).knowledge.exact
    assert not seen(ParameterSurface(), linearised=False).knowledge.exact


def test_noise_has_its_deviation_and_is_on_the_final_weights_only() -> None:
    quiet, loud = seen(ParameterSurface(dtype="float64")), seen(ParameterSurface(dtype="float64", noise=0.5))
    assert quiet.start is not None and loud.start is not None
    assert all(torch.equal(quiet.start[name], loud.start[name]) for name in quiet.start)
    added = torch.cat([(loud.final[name] - quiet.final[name]).flatten() for name in quiet.final])
    assert 0.3 < float(added.std()) < 0.7


def test_wrong_settings_and_weights_are_refused() -> None:
    with pytest.raises(BadInput, match="is no format"):
        ParameterSurface(dtype="int8")
    with pytest.raises(BadInput, match="is negative"):
        ParameterSurface(noise=-1.0)
    start, final = pair()
    surface, noise = ParameterSurface(), generator(0, "noise")
    with pytest.raises(BadInput, match="equal the weights before training"):
        surface.observe(MODEL, start, start, noise)
    with pytest.raises(BadInput, match="not finite"):
        surface.observe(MODEL, start, final | {"layer.0.bias": torch.full((6,), torch.nan)}, noise)
    with pytest.raises(BadInput, match="is no shape"):
        surface.observe(MODEL, start, final | {"layer.0.bias": torch.zeros(5)}, noise)
    with pytest.raises(BadInput, match="another architecture"):
        surface.observe(MODEL, start, {name: final[name] for name in list(final)[1:]}, noise)
