#!/usr/bin/env bash
# A wheel in an empty environment: what it weighs, how fast it is imported, and a small demo without network.
#
#     scripts/try_wheel.sh dist/sparring-0.1.0-py3-none-any.whl [python3.12]
#
# VENV names an environment that is there already, into which the wheel is installed. The network is taken away by `unshare`
# where the system lets us, and by proxies that lead nowhere besides.
set -euo pipefail
wheel=$(realpath "${1:?usage: scripts/try_wheel.sh WHEEL [PYTHON]}")
python=${2:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
venv=${VENV:-$place/venv}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check "$wheel"
cd "$place"
echo "wheel: $(du -k "$wheel" | cut -f1) KB; environment: $(du -sm "$venv" | cut -f1) MB"
"$venv/bin/python" - <<'P'
import importlib.resources, subprocess, sys, time
assert importlib.resources.files("sparring").joinpath("py.typed").is_file()
for words in (["-c", "import sparring"], ["-m", "sparring", "--help"]):
    best = 1e9
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - began)
    print(f"{' '.join(words)}: {best:.2f} s")
P
alone=()
if unshare --net true 2>/dev/null; then alone=(unshare --net); elif unshare -r --net true 2>/dev/null; then alone=(unshare -r --net); fi
nowhere=http://127.0.0.1:9
env -u PYTHONPATH HF_HUB_OFFLINE=1 http_proxy=$nowhere https_proxy=$nowhere HOME="$place" OMP_NUM_THREADS=1 ${alone[@]+"${alone[@]}"} \
  "$venv/bin/sparring" demo updates=3 prm_warm_steps=2 adversary_warm_steps=2 states_per_update=4 attack_updates=2 problems=6 \
  best_of_n=3 --out "$place/demo" >"$place/log.txt" 2>&1 || { tail -20 "$place/log.txt"; exit 1; }
"$venv/bin/sparring" report "$place/demo" --verify
"$venv/bin/sparring" doctor
