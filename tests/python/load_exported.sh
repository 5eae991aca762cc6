#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Imports small published checkpoints and trains a LeJEPA, exports them, and loads what was exported with
# examples/load_in_python.py: strictly, by the class of the Python package that the names belong to, and equal bit by bit.
# load_exported.sh transformers|stable_worldmodel <foresight command> <sources> [root of LibTorch]
# 77: no Python has the packages.
set -eu
package="$1" command="$2" sources="$3" torch_root="${4:-}"
data="$sources/tests/data"
case "$package" in
  transformers) modules="torch safetensors.torch transformers.models.vjepa2 transformers.models.dinov2_with_registers" ;;
  stable_worldmodel) modules="torch safetensors.torch transformers stable_worldmodel.wm.lewm" ;;
  *) echo "unknown package: $package"; exit 1 ;;
esac

# The user's choice alone; else the environment that LibTorch is part of, the project's own, the system's.
if [ -n "${FORESIGHT_PYTHON:-}" ]; then
  set -- "$FORESIGHT_PYTHON"
else
  set -- "$torch_root/../../../../bin/python" "$sources/.venv/bin/python" python3
fi
# Exit code 0, or what cannot be imported: the package itself or one that it needs.
importable='
import importlib, sys
missing = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        missing.append(f"{name} ({error})")
print("lacks", ", ".join(missing))
sys.exit(bool(missing))'
python=
for candidate in "$@"; do
  if [ -z "$(command -v "$candidate" || true)" ]; then
    echo "$candidate: not there"
    continue
  fi
  # shellcheck disable=SC2086
  if said="$("$candidate" -W ignore -c "$importable" $modules 2>&1)"; then
    python="$candidate"
    break
  fi
  echo "$candidate: $(echo "$said" | tail -n 1)"
done
if [ -z "$python" ]; then
  echo "skipped: no Python has all of: $modules; FORESIGHT_PYTHON names one"
  exit 77
fi
echo "with $python"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# loads_bundle <class> <original, empty: not compared with> <layout>
loads_bundle() {
  rm -f "$work/weights.safetensors"
  "$command" export "$work/bundle" --out "$work/weights.safetensors" --layout "$3"
  "$python" "$sources/examples/load_in_python.py" "$work/weights.safetensors" ${2:+"$2"} > "$work/said" ||
    { cat "$work/said"; echo "FAILED: $*"; exit 1; }
  cat "$work/said"
  grep -q "^loaded strictly by $1$" "$work/said" || { echo "FAILED, not loaded: $*"; exit 1; }
  [ -z "$2" ] || grep -q "bit by bit$" "$work/said" || { echo "FAILED, not compared: $*"; exit 1; }
}
# loads <class> <original, empty: not compared with> <layout> <arguments of import>
loads() {
  class="$1" original="$2" layout="$3"
  shift 3
  rm -rf "$work/bundle"
  "$command" import "$@" --out "$work/bundle"
  loads_bundle "$class" "$original" "$layout"
}

folders="$data/goldens/hf/checkpoints"
picture_encoder() { # <class> <folder>
  loads "$1" "$2/model.safetensors" as_imported vit "$2" --image.mean 0.5,0.4,0.3 --image.std 0.1,0.2,0.3
}
# Folders of what the fixtures lack: a classifier, which has no pooler; no biases and a mask token; gated layers.
variants='
import sys, transformers as t
size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
for name, model in {
        "classifier": t.ViTForImageClassification(t.ViTConfig(**size, intermediate_size=64)),
        "no_biases": t.IJepaModel(t.IJepaConfig(**size, intermediate_size=64, qkv_bias=False), use_mask_token=True),
        "gated": t.Dinov2Model(t.Dinov2Config(**size, use_swiglu_ffn=True))}.items():
    model.save_pretrained(sys.argv[1] + "/" + name)'
lewm() { # <original, or empty> <layout>
  loads LeWM "$1" "$2" lewm "$data/torch/lewm_newkeys.ckpt" --ignore sigreg. --encoder_heads 2 --predictor_heads 4 \
    --action.block 2 --action.mean 0.1,0.2 --action.std 0.5,0.25
}

if [ "$package" = transformers ]; then
  picture_encoder ViTModel "$folders/vit"
  picture_encoder Dinov2WithRegistersModel "$folders/dinov2_with_registers"
  "$python" -c "$variants" "$work"
  picture_encoder ViTModel "$work/classifier"
  picture_encoder IJepaModel "$work/no_biases"
  picture_encoder Dinov2Model "$work/gated"
  loads VJEPA2Model "$folders/vjepa2/model.safetensors" as_imported vjepa2 "$folders/vjepa2"
  rm -rf "$work/bundle"
  "$command" train lejepa --data "$data/recordings/tworoom/folder" --out "$work/run" --steps 1 --loader.batch 2 \
    --validation_batches 1 --model.encoder.depth 1
  mv "$work/run/bundle" "$work/bundle"
  loads_bundle ViTModel "" transformers
else
  # transformers 5.9 renamed the layers of LeWM's encoder.
  if "$python" -c "import sys, transformers as t; sys.exit(tuple(map(int, t.__version__.split('.')[:2])) < (5, 9))"; then
    lewm "$data/torch/lewm_newkeys.ckpt" newer
  else
    lewm "" older
  fi
fi
echo "all were loaded"
