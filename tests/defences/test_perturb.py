from dataclasses import replace

import pytest

from tests.tiny import victim
from unmask.defence import EMPIRICAL, Guarantee
from unmask.defences.perturb import Perturb
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surface import Release, Scenario
from unmask.surfaces.gradient import GradientSurface


def test_the_scenario_is_safer_and_the_given_one_unchanged() -> None:
    scenario = Scenario(victim=victim("bert", 1), surface=GradientSurface(select="0.query"))
    defended = Perturb(noise=0.1, prune=0.5).protect(scenario)
    assert scenario.surface.release == Release()
    assert defended.surface.release == Release(noise=0.1, prune=0.5)
    seen = defended.observe(generator(0))
    assert seen.knowledge.noise == 0.1
    assert "Gaussian noise of 0.1" in " ".join(seen.knowledge.sentences())


def test_nothing_is_promised() -> None:
    scenario = Scenario(victim=victim("bert", 1), surface=GradientSurface())
    assert str(Perturb(noise=0.1).guarantee(scenario)) == EMPIRICAL == "none: empirical only"


def test_settings_are_checked() -> None:
    with pytest.raises(BadInput, match="--prune"):
        Perturb(prune=2.0)


def test_a_guarantee_states_all_of_it() -> None:
    whole = Guarantee(epsilon=1.0, delta=1e-5, unit="sequence", neighbours="add or remove one", accountant="PLD")
    assert str(whole) == (
        "epsilon 1, delta 1e-05 per sequence (add or remove one), PLD accountant [claimed, real arithmetic]"
    )
    assert str(replace(whole, scope="one step", void=True)).startswith("VOID, the noise was seeded: epsilon 1, delta")
    assert "(add or remove one), one step, PLD" in str(replace(whole, scope="one step"))
    with pytest.raises(BadInput, match="epsilon alone"):
        Guarantee(epsilon=1.0)
