"""Published results, computed again from the raw records beside them and compared; tables against the numbers they show.

    python scripts/verify_results.py                              the repository's own, benchmarks/results
    python scripts/verify_results.py --results FOLDER             others of the same names

For every file it says what agrees: numbers that raw records in the repository give once more, rows of tables that are what
their numbers give; or that its raw records are not in the repository, so that only running it again could confirm it.
Status 1 where something differs: file, field, what stands there and what was computed. Runs nothing, a few seconds.

Not here: the numbers of a run directory (`sparring report RUN --verify`), the sentences between tables.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import numpy as np  # noqa: E402

import answer_equality  # noqa: E402
import demo  # noqa: E402
import fuzz  # noqa: E402
import gsm8k_aprm  # noqa: E402
import gsm8k_measures  # noqa: E402
import label_allocation  # noqa: E402
import plan_check  # noqa: E402
import plan_simulation  # noqa: E402
import planted  # noqa: E402
import policy_features  # noqa: E402
import prm_objectives  # noqa: E402
import processbench_harness  # noqa: E402
import rl_chain  # noqa: E402
import rl_real  # noqa: E402
import rl_staleness  # noqa: E402
import search_chain  # noqa: E402
import serve_load  # noqa: E402
import speed  # noqa: E402
import streaming  # noqa: E402
import trl_equivalence  # noqa: E402
from claims import page  # noqa: E402
from claims.runner import HERE, claim_files, read_published  # noqa: E402
from publishing import over_seeds  # noqa: E402
from sparring.evaluation.search import SearchSettings  # noqa: E402
from sparring.files import to_json  # noqa: E402
from sparring.runs import Metric, read_metrics  # noqa: E402
from sparring.statistics import mean_over_runs  # noqa: E402
from sparring.verification import ABSENT, Difference, compare_metrics, differing  # noqa: E402

Content = dict[str, Any]
Metrics = Mapping[str, Metric]


class Check(NamedTuple):
    """How a results file is checked.

    Attributes:
        again: from the file's content to the metrics that the raw records in it give; None: it holds none.
        table: from content and metrics to the Markdown page beside it; of that only the rows of tables are compared.
        further: whether rows may follow on the page that come from records which are not here.
    """

    again: Callable[[Content], Metrics] | None = None
    table: Callable[[Content, Metrics], str] | None = None
    further: bool = False


# --- from raw records ------------------------------------------------------------------------------------------------


def allocation(content: Content) -> Metrics:
    """Return means over seeds; one without a value in some seed has none."""
    units = {name: one["unit"] for name, one in content["metrics"].items()}
    found = {}
    for key, values in content["extra"]["per_seed"].items():
        name, numbers = f"label_allocation.{key}", [np.nan if value is None else value for value in values]
        found[name] = (
            Metric(None, n=len(values), unit=units[name])
            if np.isnan(numbers).any()
            else mean_over_runs(numbers, unit=units[name], bounds=label_allocation.BOUNDS[units[name]])
        )
    return found


def rewards(content: Content) -> Metrics:
    """Return what the training logs give."""
    found: dict[str, Metric] = {}
    for name, log in content["extra"]["logs"].items():
        found |= {f"rl_real.{name}.{key}": metric for key, metric in rl_real.quarters(log).items()}
        found[f"rl_real.{name}.updates"] = Metric(float(log[-1]["step"]))
        found[f"rl_real.{name}.samples"] = Metric(float(log[-1]["samples"]))
        found[f"rl_real.{name}.seconds"] = Metric(sum(record["seconds"] for record in log), unit="s")
        kl = [record["kl_per_token"] for record in log if "kl_per_token" in record]
        found[f"rl_real.{name}.highest_kl_per_token"] = Metric(max(kl), n=len(kl), unit="nats")
    return found


def options(content: Content) -> argparse.Namespace:
    """Return the settings of a results file as its script takes them."""
    return argparse.Namespace(**content["settings"])


def chain_runs(content: Content) -> Metrics:
    """Return the metrics of the chain's reinforcement learning; Pass@N before training is taken as it stands."""
    return rl_chain.measure(content["extra"]["runs"], rl_chain.passed_at_start(content["metrics"]))


def load_options(content: Content) -> argparse.Namespace:
    """Return what the load test was asked for, read off the names of its numbers."""
    names = " ".join(content["metrics"])
    asked = {int(one) for one in re.findall(r"\.in_flight_(\d+)\.", names)}
    waits = {float(one) for one in re.findall(r"latency_([\d.]+)\.items", names)}
    return argparse.Namespace(in_flight=sorted(asked), latency=sorted(waits))


CHECKS: dict[str, Check] = {
    "fuzz": Check(lambda c: fuzz.measure(c["extra"]["pieces"]), lambda c, m: fuzz.page(dict(m))),
    "streaming": Check(None, lambda c, m: streaming.markdown(dict(m))),
    "plan_check": Check(None, lambda c, m: plan_check.page(c["rows"])),
    "plan_simulation": Check(None, lambda c, m: plan_simulation.page(c["rows"], c["commit"])),
    "planted": Check(
        lambda c: planted.measure(c["extra"]),
        lambda c, m: planted.markdown(dict(m), planted.Sizes(**c["settings"])),
    ),
    "rl_chain": Check(chain_runs, lambda c, m: rl_chain.page(dict(m), list(c["extra"]["runs"]), options(c))),
    "rl_staleness": Check(
        lambda c: rl_staleness.measure(c["extra"]["learning"], c["extra"]["time"]),
        lambda c, m: rl_staleness.page(dict(m), options(c), c["extra"]["load"]),
    ),
    "trl_equivalence": Check(
        lambda c: trl_equivalence.summarise(c["extra"]["rows"]),
        lambda c, m: trl_equivalence.page(c["extra"]["rows"], dict(m), options(c), c["extra"]["trl"]),
    ),
    "label_allocation": Check(allocation, lambda c, m: label_allocation.savings_table(dict(m))),
    **{
        name: Check(
            rewards,
            lambda c, m: rl_real.page(dict(m), options(c), c["extra"]["logs"]),
        )
        for name in ("rl_real", "rl_real_seed_1")
    },
    "prm_objectives": Check(None, lambda c, m: prm_objectives.rows(c["per_seed"])),
    "policy_features": Check(None, lambda c, m: policy_features.rows(c["auc_per_seed"])),
    "answer_equality": Check(None, lambda c, m: answer_equality.checkers_tables(c["checkers"])),
    "demo": Check(None, lambda c, m: demo.page(dict(m))),
    "processbench_harness": Check(
        None, lambda c, m: processbench_harness.markdown(dict(m), c["seed"], c["settings"]["resamples"])
    ),
    **{
        name: Check(
            None,
            lambda c, m: search_chain.costs_table(
                dict(m), SearchSettings.model_validate_json(json.dumps(asked(c)))
            ),
        )
        for name in ("search_chain", "search_chain_aprm")
    },
    **{
        name: Check(None, lambda c, m: gsm8k_aprm.measures_table(dict(m)), further=True)
        for name in ("gsm8k_aprm", "gsm8k_aprm_arithmetic", "gsm8k_aprm_panel")
    },
    "gsm8k_values": Check(
        None, lambda c, m: gsm8k_measures.report("", m, c["extra"]["reliability"], c["extra"]["costs"])
    ),
    "speed": Check(
        lambda c: speed.metrics_of(c["extra"]["rows"]), lambda c, m: speed.markdown(c["extra"]["rows"])
    ),
    "serve_load": Check(None, lambda c, m: serve_load.load_page(dict(m), c["settings"], load_options(c))[0]),
    "serve_soak": Check(None, lambda c, m: serve_load.soak_page(dict(m), c["settings"])[0]),
}


RAW = {
    "contest_room": "raw records, of which nothing is computed here",
    "contest_one_seed": "raw records, of which nothing is computed here",
    "kills": "what every kill met, as it was written down",
    "optimism": "raw gaps of every run",
}
"""Files that hold no number computed from others."""


def asked(content: Content) -> Content:
    """Return the settings of a search without what its run decided."""
    return {name: value for name, value in content["settings"].items() if name in SearchSettings.model_fields}


# --- comparing -------------------------------------------------------------------------------------------------------


def verify_file(file: Path) -> tuple[list[str], list[Difference]]:
    """Return what was compared of a results file and of the page beside it, in words, and what differs."""
    check = CHECKS.get(file.stem, Check())
    if file.stem in RAW:
        return [RAW[file.stem]], []
    content: Content = json.loads(file.read_text(encoding="utf-8"))
    stored = read_metrics(file) if "metrics" in content else {}
    said, differences = [], []
    if check.again is not None:
        again = check.again(content)
        differences += compare_metrics(file, stored, again)
        said.append(f"{len(again)} of {len(stored)} numbers computed again from raw records")
    if check.table is not None:
        table = file.with_suffix(".md")
        rows = table_rows(check.table(content, stored))
        here = table_rows(table.read_text(encoding="utf-8"))
        differences += differing_rows(table, here[: len(rows)] if check.further else here, rows)
        said.append(f"{len(rows)} rows of its page are what its numbers give")
    return said, differences


def table_rows(text: str) -> list[str]:
    """Return the rows of a page's tables."""
    return [line for line in text.splitlines() if line.startswith("|")]


def differing_rows(file: Path, stored: Sequence[str], recomputed: Sequence[str]) -> list[Difference]:
    """Return where the rows of a page are not those that should stand there, in their order."""
    found = []
    for kind, a, b, c, d in SequenceMatcher(None, stored, recomputed, autojunk=False).get_opcodes():
        if kind != "equal":
            for one, other in zip_longest(stored[a:b], recomputed[c:d], fillvalue=ABSENT):
                name = (one if other == ABSENT else other).split("|")[1].strip()
                found.append(Difference(file, f"row {name!r}", one, other))
    return found


def verify_seeds(file: Path) -> tuple[list[str], list[Difference]]:
    """Compare the means over seeds on the demo's page with the values of every seed."""
    seeds: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))["seeds"]
    page_file = file.with_suffix(".md")
    rows = {line.split(" | ")[0][2:]: line for line in table_rows(page_file.read_text(encoding="utf-8"))}
    differences = []
    names = list(next(iter(seeds.values())))
    for name in names:
        mean = over_seeds([100 * one[name] for one in seeds.values() if one[name] is not None])
        stored = rows.get(name, "(absent)").rpartition(" | ")[2].removesuffix(" |")
        if stored != mean:
            differences.append(Difference(page_file, name, stored, mean))
    return [f"{len(names)} means over {len(seeds)} seeds computed again from the values of each"], differences


def verify_claims(results: Path) -> tuple[list[str], list[Difference]]:
    """Compare every finding and verdict with the records that were published."""
    files = claim_files(HERE)
    found = [
        page.measured(file, read_published(results / "claims" / f"{file.experiment.name}.json"))
        for file in files
    ]
    rows = to_json(page.rows(found))[0]
    stored = json.loads((results / "claims.json").read_text(encoding="utf-8"))["claims"]
    differences = list(differing(results / "claims.json", stored, rows, "claims"))
    records = sum(len(one.found) for _, one, _, _ in found)
    return [f"{len(rows)} findings computed again from {records} published records"], differences


def verify_all(results: Path) -> dict[str, tuple[list[str], list[Difference]]]:
    """Return, by file, what was compared and what differs; nothing compared: no raw records are in the repository."""
    found = {}
    for file in sorted(results.glob("*.json")):
        if file.name == "claims.json":
            found[file.name] = verify_claims(results)
        elif file.name == "demo_seeds.json":
            found[file.name] = verify_seeds(file)
        else:
            found[file.name] = verify_file(file)
    return found


def main(words: list[str] | None = None) -> int:
    """Say for every file what agrees; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    chosen = parser.parse_args(words)
    found = verify_all(chosen.results)
    for name, (said, _) in found.items():
        print(f"{name}: {'; '.join(said) or 'its raw records are not in the repository'}")
    differences = [one for _, more in found.values() for one in more]
    for one in differences:
        print(f"differs: {one}")
    print(f"{len(found)} files, {len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
