#!/usr/bin/env bash
# From videos to answers on the embedded shapes, every step a command of its own:
#     bash apps/tiny_pipeline.sh [OUT]
# SAVi learns to find two or three objects in short clips; its slots of whole videos go to disk;
# SlotFormer learns to go on from six frames with ten more, and is scored against a last frame that
# stays and against constant velocity; a readout learns from slots, of which six frames are seen and
# ten expected, whether any two objects touch in the frames to come. Half of the answers are yes.
# Each step goes on where a killed one was: run the script again.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-runs/tiny-pipeline}
seeds=${SEEDS:-0 1 2}                # of SlotFormer and of the readout
savi_steps=${SAVI_STEPS:-1500} former_steps=${FORMER_STEPS:-1500} readout_steps=${READOUT_STEPS:-500}
threads=${THREADS:-0}                # of each training; 0 for all cores
videos=${VIDEOS:-900} tried_on=${TRIED_ON:-64} held_out=${HELD_OUT:-128}
questions=${QUESTIONS:-1500} chosen_on=${CHOSEN_ON:-256} asked=${ASKED:-400}

python() { uv run python "$@"; }
shapes="--option speed=2 --option min_objects=2 --option max_objects=3"

# ---------------------------------------------------------------- objects in videos
# As savi/shapes, with fewer slots for fewer objects, so that it need not begin with pictures.
python apps/train.py savi/shapes --out "$out/savi" --resume \
    --set model.num_slots=4 --set data.min_objects=2 --set data.max_objects=3 \
    --set model.encoder.inertia=0 --set model.encoder.predictor.identity_start=false \
    --set data.num_frames=3 --set 'data.evaluation={num_frames: 16}' --set 'data.splits={test: null}' \
    --set train.num_steps="$savi_steps" --set train.num_threads="$threads" \
    --set train.batch_size=8 --set optimizer.learning_rate=1e-3 \
    --set validation.every=500 --set validation.num_samples=32

# ---------------------------------------------------------------- slots on disk
for part in train:$videos validation:$tried_on test:$held_out; do
    python apps/extract_slots.py "$out/savi" shapes --out "$out/slots" --split "${part%:*}" \
        --option num_samples="${part#*:}" --option num_frames=24 $shapes
done
for part in train:$questions validation:$chosen_on test:$asked; do
    python apps/extract_slots.py "$out/savi" shapes --out "$out/questions" --split "${part%:*}" \
        --option num_samples="${part#*:}" --option num_frames=16 --option outcome_from=6 \
        --option seed=1 $shapes
done

for seed in $seeds; do
    # ------------------------------------------------------------ what comes next
    python apps/train.py slot_former/shapes --out "$out/slot_former-$seed" --resume \
        --set data.root="$out/slots" --set start.decoder="$out/savi" \
        --set train.num_steps="$former_steps" --set train.num_threads="$threads" \
        --set train.seed="$seed"
    if [ ! -e "$out/rollouts-$seed/scores.json" ]; then
        rm -rf "$out/rollouts-$seed"  # of a killed one
        python apps/score_rollouts.py "$out/slot_former-$seed" "$out/slots" --frames 10 \
            --out "$out/rollouts-$seed"
    fi

    # ------------------------------------------------------------ will two of them touch?
    python apps/roll_out_slots.py "$out/slot_former-$seed" "$out/questions" --observed 6 --frames 16 \
        --split train --split validation --split test --out "$out/rolled-$seed"
    python apps/train.py relation_readout/shapes --out "$out/readout-$seed" --resume \
        --set data.root="$out/rolled-$seed" --set train.num_steps="$readout_steps" \
        --set train.num_threads="$threads" --set train.seed="$seed"
    for split in validation test; do
        python apps/answer_questions.py "$out/readout-$seed" "$out/rolled-$seed" --split $split \
            --out "$out/answers"
    done
done

# ---------------------------------------------------------------- what came of it, over the seeds
rollouts=()
for seed in $seeds; do rollouts+=("$out/rollouts-$seed"); done
python tools/compare_rollouts.py "${rollouts[@]}"
validation=()
for file in "$out"/answers/validation-*.npz; do validation+=(--validation "$file"); done
uv run slot-eval physion-vqa "$out"/answers/test-*.npz "${validation[@]}"
