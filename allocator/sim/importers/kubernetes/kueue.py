"""Kueue: cohorts, ClusterQueues, LocalQueues, flavors and workloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from allocator.errors import shown
from allocator.sim.importers.amounts import Amounts, add, positive, quantity, rounded
from allocator.sim.importers.kubernetes.pods import Pod
from allocator.sim.importers.kubernetes.requests import effective_request
from allocator.sim.importers.kubernetes.words import (
    Object,
    amounts,
    is_true,
    listing,
    mapping,
    name_of,
    named,
    whole,
)
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Node, Path, Queue, Source, Work

GROUP = "kueue.x-k8s.io"
#: What says on a job, and on pods, in which LocalQueue they are.
_LOCAL_QUEUES = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/local-queue-name")
_CLUSTER_QUEUE = "kueue.x-k8s.io/cluster-queue-name"
_WORKLOAD = "kueue.x-k8s.io/workload"
#: Objects that say nothing which is modelled here.
_COUNTED = frozenset(
    (
        *("AdmissionCheck", "MultiKueueConfig", "MultiKueueCluster", "ProvisioningRequestConfig"),
        *("WorkloadPriorityClass", "Topology", "Configuration"),
    )
)


@dataclass(slots=True)
class _Quota:
    """What a cohort or ClusterQueue says of one resource, over all flavors; None for no bound."""

    nominal: Fraction = Fraction(0)
    borrowing: Fraction | None = Fraction(0)
    #: What is never lent.
    kept: Fraction = Fraction(0)


@dataclass(slots=True)
class _Holder:
    """A cohort or a ClusterQueue."""

    object: Object | None
    name: str
    parent: str
    quotas: dict[str, _Quota] = field(default_factory=dict)
    #: flavors of each resource, in order
    flavors: dict[str, list[str]] = field(default_factory=dict)
    per_flavor: dict[str, Amounts] = field(default_factory=dict)
    weight: Fraction | None = None
    state: str = ""


class Room:
    """Reads the objects of Kueue."""

    HINTS = frozenset((*_LOCAL_QUEUES, _CLUSTER_QUEUE, _WORKLOAD))

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._options = options
        self._cohorts: dict[str, _Holder] = {}
        self._queues: dict[str, _Holder] = {}
        #: (name space, LocalQueue) -> (ClusterQueue, its weight if it has one)
        self._local: dict[tuple[str, str], tuple[str, Fraction | None]] = {}
        self._flavors: dict[str, dict[str, str]] = {}
        self._workloads: dict[tuple[str, str], Object] = {}
        #: (name space, `KIND/NAME` of what made it) -> workload
        self._of_owner: dict[tuple[str, str], Object] = {}
        self._paths: dict[str, Path] = {}
        self._fair_locals: set[str] = set()

    @staticmethod
    def knows(item: Object) -> bool:
        """Tell whether an object is one of Kueue."""
        return item.group.endswith(GROUP)

    def take(self, item: Object) -> None:
        """Read an object. Raises `DumpError`, `InvalidValue`."""
        source = self._source
        if item.kind == "ClusterQueue":
            self._add(self._queues, self._holder(item, ("cohortName", "cohort")), item)
        elif item.kind == "Cohort":
            self._add(self._cohorts, self._holder(item, ("parentName", "parent")), item)
        elif item.kind == "LocalQueue":
            weight = mapping(item.spec.get("fairSharing")).get("weight")
            self._local[item.namespace, item.name] = (
                str(item.spec.get("clusterQueue") or ""),
                None if weight is None else quantity(weight),
            )
        elif item.kind == "ResourceFlavor":
            labels = mapping(item.spec.get("nodeLabels"))
            self._flavors[item.name] = {str(key): str(value) for key, value in labels.items()}
            if item.spec.get("topologyName"):
                source.lacks("topology-aware flavors of Kueue", item.name)
        elif item.kind == "Workload":
            self._workloads[item.namespace, item.name] = item
            self._of_owner.update(((item.namespace, own), item) for own in _owners(item))
        elif item.kind in _COUNTED:
            source.lacks(f"{item.kind} of Kueue", item.name or item.document.place)
            if mapping(item.value.get("resources")).get("transformations"):
                source.lacks("resource transformations of Kueue", item.document.place)

    def _add(self, into: dict[str, _Holder], holder: _Holder, item: Object) -> None:
        """Add a holder; one that is there already may only say less than the new one."""
        known = into.setdefault(holder.name, holder)
        if known is holder or known.object is None:
            return
        before, now = known.object.spec, item.spec
        if all(before.get(key) == value for key, value in now.items()):
            self._source.tell("given twice", "queues given more than once, counted once", item.name)
        elif all(now.get(key) == value for key, value in before.items()):
            self._source.tell("given twice", "queues of which the fuller one counts", item.name)
            into[holder.name] = holder
        else:
            raise item.document.error(
                f"{item.kind} {shown(item.name)} is given twice, with different content"
            )

    def _holder(self, item: Object, parents: tuple[str, ...]) -> _Holder:
        if not item.name:
            raise item.document.error(f"a {item.kind} without a name")
        spec = item.spec
        holder = _Holder(item, item.name, next((str(spec[k]) for k in parents if spec.get(k)), ""))
        weight = mapping(spec.get("fairSharing")).get("weight")
        if weight is not None:
            holder.weight = quantity(weight)
        for group in listing(spec.get("resourceGroups")):
            for flavor in listing(mapping(group).get("flavors")):
                for resource in listing(mapping(flavor).get("resources")):
                    self._quota(holder, str(flavor.get("name")), mapping(resource))
        self._count(item, holder)
        return holder

    def _quota(self, holder: _Holder, flavor: str, resource: Any) -> None:
        raw = str(resource.get("name"))
        if raw == "pods":
            self._source.lacks("quotas of numbers of pods of Kueue", holder.name)
            return
        name = name_of(raw)
        if self._options.split_flavors:
            name = f"{name}.{flavor}"
        own = self._scaled(raw, resource.get("nominalQuota") or 0)
        quota = holder.quotas.setdefault(name, _Quota())
        quota.nominal += own
        bound = resource.get("borrowingLimit")
        if bound is None or quota.borrowing is None:
            quota.borrowing = None
        else:
            quota.borrowing += self._scaled(raw, bound)
        lent = resource.get("lendingLimit")
        if lent is not None:
            quota.kept += max(Fraction(0), own - self._scaled(raw, lent))
        holder.flavors.setdefault(name_of(raw), []).append(flavor)
        add(holder.per_flavor.setdefault(flavor, {}), {name: own})

    @staticmethod
    def _scaled(resource: str, value: Any) -> Fraction:
        """Return an amount of a resource in the engine's unit."""
        found = named({resource: positive(quantity(value), value)})
        return next(iter(found.values()), Fraction(0))

    def _count(self, item: Object, holder: _Holder) -> None:
        spec, source = item.spec, self._source
        preemption = mapping(spec.get("preemption"))
        if any(value not in (None, "Never", {}) for value in preemption.values()):
            source.lacks("preemption of Kueue", item.name)
        if spec.get("flavorFungibility"):
            source.lacks("flavorFungibility of Kueue", item.name)
        if spec.get("queueingStrategy") == "StrictFIFO":
            source.lacks("StrictFIFO of Kueue", item.name)
        if spec.get("admissionChecks") or spec.get("admissionChecksStrategy"):
            source.lacks("admission checks of Kueue", item.name)
        if spec.get("admissionScope"):
            self._fair_locals.add(item.name)
            source.lacks("admission fair sharing of Kueue, over decayed use", item.name)
        if spec.get("stopPolicy") not in (None, "None"):
            holder.state = str(spec["stopPolicy"])
            source.tell("queues", "queues that are stopped", item.name)
        if not self._options.split_flavors:
            n = max((len(flavors) for flavors in holder.flavors.values()), default=1)
            if n > 1:
                text = f"{n} flavors added up (--split-flavors keeps them apart)"
                source.tell("entitlements", text, f"{item.name}: {self._apart(holder)}")

    @staticmethod
    def _apart(holder: _Holder) -> str:
        parts = []
        for flavor, own in holder.per_flavor.items():
            inner = ";".join(f"{name}:{float(x):g}" for name, x in own.items())
            parts.append(f"{flavor} {inner}")
        return ", ".join(parts)

    # In the end.

    def finish(self) -> None:
        """Make queues of cohorts and ClusterQueues. Raises `DumpError`."""
        for holder in [*self._queues.values(), *self._cohorts.values()]:
            parent = holder.parent
            while parent and parent not in self._cohorts:
                text = "cohorts without an object, which exist by being named"
                self._source.tell("queues", text, parent)
                self._cohorts[parent] = _Holder(None, parent, "")
        for name, holder in self._cohorts.items():
            self._add_queue(holder, self._cohort_path(name), is_cohort=True)
        for name, holder in self._queues.items():
            path = (*self._cohort_path(holder.parent), name) if holder.parent else (name,)
            self._paths[name] = path
            self._add_queue(holder, path, is_cohort=False)
        for (namespace, local), (queue, weight) in self._local.items():
            if queue in self._fair_locals and queue in self._paths:
                path = (*self._paths[queue], namespace or "default", local)
                self._source.queues.setdefault(path, Queue(path, weight=weight))

    def _cohort_path(self, name: str) -> Path:
        path: list[str] = []
        while name:
            if name in path:
                raise self._of(name).document.error(f"cohort {shown(name)} is its own ancestor")
            path.append(name)
            name = self._cohorts[name].parent
        return tuple(reversed(path))

    def _of(self, name: str) -> Object:
        found = self._cohorts[name].object
        assert found is not None  # only what has an object has a parent
        return found

    def _add_queue(self, holder: _Holder, path: Path, *, is_cohort: bool) -> None:
        total = (
            self._subtree(holder) if is_cohort else {n: q.nominal for n, q in holder.quotas.items()}
        )
        queue = Queue(path, weight=holder.weight, state=holder.state)
        if holder.quotas:
            queue.entitlement = total
        else:
            queue.implied = total
        has_parent = bool(holder.parent)
        for name, quota in holder.quotas.items():
            nominal = total[name]
            if not has_parent and not is_cohort:
                queue.limit[name] = nominal
            elif quota.borrowing is not None and has_parent:
                queue.limit[name] = nominal + quota.borrowing
            elif has_parent:
                text = "quotas without a borrowingLimit: it may borrow all that its cohort has"
                self._source.tell("limits", text, holder.name)
            if quota.kept and has_parent:
                kept = max(quota.kept, quota.kept + total[name] - quota.nominal)
                queue.guarantee[name] = kept
        if not is_cohort and not holder.quotas:
            self._source.tell("queues", "ClusterQueues without any quota", holder.name)
        if holder.weight is not None:
            queue.words.append(f"fairSharing.weight {float(holder.weight):g}")
            text = "fairSharing.weight, which weighs what is borrowed alone"
            self._source.tell("weights", text, holder.name)
        if holder.quotas:
            queue.words.append(f"nominalQuota {self._apart(holder)}")
        item = holder.object
        known = self._source.queues.get(path)
        if known is not None and item is not None:
            raise item.document.error(
                f"{item.kind} {shown(holder.name)} and a cohort of this name"
                f" would both become role {shown('/'.join(path))}"
            )
        self._source.queues[path] = queue

    def _subtree(self, cohort: _Holder, depth: int = 0) -> Amounts:
        """Return what a cohort and all below it are entitled to."""
        total = {name: quota.nominal for name, quota in cohort.quotas.items()}
        for queue in self._queues.values():
            if queue.parent == cohort.name:
                add(total, {name: quota.nominal for name, quota in queue.quotas.items()})
        for inner in self._cohorts.values():
            if inner.parent == cohort.name and depth < len(self._cohorts):
                add(total, self._subtree(inner, depth + 1))
        return total

    # Whose work is whose.

    def client(self, pod: Pod) -> tuple[Path, str] | None:
        """Return the role and framework of a pod; None if Kueue does not know it. O(1)."""
        if not self._queues:
            return None
        local, queue = pod.hint(*_LOCAL_QUEUES), pod.hint(_CLUSTER_QUEUE)
        if local or queue:
            return self._client(pod.namespace, local, queue)
        key = (pod.namespace, pod.hint(_WORKLOAD))
        workload = self._workloads.get(key) or self._of_owner.get((pod.namespace, pod.owner))
        return self._client_of(workload) if workload is not None else None

    def _client_of(self, workload: Object) -> tuple[Path, str] | None:
        """Return the role and framework of a workload: of where it was admitted, if it was."""
        admission = mapping(workload.status.get("admission"))
        local = str(workload.spec.get("queueName") or "")
        return self._client(workload.namespace, local, str(admission.get("clusterQueue") or ""))

    def _client(self, namespace: str, local: str, queue: str) -> tuple[Path, str] | None:
        if queue not in self._paths:
            found = self._local.get((namespace, local)) or self._local.get(("", local))
            if found is None or found[0] not in self._paths:
                if found is not None or self._queues:
                    text = "LocalQueues that lead to no ClusterQueue of the dump"
                    self._source.tell("queues", text, f"{namespace}/{local}")
                return None
            queue = found[0]
        path = self._paths[queue]
        if queue in self._fair_locals and local:
            path = (*path, namespace or "default", local)
        return path, "/".join(filter(None, (namespace, local)))

    def finish_work(self, *, has_pods: bool) -> set[tuple[str, str]]:
        """Take workloads, and return name spaces and owners whose own jobs they stand for.

        Those that are admitted count only where the dump has no pods: they are the same work.
        """
        for item in self._workloads.values():
            own = _owners(item)
            admitted = bool(item.status.get("admission"))
            if self._is_finished(item):
                self._source.tell("not running", "finished workloads of Kueue", item.name)
                continue
            if item.spec.get("active") is False and not admitted:
                self._source.tell("not running", "deactivated workloads of Kueue", item.name)
                continue
            client = self._client_of(item)
            if client is None:
                client = (item.namespace or "default",), item.namespace or "default"
            if admitted and has_pods:
                text = "admitted workloads of Kueue, whose pods are counted instead"
                self._source.tell("tasks", text, item.name)
            elif not (not admitted and has_pods and own and own[0].startswith("Pod/")):
                self._take_workload(item, client, admitted=admitted)
        return set(self._of_owner)

    @staticmethod
    def _is_finished(item: Object) -> bool:
        return any(
            mapping(one).get("type") == "Finished" and is_true(one.get("status"))
            for one in listing(item.status.get("conditions"))
        )

    def _take_workload(self, item: Object, client: tuple[Path, str], *, admitted: bool) -> None:
        path, framework = client
        sets = {str(mapping(s).get("name")): s for s in listing(item.spec.get("podSets"))}
        if not admitted:
            for one in sets.values():
                demand = self._split(rounded(named(_template(one))), ())
                n = whole(one.get("count"), 1)
                self._source.waiting.append(Work(framework, path, demand, n, gang=max(1, n)))
            return
        assigned = listing(mapping(item.status["admission"]).get("podSetAssignments"))
        given_back = {
            str(mapping(one).get("name")): whole(one.get("count"))
            for one in listing(item.status.get("reclaimablePods"))
        }
        for one in assigned:
            pod_set = sets.get(str(one.get("name")), {})
            count = whole(one.get("count"), whole(pod_set.get("count"), 1))
            each = named(_each(one, pod_set, count))
            count -= min(count, given_back.get(str(one.get("name")), 0))
            if count:
                flavors = tuple(str(f) for f in mapping(one.get("flavors")).values())
                demand = self._split(rounded(each), flavors)
                self._source.running.append(Work(framework, path, demand, count))

    def _split(self, demand: dict[str, int], flavors: tuple[str, ...]) -> dict[str, int]:
        if not self._options.split_flavors or not demand:
            return demand
        found = {}
        for name, amount in demand.items():
            own = self._flavors_of(name)
            flavor = next((f for f in flavors if f in own), own[0] if own else "")
            found[f"{name}.{flavor}" if flavor else name] = amount
        return found

    def _flavors_of(self, name: str) -> list[str]:
        """Return the flavors in which a resource has a quota, in order of appearance."""
        holders = (*self._queues.values(), *self._cohorts.values())
        return list(dict.fromkeys(f for h in holders for f in h.flavors.get(name, ())))

    def _selects(self, flavor: str, node: Node) -> bool:
        """Tell whether a flavor has labels, and a machine has them, too."""
        labels = self._flavors[flavor]
        return bool(labels) and labels.items() <= node.attributes.items()

    def split(self, nodes: dict[str, Node]) -> None:
        """Give resources of machines, and of what runs there, one name for each flavor.

        Machines that the labels of a flavor select have it as attribute `flavor` in any case.
        """
        for node in nodes.values():
            flavors = [name for name in self._flavors if self._selects(name, node)]
            if flavors:
                node.attributes["flavor"] = ",".join(flavors)
        if not self._options.split_flavors:
            return
        names = {
            name for h in (*self._queues.values(), *self._cohorts.values()) for name in h.flavors
        }
        renamed: dict[str, dict[str, str]] = {}
        for node in nodes.values():
            own = {}
            for name in names & set(node.amounts):
                for flavor in self._flavors_of(name):
                    labels = self._flavors.get(flavor)
                    if not labels or self._selects(flavor, node):
                        own[name] = f"{name}.{flavor}"
                        break
            renamed[node.id] = own
            node.amounts = {own.get(name, name): x for name, x in node.amounts.items()}
        for work in self._source.running:
            own = renamed.get(work.machine or "", {})
            work.demand = {own.get(name, name): x for name, x in work.demand.items()}
        for work in self._source.waiting:
            work.demand = self._split(work.demand, ())


def _owners(item: Object) -> list[str]:
    """Return what made an object, each as `KIND/NAME`."""
    owners = listing(mapping(item.value.get("metadata")).get("ownerReferences"))
    return [f"{mapping(o).get('kind')}/{mapping(o).get('name')}" for o in owners]


def _template(pod_set: Any) -> Amounts:
    return effective_request(mapping(mapping(mapping(pod_set).get("template")).get("spec")))


def _each(assigned: Any, pod_set: Any, count: int) -> Amounts:
    """Return what each pod of an assignment holds.

    `resourceUsage` is of all pods together where the template of the pod says so, else of each.
    """
    usage = amounts(assigned.get("resourceUsage"))
    own = _template(pod_set)
    if count and any(own.get(name, 0) * count == usage[name] for name in usage if count > 1):
        return {name: amount / count for name, amount in usage.items()}
    return usage or own
