#!/usr/bin/env bash
# The tests on other Pythons, with the lowest or the highest versions that pyproject.toml allows.
#
#     scripts/matrix.sh                        every Python from 3.11 to 3.13 that is here, both resolutions
#     scripts/matrix.sh 3.12 lowest-direct     one cell
#     TORCH=2.13.0+cpu UV_FIND_LINKS=/wheels scripts/matrix.sh 3.11 highest
#                                              with this torch, and all else as resolved: PyPI's is built for CUDA (gigabytes)
#
# Needs uv. Each cell is an environment of its own (gigabytes) below .matrix/, removed when it has passed. TESTS names what is
# run (default: a selection of minutes that imports every package; TESTS=tests for all). The line that a cell ends with names
# its versions. Of all Pythons, one that is not here is said to be skipped; status 1 where a cell fails, or the Python that was
# asked for is not here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pythons=${1:-3.11 3.12 3.13}
resolutions=${2:-lowest-direct highest}
tests=${TESTS:-tests/test_readers.py tests/test_spans.py tests/test_models.py tests/test_weights.py tests/test_model_folders.py
  tests/test_supervised.py tests/test_sandbox.py tests/test_panel.py tests/test_processbench.py tests/test_verification.py
  tests/test_search_methods.py tests/test_settings.py tests/test_endings.py tests/test_statistics.py tests/test_doctor.py
  tests/test_side_by_side.py}
named="torch transformers tokenizers peft accelerate pydantic typer rich numpy"
status=0
for python in $pythons; do
  interpreter=
  for one in "python$python" "$(uv python find --no-python-downloads "$python" 2>/dev/null)" \
    "${PYENV_ROOT:-$HOME/.pyenv}/versions/$python".*/bin/python; do  # pyenv has a python3.12 on the path that does not start
    if "$one" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$python')" 2>/dev/null; then
      interpreter=$one
      break
    fi
  done
  if [ -z "$interpreter" ]; then
    echo "python $python: not here, skipped"
    [ -z "${1:-}" ] || status=1
    continue
  fi
  for resolution in $resolutions; do
    place=.matrix/$python-$resolution
    rm -rf "$place"
    echo "== python $python, $resolution${TORCH:+, torch as given}"
    uv venv -q --python "$interpreter" "$place"
    echo "${TORCH:+torch==$TORCH}" >"$place/given.txt"
    # Lowest versions of what is asked for directly, of those with wheels for this Python; the tests' tools may be new, but
    # change none of it.
    if uv pip install -q --python "$place/bin/python" --resolution "$resolution" --only-binary :all: --no-binary sparring \
      --constraint "$place/given.txt" -e . \
      && uv pip freeze -q --python "$place/bin/python" --exclude-editable >"$place/core.txt" \
      && uv pip install -q --python "$place/bin/python" --constraint "$place/core.txt" pytest hypothesis fastapi uvicorn prometheus-client pandas schemathesis \
      && OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$place/bin/python" -m pytest -p no:cacheprovider $tests; then
      versions=$(for name in $named; do grep "^$name==" "$place/core.txt"; done | tr '\n' ' ')
      echo "passed: python $python, $resolution: ${versions//==/ }"
      rm -rf "$place"
    else
      echo "FAILED: python $python, $resolution (its environment is kept: $place)"
      status=1
    fi
  done
done
exit $status
