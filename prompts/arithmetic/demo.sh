#!/usr/bin/env bash
# The demo: a policy learns two-digit arithmetic from nothing, in minutes, on a CPU.
#   demo.sh PLUMBLINE [smoke]      PLUMBLINE: the command; smoke: seconds instead of minutes, to see that every part works
#
# 1 a tokenizer and a model of 0.7 M parameters, made here
# 2 SFT on demonstrations of which 40 % are wrong on purpose: the policy half-solves the set
# 3 GRPO with a reward that only says right or wrong, until it is solved
# 4 ReMax from the same start, for fewer completions
# 5 the policies on prompts that none of them has seen
set -euo pipefail
plumbline=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
size=${2:-full}
cd "$(dirname "$0")/../.."
set_folder=prompts/arithmetic
runs=runs/demo
[ "$size" = smoke ] && runs=$(mktemp -d)/demo
sft=() grpo=() remax=() evaluation=()
if [ "$size" = smoke ]; then
    sft=(max_steps=60 logging_steps=20)
    grpo=(max_steps=3 logging_steps=1)
    remax=(max_steps=3 logging_steps=1)
    evaluation=(--limit 50)
fi
rm -rf "$runs" && mkdir -p "$runs"

step() { printf '\n── %s\n' "$1" >&2; }
run() { printf '$ plumbline %s\n' "$*" >&2; "$plumbline" "$@"; }
score() { # NAME MODEL: sampled at temperature 1, and greedily
    run eval --model "$2" --prompts $set_folder --rewards exact_number --samples 1 --seed 1 --max-completion-length 8 \
        --output "$runs/$1.json" ${evaluation[@]+"${evaluation[@]}"}
    run eval --model "$2" --prompts $set_folder --rewards exact_number --temperature 0 --max-completion-length 8 \
        --output "$runs/$1-greedy.json" ${evaluation[@]+"${evaluation[@]}"}
}
began=$SECONDS

step "A tokenizer with one token a byte, and a fresh model"
run tokenizer train --input $set_folder/train.jsonl --output "$runs/fresh" --vocabulary-size 257 --split-digits
run init-model --output "$runs/fresh" --tokenizer "$runs/fresh" --family qwen2 --hidden-size 128 --layers 4 --heads 4 \
    --intermediate-size 256 --context-length 64

step "SFT on demonstrations, 40 % of them wrong"
run train $set_folder/sft.yaml model_name_or_path="$runs/fresh" output_dir="$runs/sft" ${sft[@]+"${sft[@]}"}

step "GRPO from there"
run train $set_folder/grpo.yaml model_name_or_path="$runs/sft" output_dir="$runs/grpo" ${grpo[@]+"${grpo[@]}"}

step "ReMax from the same start"
run train $set_folder/remax.yaml model_name_or_path="$runs/sft" output_dir="$runs/remax" ${remax[@]+"${remax[@]}"}

step "Held-out prompts: sampled at temperature 1, and greedily"
for policy in sft grpo remax; do score $policy "$runs/$policy"; done

step "The result, after $((SECONDS - began)) seconds"
run report "$runs/grpo" "$runs/remax" --metric reward --svg "$runs/learning-curve.svg" \
    --evaluations sft="$runs/sft.json" sft-greedy="$runs/sft-greedy.json" grpo="$runs/grpo.json" \
    grpo-greedy="$runs/grpo-greedy.json" remax="$runs/remax.json" remax-greedy="$runs/remax-greedy.json"
printf '\nlearning curve: %s\nrun folder:     %s\n' "$runs/learning-curve.svg" "$runs/grpo"
