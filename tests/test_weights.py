"""Weights that are not those of the model: every way of loading refuses them, and every sound checkpoint loads."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    LlamaConfig,
)

from family_sources import MAKERS
from sparring.errors import CheckpointError
from sparring.labels.provers import load_engine
from sparring.labels.settings import LabelSettings
from sparring.models.families import FAMILIES, convert_prm
from sparring.models.loading import (
    HEAD_FILE,
    load_causal_model,
    load_label_token_model,
    load_new_token_classifier,
    load_step_head,
    load_token_classifier,
)
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import ConvertPrmSettings

Tensors = dict[str, torch.Tensor]
CPU = torch.device("cpu")
FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
LABELS = ("wrong", "correct")


def headed(folder: Path) -> Path:
    save_file({"0.weight": torch.ones(2, 16), "0.bias": torch.ones(2)}, folder / HEAD_FILE)
    return folder


LOADERS = {
    "policy": (AutoModelForCausalLM, lambda place: load_causal_model(place, device=CPU, dtype=torch.float32)),
    "label tokens": (
        AutoModelForCausalLM,
        lambda place: load_label_token_model(place, (3, 4), device=CPU, dtype=torch.float32),
    ),
    "classifier": (
        AutoModelForTokenClassification,
        lambda place: load_token_classifier(place, device=CPU, dtype=torch.float32),
    ),
    "step head": (AutoModel, lambda place: load_step_head(headed(place), device=CPU, dtype=torch.float32)),
    "new classifier": (
        AutoModelForCausalLM,
        lambda place: load_new_token_classifier(place, LABELS, device=CPU, dtype=torch.float32),
    ),
    "names only": (
        AutoModelForCausalLM,
        lambda place: load_causal_model(place, device=torch.device("meta"), dtype=torch.float32),
    ),
}


def llama(**fields: object) -> LlamaConfig:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    small = {"vocab_size": 64, "max_position_embeddings": 128, "tie_word_embeddings": False}
    return LlamaConfig(**(small | sizes | fields))


def written(folder: Path, factory: type, config: object | None = None) -> Path:
    torch.manual_seed(0)
    factory.from_config(llama() if config is None else config).save_pretrained(folder)
    return folder


def change(folder: Path, edit: Callable[[Tensors], Tensors]) -> None:
    save_file(edit(load_file(folder / FILE)), folder / FILE, metadata={"format": "pt"})


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda state: {name: tensor for name, tensor in state.items() if part not in name}


def prefixed(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def reshaped(part: str, size: tuple[int, ...]) -> Callable[[Tensors], Tensors]:
    return lambda state: {
        name: torch.zeros(size) if part in name else tensor for name, tensor in state.items()
    }


def spoiled(part: str, value: float) -> Callable[[Tensors], Tensors]:
    def edit(state: Tensors) -> Tensors:
        for name, tensor in state.items():
            if part in name:
                tensor.view(-1)[-1] = value
        return state

    return edit


DAMAGE: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "a layer is missing": (without("layers.1."), r"9 missing \(.*layers\.1\."),
    "one tensor is missing": (
        without("layers.0.mlp.up_proj"),
        r"1 missing \(.*layers\.0\.mlp\.up_proj\.weight\)",
    ),
    "the last norm is missing": (without("norm.weight"), "missing"),
    "no input embedding": (without("embed_tokens"), r"missing \(.*embed_tokens"),
    "nothing at all": (lambda state: {"none": torch.zeros(1)}, "layers"),
    "DataParallel": (prefixed("module."), "begin with 'module"),
    "torch.compile": (prefixed("_orig_mod."), "begin with '_orig_mod"),
    "peft": (prefixed("base_model.model."), r"begin with 'base_model\.(model\.)?'"),
    "both wrappers": (prefixed("module._orig_mod."), "begin with 'module._orig_mod"),
    "a layer too many": (
        lambda state: (
            state
            | {n.replace("layers.1.", "layers.2."): t.clone() for n, t in state.items() if "layers.1." in n}
        ),
        r"9 unexpected \(.*layers\.2\.",
    ),
    "a stranger": (
        lambda state: state | {"v_head.summary.weight": torch.zeros(1, 16)},
        "unexpected .v_head.summary",
    ),
    "an adapter beside it": (
        lambda state: state | {f"{name}.lora_A.weight": torch.zeros(2, 2) for name in list(state)[:2]},
        "an adapter",
    ),
    "another width": (
        reshaped("q_proj", (16, 8)),
        r"q_proj\.weight \(16, 8\) where the model has \(16, 16\)",
    ),
    "another vocabulary": (reshaped("embed_tokens", (60, 16)), r"\(60, 16\) where the model has \(64, 16\)"),
    "not a number": (
        spoiled("layers.1.mlp.down_proj", float("nan")),
        "layers.1.mlp.down_proj.weight holds numbers",
    ),
    "integers": (
        lambda state: {n: t.long() if "up_proj" in n else t for n, t in state.items()},
        r"integers .*layers\.0\.mlp\.up_proj\.weight \(I64\)",
    ),
    "truth values": (lambda state: {n: t > 0 if "down_proj" in n else t for n, t in state.items()}, "BOOL"),
    "infinite": (spoiled("layers.0.input_layernorm", float("-inf")), "layers.0.input_layernorm.weight holds"),
}


@pytest.mark.parametrize("way", LOADERS)
def test_every_way_of_loading_refuses_other_weights_and_names_them(tmp_path, way):
    factory, load = LOADERS[way]
    good = written(tmp_path / "good", factory)
    load(good)
    for name, (edit, message) in DAMAGE.items():
        if way == "names only" and "holds" in message:
            continue  # no number is read
        folder = tmp_path / "bad"
        shutil.copytree(good, folder)
        change(folder, edit)
        with pytest.raises(CheckpointError) as caught:
            load(folder)
        assert re.search(message, str(caught.value)), (name, str(caught.value))
        assert "\n" not in str(caught.value)
        shutil.rmtree(folder)


def test_a_head_that_is_not_there_is_not_made_up(tmp_path):
    policy = written(tmp_path / "policy", AutoModelForCausalLM)
    prm = written(tmp_path / "prm", AutoModelForTokenClassification)
    with pytest.raises(
        CheckpointError, match=r"2 missing \(score.bias, score.weight\), 1 unexpected \(lm_head"
    ):
        LOADERS["classifier"][1](policy)
    for way in ("policy", "label tokens"):
        with pytest.raises(CheckpointError, match=r"1 missing \(lm_head.weight\), 2 unexpected \(score.bias"):
            LOADERS[way][1](prm)
    change(prm, without("score.bias"))
    for way in ("classifier", "new classifier"):
        with pytest.raises(CheckpointError, match=r"1 missing \(score.bias\)"):
            LOADERS[way][1](prm)
    with pytest.raises(CheckpointError, match="embed_tokens"):  # tied to what is not there either
        bare = written(tmp_path / "tied", AutoModelForCausalLM, llama(tie_word_embeddings=True))
        change(bare, without("embed_tokens"))
        LOADERS["policy"][1](bare)


def test_a_new_head_starts_at_zero_and_one_that_is_there_is_kept(tmp_path):
    fresh = LOADERS["new classifier"][1](written(tmp_path / "policy", AutoModelForCausalLM))
    assert not fresh.score.weight.any() and not fresh.score.bias.any()
    folder = written(tmp_path / "prm", AutoModelForTokenClassification)
    kept = LOADERS["new classifier"][1](folder)
    assert torch.equal(kept.score.weight, load_file(folder / FILE)["score.weight"])


def test_more_layers_in_the_configuration_than_in_the_weights(tmp_path):
    folder = written(tmp_path / "model", AutoModelForCausalLM)
    fields = json.loads((folder / "config.json").read_text())
    for count, message in (
        (3, r"layers\.2\."),
        (10**9, "num_hidden_layers is 1000000000"),
        (1, "unexpected"),
    ):
        (folder / "config.json").write_text(json.dumps(fields | {"num_hidden_layers": count}))
        with pytest.raises(CheckpointError, match=message):
            LOADERS["policy"][1](folder)


def test_old_constants_in_a_checkpoint_are_no_weights(tmp_path):
    config = AutoConfig.for_model("gpt2", vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=8)
    folder = written(tmp_path / "model", AutoModelForCausalLM, config)
    constants = {"h.0.attn.bias": torch.ones(1, 1, 8, 8).bool(), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    change(folder, lambda state: {n.removeprefix("transformer."): t for n, t in state.items()} | constants)
    LOADERS["policy"][1](folder)
    change(folder, lambda state: state | {"transformer.ln_f.weight": torch.ones(16)})
    with pytest.raises(CheckpointError, match=r"under two names: ln_f\.weight"):
        LOADERS["policy"][1](folder)


def test_embeddings_that_are_said_to_be_tied_are(tmp_path):
    folder = written(tmp_path / "model", AutoModelForCausalLM, llama(tie_word_embeddings=True))
    change(folder, lambda state: state | {"lm_head.weight": state["model.embed_tokens.weight"].clone()})
    model = LOADERS["policy"][1](folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    change(
        folder,
        lambda state: {
            ("lm_head.weight" if "embed" in n else n): t for n, t in without("lm_head")(state).items()
        },
    )
    LOADERS["policy"][1](folder)  # the one matrix under its other name
    change(folder, lambda state: state | {"model.embed_tokens.weight": state["lm_head.weight"] + 1})
    with pytest.raises(CheckpointError, match="tie_word_embeddings"):
        LOADERS["policy"][1](folder)


ARCHITECTURES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8},
    "gpt2": {},
    "gpt_neox": {},
    "phi3": {"pad_token_id": 0},
    "falcon": {},
    "bloom": {},
    "mixtral": {"num_local_experts": 2},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sound_checkpoints_of_many_architectures_load_whole(tmp_path, name):
    for tied in (True, False):
        config = AutoConfig.for_model(
            name,
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied, bos_token_id=1,
            eos_token_id=2, **ARCHITECTURES[name],
        )  # fmt: skip
        folder = written(tmp_path / f"{tied}", AutoModelForCausalLM, config)
        loaded = load_causal_model(folder, device=CPU, dtype=torch.float32)
        torch.manual_seed(0)
        made = AutoModelForCausalLM.from_config(config)
        assert all(torch.equal(a, b) for a, b in zip(made.parameters(), loaded.parameters(), strict=True))
        if type(config) not in AutoModelForTokenClassification._model_mapping:
            continue
        new = load_new_token_classifier(folder, LABELS, device=CPU, dtype=torch.float32)
        new.save_pretrained(tmp_path / "prm")
        load_token_classifier(tmp_path / "prm", device=CPU, dtype=torch.float32)
        change(folder, without("1."))
        with pytest.raises(CheckpointError, match="missing"):
            load_new_token_classifier(folder, LABELS, device=CPU, dtype=torch.float32)


def sharded(folder: Path) -> dict[str, str]:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(llama()).save_pretrained(folder, max_shard_size="8KB")
    return json.loads((folder / INDEX).read_text())["weight_map"]


def test_sharded_checkpoints_have_every_file_and_tensor_of_their_index(tmp_path):
    folder = tmp_path / "model"
    places = sharded(folder)
    LOADERS["policy"][1](folder)
    first = places["model.layers.0.mlp.up_proj.weight"]

    def refused(message: str, index: object = None, **files: Callable[[Tensors], Tensors] | None) -> None:
        bad = folder.with_name("bad")
        shutil.copytree(folder, bad)
        if index is not None:
            (bad / INDEX).write_text(
                index if isinstance(index, str) else json.dumps({"metadata": {}, "weight_map": index})
            )
        for edit in files.values():
            if edit is None:
                (bad / first).unlink()
            else:
                save_file(edit(load_file(bad / first)), bad / first, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=message) as caught:
            LOADERS["policy"][1](bad)
        assert "\n" not in str(caught.value)
        shutil.rmtree(bad)

    refused(f"lacks {first}, which its index names", file=None)
    refused("lacks model.layers.0.mlp.up_proj.weight, which", file=without("up_proj"))
    refused("lacks gone.safetensors", places | {"model.norm.weight": "gone.safetensors"})
    refused("places there", places | {"model.layers.7.norm.weight": first})
    refused("missing", {name: file for name, file in places.items() if file != first})
    refused("a name in this folder", places | {"model.norm.weight": "../other/model.safetensors"})
    refused("a name in this folder", places | {"model.norm.weight": 3})
    refused("both hold", file=lambda state: state | {"model.norm.weight": torch.ones(16)})
    refused("unexpected", file=lambda state: state | {"more.weight": torch.ones(16)})
    for text in (
        "[]",
        "{}",
        '{"metadata": {}, "weight_map": []}',
        '{"metadata": {}, "weight_map": {}}',
        '{"weight_map": {"a": "b"}}',
        "{",
        "",
        '{"weight_map": 1e999}',
        "[" * 99_999,
    ):
        refused(INDEX, text)


def test_adapter_folders_are_refused_with_what_to_do(tmp_path):
    folder = written(tmp_path / "model", AutoModelForCausalLM)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "nobody/nothing"}')
    for _, load in LOADERS.values():
        with pytest.raises(CheckpointError, match="merge"):
            load(folder)


def test_policies_and_prms_in_commands_use_this_door(tmp_path, tiny_folder):
    folder = tmp_path / "policy"
    shutil.copytree(tiny_folder, folder)
    change(folder, without("layers.1."))
    with pytest.raises(CheckpointError, match=r"layers\.1\."):
        load_engine(str(folder), LabelSettings(data=str(tmp_path / "x"), policy=str(folder)))


@pytest.mark.parametrize("family", MAKERS)
def test_conversion_refuses_what_is_missing_or_unexpected(tmp_path, family):
    source, out = tmp_path / "source", tmp_path / "out"
    MAKERS[family][0](source)
    chosen = ConvertPrmSettings(
        family=family, reference=tmp_path / "reference-model" if FAMILIES[family].reference else None
    )

    def spoil(edit: Callable[[Tensors], Tensors], place: Path = source) -> None:
        for file in place.glob("*.safetensors"):
            save_file(edit(load_file(file)), file, metadata={"format": "pt"})
        if (place / INDEX).is_file():
            names = {n: f.name for f in place.glob("*.safetensors") for n in load_file(f)}
            (place / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))

    keep = tmp_path / "kept"
    shutil.copytree(source, keep)
    last = "score" if family in ("trl", "qwen_math") else "v_head" if family == "skywork" else "lm_head"
    edits = {
        "layers.1": without("layers.1."),
        last: without(last),
        "module": prefixed("module."),
        "unexpected": lambda state: state | {f"other.{next(iter(state))}": torch.zeros(2)},
    }
    for word, edit in edits.items():
        spoil(edit)
        with pytest.raises(CheckpointError, match=f"{word}|score|layer 0") as caught:
            convert_prm(source, chosen, out)
        assert (
            not out.exists()
            and str(source) in str(caught.value) + str(source)
            and "draft" not in str(caught.value)
        )
        shutil.rmtree(source)
        shutil.copytree(keep, source)
    if chosen.reference is not None:
        spoil(without("layers.0."), chosen.reference)
        with pytest.raises(CheckpointError, match=r"layers\.0\."):
            convert_prm(source, chosen, out)
    else:
        convert_prm(source, chosen, out)
        load_scorer(out, device="cpu")


def test_models_are_loaded_through_the_one_door_only():
    """Everything else would have to compare weights itself."""
    root = Path(__file__).parents[1]
    call = re.compile(
        r"AutoModel\w*\.from_pretrained|(For\w+|Model)\.from_pretrained|PeftModel|torch\.load\("
    )
    found = {
        str(file.relative_to(root))
        for part in ("src", "benchmarks", "scripts", "examples")
        for file in (root / part).rglob("*.py")
        if call.search(file.read_text(encoding="utf-8"))
    }
    # Other packages load theirs
    peers = {f"benchmarks/speed_rows/{name}.py" for name in ("stepper", "training")}
    # The latter reads GGUF
    assert found - peers == {
        "src/sparring/models/loading.py",
        "scripts/fetch_weights.py",
    }
