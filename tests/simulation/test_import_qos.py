"""Limits of Slurm's QOS: on one role where they are exact, else counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from allocator.engine import Allocator
from allocator.sim.importers import Imported, read

NODES = "NodeName=n0 CPUTot=64 RealMemory=1000 Gres=gpu:a100:8 State=IDLE\n"
COLUMNS = "Account|User|Share|ParentName|GrpTRES|QOS"
ROWS = (
    "root||1|||normal",
    "phys||4|root||gpu",
    "lab||1|phys||",
    "lab|ann|1|||gpu",
    "lab|ben|1|||",
    "phys|cat|1|||gpu",
    "bio||2|root|cpu=40|",
    "bio|dan|parent|||normal",
    "bio|eve|1|||bioq",
)
QOS = "Name|Priority|GraceTime|GrpTRES|MaxTRESPU\n"


def load(tmp_path: Path, *contents: str | dict[str, Any], **options: Any) -> Imported:
    for index, content in enumerate((NODES, *contents)):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / f"dump-{index}").write_text(text)
    return read("slurm", [tmp_path / f"dump-{i}" for i in range(len(contents) + 1)], **options)


def table(*rows: str) -> str:
    return "\n".join((COLUMNS, *rows)) + "\n"


def limits(found: Imported) -> dict[str, dict[str, float]]:
    roles = found.to_json()["roles"]
    return {path: role["limit"] for path, role in roles.items() if role["limit"]}


def lacking(found: Imported) -> list[str]:
    return [n for t in found.told if t.text.startswith("GrpTRES of QOS that") for n in t.objects]


def test_a_qos_of_one_account_is_a_limit_of_its_role(tmp_path: Path) -> None:
    qos = QOS + "normal|0|00:00:00||\ngpu|5|00:00:00|cpu=32,mem=500M,gres/gpu=0|cpu=4\n"
    found = load(tmp_path, table(*ROWS), qos)
    # phys, with lab below it, and nobody else
    assert limits(found) == {"phys": {"cpus": 32, "mem": 500, "gpus": 0}, "bio": {"cpus": 40}}
    assert lacking(found) == []
    told = {t.text: t.objects for t in found.told}
    assert told["GrpTRES of QOS whose jobs are all of one role: its limit"] == ("gpu: phys",)
    assert told["QOS: priorities and limits"] == ("normal", "gpu")
    engine = Allocator.restore(found.snapshot())
    assert engine.roles["phys"].quota.limit == {"cpus": 32, "mem": 500, "gpus": 0}


def test_the_least_of_the_limits_of_account_and_qos_binds(tmp_path: Path) -> None:
    rows = [row.replace("phys||4|root|", "phys||4|root|cpu=16,mem=900") for row in ROWS]
    found = load(tmp_path, table(*rows), QOS + "gpu|5|0|cpu=32,mem=500\n")
    assert limits(found)["phys"] == {"cpus": 16, "mem": 500}


@pytest.mark.parametrize(
    ("changed", "limited"),
    [
        ({}, "phys"),
        # one more of the account may have another, or has it only among others
        ({"lab|ann|1|||gpu": "lab|ann|1|||normal"}, None),
        ({"lab|ann|1|||gpu": "lab|ann|1|||gpu,normal"}, None),
        # somebody elsewhere may have it
        ({"bio|dan|parent|||normal": "bio|dan|parent|||gpu"}, None),
        ({"bio|dan|parent|||normal": "bio|dan|parent|||normal,gpu"}, None),
        # nothing is said of somebody
        ({"root||1|||normal": "root||1|||", "bio|dan|parent|||normal": "bio|dan|parent|||"}, None),
        # only those of the account below, or one user
        ({"phys|cat|1|||gpu": "phys|cat|1|||normal"}, "phys/lab"),
        (
            {"phys|cat|1|||gpu": "phys|cat|1|||normal", "lab|ben|1|||": "lab|ben|1|||normal"},
            "phys/lab/ann",
        ),
    ],
)
def test_whose_a_qos_is(tmp_path: Path, changed: dict[str, str], limited: str | None) -> None:
    rows = [changed.get(row, row) for row in ROWS]
    found = load(tmp_path, table(*rows), QOS + "gpu|5|0|cpu=32\n")
    own = {path: limit for path, limit in limits(found).items() if path != "bio"}
    assert own == ({limited: {"cpus": 32}} if limited else {})
    assert lacking(found) == ([] if limited else ["gpu"])


def test_a_user_without_a_role_of_its_own(tmp_path: Path) -> None:
    rows = [row.replace("bio|dan|parent|||normal", "bio|dan|parent|||danq") for row in ROWS]
    found = load(tmp_path, table(*rows), QOS + "danq|0|0|cpu=1\nbioq|0|0|cpu=2\n")
    # dan's jobs are in the role of bio, which has eve's, too
    assert limits(found) == {"bio": {"cpus": 40}, "bio/eve": {"cpus": 2}}
    assert lacking(found) == ["danq"]


def test_a_qos_of_a_partition_or_of_everybody_is_counted(tmp_path: Path) -> None:
    qos = QOS + "gpu|5|0|cpu=32\n"
    for partition in (
        "PartitionName=p QoS=gpu Nodes=n0\n",
        {"partitions": [{"name": "p", "qos": {"allowed": "", "assigned": "gpu"}}]},
    ):
        found = load(tmp_path, table(*ROWS), qos, partition)
        assert (limits(found), lacking(found)) == ({"bio": {"cpus": 40}}, ["gpu"])
    everybody = [row[: row.rindex("|")] + "|gpu" for row in ROWS]
    found = load(tmp_path, table(*everybody), qos)
    assert (limits(found), lacking(found)) == ({"bio": {"cpus": 40}}, ["gpu"])
    assert lacking(load(tmp_path, qos)) == ["gpu"]


def test_the_forms_of_slurmrestd(tmp_path: Path) -> None:
    def association(account: str, user: str, parent: str, *qos: str) -> dict[str, Any]:
        one = {"account": account, "user": user, "parent_account": parent, "shares_raw": 1}
        return {**one, "qos": list(qos), "max": {"tres": {"group": {"active": []}}}}

    total = [{"type": "cpu", "name": "", "count": 8}, {"type": "gres", "name": "gpu", "count": 0}]
    found = load(
        tmp_path,
        {"qos": [{"name": "q", "limits": {"max": {"tres": {"total": total}}}}]},
        {
            "associations": [
                association("root", "", ""),
                association("a", "", "root", "q"),
                association("b", "", "root", "normal"),
            ]
        },
    )
    assert limits(found) == {"a": {"cpus": 8, "gpus": 0}}


def test_limits_of_the_whole_cluster_and_of_users_without_roles_are_counted(tmp_path: Path) -> None:
    rows = [
        row.replace("root||1||", "root||1||cpu=64").replace("dan|parent||", "dan|parent||cpu=2")
        for row in ROWS
    ]
    found = load(tmp_path, table(*rows))
    assert limits(found) == {"bio": {"cpus": 40}}
    told = {t.text: t.objects for t in found.told}
    assert told["GrpTRES of the whole cluster"] == ("root",)
    assert told["GrpTRES of users who have no role of their own"] == ("bio/dan",)
