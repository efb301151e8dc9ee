#!/usr/bin/env bash
# Every check that needs a GPU, in one go: kernels, every command in the chain world, throughput, and a real backbone.
#
#     scripts/gpu_checks.sh OUT [BACKBONE GSM8K_TRAIN]
#
# OUT gets one run directory per check (logs with tokens per second, metrics.json with peak memory). Without a backbone the
# real-model part is skipped and says so. Minutes on one card. DEVICE=cpu tries the script itself where there is no card.
set -euo pipefail
out=${1:?usage: scripts/gpu_checks.sh OUT [BACKBONE GSM8K_TRAIN]}
backbone=${2:-}
data=${3:-}
device=${DEVICE:-cuda}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$here/src:$here/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
mkdir -p "$out"
sparring() { "$python" -m sparring "$@"; }
game=(updates=10 prm_warm_steps=20 adversary_warm_steps=10)

if [ "$device" != cpu ]; then
    "$python" -c 'import torch; assert torch.cuda.is_available(), "no GPU"; print(torch.cuda.get_device_name())'
fi

echo "== the game in the chain world, on CPU and on $device: the same settings and seed"
for where in $(printf '%s\n' cpu "$device" | sort -u); do
    sparring train aprm device="$where" dtype=float32 "${game[@]}" --out "$out/chain-$where"
done
prm="$out/chain-$device/prm"

echo "== LoRA, bfloat16"
sparring train aprm device="$device" adapter=lora dtype=bfloat16 "${game[@]}" --out "$out/chain-lora"

echo "== attack on the PRM of the chain world"
sparring attack "$prm" device="$device" updates=10 warm_steps=20 --out "$out/attack"

echo "== labels from rollouts, a value model from them"
sparring label device="$device" problems=40 n_cov=4 n_mc=8 --out "$out/labels"
sparring train value device="$device" data="$out/labels/traces.jsonl" backbone=tiny-chain-policy adapter=lora learning_rate=1e-3 \
    --out "$out/value"

echo "== search"
sparring search device="$device" policy=tiny-chain-policy prm="$prm" problems=20 max_new_tokens=160 'n=[1,8]' --out "$out/search"

echo "== reinforcement learning: outcome, progress under a prover, dense PRM; float32 and bfloat16"
for dtype in float32 bfloat16; do
    sparring train rl device="$device" dtype=$dtype credit=outcome updates=10 --out "$out/rl-outcome-$dtype"
done
sparring train rl device="$device" credit=progress updates=10 --out "$out/rl-progress"
sparring train rl device="$device" credit=soft_min prm="$prm" updates=10 --out "$out/rl-prm"

echo "== throughput of the scorer"
"$python" "$here/benchmarks/speed.py" --only scoring --device "$device" --records "$out/throughput" --results "$out/throughput"

echo "== vLLM: what is relied on, against a real server and in the process; RL and the game through the server"
if [ -z "$backbone" ] || ! command -v vllm > "$out/vllm.path"; then
    echo "no backbone given, or no vLLM on the path: skipped"
else
    port=${VLLM_PORT:-8123}
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve "$backbone" --port "$port" --dtype float32 --max-model-len 2048 \
        --enable-lora --max-lora-rank 16 --gpu-memory-utilization 0.4 > "$out/vllm.log" 2>&1 &
    server=$!
    trap 'kill $server 2> /dev/null || true' EXIT
    until curl -sf "http://localhost:$port/health" > /dev/null; do
        kill -0 $server || { tail -20 "$out/vllm.log"; exit 1; }
        sleep 2
    done
    SPARRING_TEST_VLLM="http://localhost:$port/v1" SPARRING_TEST_VLLM_MODEL="$backbone" \
        "$python" -m pytest -p no:cacheprovider "$here/tests/test_vllm_contract.py"
    if [ -n "$data" ]; then
        for staleness in 0 1; do
            sparring train rl task=text data="$data" policy="$backbone" style=chat device="$device" dtype=bfloat16 adapter=lora \
                credit=outcome updates=5 sampler="http://localhost:$port/v1" staleness=$staleness --out "$out/rl-vllm-$staleness"
        done
        for staleness in 0 1; do
            sparring train aprm --config "$here/configs/gsm8k-qwen-1.5b.yaml" backbone="$backbone" data="$data" device="$device" \
                "${game[@]}" sampler="http://localhost:$port/v1" staleness=$staleness --out "$out/game-vllm-$staleness"
        done
    fi
    kill $server
    wait $server || true
    SPARRING_TEST_VLLM=here SPARRING_TEST_VLLM_MODEL="$backbone" \
        "$python" -m pytest -p no:cacheprovider "$here/tests/test_vllm_contract.py"
fi

if [ -n "$backbone" ] && [ -n "$data" ]; then
    echo "== $backbone on GSM8K, first steps"
    sparring train aprm --config "$here/configs/gsm8k-qwen-1.5b.yaml" backbone="$backbone" data="$data" device="$device" \
        "${game[@]}" checkpoint_every=20 --out "$out/gsm8k"
    "$python" "$here/benchmarks/speed.py" --only scoring --device "$device" --model "$backbone" --traces "$data" \
        --records "$out/throughput-backbone" --results "$out/throughput-backbone"
else
    echo "== no backbone and data given: the real-model part is skipped"
fi
