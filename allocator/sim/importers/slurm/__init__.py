"""Slurm: nodes, jobs, accounts and shares, as its tools and its REST daemon write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import Milli, rounded
from allocator.sim.importers.documents import Document
from allocator.sim.importers.options import Options
from allocator.sim.importers.slurm.accounts import (
    SSHARE_COLUMNS,
    Accounts,
    Association,
    json_associations,
    json_shares,
    looks_like_sshare,
    rows_of,
)
from allocator.sim.importers.slurm.jobs import (
    SACCT_COLUMNS,
    Job,
    is_step,
    json_job,
    row_job,
    scontrol_job,
)
from allocator.sim.importers.slurm.nodes import (
    configured_nodes,
    configured_partitions,
    is_exclusive,
    json_node,
    scontrol_node,
    sinfo_nodes,
    sinfo_text,
)
from allocator.sim.importers.slurm.qos import QualitiesOfService, is_table
from allocator.sim.importers.slurm.records import configuration, is_configuration, records, rows
from allocator.sim.importers.slurm.reservations import (
    Reservation,
    json_reservation,
    reserve,
    text_reservation,
)
from allocator.sim.importers.slurm.words import count, job_state
from allocator.sim.importers.source import Node, Source, Work

_HALF_LIFE = "prioritydecayhalflife"


class Reader:
    """Reads what Slurm's tools write."""

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._partition = options.partition
        self._accounts = Accounts(source)
        self._qos = QualitiesOfService(source)
        self._jobs: dict[str, Job] = {}
        #: partitions whose jobs have their machines for themselves
        self._exclusive: set[str] = set()
        self._reservations: list[Reservation] = []

    def take(self, document: Document) -> bool:
        """Read a document; False if it is none of Slurm. Raises `DumpError`, `InvalidValue`."""
        if document.form == "json":
            value = document.value
            return isinstance(value, dict) and self._take_json(value, document)
        if document.form != "text":
            return False
        text: str = document.value
        return (
            self._take_configuration(text, document)
            or self._take_records(text, document)
            or self._take_rows(text, document)
            or self._take_sinfo(text, document)
        )

    # JSON.

    def _take_json(self, value: dict[str, Any], document: Document) -> bool:
        meta = value.get("meta") or {}
        slurm = meta.get("slurm") or meta.get("Slurm") or {} if isinstance(meta, dict) else {}
        version = slurm.get("version") or {}
        major = version.get("major", "0") if isinstance(version, dict) else "0"
        if not str(major).isdigit():
            raise document.error(
                f"Slurm of version {shown(major)}: placeholders of an API's schema"
            )
        known = False
        shares = value.get("shares")
        for key, listed, take in (
            ("nodes", value.get("nodes"), self._json_node),
            ("sinfo", value.get("sinfo"), self._sinfo_entry),
            ("jobs", value.get("jobs"), self._json_job),
            ("reservations", value.get("reservations"), self._reservation(value)),
            ("partitions", value.get("partitions"), self._count_partition),
            ("qos", value.get("qos"), self._take_qos),
        ):
            if isinstance(listed, list):
                known = True
                self._each(listed, take, document, key)
        if isinstance(value.get("associations"), list):
            known = True
            self._associations(json_associations(value))
        if isinstance(shares, dict):
            known = True
            self._associations(json_shares(shares))
        return known

    @staticmethod
    def _each(
        listed: list[Any], take: Callable[[Any, Document], None], document: Document, key: str
    ) -> None:
        for index, one in enumerate(listed):
            if not isinstance(one, dict):
                raise document.error(f"{shown(one)} is no object", f"{key}[{index}]")
            try:
                take(one, document)
            except InvalidValue as error:
                raise document.error(error, f"{key}[{index}]") from None

    def _json_node(self, node: Any, document: Document) -> None:
        self._add_node(json_node(node), document)

    def _sinfo_entry(self, entry: Any, document: Document) -> None:
        for node in sinfo_nodes(entry):
            self._add_node(node, document)

    def _json_job(self, job: Any, document: Document) -> None:
        self._add_job(json_job(job))

    def _reservation(self, value: dict[str, Any]) -> Callable[[Any, Document], None]:
        now = count(value.get("last_update"))

        def take(one: Any, document: Document) -> None:
            self._reservations.append(json_reservation(one, now))

        return take

    def _count_partition(self, partition: Any, document: Document) -> None:
        shared = (partition.get("maximums") or {}).get("oversubscribe") or {}
        self._add_partition(str(partition.get("name")), is_exclusive=count(shared.get("jobs")) == 0)
        self._qos.of_partition(partition.get("qos"))

    def _take_qos(self, qos: Any, document: Document) -> None:
        self._qos.take(qos)

    # Text.

    def _take_configuration(self, text: str, document: Document) -> bool:
        if not is_configuration(text):
            return False
        plain, lines = configuration(text)
        for node, line in configured_nodes(lines):
            try:
                self._add_node(node, document)
            except InvalidValue as error:
                raise document.error(error, f"line {line}") from None
        for name, pairs in configured_partitions(lines).items():
            self._add_partition(name, is_exclusive=is_exclusive(pairs))
            self._qos.of_partition(pairs.get("qos"))
        half_life = plain.get(_HALF_LIFE)
        if half_life or plain.get("prioritytype", "").endswith("multifactor"):
            what = f"PriorityDecayHalfLife {half_life or '7-0 by default'}"
            self._source.lacks(f"fair share by decayed past use: {what}")
        for key in plain:
            if key.startswith("priorityweight") and plain[key] not in ("", "0"):
                self._source.lacks("priorities by age, size, QOS and partition", key)
        if plain.get("preempttype", "preempt/none") not in ("preempt/none", ""):
            self._source.lacks("preemption", plain["preempttype"])
        return True

    def _take_records(self, text: str, document: Document) -> bool:
        known = False
        for record in records(text):
            known = True
            try:
                if record.kind == "nodename" and "coreids" in record.pairs and self._reservations:
                    self._reservations[-1].is_partial = True
                elif record.kind == "nodename":
                    self._add_node(scontrol_node(record), document)
                elif record.kind == "jobid":
                    self._add_job(scontrol_job(record))
                elif record.kind == "partitionname":
                    name, pairs = record.pairs["partitionname"], record.pairs
                    self._add_partition(name, is_exclusive=is_exclusive(pairs))
                    self._qos.of_partition(pairs.get("qos"))
                elif record.kind == "reservationname":
                    self._reservations.append(text_reservation(record.pairs))
            except InvalidValue as error:
                raise document.error(error, f"line {record.line}") from None
        return known

    def _take_rows(self, text: str, document: Document) -> bool:
        """Read a table between bars: sshare, sacctmgr, sacct or squeue."""
        found = rows(text)
        if not found:
            return False
        names = [cell.strip().lower().rstrip(":") for cell in found[0]]
        if "account" in names and ("rawshares" in names or "share" in names):
            self._associations(rows_of(dict(zip(names, row, strict=False)) for row in found[1:]))
            return True
        if is_table(names):
            self._qos.take_rows(dict(zip(names, row, strict=False)) for row in found[1:])
            return True
        if "jobid" in names and ("state" in names or "st" in names):
            self._take_jobs([dict(zip(names, row, strict=False)) for row in found[1:]], document)
            return True
        if all(looks_like_sshare(row) for row in found):
            self._associations(
                rows_of(dict(zip(SSHARE_COLUMNS, row, strict=True)) for row in found)
            )
            return True
        columns = _guessed_columns(found)
        if not columns:
            return False
        self._source.tell(
            "columns", f"no header line: taken as {', '.join(columns)}", document.file
        )
        named = [column.lower() for column in columns]
        self._take_jobs([dict(zip(named, row, strict=False)) for row in found], document)
        return True

    def _take_jobs(self, table: list[dict[str, str]], document: Document) -> None:
        n_steps = 0
        for index, row in enumerate(table):
            if is_step((row.get("jobid") or "").strip()):
                n_steps += 1
                continue
            try:
                job = row_job(row)
            except InvalidValue as error:
                raise document.error(error, f"row {index + 1}") from None
            if job is not None:
                self._add_job(job)
        if n_steps:
            text = f"of {len(table)} rows are steps, whose allocation is in their job's row"
            self._source.tell("tasks", text, document.file, n_steps)

    def _take_sinfo(self, text: str, document: Document) -> bool:
        known = False
        for node, _ in sinfo_text(text):
            known = True
            self._add_node(node, document)
        return known

    # What was found.

    def _associations(self, found: Iterable[Association]) -> None:
        for one in found:
            if one.account or one.user:
                self._accounts.add(one)

    def _add_node(self, node: Node, document: Document) -> None:
        own = node.attributes.get("partitions", "")
        known = self._source.nodes.get(node.id)
        if known is None:
            if self._partition is None or self._partition in own.split(","):
                self._source.nodes[node.id] = node
            elif not own:
                self._source.tell("partitions", "machines of unknown partition, left out", node.id)
            return
        if node.amounts and known.amounts and node.amounts != known.amounts:
            raise document.error(
                f"machine {shown(node.id)} is given twice, with different content:"
                " dumps of two clusters, or of two times"
            )
        known.amounts = known.amounts or node.amounts
        if node.state and not known.state:
            known.state, known.stays = node.state, node.stays
        names = {*known.attributes.get("partitions", "").split(","), *own.split(",")} - {""}
        if names:
            known.attributes["partitions"] = ",".join(sorted(names))

    def _add_partition(self, name: str, *, is_exclusive: bool) -> None:
        self._source.tell("partitions", "partitions: labels of machines", name)
        if is_exclusive:
            self._exclusive.add(name)

    def _add_job(self, job: Job) -> None:
        # one form writes 7_[1-3], another 7_1-3
        id = job.id.replace("[", "").replace("]", "")
        known = self._jobs.setdefault(id, job)
        if known is job:
            return
        if (known.account and job.account and known.account != job.account) or (
            known.user and job.user and known.user != job.user
        ):
            raise InvalidValue(
                f"job {shown(job.id)} is given twice, with different content:"
                " dumps of two clusters, or of two times"
            )
        self._source.tell("given twice", "jobs given more than once, counted once", job.id)
        if (job.parts and not known.parts) or (job.nodes and not known.nodes):
            self._jobs[id] = job

    def finish(self) -> None:
        """Decide what runs where, and whose it is. Raises `InvalidValue`."""
        self._accounts.finish()
        self._qos.finish(self._accounts.runners())
        for node in self._source.nodes.values():
            if "," in node.attributes.get("partitions", ""):
                self._source.lacks("machines in several partitions", node.id)
        for job in self._jobs.values():
            if self._partition is None or self._partition in job.partition.split(","):
                self._take_job(job)
        for one in self._reservations:
            reserve(one, self._accounts, self._source)

    def _take_job(self, job: Job) -> None:
        source = self._source
        if job.state == "finished":
            source.not_running["finished"] += 1
            return
        path, framework = self._accounts.client(job.account, job.user)
        if job.state == "pending":
            source.not_running["pending"] += 1
            each = rounded({name: x / job.n_nodes for name, x in job.total.items()})
            n_pieces = job.n_nodes * job.n_tasks
            work = Work(framework, path, each, n_pieces, tasks=job.n_tasks, gang=job.n_nodes)
            source.waiting.append(work)
            return
        if job.state == "suspended":
            text = "suspended jobs, which keep their memory"
            source.tell("tasks", text, job.id)
            job.total = {name: x for name, x in job.total.items() if name == "mem"}
            job.parts = {
                id: {name: x for name, x in own.items() if name == "mem"}
                for id, own in job.parts.items()
            }
        for index, (machine, demand) in enumerate(self._pieces(job)):
            work = Work(framework, path, demand, machine=machine, tasks=1 if index == 0 else 0)
            source.running.append(work)

    def _pieces(self, job: Job) -> list[tuple[str | None, Milli]]:
        """Return what a job holds of each machine."""
        is_alone = job.is_exclusive or job.partition in self._exclusive
        if is_alone and (job.parts or job.nodes):
            found: list[tuple[str | None, Milli]] = []
            for name in job.parts or job.nodes:
                node = self._source.nodes.get(name)
                own = job.parts.get(name) or {
                    key: x / len(job.nodes) for key, x in job.total.items()
                }
                found.append((name, dict(node.amounts) if node else rounded(own)))
            self._source.tell("tasks", "jobs that have their machines for themselves", job.id)
            return found
        if job.parts:
            return [(name, rounded(own)) for name, own in job.parts.items()]
        machines: list[str | None] = list(job.nodes) or [None] * job.n_nodes
        if len(machines) > 1:
            text = "jobs of several machines, taken as evenly spread over them"
            self._source.tell("tasks", text, job.id)
        return list(zip(machines, _even(rounded(job.total), len(machines)), strict=True))


def _guessed_columns(found: list[list[str]]) -> tuple[str, ...]:
    """Return the columns of a table of jobs without a header, told by the first row."""
    row = [cell.strip() for cell in found[0]]
    if len(row) >= len(SACCT_COLUMNS) and job_state(row[4]) and "=" in row[29] + "=":
        return SACCT_COLUMNS
    places = [index for index, cell in enumerate(row) if job_state(cell) and index > 0]
    if not places or not row[0][:1].isdigit() or len(row) > 10:
        return ()
    state = places[0]
    before = {2: ("Account",), 3: ("Account", "User"), 4: ("Account", "User", "Partition")}
    if state not in before:
        return ()
    after = ("NumNodes", "NumCPUs", "tres-alloc")
    if not any("cpu=" in cell for cell in row[state + 1 :]):
        return ()
    return ("JobID", *before[state], "State", *after)[: len(row)]


def _even(amounts: Milli, n: int) -> list[Milli]:
    """Return n parts that are as equal as thousandths can be, and add up."""
    parts: list[Milli] = [{} for _ in range(n)]
    for name, amount in amounts.items():
        common, rest = divmod(amount, n)
        for index, part in enumerate(parts):
            own = common + (1 if index < rest else 0)
            if own:
                part[name] = own
    return parts
