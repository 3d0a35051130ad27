"""The order in which a cycle visits agents: random, yet the same for every subset.

An agent's place depends on the seed, the cycle's number, the stage and the agent's own id alone,
so leaving out agents that cannot receive anything does not disturb the others (Mesos shuffles the
candidates, which makes every decision depend on who else took part).
"""

from hashlib import blake2b

_MASK = (1 << 64) - 1

#: The stages of a cycle that draw an order of their own.
GUARANTEES, FAIR_SHARE = 1, 2


def hash64(text: str) -> int:
    """Return 64 well-mixed bits of `text`, the same on every machine. O(length)."""
    return int.from_bytes(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def mix64(x: int) -> int:
    """Return the splitmix64 finalizer of a 64-bit integer (Steele et al., OOPSLA 2014). O(1)."""
    x ^= x >> 30
    x = (x * 0xBF58476D1CE4E5B9) & _MASK
    x ^= x >> 27
    x = (x * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def stage_salt(seed: str, cycle: int, stage: int) -> int:
    """Return the 64 bits that set one stage of one cycle apart from all others. O(1)."""
    return hash64(f"{seed}/{cycle}/{stage}")


def place(id_hash: int, salt: int) -> int:
    """Return an agent's place in a stage's order; agents go by (place, id). O(1)."""
    return mix64(id_hash ^ salt)
