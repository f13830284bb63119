import pytest
import torch

from unmask.errors import BadInput
from unmask.surface import Release
from unmask.surfaces.release import norm, perturb


def _tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"a": torch.randn(20, 30), "b": 0.1 * torch.randn(50)}


def _release(**settings: object) -> dict[str, torch.Tensor]:
    return perturb(_tensors(), Release(**settings), torch.Generator().manual_seed(0))


def test_nothing_asked_nothing_done() -> None:
    assert all(torch.equal(tensor, _tensors()[name]) for name, tensor in _release().items())


def test_norm_is_that_of_all_entries() -> None:
    assert norm({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])}) == pytest.approx(5.0)


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_rounding_stays_within_half_a_unit(dtype: str, step: float) -> None:
    for name, tensor in _release(dtype=dtype).items():
        exact = _tensors()[name]
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, exact)
        assert bool(((tensor - exact).abs() <= step * exact.abs() + 1e-7).all())


def test_clipping_keeps_the_direction_and_only_shortens() -> None:
    whole = norm(_tensors())
    short, long = _release(clip=1.0), _release(clip=2 * whole)
    assert norm(short) == pytest.approx(1.0, rel=1e-5)
    torch.testing.assert_close(short["b"] * whole, _tensors()["b"], rtol=1e-4, atol=1e-6)
    assert norm(long) == pytest.approx(whole, rel=1e-6)


def test_noise_is_relative_to_the_norm_of_the_whole_release() -> None:
    difference = {name: tensor - _tensors()[name] for name, tensor in _release(noise=0.01).items()}
    assert norm(difference) == pytest.approx(0.01 * norm(_tensors()), rel=0.1)
    deviations = [float(tensor.std()) for tensor in difference.values()]
    assert min(deviations) == pytest.approx(max(deviations), rel=0.2)


def test_noise_counts_from_the_clipped_norm() -> None:
    clipped = _release(clip=1.0)
    both = _release(clip=1.0, noise=0.01)
    assert norm({name: both[name] - clipped[name] for name in both}) == pytest.approx(0.01, rel=0.1)


def test_pruning_drops_the_smallest_of_all_entries_together() -> None:
    found = _release(prune=0.9)
    flat = torch.cat([tensor.flatten() for tensor in found.values()])
    exact = torch.cat([tensor.flatten() for tensor in _tensors().values()])
    assert int((flat == 0).sum()) == int(0.9 * len(flat))
    kept = flat != 0
    assert float(exact[kept].abs().min()) >= float(exact[~kept].abs().max())
    assert torch.equal(flat[kept], exact[kept])


def test_the_given_tensors_stay_as_they_are() -> None:
    given = _tensors()
    perturb(given, Release(prune=0.5, noise=0.1, clip=0.5, dtype="bfloat16"), torch.Generator())
    assert all(torch.equal(tensor, _tensors()[name]) for name, tensor in given.items())


@pytest.mark.parametrize(
    "settings", [{"dtype": "int4"}, {"noise": -1.0}, {"noise": float("nan")}, {"clip": 0.0}, {"prune": 1.0}]
)
def test_values_out_of_range(settings: dict[str, object]) -> None:
    (name,) = settings
    with pytest.raises(BadInput, match=f"--{name}"):
        Release(**settings)


def test_int8_has_one_step_per_tensor() -> None:
    tensor = torch.tensor([[1.27, -0.634, 0.004], [0.0, 0.011, -1.0]])
    found = perturb({"a": tensor, "zero": torch.zeros(2)}, Release(dtype="int8"), torch.Generator())
    assert torch.allclose(found["a"], torch.tensor([[1.27, -0.63, 0.0], [0.0, 0.01, -1.0]]), atol=1e-6)
    assert torch.equal(found["zero"], torch.zeros(2))
