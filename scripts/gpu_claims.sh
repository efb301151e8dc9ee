#!/usr/bin/env bash
# The claims that need a GPU and a real model, one call per arm, or all of an experiment's arms one after the other.
#
#     python scripts/fetch_weights.py qwen2.5-coder-1.5b --out models/Qwen2.5-Coder-1.5B-Instruct
#     scripts/gpu_claims.sh OUT models/Qwen2.5-Coder-1.5B-Instruct DATA [ARM [SEED]]
#     scripts/gpu_claims.sh OUT models/SmolLM2-135M-Instruct DATA [ARM [SEED]]
#
# BACKBONE's name says which experiment: Qwen the game on GSM8K (benchmarks/claims/gsm8k_game.py), SmolLM2 the ledger world
# (ledger_smollm2.py). DATA holds gsm8k/, processbench/ and prmbench/ (the ledger reads none of it). Records are made once
# and lie in OUT with all that arms share: the next call, with the same OUT, does what is missing. In the end it prints the
# verdicts; `python benchmarks/run_claims.py --publish --records OUT` puts the records on the page of claims.
#
# The arm `zero-shot` asks a judge: JUDGE=judge+http://… names one, else vLLM serves the backbone where it is on the path.
#
# Never run on a GPU; hours are estimates. `sparring plan Qwen2.5-1.5B job=aprm gpus=1x4090 updates=290 prompt_tokens=150
# steps=4 step_tokens=35` gives 22 minutes for the game on a 4090, 13 on an A100-80, 7 on an H100. With solutions, measures
# and the attack we reckon twice that per arm and seed: 18 of them are 13, 8 or 4 hours. The ledger's 12 should be 5 hours
# on any of them. DEVICE=cpu tries the script with a miniature that takes any model and settles nothing
# (EXPERIMENT=ledger-smollm2 says which, whatever the model's name); in so few solutions `own steps` may find no mistake.
set -euo pipefail
usage='usage: scripts/gpu_claims.sh OUT BACKBONE DATA [ARM [SEED]]'
out=${1:?$usage}
backbone=${2:?$usage}
data=${3:?$usage}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$here/src:$here/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
export SPARRING_DEVICE=${DEVICE:-cuda} SPARRING_BACKBONE=$backbone SPARRING_DATA=$data SPARRING_JUDGE=${JUDGE:-}
export HF_HUB_OFFLINE=1

case "$(basename "$backbone")" in
    *SmolLM2*) experiment=${EXPERIMENT:-ledger-smollm2} ;;
    *) experiment=${EXPERIMENT:-gsm8k-game} ;;
esac
if [ $# -gt 3 ]; then
    arms=("$4")
elif [ "$experiment" = ledger-smollm2 ]; then
    arms=(rules frozen "own steps" level)
else
    arms=(rules "all rules" frozen level "own steps" zero-shot)
fi
size=--full
if [ "$SPARRING_DEVICE" = cpu ]; then
    size=
else
    "$python" -c 'import torch; assert torch.cuda.is_available(), "no GPU"; print(torch.cuda.get_device_name())'
fi

run() {
    "$python" "$here/benchmarks/run_claims.py" --only "$experiment" ${size:+"$size"} --records "$out" --jobs 1 \
        --arms "$@" ${seed:+--seeds "$seed"}
}
seed=${5:-}
trained=()
for arm in "${arms[@]}"; do
    [ "$arm" = zero-shot ] || trained+=("$arm")
done
if [ ${#trained[@]} -gt 0 ]; then
    echo "== $experiment: ${trained[*]}"
    run "${trained[@]}"
fi
if [ ${#trained[@]} -lt ${#arms[@]} ]; then
    if [ -z "$SPARRING_JUDGE" ] && command -v vllm > /dev/null; then
        mkdir -p "$out"
        port=${VLLM_PORT:-8123}
        vllm serve "$backbone" --port "$port" --max-model-len 8192 --gpu-memory-utilization 0.4 > "$out/vllm.log" 2>&1 &
        server=$!
        trap 'kill $server 2> /dev/null || true' EXIT
        until curl -sf "http://localhost:$port/health" > /dev/null; do
            kill -0 $server || { tail -20 "$out/vllm.log"; exit 1; }
            sleep 2
        done
        SPARRING_JUDGE="judge+http://localhost:$port/v1?cache=$out/votes.jsonl"
    fi
    if [ -n "$SPARRING_JUDGE" ]; then
        echo "== $experiment: zero-shot"
        run zero-shot
    else
        echo "== zero-shot: no JUDGE given and no vLLM on the path: left out"
    fi
fi
