"""Security of parameters: the formula against what OpenFHE 1.6.1 accepted and refused."""

import pytest

from unmask.errors import BadInput
from unmask.he.parameters import Parameters

# ring, scale, first, digits, most levels that OpenFHE accepts at 128 bits of security (HEStd_128_classic,
# UNIFORM_TERNARY, FIXEDMANUAL): found by asking it for 1, 2, 3, ... levels.
ACCEPTED = [
    (13, 30, 40, 1, 1),
    (14, 40, 60, 3, 5),
    (14, 45, 60, 3, 5),
    (15, 40, 60, 3, 14),
    (15, 45, 60, 3, 11),
    (15, 45, 60, 4, 12),
    (15, 45, 60, 2, 11),
    (15, 45, 60, 6, 14),
    (15, 50, 60, 3, 11),
    (15, 40, 50, 3, 14),
    (15, 55, 60, 3, 10),
    (16, 45, 60, 3, 26),
    (16, 45, 60, 6, 30),
    (16, 50, 55, 3, 24),
    (16, 50, 60, 3, 24),
]


@pytest.mark.parametrize(("ring", "scale", "first", "digits", "levels"), ACCEPTED)
def test_security_is_judged_as_openfhe_judges_it(ring, scale, first, digits, levels):
    Parameters(ring=ring, levels=levels, scale=scale, first=first, digits=digits)
    with pytest.raises(BadInput, match="secure up to"):
        Parameters(ring=ring, levels=levels + 1, scale=scale, first=first, digits=digits)


def test_json_keeps_everything():
    for parameters in (
        Parameters(ring=15, levels=11),
        Parameters(ring=16, levels=23, scale=50, first=55, budget=(3, 3)),
    ):
        assert Parameters.from_json(parameters.to_json()) == parameters
    with pytest.raises(BadInput, match="incomplete"):
        Parameters.from_json({"ring": 15})


@pytest.mark.parametrize(("field", "value"), [("ring", 9), ("levels", 0), ("scale", 20), ("first", 61), ("digits", 0)])
def test_a_value_out_of_range_is_refused(field, value):
    with pytest.raises(BadInput, match=field if field != "first" else "scale"):
        Parameters(**({"ring": 15, "levels": 11} | {field: value}))


def test_a_bootstrap_has_to_leave_a_level():
    with pytest.raises(BadInput, match="budget"):
        _ = Parameters(ring=15, levels=11).refreshed
    with pytest.raises(BadInput, match="used up"):
        _ = Parameters(ring=16, levels=16, scale=50, first=55, budget=(3, 3)).refreshed


def test_turns_are_those_that_the_library_makes_keys_for():
    # As OpenFHE 1.6.1 lists them after EvalBootstrapKeyGen at ring 2^16, 2^13 and 2^13, all slots.
    made = Parameters(ring=16, levels=22, scale=57, digits=4, budget=(3, 3))
    expected = {s * k for s in (1, 32, 1024) for k in range(1, 17)}
    expected |= {32 * k for k in range(1, 17)}
    assert made.turns == expected
    assert Parameters(ring=16, levels=22, scale=57, digits=4).turns == frozenset()
    for budget, listed in (
        ((3, 3), {*range(1, 16), *range(16, 257, 16), *range(256, 3841, 256)}),
        ((2, 2), {*range(1, 33), *range(64, 2049, 64)}),
    ):
        object.__setattr__(made, "ring", 13)
        object.__setattr__(made, "budget", budget)
        assert made.turns == listed
    object.__setattr__(made, "budget", (5, 5))
    assert made.turns == frozenset()  # groups of two sizes: nothing is claimed
