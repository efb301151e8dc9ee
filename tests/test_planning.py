"""Plans: parameters, memory, time, what is refused, and the command."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from typer.testing import CliRunner

from sparring.__main__ import app, main
from sparring.errors import CheckpointError, SettingsError
from sparring.models.branches import BranchedRow, collate, hidden_states
from sparring.models.loading import resolve_model
from sparring.models.roles import add_adapter, lora_config
from sparring.models.sidecar import read_sidecar
from sparring.planning import hardware
from sparring.planning.command import plan
from sparring.planning.hardware import DEVICES, device_for, measured_flops, parse_gpus
from sparring.planning.memory import Training, total
from sparring.planning.settings import Job, PlanSettings
from sparring.planning.shapes import KNOWN, find_shape, hub_name, shape_of
from sparring.pool.settings import pool_settings

ROOT = Path(__file__).parents[1]

# --- parameters ----------------------------------------------------------------------------------------------------------

DENSE = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3")
MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe")


def small(family: str, **other: Any) -> Any:
    """A small configuration whose dimensions all differ."""
    given = {
        "hidden_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 200,
        "vocab_size": 1000,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if family in ("qwen3", "gemma", "gemma2", "gemma3_text", "qwen3_moe"):
        given["head_dim"] = 24
    if family == "qwen2_moe":
        given |= {"shared_expert_intermediate_size": 120, "moe_intermediate_size": 64, "num_experts": 5}
    elif family == "qwen3_moe":
        given |= {"moe_intermediate_size": 64, "num_experts": 5}
    return CONFIG_MAPPING[family](**given | other)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", [*DENSE, *MIXTURES])
def test_parameters_are_those_of_the_model_itself(family: str, tied: bool) -> None:
    config = small(family, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape_of(config, family).parameters == model.num_parameters()


def test_biases_are_counted() -> None:
    config = small("llama", attention_bias=True, mlp_bias=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape_of(config, "x").parameters == model.num_parameters()


@pytest.mark.filterwarnings("ignore:The following")
@pytest.mark.parametrize("family", [*DENSE, *MIXTURES])
def test_adapters_are_those_that_peft_makes(family: str) -> None:
    config = small(family)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        add_adapter(model, lora_config(model, 4, "all-linear", ("lm_head",)))
    made = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    assert shape_of(config, family).adapter(4) == made


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # as the makers' folders have them
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
        ("Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen/Qwen2.5-Math-7B-Instruct", 7_615_616_512),
        ("qwen2.5-14b", 14_770_033_664),
        ("Qwen2.5-72B", 72_706_203_648),
        ("Qwen3-0.6B", 596_049_920),
        ("Qwen3-8B", 8_190_735_360),
        ("Qwen3-32B", 32_762_123_264),
        ("Qwen3-30B-A3B", 30_532_122_624),
        ("meta-llama/Llama-3.2-1B", 1_235_814_400),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", 8_030_261_248),
        ("Llama-3.1-70B", 70_553_706_496),
        ("google/gemma-2-9b-it", 9_241_705_984),
        ("SmolLM2-135M-Instruct", 134_515_008),
        ("Mixtral-8x7B-v0.1", 46_702_792_704),
        ("Mixtral-8x7B-Instruct", 46_702_792_704),
    ],
)
def test_well_known_models_have_their_published_number_of_parameters(name: str, parameters: int) -> None:
    assert find_shape(name).parameters == parameters


def test_a_folder_is_read_as_it_is(tiny_folder: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    assert find_shape(str(tiny_folder)).parameters == model.num_parameters()
    assert find_shape("tiny-chain-policy").layers > 0


# --- memory --------------------------------------------------------------------------------------------------------------


def saved_bytes(layers: int, family: str, adapter: str, numbers: str, masked: bool) -> float:
    """Bytes per token that a model's decoder keeps for the backward pass, without weights and copies of them."""
    config = small(family, num_hidden_layers=layers, intermediate_size=144)
    half = numbers == "bfloat16"
    model = AutoModelForCausalLM.from_config(
        config, dtype=torch.bfloat16 if half and adapter == "lora" else torch.float32
    )
    if adapter == "lora":
        model.requires_grad_(False)
        add_adapter(model, lora_config(model, 4, "all-linear", ("lm_head",)))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    columns = 64
    rows = [BranchedRow(list(range(columns // 2)), [[3] * (columns // 4)] * 2)] * 2
    batch = collate(rows, 0, torch.device("cpu"), torch.bfloat16 if half else torch.float32)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        if masked:
            hidden_states(model.base_model, batch)
        else:
            model.base_model(input_ids=batch.ids, use_cache=False)
    tokens = batch.ids.numel()
    sizes = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in kept
        if tensor.untyped_storage().data_ptr() not in weights
        and (tensor.dim() != 2 or tensor.shape[0] == tokens)  # a matrix of other sides is a weight's copy
    }
    return sum(sizes.values()) / tokens


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("adapter", "numbers"),
    [("full", "float32"), ("lora", "float32"), ("full", "bfloat16"), ("lora", "bfloat16")],
)
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_layer_keeps_what_the_formula_says(family: str, adapter: Any, numbers: Any, masked: bool) -> None:
    one, two = (saved_bytes(layers, family, adapter, numbers, masked) for layers in (1, 2))
    shape = shape_of(small(family, intermediate_size=144), family)
    said = Training(shape, adapter, 4, numbers, checkpointing=False, masked=masked).kept_per_token()
    assert said == pytest.approx(two - one, rel=0.02)


MODELS = st.sampled_from(["Qwen2.5-0.5B", "Qwen2.5-7B", "Llama-3.1-70B", "Qwen3-30B-A3B", "gemma-2-9b"])
TRAINED = st.sampled_from(["aprm", "prm", "orm", "value", "rl"])


@given(
    model=MODELS,
    adapter=st.sampled_from(["lora", "full"]),
    numbers=st.sampled_from(["float32", "bfloat16"]),
    checkpointing=st.booleans(),
    roles=st.sampled_from([1, 4]),
    shards=st.integers(2, 500),
    rows=st.integers(1, 64),
    row=st.integers(1, 4096),
)
@settings(max_examples=60)
def test_more_shards_longer_rows_and_more_of_them_move_memory_one_way(
    model: str, adapter: Any, numbers: Any, checkpointing: bool, roles: int, shards: int, rows: int, row: int
) -> None:
    one = Training(find_shape(model), adapter, 16, numbers, checkpointing, roles=roles, shards=shards)

    def size(training: Training, rows: int, row: int) -> float:
        return total([*training.standing(), *training.pass_parts(rows, row, sampled=row)])

    assert size(replace(one, shards=shards + 1), rows, row) <= size(one, rows, row)
    assert size(one, rows, row + 1) > size(one, rows, row)
    assert size(one, rows + 1, row) > size(one, rows, row)
    assert size(replace(one, checkpointing=True), rows, row) <= size(
        replace(one, checkpointing=False), rows, row
    )


@given(
    model=MODELS,
    job=st.sampled_from(["aprm", "prm", "rl", "label", "score"]),
    gpus=st.sampled_from([8, 16, 64]),
    device=st.sampled_from(["H100", "H200", "B200", "MI300X"]),
    steps=st.integers(2, 20),
)
@settings(max_examples=60)
def test_longer_solutions_cost_more_and_more_devices_take_no_longer_each(
    model: str, job: Any, gpus: int, device: str, steps: int
) -> None:
    given = PlanSettings(job=job, gpus=f"{gpus}x{device}", steps=steps)
    try:
        first = plan(model, given)
        longer = plan(model, given.model_copy(update={"steps": steps + 1}))
        more = plan(model, given.model_copy(update={"gpus": f"{2 * gpus}x{device}"}))
    except SettingsError:  # it fits nowhere
        assume(False)
    assert longer.seconds >= first.seconds
    assert total(more.fit.parts) <= more.job.room
    # Elsewhere a batch can be too small for so many, and the network slower than a machine's links.
    if job == "score":
        assert more.seconds <= first.seconds * 1.001


def test_what_fits_is_the_fastest_way_that_does() -> None:
    def placement(**given: Any) -> tuple[int, bool]:
        found = plan("Qwen2.5-7B", PlanSettings(job="prm", **given)).fit.training
        assert found is not None
        return found.shards, found.checkpointing

    assert placement(gpus="8xH100") == (1, False)
    assert placement(gpus="8xB200", adapter="full") == (1, False)
    assert placement(gpus="8xH100", steps=600) == (1, True)
    assert placement(gpus="8x4090") == (1, False)
    assert placement(gpus="8xH100", gradient_checkpointing=True) == (1, True)
    assert placement(gpus="8xH100", sharding="full") == (8, False)


def test_a_large_model_is_served_on_several_devices() -> None:
    found = plan("Llama-3.1-70B", PlanSettings(job="label", gpus="8xH100"))
    assert found.fit.split >= 2 and found.fit.sequences > 1
    assert f"--tensor-parallel-size {found.fit.split}" in found.launch[0]


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "0xH100", "8x", "8 of H100", "xH100", "-1xH100", "2xcpu"])
def test_gpus_that_are_no_number_and_name_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="gpus: "):
        parse_gpus(text)


@pytest.mark.parametrize("text", ["99999999xH100", "-1xH100", "8h100", "8", "0xH100", f"{'9' * 5000}xH100"])
def test_a_count_that_is_none_is_answered_with_the_form(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_gpus(text)
    said = "expected COUNTxNAME or NAME, such as 8xH100: a count from 1 to 999,999, and a name in any case"
    assert said in str(caught.value) and "did you mean" not in str(caught.value)


def test_gpus_are_read_as_people_write_them() -> None:
    assert parse_gpus("8xH100") == (8, "H100")
    assert parse_gpus("8 x h100") == (8, "H100")
    assert parse_gpus("a100") == (1, "A100-80")
    assert parse_gpus("cpu") == (1, "cpu")
    assert all(parse_gpus(name) == (1, name) for name in DEVICES)


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        ("Qwen2.5-9B", {}, "did you mean 'qwen2.5-"),
        ("no-such-model", {}, "is no model folder"),
        ("Qwen2.5-7B", {"gpus": "8xH10"}, "did you mean 'H100'"),
        ("Qwen2.5-7B", {"gpus": "1x4090", "adapter": "full"}, "it fits with adapter=lora or gpus=1xH200"),
        ("Qwen2.5-7B", {"gpus": "1xH100", "adapter": "full"}, "it fits with adapter=lora or gpus=1xH200"),
        ("Qwen2.5-7B", {"gpus": "1x4090", "pass_tokens": 60000}, "pass_tokens=null"),
        ("Llama-3.1-405B", {"job": "score", "gpus": "1x4090"}, "405B, score, does not fit 1x4090"),
        ("Qwen2.5-1.5B", {"sharding": "full"}, "sharding=full needs more than one GPU"),
        (
            "Qwen2.5-7B",
            {"gpus": "8xH100", "sharding": "full", "adapter": "full"},
            "sharding=full needs adapter=lora",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line_that_says_what_would_do(model: str, given: dict, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        plan(model, PlanSettings(**given))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_longest_text_that_a_model_takes_is_planned_for(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small("qwen2", max_position_embeddings=32768).save_pretrained(tmp_path / "model")
    monkeypatch.setattr("sys.argv", ["sparring", "plan", str(tmp_path / "model"), "steps=900"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip()
    assert "texts of 36,200 tokens (prompt_tokens + steps × step_tokens), but " in error
    assert error.endswith("model takes 32,768") and "\n" not in error
    # Of a name several versions are known, with other lengths.
    assert plan("Qwen2.5-7B", PlanSettings(steps=900)).fit.rows >= 1
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    config = small("qwen2", max_position_embeddings=1024, rope_parameters=stretched | {"rope_theta": 1e4})
    assert shape_of(config, "x").positions == 4096


def test_the_processors_memory_is_asked_for_only_where_it_is_not_given(monkeypatch: Any) -> None:
    monkeypatch.setattr(hardware, "memory_room", lambda: (None, 3 << 30))
    assert device_for("cpu", 1e9, None).memory == 3 << 30
    monkeypatch.setattr(hardware, "memory_room", lambda: (None, None))
    with pytest.raises(SettingsError, match="memory_gib is needed here"):
        device_for("cpu", 1e9, None)
    monkeypatch.delattr(hardware, "memory_room")
    assert device_for("cpu", 1e9, 2.0).memory == 2 << 30
    assert device_for("H100", None, None) == DEVICES["H100"]


def test_architectures_that_are_not_planned_for_are_named(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="gpt2 model; planned for are llama"):
        find_shape(str(tmp_path))


@pytest.mark.parametrize("read", [find_shape, resolve_model, lambda folder: read_sidecar(Path(folder))])
def test_a_runs_folder_says_where_its_model_is(tmp_path: Path, read: Any) -> None:
    with pytest.raises(CheckpointError) as empty:
        read(str(tmp_path))
    assert "there is one" not in str(empty.value)
    (tmp_path / "prm").mkdir()
    (tmp_path / "prm" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"no (config|sparring)\.json.*there is one in '.*/prm'"):
        read(str(tmp_path))


@pytest.mark.parametrize("word", ["gpus=8", "gpus='8'"])
def test_a_number_of_gpus_alone_is_told_how_it_is_written(word: str) -> None:
    result = CliRunner().invoke(app, ["plan", "Qwen2.5-7B", word])
    assert result.exit_code != 0 and "such as 8xH100" in str(result.exception)
    assert PlanSettings(gpus=4090).gpus == "4090"  # type: ignore[arg-type]


# --- time ----------------------------------------------------------------------------------------------------------------


def stages_of(job: Any, gpus: int, **given: Any) -> dict[str, Any]:
    found = plan("Qwen2.5-1.5B", PlanSettings(job=job, gpus=f"{gpus}xH100", **given))
    return {stage.name: stage for stage in found.stages}


def test_labels_count_rollouts_from_the_bare_question_once_per_problem() -> None:
    given = {"problems": 1, "n_cov": 4, "n_mc": 8, "steps": 8, "step_tokens": 40}
    found = stages_of("label", 1, **given)
    assert found["oracle"].tokens == 4 + 4 * 7 * 8 + 8 == 236
    assert found["rollouts"].tokens == 39_680


@pytest.mark.parametrize(
    ("job", "given", "shared"),
    [
        ("prm", {"batch_traces": 4}, {"training"}),
        ("score", {"traces": 4}, {"scoring"}),
        (
            "aprm",
            {"states_per_update": 4},
            {
                "reading prompts",
                "rewrites",
                "the PRM's updates",
                "the adversary's updates",
                "both references",
            },
        ),
        ("rl", {"problems_per_update": 4}, {"reading prompts", "answers"}),
    ],
)
def test_what_cannot_be_split_keeps_no_more_processes_at_work(job: Any, given: dict, shared: set) -> None:
    few, many, uneven = (stages_of(job, gpus, **given) for gpus in (4, 64, 3))
    for name in shared:
        assert many[name].seconds == pytest.approx(few[name].seconds), name
        # Four over three: one of them has two. (Decoding two at once takes hardly longer than one.)
        if name not in ("rewrites", "answers"):
            assert uneven[name].seconds == pytest.approx(2 * few[name].seconds), name
    assert plan("Qwen2.5-1.5B", PlanSettings(job="aprm", gpus="64xH100")).fit.sequences == 4


def test_the_engines_decode_no_more_than_there_is() -> None:
    found = plan("Qwen2.5-1.5B", PlanSettings(job="label", gpus="8xH100", problems=1, n_cov=1, n_mc=1))
    assert found.fit.sequences == 2  # a solution, and rollouts from 8 prefixes: 9 over 8


# --- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_shows_every_number_with_its_formula_as_a_table_and_as_json() -> None:
    words = ["plan", "Qwen2.5-7B", "job=aprm", "gpus=8xH100", "price=2.5"]
    shown = CliRunner().invoke(app, [*words, "--formulas"]).output
    assert ("Nothing waits for the oracle here" in shown) == ("oracle" in shown.partition("Launch:")[0])
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert "7.616 B" in shown and "accelerate launch" in shown and "never on a GPU" in shown
    assert set(found["sections"]) == {"Model", "Memory of each device", "Time"}
    lines = [line for section in found["sections"].values() for line in section]
    assert all(line["formula"] and line["shown"] for line in lines)
    [cost] = [line["value"] for line in lines if line["name"] == "cost"]
    [hours] = [line["value"] for line in lines if line["name"] == "GPU hours"]
    assert cost == pytest.approx(2.5 * hours)
    found = json.loads(CliRunner().invoke(app, [*words, "simulations=1", "--simulate", "--json"]).output)
    simulated = {line["name"]: line["value"] for line in found["sections"]["Simulation"]}
    assert simulated["GPU hours"] == pytest.approx(simulated["until the last is done"] / 3600 * 8)
    assert simulated["cost"] == pytest.approx(2.5 * simulated["GPU hours"])
    assert simulated["GPU hours"] > hours


@pytest.mark.parametrize(
    ("job", "gpus"),
    [
        *((job, gpus) for job in get_args(Job) for gpus in ("1xH100", "64xH100", "cpu")),
        *((job, "8xH100") for job in ("prm", "label", "score")),
    ],
)
def test_the_launch_commands_parse(job: Any, gpus: str) -> None:
    from test_docs import check_sparring

    model = "Llama-3.1-70B" if gpus.startswith("8x") else "Qwen2.5-1.5B"
    found = plan(model, PlanSettings(job=job, gpus=gpus, flops=1e12, memory_gib=64, optimizer_bits=8))
    for line in found.launch:
        words = line.split(" #")[0].split()
        if "--config_file" in words:
            assert (ROOT / words[words.index("--config_file") + 1]).is_file()
        if "sparring" in words:
            check_sparring(words[words.index("sparring") + 1 :])


@pytest.mark.parametrize(
    ("job", "model", "clients"),
    [("label", "Qwen2.5-7B", True), ("score", "Qwen2.5-7B", False), ("score", "Llama-3.1-70B", True)],
)
def test_jobs_of_many_machines_are_launched_on_all_of_them(job: Any, model: str, clients: bool) -> None:
    """Without an address a pool is this machine's alone, however many a cluster has (docs/engines.md)."""
    found = plan(model, PlanSettings(job=job, gpus="64xH100"))
    words = found.launch[-1].split()
    assert words[:2] == ["RAY_AUTH_MODE=token", "sparring"]
    assert found.launch[-2].count("RAY_AUTH_MODE=token ray start") == 2
    assert found.launch[-3].startswith("ray get-auth-token --generate")
    assert ("8 machines" in found.launch[0]) == clients  # servers, each with its clients beside it
    given = [word for flag, word in itertools.pairwise(words) if flag == "--pool"]
    pool = pool_settings("ray", given)
    assert pool is not None and pool.address == "auto"
    assert pool.gpus_per_actor == (0 if clients else None)


def test_a_job_of_one_machine_has_no_cluster() -> None:
    assert "address" not in launched("label", "8xH100") and "RAY_AUTH_MODE" not in launched("label", "8xH100")
    assert launched("score", "8xH100").endswith("--engine ray")
    assert "--engine" not in launched("label", "1xH100")


def launched(job: Any, gpus: str, model: str = "Qwen2.5-7B") -> str:
    return plan(model, PlanSettings(job=job, gpus=gpus)).launch[-1]


def test_the_launched_game_shares_the_sampling_as_planned() -> None:
    assert "adversary_seeds=state" in launched("aprm", "8xH100")
    assert "adversary_seeds" not in launched("aprm", "1xH200")


def test_the_launched_rl_is_the_planned_one() -> None:
    found = plan("Qwen2.5-7B", PlanSettings(job="rl", gpus="8xH100"))
    assert "credit=progress prm=runs/value/model" in found.launch[0]
    [value] = [part for part in found.fit.parts if part.name == "the value model"]
    assert value.size == 2 * found.job.shape.backbone
    assert "the value model" in [stage.name for stage in found.stages]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-instruct"),
        ("Qwen2.5-Math-7B", "Qwen/Qwen2.5-Math-7B"),
        ("Llama-3.1-70B", "meta-llama/Llama-3.1-70B"),
        ("gemma-2-9b", "google/gemma-2-9b"),
        ("someone/Qwen2.5-7B", "someone/Qwen2.5-7B"),
        ("tiny-chain-policy", "tiny-chain-policy"),
    ],
)
def test_launch_lines_name_models_as_the_hub_does(given: str, named: str) -> None:
    assert hub_name(given) == named


def test_every_well_known_model_has_an_owner() -> None:
    assert all(hub_name(name).count("/") == 1 for name in KNOWN)
    assert "backbone=Qwen/Qwen2.5-7B " in launched("prm", "8xH100")


def test_settings_are_explained_without_a_model() -> None:
    result = CliRunner().invoke(app, ["plan", "--explain"])
    assert result.exit_code == 0 and "gpus" in result.output and "Missing" not in result.output


def test_the_processor_is_measured() -> None:
    assert measured_flops(64, 0.01) > 1e6


def test_a_whole_run_of_a_model_that_is_really_made_stays_within_its_own_numbers() -> None:
    """A classifier has no output head of its own: its parameters are the backbone and two rows."""
    config = small("qwen2", num_labels=2)
    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(config)
    assert shape_of(config, "x").backbone + 2 * 96 + 2 == model.num_parameters()
