"""The configuration files that travel with the project: they load, explain every value, and name the right paths."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from processes_worker import FSDP
from sparring.errors import SettingsError
from sparring.settings import load_settings
from sparring.training.aprm_settings import AprmSettings

FOLDER = Path(__file__).resolve().parents[1] / "configs"
CONFIGS = sorted(p for p in FOLDER.glob("*.yaml") if "sparring train aprm" in p.read_text(encoding="utf-8"))
REAL = ("gsm8k-smollm2.yaml", "gsm8k-qwen-1.5b.yaml")
# Defaults that suit everyone, and the one-epoch updates in which PPO's clip has no effect.
UNWRITTEN = {
    "device",
    "sampler",
    "sampler_tolerance",
    "server",
    "staleness",
    "trackers",
    "max_problems",
    "data_format",
    "prm_epochs",
    "adversary_epochs",
    "clip",
    "template_kwargs",
    "template_date",
    # What makes the game a contest (docs/aprm.md): each is off by default, and none has earned a place in a recipe yet.
    "adversary_advantage",
    "adversary_pay",
    "adversary_seeds",
    "attention",
    "gradient_checkpointing",
    "optimizer_bits",
    "frozen_share",
    "log_kinds",
    "rise_again",
    "rule_kinds",
    "solver_share",
    "solver_steps",
}
CHAIN_UNWRITTEN = {
    "data",
    "keep_annotations",
    "lora_rank",
    "lora_targets",
    "dtype",
    "checkpoint_every",
    "snapshot_every",
}
_VALUE = re.compile(r"[a-z_]+:")
# Explained by the value beside them, or by their name.
OBVIOUS = {"reward_fooled", "reward_failed", "seed"}


def given(path: Path) -> dict[str, object]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_documented_configs_are_there() -> None:
    assert {path.name for path in CONFIGS} >= {"chain.yaml", *REAL}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_loads_with_every_value_as_written(path: Path) -> None:
    settings = load_settings(AprmSettings, path)
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    loaded = settings.model_dump(mode="json")
    # YAML 1.1 reads `1e-3` as text, our loader as the number that it looks like.
    assert {
        key: float(value) if isinstance(loaded[key], float) else value for key, value in written.items()
    } == {key: loaded[key] for key in written}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_names_every_setting_that_shapes_a_run(path: Path) -> None:
    unwritten = UNWRITTEN | (CHAIN_UNWRITTEN if path.name == "chain.yaml" else set())
    assert AprmSettings.model_fields.keys() - given(path).keys() - unwritten == set()


def test_the_chain_config_is_the_defaults() -> None:
    assert load_settings(AprmSettings, FOLDER / "chain.yaml") == AprmSettings()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_starts_with_the_command_that_uses_it(path: Path) -> None:
    head = path.read_text(encoding="utf-8").partition("\n\n# Subject")[0]
    assert f"sparring train aprm --config configs/{path.name} --out " in head
    assert all(line.startswith("#") for line in head.splitlines())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_value_is_explained(path: Path) -> None:
    """By a comment on its line, or by the comment block just above it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if _VALUE.match(line) and not re.search(r"\s#\s\S", line) and not above.startswith("# ")
    ]
    assert {line.partition(":")[0] for line in bare} <= OBVIOUS


@pytest.mark.parametrize("name", REAL)
def test_paths_are_those_of_the_documentation_and_can_be_overridden(name: str) -> None:
    settings = load_settings(AprmSettings, FOLDER / name)
    assert settings.data == "data/gsm8k/train.jsonl"
    assert not Path(settings.backbone).is_absolute()
    assert settings.backbone.startswith("models/")
    elsewhere = load_settings(AprmSettings, FOLDER / name, ["data=elsewhere/train.jsonl", "updates=2"])
    assert (elsewhere.data, elsewhere.updates) == ("elsewhere/train.jsonl", 2)
    assert settings.monotone, "the documented game should not start with a warning"


def test_a_value_that_no_longer_exists_would_be_noticed(tmp_path: Path) -> None:
    stale = tmp_path / "stale.yaml"
    stale.write_text(
        (FOLDER / "chain.yaml").read_text(encoding="utf-8") + "\nold_name: 1\n", encoding="utf-8"
    )
    with pytest.raises(SettingsError, match="old_name"):
        load_settings(AprmSettings, stale)


@pytest.mark.parametrize(("name", "count", "machines"), [("fsdp2", 8, 1), ("fsdp2-8x8", 64, 8)])
def test_accelerate_tells_every_process_to_share_the_backbone(name: str, count: int, machines: int) -> None:
    given = ["--config_file", str(FOLDER / f"{name}.yaml"), "-m", "sparring"]
    arguments = _validate_launch_command(launch_command_parser().parse_args(given))[0]
    assert (arguments.num_processes, arguments.num_machines) == (count, machines)
    assert arguments.use_fsdp and not arguments.use_deepspeed
    assert FSDP.items() <= prepare_multi_gpu_env(arguments).items()
