"""Public families of PRMs in miniature: how each is saved, and a plain computation of its scores from its model card.

Every source folder is a tiny random model with the file layout, tensor names and configuration of the real one. The plain
computations use transformers and torch only: the card's text, the card's rule for positions, the card's formula.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
    Qwen2Model,
)

from sparring.traces.records import Problem, Trace
from tiny_tokenizers import LLAMA3, LLAMA_SPECIAL, SIZES, byte_level, qwen_tokenizer, sentencepiece

QUESTION = "Janet has 16 eggs. She eats 3 and sells the rest.\nHow many does she sell?"
STEPS = ("She eats 3 eggs.", "So 16 - 3 = 13 eggs are left. é→😀", "The answer is 13.\nDone.")
TRACES = [
    Trace(Problem("a", QUESTION), STEPS),
    Trace(Problem("b", "2 + 3 = ?"), ("2 + 3 = 5.",)),
    Trace(
        Problem("c", "How fast is a train that goes 60 km in 2 hours?"),
        ("60 / 2 = 30", "It is 30 km per hour."),
    ),
]


def make_qwen_math(folder: Path) -> None:
    """`Qwen2ForProcessRewardModel` as it is on the hub: remote code beside native weights and a two-layer head."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    config = Qwen2Config(vocab_size=len(tokenizer), **SIZES)
    model = Qwen2Model(config)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for layer, rows in ((0, 32), (2, 2)):
        state[f"score.{layer}.weight"], state[f"score.{layer}.bias"] = (
            torch.randn(rows, 32),
            torch.randn(rows),
        )
    halves = [dict(list(state.items())[:9]), dict(list(state.items())[9:])]
    folder.mkdir()
    index = {}
    for number, half in enumerate(halves, start=1):
        name = f"model-{number:05d}-of-00002.safetensors"
        save_file(half, folder / name, metadata={"format": "pt"})
        index |= dict.fromkeys(half, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    fields = config.to_dict() | {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
            "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(fields))
    for name in ("configuration_qwen2_rm.py", "modeling_qwen2_rm.py"):
        (folder / name).write_text("raise SystemExit('remote code was run')")
    tokenizer.save_pretrained(folder)


def plain_qwen_math(folder: Path, trace: Trace) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    state: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        state |= load_file(file)
    fields = json.loads((folder / "config.json").read_text())
    config = Qwen2Config(**{k: v for k, v in fields.items() if k not in ("auto_map", "architectures")})
    model = Qwen2Model(config).eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    messages = [
        {
            "role": "system",
            "content": "Please reason step by step, and put your final answer within \\boxed{}.",
        },
        {"role": "user", "content": trace.problem.question},
        {"role": "assistant", "content": "<extra_0>".join(trace.steps) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text, return_tensors="pt")
    with torch.no_grad():
        hidden = model(ids).last_hidden_state[0]
        hidden = torch.relu(hidden @ state["score.0.weight"].T + state["score.0.bias"])
        chances = torch.softmax(hidden @ state["score.2.weight"].T + state["score.2.bias"], dim=-1)
    return chances[ids[0] == tokenizer.convert_tokens_to_ids("<extra_0>"), 1].tolist()


def make_math_shepherd(folder: Path) -> None:
    torch.manual_seed(1)
    tokenizer = sentencepiece()
    MistralForCausalLM(MistralConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def plain_math_shepherd(folder: Path, trace: Trace) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    candidates = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    steps = "\n".join(f"Step {number}: {step} ки" for number, step in enumerate(trace.steps, start=1))
    ids = torch.tensor([tokenizer.encode(f"{trace.problem.question} {steps}")])
    with torch.no_grad():
        scores = model(ids).logits[:, :, candidates].softmax(dim=-1)[:, :, 0]
    return scores[ids == tag].tolist()


def make_rlhflow(folder: Path) -> None:
    torch.manual_seed(2)
    tokenizer = byte_level(LLAMA_SPECIAL, template=LLAMA3, begin="<|begin_of_text|>", end="<|eot_id|>")
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def plain_rlhflow(folder: Path, trace: Trace) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    candidates = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    conversation, scores = [], []
    for number, step in enumerate(trace.steps):
        content = f"{trace.problem.question} {step}" if number == 0 else step
        conversation += [{"role": "user", "content": content}, {"role": "assistant", "content": "+"}]
        ids = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            scores.append(float(model(ids).logits[0, -3, candidates].softmax(dim=-1)[0]))
    return scores


def make_skywork(folder: Path) -> None:
    """A causal model with a value head saved beside it in the same file, as trl's wrapper writes it."""
    torch.manual_seed(3)
    tokenizer = qwen_tokenizer()
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES))
    model.save_pretrained(folder)
    state = dict(model.state_dict())
    state |= {"v_head.summary.weight": torch.randn(1, 32), "v_head.summary.bias": torch.randn(1)}
    save_file(
        {k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    tokenizer.save_pretrained(folder)


def plain_skywork(folder: Path, trace: Trace) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer.encode(tokenizer.bos_token + trace.problem.question + "\n")
    line_break = tokenizer.encode("\n")[-1]
    places = []
    for step in trace.steps:
        ids = [*ids, *tokenizer.encode(step), line_break]
        places.append(len(ids) - 1)
    with torch.no_grad():
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        values = hidden @ state["v_head.summary.weight"].T + state["v_head.summary.bias"]
    return torch.sigmoid(values[places, 0]).tolist()


def make_trl(folder: Path) -> None:
    torch.manual_seed(4)
    tokenizer = qwen_tokenizer()
    Qwen2ForTokenClassification(
        Qwen2Config(vocab_size=len(tokenizer), num_labels=2, **SIZES)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def plain_trl(folder: Path, trace: Trace) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    ids = [tokenizer.bos_token_id, *tokenizer(trace.problem.question, add_special_tokens=False)["input_ids"]]
    places = []
    for step in trace.steps:
        ids += tokenizer(step, add_special_tokens=False)["input_ids"]
        ids += tokenizer.encode("\n", add_special_tokens=False)
        places.append(len(ids) - 1)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].softmax(-1)[places, 1].tolist()


def make_eurus(folder: Path) -> None:
    tokenizer = qwen_tokenizer()
    for place, seed in ((folder, 5), (folder.with_name("reference-model"), 6)):
        torch.manual_seed(seed)
        Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES)).save_pretrained(place)
        tokenizer.save_pretrained(place)


def plain_eurus(folder: Path, trace: Trace) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answer = list(trace.steps)

    def chat(count: int) -> str:
        turns = [
            {"role": "user", "content": trace.problem.question},
            {"role": "assistant", "content": "\n\n".join(answer[:count])},
        ]
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)

    ids = torch.tensor([tokenizer.encode(chat(len(answer)), add_special_tokens=False)])
    places = []
    for count in range(len(answer) + 1):
        text = chat(count).strip()
        if count not in (0, len(answer)):
            text += "\n\n"
        places.append(len(tokenizer.encode(text, add_special_tokens=False)) - 2)
    mask = torch.tensor([[0] * places[0] + [1] * (ids.shape[1] - places[0])])
    rewards = []
    for place in (folder, folder.with_name("reference-model")):
        model = AutoModelForCausalLM.from_pretrained(place).eval()
        with torch.no_grad():
            logits = model(ids).logits[:, :-1]
        rewards.append(logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0])
    total = (0.001 * (rewards[0] - rewards[1]) * mask[:, 1:]).cumsum(-1)
    return torch.sigmoid(total.gather(1, torch.tensor([places[1:]])))[0].tolist()


MAKERS = {
    "qwen_math": (make_qwen_math, plain_qwen_math),
    "math_shepherd": (make_math_shepherd, plain_math_shepherd),
    "rlhflow": (make_rlhflow, plain_rlhflow),
    "skywork": (make_skywork, plain_skywork),
    "trl": (make_trl, plain_trl),
    "eurus": (make_eurus, plain_eurus),
}
