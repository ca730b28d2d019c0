// Inside CTorch only: what attention of packed texts is made of, forward and backward.
//
// How numbers lie, d of a head:
//
//     turned      panel after panel of 32 keys, [d, 32] each: what rows are multiplied with for scores
//     straight    panel after panel of 32 of d, [keys, 32] each: what scores are multiplied with
//     laid        piece after piece of 96 of d, [48 rows, 96] each: the rows of a tile, as scores [48 rows, 96 keys] lie
#pragma once

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "packed_attention.hpp"
#include "parallel.hpp"
#include "row_sums.hpp"
#include "vectors.hpp"

namespace ctorch {

/// Numbers of a panel that are multiplied together.
constexpr int64_t width = 32;
/// Rows that a kernel holds in registers, or half as many; rows of a tile and keys of a block, multiples of it.
constexpr int64_t most_rows = 12, tile_rows = 48, block_keys = 96;
static_assert(tile_rows % most_rows == 0 && block_keys % most_rows == 0 && block_keys % width == 0);

inline int64_t rounded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

/// sums[row][0 ..< 32] (+)= Σᵢ x(row, i) · panel[i][0 ..< 32], where x(row, i) is `x[row · block_keys + i]`, as scores
/// lie, or `x[i · step + row]`; for as many rows as there are, rounded up to the kernel's.
template <bool are_scores, int rows, int lanes>
struct PanelProduct {
    static CTORCH_INLINE void run(
        const float *x, int64_t step, const float *panel, int64_t count, float *sums, int64_t sums_step, int64_t all,
        bool adds) {
        for (int64_t row = 0; row < all; row += rows)
            for (int lane = 0; lane < width / lane_count; lane += lanes)
                accumulate_rows<rows, lanes>(
                    x + row * (are_scores ? block_keys : 1), are_scores ? block_keys : 1, are_scores ? 1 : step,
                    panel + lane * lane_count, width, count, sums + row * sums_step + lane * lane_count, sums_step,
                    adds);
    }
};

template <bool are_scores>
void multiply(
    const float *x, int64_t step, const float *panel, int64_t count, float *sums, int64_t sums_step, int64_t rows,
    bool adds) {
    using Narrow = PanelProduct<are_scores, most_rows / 2, 1>;
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)
    // With 32 registers of 16 numbers, or 16 of 8.
    if (instruction_set() == InstructionSet::avx512)
        return run_avx512<PanelProduct<are_scores, most_rows, 2>>(x, step, panel, count, sums, sums_step, rows, adds);
    if (instruction_set() == InstructionSet::avx2)
        return run_avx2<Narrow>(x, step, panel, count, sums, sums_step, rows, adds);
#endif
    Narrow::run(x, step, panel, count, sums, sums_step, rows, adds);
}

/// sums (+)= x · panel, where x lies as scores do.
inline void multiply_rows(
    const float *x, const float *panel, int64_t count, float *sums, int64_t sums_step, int64_t rows, bool adds) {
    multiply<true>(x, 0, panel, count, sums, sums_step, rows, adds);
}

/// Sizes and places of what is packed. A run's keys begin a new panel of 32.
struct Packing {
    const std::vector<AttendingRun> &runs;
    int64_t heads, key_heads, size, shared, panels /* of a head */;
    std::vector<int64_t> first;  // a run's first key among all, with those that fill panels
    int64_t keys = 0;

    /// - Parameter all: Outlives this.
    Packing(const std::vector<AttendingRun> &all, const AttentionShape &shape)
        : runs(all), heads(shape.heads), key_heads(shape.key_heads), size(shape.size), shared(heads / key_heads),
          panels(rounded(size, width) / width) {
        for (const AttendingRun &run : runs) {
            first.push_back(keys);
            keys += rounded(run.length, width);
        }
    }

    /// About how many pairs of a run's queries, of one head, and keys that they see.
    int64_t pairs(int64_t run) const {
        const int64_t prompt = runs[run].prompt < 0 ? 0 : runs[runs[run].prompt].length;
        return runs[run].length * (prompt + runs[run].length / 2 + 1);
    }

    int64_t padded(int64_t run) const { return rounded(runs[run].length, width); }
    int64_t turned_count() const { return key_heads * keys * size; }
    int64_t straight_count() const { return key_heads * keys * panels * width; }
    /// Panel after panel of 32 keys: `[size, 32]` each.
    int64_t turned(int64_t run, int64_t head) const { return (head * keys + first[run]) * size; }
    /// Panel after panel of 32 numbers of a head: `[keys, 32]` each.
    int64_t straight(int64_t run, int64_t head) const { return (head * keys + first[run]) * panels * width; }

    /// - Parameter from: `[tokens, key_heads, size]`.
    void turn(const float *from, float *to) const { each(from, to, true); }
    void straighten(const float *from, float *to) const { each(from, to, false); }

    /// One head of one run is a task.
    int64_t tasks() const { return static_cast<int64_t>(runs.size()) * key_heads; }

    /// - Parameter row: Called with a token for its numbers, `[key_heads, size]`.
    template <class Row>
    void pack(int64_t task, const Row &row, float *to, bool turns) const {
        const int64_t run = task / key_heads, head = task % key_heads, length = runs[run].length;
        float *made = to + (turns ? turned(run, head) : straight(run, head));
        for (int64_t key = 0; key < padded(run); ++key) {
            const float *numbers = key < length ? row(runs[run].start + key) + head * size : nullptr;
            if (turns) {
                float *lane = made + key / width * size * width + key % width;
                for (int64_t i = 0; i < size; ++i) lane[i * width] = numbers ? numbers[i] : 0;
                continue;
            }
            for (int64_t panel = 0; panel < panels; ++panel) {
                float *at = made + (panel * padded(run) + key) * width;
                const int64_t full = numbers ? std::min(width, size - panel * width) : 0;
                if (numbers) std::copy_n(numbers + panel * width, full, at);
                std::fill_n(at + full, width - full, 0.0f);
            }
        }
    }

  private:
    void each(const float *from, float *to, bool turns) const {
        const int64_t mean = std::max<int64_t>(1, keys / std::max<int64_t>(1, static_cast<int64_t>(runs.size())));
        parallel_tasks(tasks(), mean * size, [&](int64_t task, int) {
            pack(task, [&](int64_t token) { return from + token * key_heads * size; }, to, turns);
        });
    }
};

/// 48 rows of a run from its `first` on: row r is the query of token r / shared, of the r % shared-th head that reads
/// one key head.
struct Tile {
    const Packing &packing;
    int64_t run, head, rows;
    /// Of each row: its token in the run, and its place among those of all tokens and heads.
    int64_t tokens[tile_rows], places[tile_rows];

    Tile(const Packing &packing, int64_t run, int64_t head, int64_t first)
        : packing(packing), run(run), head(head),
          rows(std::min(tile_rows, packing.runs[run].length * packing.shared - first)) {
        int64_t token = first / packing.shared, shared = first % packing.shared;
        for (int64_t row = 0; row < rows; ++row) {
            tokens[row] = token;
            places[row] = (packing.runs[run].start + token) * packing.heads + head * packing.shared + shared;
            if (++shared == packing.shared) {
                shared = 0;
                ++token;
            }
        }
    }

    /// Rows of numbers times a factor as scores lie, `[pieces, 48, 96]`; those that fill the kernel's last rows are 0.
    void lay(const float *from, float factor, float *to) const {
        for (int64_t piece = 0; piece * block_keys < packing.size; ++piece, to += tile_rows * block_keys) {
            const int64_t first = piece * block_keys, full = std::min(block_keys, packing.size - first);
            for (int64_t row = 0; row < rows; ++row) {
                const float *at = from + places[row] * packing.size + first;
                for (int64_t i = 0; i < full; ++i) to[row * block_keys + i] = at[i] * factor;
            }
            for (int64_t row = rows; row < rounded(rows, most_rows); ++row)
                std::fill_n(to + row * block_keys, full, 0.0f);
        }
    }

    /// scores = rows · keys for 32 of the keys, turned.
    void score(const float *laid, const float *keys, float *scores) const {
        for (int64_t first = 0; first < packing.size; first += block_keys)
            multiply_rows(
                laid + first * tile_rows, keys + first * width, std::min(block_keys, packing.size - first), scores,
                block_keys, rows, first > 0);
    }

    /// `[panels, 48, 32]`.
    void straighten(const float *from, float factor, float *to) const {
        for (int64_t row = 0; row < rows; ++row) {
            for (int64_t panel = 0; panel < packing.panels; ++panel) {
                const float *at = from + places[row] * packing.size + panel * width;
                float *made = to + (panel * tile_rows + row) * width;
                const int64_t full = std::min(width, packing.size - panel * width);
                for (int64_t i = 0; i < full; ++i) made[i] = at[i] * factor;
                std::fill_n(made + full, width - full, 0.0f);
            }
        }
    }

    /// Back from there.
    void put(const float *from, const float *divisors, float factor, float *to) const {
        for (int64_t row = 0; row < rows; ++row) {
            const float scaled = divisors ? factor / divisors[2 * row] : factor;
            for (int64_t panel = 0; panel < packing.panels; ++panel) {
                const float *made = from + (panel * tile_rows + row) * width;
                float *at = to + places[row] * packing.size + panel * width;
                const int64_t full = std::min(width, packing.size - panel * width);
                for (int64_t i = 0; i < full; ++i) at[i] = made[i] * scaled;
            }
        }
    }

    /// Calls `body(run, key, count, is_own)` for blocks of the keys that some row sees, the prompt's first.
    template <class Body>
    void each_block(const Body &body) const {
        const int64_t prompt = packing.runs[run].prompt;
        if (prompt >= 0) {
            const int64_t length = packing.runs[prompt].length;
            for (int64_t key = 0; key < length; key += block_keys)
                body(prompt, key, std::min(block_keys, length - key), false);
        }
        const int64_t length = tokens[rows - 1] + 1;
        for (int64_t key = 0; key < length; key += block_keys) body(run, key, std::min(block_keys, length - key), true);
    }

    /// How many keys of a block a row sees.
    int64_t visible(int64_t row, int64_t key, int64_t count, bool is_own) const {
        return is_own ? std::clamp<int64_t>(tokens[row] + 1 - key, 0, count) : count;
    }
};

/// As many numbers for each thread that takes a task.
struct Workspace {
    at::Tensor numbers;
    int64_t each;

    Workspace(int64_t count, int64_t tasks, const at::Tensor &like)
        : numbers(at::empty({std::min<int64_t>(thread_count(), tasks) * rounded(count, 16)}, like.options())),
          each(rounded(count, 16)) {}
    float *of(int thread) { return numbers.mutable_data_ptr<float>() + thread * each; }
};

inline at::Tensor numbers(int64_t count, const at::Tensor &like) { return at::empty({count}, like.options()); }

}  // namespace ctorch
