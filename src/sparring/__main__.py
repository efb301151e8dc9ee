"""The command line: a flat table from command to function.

Contract: nothing is computed here, and nothing heavy imported: functions and settings are named by their place and found
when they are called (`cli/commands.py`). How a command ends is in `cli/ending.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sparring.cli import ending
from sparring.cli.commands import Command, argument, command_line, flag, option

GROUPS = {"train": "Train a model.", "eval": "Measure a PRM."}
FORMAT = "Format of the {} (docs/data-formats.md)."
SHARED = (
    flag("samples", "Also write the solutions as a data set to share (docs/data-formats.md)."),
    option("license", str, "unknown", "Licence of these samples, as the hub names it, such as cc-by-4.0."),
)

COMMANDS = (
    Command("demo",
        "Train PRMs on rules, on a frozen generator and against an adversary; compare them, write a report.",
        "demo:run_demo", "demo:DemoSettings"),
    Command("attack",
        "Measure how often a frozen PRM accepts wrong steps: rules, frozen and freshly trained adversaries.",
        "evaluation.attack:run_attack", "evaluation.attack:AttackSettings",
        arguments=(argument("prm", "PRM to attack: a folder, or a server's address.", str),), after_stop="anew"),
    Command("label", "Label steps by rollouts: Monte-Carlo values, first errors by binary search, first pits.",
        "progress.command:label_and_compare", "labels.settings:LabelSettings",
        options=(
            flag("compare_provers", "End with a table of provers and their worth (docs/progress.md)."),
            option("other_run", list[Path] | None, None,
                "Finished run of another policy on the same solutions, to compare as a prover."),
            *SHARED,
        ), progress=True, pool=True),
    Command("convert", "Convert traces between formats; what cannot be written is counted and shown.",
        "traces.convert:show_conversion",
        arguments=(
            argument("source", "Traces in any known format: a file, a folder of shards, a pattern, hf:NAME."),
            argument("target", "JSONL to write; packed or Parquet by its ending (.gz, .zst, .parquet)."),
        ),
        options=(
            option("to", str, "sparring", "sparring, trl_stepwise or math_shepherd.", "--to"),
            option("data_format", str, "auto", FORMAT.format("source"), "--format"),
            option("threshold", float, 0.5, "Label from which on a step counts as right."),
        ), target="target", kind="file", after_stop="anew"),
    Command("search",
        "Search with a policy and a PRM: accuracy against compute for every method, with paired comparisons.",
        "evaluation.search:run_search_command", "evaluation.search:SearchSettings", options=SHARED, pool=True),
    Command("convert-prm", "Turn a public PRM into a folder that every command can score with.",
        "models.families:convert_prm", "models.sidecar:ConvertPrmSettings",
        arguments=(argument("source", "Downloaded PRM folder."),), out="models/prm", kind="folder", after_stop="anew"),
    Command("score", "Score the steps of traces: JSONL out, and on a terminal a readable table.",
        "evaluation.scores:score_file",
        arguments=(
            argument("model", "PRM: a folder, or a server's address (docs/serving.md).", str),
            argument("data", "Traces: a file, a folder of shards, a pattern, hf:NAME (docs/data-formats.md)."),
        ), out="scores.jsonl",
        options=(
            option("data_format", str, "auto", FORMAT.format("traces"), "--format"),
            option("limit", int | None, None, "Only the first so many traces.", min=1, max=10**9),
            option("show", int, 5, "Traces to show, with coloured steps, on a terminal.", min=0, max=10**6),
            flag("allow_missing", "Leave out and count traces that the PRM refuses, as it does too long ones."),
        ), kind="file", pool=True),
    Command("serve", "Serve PRMs over HTTP: scores, searches, and the interfaces of vLLM, OpenRLHF and OpenAI.",
        "serving.command:serve", "serving.settings:ServeSettings", target=""),
    Command("plan", "Plan a job before it is started: what fits, how long, at what price, and how it is launched.",
        "planning.command:show_plan", "planning.settings:PlanSettings",
        arguments=(argument("model", "Model folder, or a well-known name such as Qwen2.5-7B.", str),),
        options=(
            flag("formulas", "Show how every number is computed."),
            flag("as_json", "Print one JSON object.", "--json"),
            flag("simulated", "Also simulate queues, uneven lengths, slow engines and failures.", "--simulate"),
        ), target=""),
    Command("report", "Make the HTML page of a finished run again from its files, or verify its numbers.",
        "verification:report", arguments=(argument("run", "Directory of a finished run."),),
        options=(
            flag("verify",
                "Write nothing; compute all numbers again from the raw records and compare (status 1: they differ)."),
        ), target="run", unwritten="verify", after_stop="anew"),
    Command("view",
        "Make the step inspector's page of a run, or of two side by side: steps, scores, labels, search trees, curves.",
        "viewer.command:view", arguments=(argument("runs", "Run directories or score files.", list[Path]),),
        options=(
            option("out", Path, Path("inspector.html"), "HTML page to write."),
            option("data", list[Path] | None, None, "Files of traces, instead of those that the run names."),
            option("threshold", list[float] | None, None, "Of the PRMs in order, or one for all.", min=0, max=1),
            option("limit", int, 10_000, "At most so many cases.", min=1, max=10**9),
            option("watch", float | None, None, "Write it again every so many seconds, until Ctrl-C.", min=1, max=10**6),
        ), kind="file", after_stop="anew"),
    Command("doctor", "Say what this machine has for Sparring, what is missing for which extra, and how to install it.",
        "doctor:doctor", options=(flag("as_json", "Print JSON.", "--json"),), target=""),
    Command("migrate", "Convert data made for TRL's or OpenRLHF's PRM trainer to our own form (docs/training.md).",
        "traces.convert:show_migration", "traces.convert:MigrateSettings",
        arguments=(
            argument("data", "File made for TRL's PRMTrainer or OpenRLHF's train_prm."),
            argument("out", "File of traces to write."),
        ), kind="file", after_stop="anew"),
    Command("train aprm", "Train a PRM against an adversary that learns to make errors (APRM).",
        "training.aprm:show_aprm", "training.aprm_settings:AprmSettings", after_stop="--resume", progress=True),
    Command("train chain-policy", "Train the tiny policy of the chain-arithmetic world from generated problems.",
        "training.chain_policy:show_chain_policy", "training.chain_policy:ChainPolicySettings", kind="folder",
        after_stop="anew", progress=True, says="policy: {}"),
    Command("train world-policy", "Train a tiny policy of any world from generated solutions.",
        "training.world_policy:show_world_policy", "training.world_policy:WorldPolicySettings", kind="folder",
        after_stop="anew", progress=True, says="policy: {}"),
    Command("train rl", "Train a policy by reinforcement learning with step rewards.", "training.rl:show_rl",
        "training.rl_settings:RlSettings", after_stop="--resume", progress=True),
    Command("train prm", "Train a process reward model on step labels.", "training.supervised:show_supervised",
        "training.supervised_settings:PrmSettings", after_stop="--resume", progress=True),
    Command("train orm", "Train an outcome reward model on whether solutions end well.",
        "training.supervised:show_supervised", "training.supervised_settings:OrmSettings", after_stop="--resume",
        progress=True),
    Command("train value", "Train a value model on the measured values of prefixes (PAV).",
        "training.supervised:show_supervised", "training.supervised_settings:ValueSettings", after_stop="--resume",
        progress=True),
    Command("eval prmbench", "Measure PRMScore on PRMBench's classes of errors, with intervals.",
        "evaluation.prmbench:evaluate_prmbench", "evaluation.prmbench:PrmbenchSettings", pool=True),
    Command("eval calibration", "Measure and mend calibration; store threshold and map.",
        "evaluation.calibration:evaluate_calibration", "evaluation.calibration:CalibrationSettings", pool=True),
    Command("eval bon", "Best-of-N curves on samples.", "evaluation.bon:evaluate_bon", "evaluation.bon:BonSettings",
        pool=True),
    Command("eval compare", "Compare two score files on the same labelled traces.", "evaluation.compare:compare_scores",
        "evaluation.compare:CompareSettings", arguments=(argument("a", "Scores of A."), argument("b", "Scores of B.")),
        after_stop="anew"),
    Command("eval oracle",
        "Measure oracles on human-labelled steps: false alarms, recall, and planted mistakes found, with intervals.",
        "evaluation.oracle:audit_oracles", "evaluation.oracle:OracleAuditSettings"),
    Command("eval processbench",
        "Measure F1 of finding the first wrong step (ProcessBench's definition), with intervals.",
        "evaluation.processbench:evaluate_processbench", "evaluation.processbench:ProcessbenchSettings",
        arguments=(argument("data", "ProcessBench files, one per subset.", list[Path]),),
        options=(
            option("model", str | None, None, "PRM to score with: a folder, or a server's address."),
            option("scores", list[Path] | None, None, "Score files, instead of a model."),
            option("scores_model", str | None, None, "Whose scores, where a file holds several models'."),
            option("threshold", float | None, None, "Default: the checkpoint's own, else 0.5."),
            option("threshold_split", str | None, None, "Choose the best threshold on this subset."),
            option("seed", int, 0, "Seed of the bootstrap.", min=0),
            option("limit", int | None, None, "Only a random sample of so many cases per subset."),
            flag("allow_missing", "Leave out and count cases without scores, also those that a model refuses (too long)."),
        ), from_options=True, pool=True),
)  # fmt: skip

app = command_line("Train, check and use process reward models.", GROUPS, COMMANDS)


def main() -> None:
    """Run the command line and end the process with its status."""
    sys.exit(ending.run(app))


if __name__ == "__main__":
    main()
