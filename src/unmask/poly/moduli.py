"""The primes of a modulus chain, and what fixed scaling makes of their distance from the scale.

With fixed scaling every product is taken to have the scale 2^s, while rescaling divides by a prime q_l that is only
near it. So a rescale multiplies the value by 2^s / q_l: a known relative error that outweighs the noise at 45 bits.
"""

from functools import cache

from unmask.errors import BadInput

_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


@cache
def primes(ring: int, scale: int, levels: int) -> tuple[int, ...]:
    """Return the primes that a rescale from level 1, 2 and so on divides by.

    They are 1 modulo 2N. The topmost is the first above 2^scale; under it come in turn the next below and the next
    above, as OpenFHE's FIXEDMANUAL takes them.

    Args:
        ring: log2 of the ring dimension N.
        scale: bits of the scale.
        levels: number of primes.

    Raises:
        BadInput: if `ring` or `scale` is out of range.
    """
    if not 3 <= ring <= 17 or not ring + 4 <= scale <= 60:
        raise BadInput("ring and scale", (ring, scale), "are out of range", "give log2 N up to 17 and 20 to 60 bits")
    step = 2 ** (ring + 1)
    above = below = _next(2**scale + 1, step)
    found = [above]
    for index in range(levels - 1):
        if index % 2 == 0:
            below = _next(below - step, -step)
            found.append(below)
        else:
            above = _next(above + step, step)
            found.append(above)
    return tuple(reversed(found[:levels]))


def drift(ring: int, scale: int, levels: int) -> tuple[float, ...]:
    """Return 2^scale / q - 1 for a rescale from level 1, 2 and so on.

    Args:
        ring: log2 of the ring dimension N.
        scale: bits of the scale.
        levels: number of levels.
    """
    return tuple((2**scale - prime) / prime for prime in primes(ring, scale, levels))


def _next(candidate: int, step: int) -> int:
    while not _is_prime(candidate):
        candidate += step
    return candidate


def _is_prime(n: int) -> bool:
    # Miller and Rabin; these witnesses decide every n below 3.3e24.
    if n < 2 or any(n % p == 0 and n != p for p in _WITNESSES):
        return False
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(n == witness or _passes(n, witness, odd, twos) for witness in _WITNESSES)


def _passes(n: int, witness: int, odd: int, twos: int) -> bool:
    power = pow(witness, odd, n)
    if power in (1, n - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % n
        if power == n - 1:
            return True
    return False
