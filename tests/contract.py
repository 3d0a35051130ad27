"""What the tests of the engine's contract have in common."""

from __future__ import annotations

from allocator import Allocator, Offers, Resources

#: What the tests drive is public; these are only shorter ways to say it.
R = Resources


def answered(offers: Offers) -> list[tuple[str, str, Resources]]:
    """Return (framework, agent, resources) of each offer, in the order made."""
    return [(offer.framework, offer.agent, offer.resources) for offer in offers]


def served(offers: Offers) -> list[str]:
    """Return whom each offer went to, in the order made."""
    return [offer.framework for offer in offers]


def amounts(offers: Offers) -> list[tuple[str, str]]:
    """Return (framework, text of the resources) of each offer, in the order made."""
    return [(offer.framework, str(offer.resources)) for offer in offers]


def check_conserved(engine: Allocator, *agents: str) -> None:
    """Check on each agent that what is available, offered and allocated makes up the total."""
    for name in agents:
        agent = engine.agent(name)
        parts = [agent.available, agent.offered, agent.allocated]
        exclusive = [part - part.shared() for part in parts]
        total = agent.total - agent.total.shared()
        assert sum(exclusive, Resources()) == total


def dynamic(role: str, text: str) -> Resources:
    """Return scalars dynamically reserved to a role."""
    return reserved([{"type": "DYNAMIC", "role": role}], text)


def reserved(stack: list[dict[str, object]], text: str) -> Resources:
    """Return what `text` says, under this stack of reservations."""
    return Resources([{**entry.to_json(), "reservations": stack} for entry in Resources(text)])


def revocable(text: str) -> Resources:
    """Return what `text` says, revocable."""
    return Resources([{**entry.to_json(), "revocable": {}} for entry in Resources(text)])


def volume(
    size: float,
    id: str = "v1",
    *,
    role: str = "eng",
    shared: bool = False,
    path: str = "data",
) -> Resources:
    """Return a persistent volume of `size` MB, dynamically reserved to a role."""
    entry: dict[str, object] = {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": size},
        "reservations": [{"type": "DYNAMIC", "role": role}],
        "disk": {
            "persistence": {"id": id},
            "volume": {"container_path": path, "mode": "RW"},
        },
    }
    if shared:
        entry["shared"] = {}
    return Resources([entry])


def mount_disk(size: float, root: str = "/mnt/1", role: str | None = None) -> Resources:
    """Return a mount disk, which is offered whole or not at all."""
    entry: dict[str, object] = {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": size},
        "disk": {"source": {"type": "MOUNT", "mount": {"root": root}}},
    }
    if role is not None:
        entry["reservations"] = [{"type": "DYNAMIC", "role": role}]
    return Resources([entry])
