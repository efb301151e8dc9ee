#!/usr/bin/env bash
# Every check that needs a GPU, in one go: kernels, the game in the chain world, and a real backbone.
#
#     scripts/gpu_checks.sh OUT [BACKBONE GSM8K_TRAIN]
#
# OUT gets one run directory per check (logs with tokens per second, metrics.json with peak memory). Without a backbone the
# real-model part is skipped and says so. Minutes on one card.
set -euo pipefail
out=${1:?usage: scripts/gpu_checks.sh OUT [BACKBONE GSM8K_TRAIN]}
backbone=${2:-}
data=${3:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
mkdir -p "$out"

"$python" -c 'import torch; assert torch.cuda.is_available(), "no GPU"; print(torch.cuda.get_device_name())'

echo "== the game in the chain world, on CPU and on GPU: the same settings and seed"
for device in cpu cuda; do
    "$python" -m sparring train aprm device=$device dtype=float32 updates=10 prm_warm_steps=20 adversary_warm_steps=10 \
        --out "$out/chain-$device"
done

echo "== LoRA, bfloat16"
"$python" -m sparring train aprm device=cuda adapter=lora dtype=bfloat16 updates=10 prm_warm_steps=20 \
    adversary_warm_steps=10 --out "$out/chain-lora"

echo "== attack on the PRM of the chain world"
"$python" -m sparring attack "$out/chain-cuda/prm" device=cuda updates=10 warm_steps=20 --out "$out/attack"

if [ -n "$backbone" ] && [ -n "$data" ]; then
    echo "== $backbone on GSM8K, first steps"
    "$python" -m sparring train aprm --config "$here/configs/gsm8k-qwen-1.5b.yaml" backbone="$backbone" data="$data" \
        prm_warm_steps=20 adversary_warm_steps=10 updates=10 checkpoint_every=20 --out "$out/gsm8k"
else
    echo "== no backbone and data given: the real-model part is skipped"
fi
