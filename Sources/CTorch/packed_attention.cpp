// Attention of packed texts, blockwise (FlashAttention 2, Dao 2023): 48 rows, each a token's query of one head, meet 96
// keys at a time, and no matrix of scores is ever whole. The heads that share a key head are rows of one product. Nothing
// is padded, gathered or merged: a completion's rows meet its prompt's keys, then its own.
#include "packed_attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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

}  // namespace

void attend(
    const at::Tensor &query, const at::Tensor &key, const at::Tensor &value, const std::vector<AttendingRun> &runs,
    double scale, at::Tensor &out, at::Tensor &log_sums) {
    const Packing packing(runs, query, key);
    const int64_t size = packing.size, panels = packing.panels;
    at::Tensor turned_keys = numbers(packing.turned_count(), query), values = numbers(packing.straight_count(), query);
    packing.turn(key.const_data_ptr<float>(), turned_keys.mutable_data_ptr<float>());
    packing.straighten(value.const_data_ptr<float>(), values.mutable_data_ptr<float>());
    const float *q = query.const_data_ptr<float>(), *k = turned_keys.const_data_ptr<float>(),
                *v = values.const_data_ptr<float>();
    float *to = out.mutable_data_ptr<float>(), *log_sum = log_sums.mutable_data_ptr<float>();
    struct Task {
        int64_t run, head, first;
    };
    std::vector<Task> tasks;
    int64_t pairs = 0;
    for (int64_t run = 0; run < static_cast<int64_t>(runs.size()); ++run) {
        pairs += packing.pairs(run) * packing.heads;
        for (int64_t head = 0; head < packing.key_heads; ++head)
            for (int64_t first = 0; first < runs[run].length * packing.shared; first += rows_of_task)
                tasks.push_back({run, head, first});
    }
    const auto count = static_cast<int64_t>(tasks.size());
    const int64_t laid = rounded(size, block_keys);  // numbers of a row
    Workspace workspace(tile_rows * (laid + block_keys + panels * width + 2), count, query);
    parallel_tasks(count, 2 * size * pairs / std::max<int64_t>(1, count), [&](int64_t task, int thread) {
        float *const queries = workspace.of(thread), *const scores = queries + tile_rows * laid,
                    *const sums = scores + tile_rows * block_keys, *const state = sums + tile_rows * panels * width;
        const auto [run, head, start] = tasks[task];
        const int64_t end = std::min(start + rows_of_task, runs[run].length * packing.shared);
        for (int64_t first = start; first < end; first += tile_rows) {
            const Tile tile(packing, run, head, first);
            tile.lay(q, static_cast<float>(scale), queries);
            std::fill_n(sums, tile_rows * panels * width, 0.0f);
            for (int64_t row = 0; row < tile_rows; ++row) {
                state[2 * row] = -std::numeric_limits<float>::infinity();
                state[2 * row + 1] = 0;
            }
            tile.each_block([&](int64_t seen, int64_t first_key, int64_t keys, bool is_own) {
                const int64_t padded = rounded(keys, width);
                for (int64_t i = 0; i < padded; i += width)
                    tile.score(queries, k + packing.turned(seen, head) + (first_key + i) * size, scores + i);
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
                        scores, v + packing.straight(seen, head) + (panel * packing.padded(seen) + first_key) * width,
                        keys, sums + panel * tile_rows * width, width, tile.rows, true);
            });
            tile.put(sums, state + 1, 1, to);
            for (int64_t row = 0; row < tile.rows; ++row)
                log_sum[tile.places[row]] = state[2 * row] + std::log(state[2 * row + 1]);
        }
    });
}

}  // namespace ctorch
