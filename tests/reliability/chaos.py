"""`python -m tests.reliability.chaos`: faults under load on a real Kafka, each judged by the same equations.

Durations are compressed: minutes of the fault catalogue are seconds here. Ends with 1 where anything was lost, doubled
or illegal; each such fault's topics and logs stay in its folder, and the line to repeat it is printed.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.kafka.broker import KafkaBroker, KafkaUnavailable
from tests.reliability.faults import FAULTS, Fault, Figures, Trial

KILLS = 100
SHOWN = 5
"""Findings of a fault that are printed; the report has all."""


class Outcome(NamedTuple):
    fault: Fault
    seconds: float
    wrong: list[str]
    measured: Figures


def main() -> int:
    options = argparse.ArgumentParser(description="故障演练 / Faults under load on a real Kafka")
    options.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="默认随机 / random unless told")
    options.add_argument("--only", action="append", default=[], help="只做这些，如 F04 / only these")
    options.add_argument("--kills", type=int, default=KILLS, help="F01 强杀次数 / kills of F01")
    options.add_argument("--folder", type=Path, help="日志与报告 / logs and report")
    chosen = options.parse_args()
    unknown = set(chosen.only) - {fault.name for fault in FAULTS}
    if unknown:
        options.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(f.name for f in FAULTS)}")
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="zhinao-chaos-"))
    print(f"seed {chosen.seed}, {folder}", flush=True)
    try:
        with KafkaBroker(folder / "kafka") as kafka:
            outcomes = [
                attempt(fault, Trial(chosen.seed, folder / fault.name, kafka, chosen.kills))
                for fault in FAULTS
                if not chosen.only or fault.name in chosen.only
            ]
    except KafkaUnavailable as missing:
        print(f"未运行 / not run: {missing}", file=sys.stderr)
        return 2
    report(outcomes, chosen.seed, folder)
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def attempt(fault: Fault, trial: Trial) -> Outcome:
    """One fault; an exception is a finding."""
    print(f"{fault.name} {fault.zh} / {fault.en} …", flush=True)
    began = time.monotonic()
    trial.folder.mkdir(parents=True, exist_ok=True)
    try:
        fault.run(trial)
    except Exception as error:  # noqa: BLE001 (the others must still have their turn)
        trial.wrong.append(f"{type(error).__name__}: {error}")
        (trial.folder / "traceback.txt").write_text(traceback.format_exc())
    for line in trial.wrong[:SHOWN]:
        print(f"  {line[:400]}")
    if trial.wrong:
        again = f'make chaos ARGS="--seed {trial.seed} --only {fault.name}"'
        print(f"  {len(trial.wrong)} 处不符 / findings. 重现 / repeat: {again}", flush=True)
    return Outcome(fault, time.monotonic() - began, trial.wrong, trial.measured)


def report(outcomes: list[Outcome], seed: int, folder: Path) -> None:
    """As JSON, and as a table."""
    rows = [
        {"fault": o.fault.name, "what": o.fault.en, "seconds": round(o.seconds, 1), "wrong": o.wrong, **o.measured}
        for o in outcomes
    ]
    path = folder / "report.json"
    path.write_text(json.dumps({"seed": seed, "faults": rows}, ensure_ascii=False, indent=1))
    table = Table("故障 / fault", "", "结果 / result", "s", "测得 / measured")
    for o in outcomes:
        result = f"[red]{len(o.wrong)} 处不符 / wrong[/]" if o.wrong else "[green]通过 / passed[/]"
        measured = ", ".join(f"{name} {value}" for name, value in o.measured.items())
        table.add_row(o.fault.name, f"{o.fault.zh}\n{o.fault.en}", result, f"{o.seconds:.0f}", measured)
    Console().print(table)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
