"""The invariants of an engine's state, by recomputing everything from what is held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from allocator import Allocator, Resources
from allocator.sorter import DRFSorter
from allocator.sorter._tree import TreeOrdering
from tests.compiled import bundles, filters, sorters

EMPTY = Resources()


def check(engine: Allocator) -> None:
    """Raise `AssertionError` unless A1 to A3, S1, S2, R1 to R7, F1 to F5 and B1 to B7 hold."""
    state = engine._state
    check_stores(engine)
    holdings = [held for agent in state.agents.values() for held in state.holdings_on(agent)]
    check_agents(state, holdings)
    check_offers(state, holdings)
    check_sums(state, holdings)
    check_roles(state, holdings)
    check_orders(state)


def check_stores(engine: Allocator) -> None:
    """Check what each store promises by itself: B1 to B7, F1 to F4, and the compiled sorters."""
    state = engine._state
    bundles.check(state.bundles)
    filters.check(state.filters, state.bundles)
    leaves = [leaf for each in state.frameworks.values() for leaf in each.subscriptions.values()]
    active = sorted(leaf.index for leaf in leaves if leaf.active)
    assert filters.asked(state.filters) == active
    for sorter in (state.tree.sorter, *(node.sorter for node in state.tree.nodes.values())):
        if isinstance(sorter, TreeOrdering):
            sorters.check(sorter)
    if state.tree.needy is not None:
        sorters.check(state.tree.needy)


def check_agents(state: Any, holdings: list[Any]) -> None:
    """Check A1 to A3, and that holdings are chained to both their ends (S1)."""
    by_leaf = [
        (held.agent.id, held.subscription)
        for framework in state.frameworks.values()
        for leaf in framework.subscriptions.values()
        for held in state.holdings_of_leaf(leaf)
    ]
    assert Counter(by_leaf) == Counter((held.agent.id, held.subscription) for held in holdings)
    for agent in state.agents.values():
        here = [held for held in holdings if held.agent is agent]
        pending = [r for by_role in (agent.pending or {}).values() for r in by_role.values()]
        assert agent.offered == sum((held.offered for held in here), EMPTY)
        assert agent.allocated == sum((held.allocated for held in here), EMPTY) + sum(
            pending, EMPTY
        )
        in_use = (agent.offered + agent.allocated).nonshared()
        assert agent.available == agent.total.minus_floor(in_use)
        assert agent.overcommitted == (not agent.total >= in_use)
        in_use = agent.offered + agent.allocated
        single = Resources([entry.replace(copies=1) for entry in in_use.shared()])
        gone = single.minus_floor(agent.total.shared())
        assert agent.excess == in_use.nonshared().minus_floor(agent.total.nonshared()) + gone
        assert all(held.offered or held.allocated for held in here)


def check_offers(state: Any, holdings: list[Any]) -> None:
    """Check that the open offers of a holding sum up to what it is offered (S1)."""
    ids = [id for held in holdings for id in held.offers]
    assert len(set(ids)) == len(ids) == state.n_open_offers
    for held in holdings:
        assert sum(held.offers.values(), EMPTY) == held.offered
        for id, left in held.offers.items():
            assert state.find_offer(id) == (held.subscription, held.agent, left)


def check_sums(state: Any, holdings: list[Any]) -> None:
    """Check S2."""
    assert state.total == counted((agent.id, agent.total) for agent in state.agents.values())
    in_use = [(held.agent.id, held.offered + held.allocated) for held in holdings]
    assert state.in_use == counted(in_use)
    candidates = {
        agent.id
        for agent in state.agents.values()
        if agent.active and (state.whitelist is None or agent.hostname in state.whitelist)
    }
    free = counted((id, charged(state.agents[id].total)) for id in candidates)
    in_use += [(agent.id, resources) for agent, _, resources in expected(state)]
    free.subtract(counted((id, charged(held)) for id, held in in_use if id in candidates))
    assert state.headroom == without_zeros(free)
    assert state.excess == counted((agent.id, agent.excess) for agent in state.agents.values())
    for name in state.total.keys() | state.excess.keys():
        assert state.total[name] + state.excess[name] < 2**63
    assert dict(state.totals.quantities.milli) == state.total


def check_roles(state: Any, holdings: list[Any]) -> None:
    """Check R1 to R4 and R7."""
    existing = {
        above.path
        for node in state.tree.nodes.values()
        if node.subscriptions or node.quota.guarantee or node.quota.limit or node.weight != 1
        for above in node.upward()
    }
    reserving = {e.role for a in state.agents.values() for e in a.total if e.role is not None}
    existing |= {above.path for path in reserving for above in state.tree.nodes[path].upward()}
    assert set(state.tree.roles) == existing
    required: Counter[str] = Counter()
    guaranteed: Counter[str] = Counter()
    for path, node in state.tree.nodes.items():
        here = [held for held in holdings if is_below(held.subscription.node.path, path)]
        reserved = counted(
            (a.id, Resources([e for e in a.total if e.role and is_below(e.role, path)]))
            for a in state.agents.values()
        )
        used = [(h.agent.id, charged(h.offered + h.allocated)) for h in here]
        used += [
            (agent.id, charged(resources))
            for agent, role, resources in expected(state)
            if is_below(role, path)
        ]
        consumed = counted(used)
        consumed.update(reserved)
        assert node.reserved == reserved
        assert node.offered == counted((held.agent.id, held.offered) for held in here)
        assert node.allocated == counted((held.agent.id, held.allocated) for held in here)
        assert node.consumed == without_zeros(consumed)
        below: Counter[str] = Counter()
        for child in node.children.values():
            below.update(child.need)
        assert node.children_need == without_zeros(below)
        names = node.quota.guarantee.keys() | below.keys()
        own = {n: node.quota.guarantee.get(n, 0) - node.consumed[n] for n in names}
        left = {n: max(most - node.consumed[n], 0) for n, most in node.quota.limit.items()}
        needed = {n: max(own[n], below[n], 0) for n in names}
        assert node.need == without_zeros({n: min(v, left.get(n, v)) for n, v in needed.items()})
        assert node.is_needed
        assert node.exists == (path in existing)
        if node.parent is None:
            required.update(node.need)
            guaranteed.update({n: node.guaranteed(n) for n in names_guaranteed(node)})
    assert state.tree.required == without_zeros(required)
    assert state.tree.guaranteed == without_zeros(guaranteed)


def check_orders(state: Any) -> None:
    """Check R5, R6, and the compiled sorters."""
    tree = state.tree
    active = {path for path, node in tree.nodes.items() if node.n_active}
    assert set(tree.sorter.sort()) == active
    for node in tree.nodes.values():
        on = {id for id, leaf in node.subscriptions.items() if leaf.active}
        assert set(node.sorter.sort()) == on
        assert node.n_active == len(on)
    guaranteeing = any(node.quota.guarantee for node in tree.nodes.values())
    assert (tree.needy is not None) == (isinstance(tree.sorter, DRFSorter) and guaranteeing)
    if tree.needy is not None:
        unmet = {path for path in active if any(map(falls_short, tree.nodes[path].upward()))}
        assert tree.needy.sort() == [path for path in tree.sorter.sort() if path in unmet]


def expected(state: Any) -> list[tuple[Any, str, Resources]]:
    """Return (agent, role, resources) of what frameworks that were not added yet use."""
    return [
        (agent, role, resources)
        for agent in state.agents.values()
        for by_role in (agent.pending or {}).values()
        for role, resources in by_role.items()
    ]


def falls_short(node: Any) -> bool:
    return any(node.consumed[name] < least for name, least in node.quota.guarantee.items())


def names_guaranteed(node: Any) -> set[str]:
    names = set(node.quota.guarantee)
    for child in node.children.values():
        names |= names_guaranteed(child)
    return names


def is_below(role: str, path: str) -> bool:
    return role == path or role.startswith(path + "/")


def charged(resources: Resources) -> Resources:
    return resources.unreserved().nonrevocable()


def counted(held: Iterable[tuple[str, Resources]]) -> Counter[str]:
    """Return scalars by name, in thousandths, a shared entry once an agent."""
    by_agent: dict[str, Resources] = {}
    for agent, resources in held:
        by_agent[agent] = by_agent.get(agent, EMPTY) + resources
    total: Counter[str] = Counter()
    for resources in by_agent.values():
        total.update(resources.quantities().milli)
    return total


def without_zeros(amounts: Any) -> dict[str, int]:
    return {name: milli for name, milli in amounts.items() if milli}
