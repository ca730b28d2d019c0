// Attention of packed texts, blockwise (FlashAttention 2, Dao 2023): 48 rows, each a token's query of one head, meet 96
// keys at a time, and no matrix of scores is ever whole. The heads that share a key head are rows of one product. Nothing
// is padded, gathered or merged: a completion's rows meet its prompt's keys, then its own.
#include "packed_attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "attention_tiles.hpp"

namespace ctorch {
namespace {

/// Rows that one task of the forward pass takes.
constexpr int64_t rows_of_task = 4 * tile_rows;

/// Scores of one row become powers, the running maximum and sum go on, and so does what was summed up before.
struct SoftmaxRow {
    static CTORCH_INLINE void run(
        float *scores, int64_t visible, int64_t count, float *state, float *sums, int64_t panels) {
        for (int64_t i = visible; i < count; ++i) scores[i] = -std::numeric_limits<float>::infinity();
        const float found = largest(static_cast<const float *>(scores), count), before = state[0];
        const float highest = found > before ? found : before;
        const bool is_first = before == -std::numeric_limits<float>::infinity();
        const float factor = is_first || highest == before ? 1 : std::exp(before - highest);
        Lanes<float> total_lanes = {};
        for (int64_t i = 0; i < count; i += lane_count) {
            auto &lanes = *reinterpret_cast<Lanes<float> *>(scores + i);
            Lanes<float> powers = lanes - highest;
            exponentials(powers);
            lanes = powers;
            total_lanes += powers;
        }
        state[0] = highest;
        state[1] = state[1] * factor + total<float>(total_lanes);
        if (factor == 1) return;
        for (int64_t panel = 0; panel < panels; ++panel)
            for (int64_t i = 0; i < width; i += lane_count)
                *reinterpret_cast<Lanes<float> *>(sums + panel * tile_rows * width + i) *= factor;
    }
};

/// Rows of one head of a run.
struct Task {
    int64_t run, head, first;
};

}  // namespace

struct PackedAttention::State {
    const std::vector<AttendingRun> runs;
    const Packing packing;
    const float scale;
    const int64_t laid;  // numbers of a row
    at::Tensor turned_keys, straight_values;
    float *keys, *values;
    std::vector<Task> tasks;
    int64_t pairs = 0;
    Workspace workspace;

    State(
        std::vector<AttendingRun> all, const AttentionShape &shape, double factor, const at::Tensor &like,
        int64_t threads)
        : runs(std::move(all)), packing(runs, shape), scale(static_cast<float>(factor)),
          laid(rounded(shape.size, block_keys)), turned_keys(numbers(packing.turned_count(), like)),
          straight_values(numbers(packing.straight_count(), like)), keys(turned_keys.mutable_data_ptr<float>()),
          values(straight_values.mutable_data_ptr<float>()),
          workspace(tile_rows * (laid + block_keys + packing.panels * width + 2), threads, like) {
        for (int64_t run = 0; run < static_cast<int64_t>(runs.size()); ++run) {
            pairs += packing.pairs(run) * packing.heads;
            for (int64_t head = 0; head < packing.key_heads; ++head)
                for (int64_t first = 0; first < runs[run].length * packing.shared; first += rows_of_task)
                    tasks.push_back({run, head, first});
        }
    }
};

PackedAttention::PackedAttention(
    std::vector<AttendingRun> runs, const AttentionShape &shape, double scale, const at::Tensor &like, int64_t threads)
    : state_(std::make_unique<State>(std::move(runs), shape, scale, like, threads)) {}

PackedAttention::~PackedAttention() = default;

/// Keys first, then values.
int64_t PackedAttention::packing_tasks() const { return 2 * state_->packing.tasks(); }
int64_t PackedAttention::attending_tasks() const { return static_cast<int64_t>(state_->tasks.size()); }
int64_t PackedAttention::operations() const { return 2 * state_->packing.size * state_->pairs; }

void PackedAttention::pack(int64_t task, const float *keys, const float *const *values) const {
    const Packing &packing = state_->packing;
    const int64_t step = packing.key_heads * packing.size;
    if (task < packing.tasks())
        packing.pack(task, [&](int64_t token) { return keys + token * step; }, state_->keys, true);
    else
        packing.pack(task - packing.tasks(), [&](int64_t token) { return values[token]; }, state_->values, false);
}

void PackedAttention::attend(int64_t task, int thread, const float *queries, float *out, float *log_sums) const {
    const Packing &packing = state_->packing;
    const int64_t size = packing.size, panels = packing.panels;
    float *const laid = state_->workspace.of(thread), *const scores = laid + tile_rows * state_->laid,
                *const sums = scores + tile_rows * block_keys, *const state = sums + tile_rows * panels * width;
    const auto [run, head, start] = state_->tasks[task];
    const int64_t end = std::min(start + rows_of_task, packing.runs[run].length * packing.shared);
    for (int64_t first = start; first < end; first += tile_rows) {
        const Tile tile(packing, run, head, first);
        tile.lay(queries, state_->scale, laid);
        std::fill_n(sums, tile_rows * panels * width, 0.0f);
        for (int64_t row = 0; row < tile_rows; ++row) {
            state[2 * row] = -std::numeric_limits<float>::infinity();
            state[2 * row + 1] = 0;
        }
        tile.each_block([&](int64_t seen, int64_t first_key, int64_t keys, bool is_own) {
            const int64_t padded = rounded(keys, width);
            for (int64_t i = 0; i < padded; i += width)
                tile.score(laid, state_->keys + packing.turned(seen, head) + (first_key + i) * size, scores + i);
            for (int64_t row = 0; row < tile.rows; ++row) {
                const int64_t visible = tile.visible(row, first_key, keys, is_own);
                if (visible > 0)
                    dispatch<SoftmaxRow>(
                        scores + row * block_keys, visible, padded, state + 2 * row, sums + row * width, panels);
                else
                    std::fill_n(scores + row * block_keys, padded, 0.0f);
            }
            for (int64_t panel = 0; panel < panels; ++panel)
                multiply_rows(
                    scores,
                    state_->values + packing.straight(seen, head) + (panel * packing.padded(seen) + first_key) * width,
                    keys, sums + panel * tile_rows * width, width, tile.rows, true);
        });
        tile.put(sums, state + 1, 1, out);
        for (int64_t row = 0; row < tile.rows; ++row)
            log_sums[tile.places[row]] = state[2 * row] + std::log(state[2 * row + 1]);
    }
}

void attend(
    const at::Tensor &query, const at::Tensor &key, const at::Tensor &value, const std::vector<AttendingRun> &runs,
    double scale, at::Tensor &out, at::Tensor &log_sums) {
    const PackedAttention work(
        runs, {query.size(1), key.size(1), query.size(2)}, scale, query, thread_count());
    std::vector<const float *> values;
    for (int64_t token = 0; token < value.size(0); ++token)
        values.push_back(value.const_data_ptr<float>() + token * value.size(1) * value.size(2));
    const float *const q = query.const_data_ptr<float>(), *const k = key.const_data_ptr<float>();
    float *const to = out.mutable_data_ptr<float>(), *const sums = log_sums.mutable_data_ptr<float>();
    parallel_phases(
        work.operations() + 4 * key.numel(),
        Phase{work.packing_tasks(), [&](int64_t task, int) { work.pack(task, k, values.data()); }},
        Phase{work.attending_tasks(), [&](int64_t task, int thread) { work.attend(task, thread, q, to, sums); }});
}

}  // namespace ctorch
