// Attention of packed texts, blockwise (FlashAttention 2, Dao 2023): 48 rows, each a token's query of one head, meet 96
// keys at a time, and no matrix of scores is ever whole. The heads that share a key head are rows of one product. Nothing
// is padded, gathered or merged: a completion's rows meet its prompt's keys, then its own.
//
// How numbers lie, d of a head:
//
//     turned      panel after panel of 32 keys, [d, 32] each: what rows are multiplied with for scores
//     straight    panel after panel of 32 of d, [keys, 32] each: what scores are multiplied with
//     laid        piece after piece of 96 of d, [48 rows, 96] each: the rows of a tile, as scores [48 rows, 96 keys] lie
#include "packed_attention.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

/// Numbers of a panel that are multiplied together.
constexpr int64_t width = 32;
/// Rows that a kernel holds in registers, or half as many; rows of a tile and keys of a block, multiples of it.
constexpr int64_t most_rows = 12, tile_rows = 48, block_keys = 96;
static_assert(tile_rows % most_rows == 0 && block_keys % most_rows == 0 && block_keys % width == 0);
/// Rows that one task of the forward pass takes.
constexpr int64_t rows_of_task = 4 * tile_rows;
/// Tokens of completions, at least, that add up their share of the prompt's gradient together.
constexpr int64_t tokens_of_chunk = 256;

int64_t rounded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

/// sums[row][0 ..< 32] (+)= Σᵢ x(row, i) · panel[i][0 ..< 32], where x(row, i) is `x[row · block_keys + i]`, as scores
/// lie, or `x[i · step + row]`.
template <int rows, int lanes, bool are_scores>
CTORCH_INLINE void accumulate(
    const float *x, int64_t step, const float *panel, int64_t count, float *sums, int64_t sums_step, bool adds) {
#pragma clang fp contract(fast)
    Lanes<float> sum[rows][lanes];
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane) {
            sum[row][lane] = Lanes<float>{};
            if (adds) sum[row][lane] = *reinterpret_cast<Lanes<float> *>(sums + row * sums_step + lane * lane_count);
        }
    for (int64_t i = 0; i < count; ++i) {
        Lanes<float> factor[lanes];
        for (int lane = 0; lane < lanes; ++lane)
            factor[lane] = *reinterpret_cast<const Lanes<float> *>(panel + i * width + lane * lane_count);
        for (int row = 0; row < rows; ++row)
            for (int lane = 0; lane < lanes; ++lane)
                sum[row][lane] += factor[lane] * (are_scores ? x[row * block_keys + i] : x[i * step + row]);
    }
    for (int row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; ++lane)
            *reinterpret_cast<Lanes<float> *>(sums + row * sums_step + lane * lane_count) = sum[row][lane];
}

/// As many rows as there are, rounded up to the kernel's.
template <bool are_scores, int rows, int lanes>
struct PanelProduct {
    static CTORCH_INLINE void run(
        const float *x, int64_t step, const float *panel, int64_t count, float *sums, int64_t sums_step, int64_t all,
        bool adds) {
        for (int64_t row = 0; row < all; row += rows)
            for (int lane = 0; lane < width / lane_count; lane += lanes)
                accumulate<rows, lanes, are_scores>(
                    x + row * (are_scores ? block_keys : 1), step, panel + lane * lane_count, count,
                    sums + row * sums_step + lane * lane_count, sums_step, adds);
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
void multiply_rows(
    const float *x, const float *panel, int64_t count, float *sums, int64_t sums_step, int64_t rows, bool adds) {
    multiply<true>(x, 0, panel, count, sums, sums_step, rows, adds);
}

/// sums += xᵀ · panel, where x lies as scores do: the sums are of keys.
void add_columns(const float *x, const float *panel, int64_t count, float *sums, int64_t keys) {
    multiply<false>(x, block_keys, panel, count, sums, width, keys, true);
}

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

/// Scores of one row become probabilities, and their gradients those of the scores.
struct SoftmaxRowGradient {
    static CTORCH_INLINE void run(
        float *scores, float *gradients, int64_t visible, int64_t count, float log_sum, float mean) {
        for (int64_t i = visible; i < count; ++i) scores[i] = -std::numeric_limits<float>::infinity();
        for (int64_t i = 0; i < count; i += lane_count) {
            auto &lanes = *reinterpret_cast<Lanes<float> *>(scores + i);
            auto &by_score = *reinterpret_cast<Lanes<float> *>(gradients + i);
            Lanes<float> powers = lanes - log_sum;
            exponentials(powers);
            lanes = powers;
            by_score = powers * (by_score - mean);
        }
        // Keys are multiplied by twelves, which may be more.
        std::fill_n(scores + count, block_keys - count, 0.0f);
        std::fill_n(gradients + count, block_keys - count, 0.0f);
    }
};

/// Sizes and places of what is packed. A run's keys begin a new panel of 32.
struct Packing {
    const std::vector<AttendingRun> &runs;
    int64_t heads, key_heads, size, shared, panels /* of a head */;
    std::vector<int64_t> first;  // a run's first key among all, with those that fill panels
    int64_t keys = 0;

    Packing(const std::vector<AttendingRun> &all, const at::Tensor &query, const at::Tensor &key)
        : runs(all), heads(query.size(1)), key_heads(key.size(1)), size(query.size(2)), shared(heads / key_heads),
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

    void turn(const float *from, float *to) const { each(from, to, true); }
    void straighten(const float *from, float *to) const { each(from, to, false); }

  private:
    /// - Parameter from: `[tokens, key_heads, size]`.
    void each(const float *from, float *to, bool turns) const {
        const auto count = static_cast<int64_t>(runs.size());
        const int64_t mean = std::max<int64_t>(1, keys / std::max<int64_t>(1, count));
        parallel_tasks(count * key_heads, mean * size, [&](int64_t task, int) {
            const int64_t run = task / key_heads, head = task % key_heads, length = runs[run].length;
            const float *rows = from + (runs[run].start * key_heads + head) * size;
            float *made = to + (turns ? turned(run, head) : straight(run, head));
            for (int64_t key = 0; key < padded(run); ++key) {
                const float *row = key < length ? rows + key * key_heads * size : nullptr;
                if (turns) {
                    float *lane = made + key / width * size * width + key % width;
                    for (int64_t i = 0; i < size; ++i) lane[i * width] = row ? row[i] : 0;
                    continue;
                }
                for (int64_t panel = 0; panel < panels; ++panel) {
                    float *at = made + (panel * padded(run) + key) * width;
                    const int64_t full = row ? std::min(width, size - panel * width) : 0;
                    if (row) std::copy_n(row + panel * width, full, at);
                    std::fill_n(at + full, width - full, 0.0f);
                }
            }
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

at::Tensor numbers(int64_t count, const at::Tensor &like) { return at::empty({count}, like.options()); }

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

namespace {

/// Runs of a backward pass that one thread takes for a key head: one, or completions of one prompt.
struct Chunk {
    int64_t first, last;  // the runs `first ..< last`
    int64_t prompt;       // of the completions, or −1
    /// Where the gradient by the prompt's keys and values is added up, and that by the run's own where it is a prompt.
    int64_t prompt_sums = -1, own_sums = -1;
    /// About how many pairs of query and key there are.
    int64_t pairs = 0;
};

/// What a backward pass adds up apart before it is put together: the gradient by a prompt's keys and values, of which
/// its own run and every chunk of its completions finds a part. The completions of a prompt follow each other, and a
/// prompt has no prompt.
struct Sums {
    struct Prompt {
        int64_t run;
        /// Where the parts lie, its own first.
        std::vector<int64_t> parts;
    };

    /// Those with the most pairs first.
    std::vector<Chunk> chunks;
    std::vector<Prompt> prompts;
    int64_t count = 0;

    explicit Sums(const Packing &packing) {
        const auto &runs = packing.runs;
        std::vector<int64_t> of_run(runs.size(), -1);
        const auto take = [&](int64_t run) {
            const int64_t start = count;
            count += 2 * packing.key_heads * numbers_of(packing, run);
            return start;
        };
        for (const AttendingRun &run : runs) {
            if (run.prompt < 0 || of_run[run.prompt] >= 0) continue;
            of_run[run.prompt] = static_cast<int64_t>(prompts.size());
            prompts.push_back({run.prompt, {take(run.prompt)}});
        }
        int64_t tokens = 0;
        for (int64_t run = 0; run < static_cast<int64_t>(runs.size()); ++run) {
            const int64_t prompt = runs[run].prompt, length = runs[run].length;
            const bool joins =
                !chunks.empty() && prompt >= 0 && chunks.back().prompt == prompt &&
                tokens < std::max(tokens_of_chunk, runs[prompt].length / 2);
            if (!joins) {
                Chunk chunk{run, run, prompt};
                if (of_run[run] >= 0) chunk.own_sums = prompts[of_run[run]].parts[0];
                if (prompt >= 0) {
                    chunk.prompt_sums = take(prompt);
                    prompts[of_run[prompt]].parts.push_back(chunk.prompt_sums);
                }
                chunks.push_back(chunk);
                tokens = 0;
            }
            chunks.back().last = run + 1;
            chunks.back().pairs += packing.pairs(run);
            tokens += length;
        }
        std::stable_sort(
            chunks.begin(), chunks.end(), [](const Chunk &a, const Chunk &b) { return a.pairs > b.pairs; });
    }

    /// Of a head's keys, or values: as they are when straight, with room for the rows of the last product.
    static int64_t numbers_of(const Packing &packing, int64_t run) {
        return packing.panels * rounded(packing.runs[run].length, most_rows) * width;
    }
};

}  // namespace

void attend_backward(
    const at::Tensor &gradient, const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
    const at::Tensor &out, const at::Tensor &log_sums, const std::vector<AttendingRun> &runs, double scale,
    at::Tensor &by_query, at::Tensor &by_key, at::Tensor &by_value) {
    const Packing packing(runs, query, key);
    const int64_t size = packing.size, panels = packing.panels, key_heads = packing.key_heads;
    at::Tensor turned_keys = numbers(packing.turned_count(), query),
               turned_values = numbers(packing.turned_count(), query),
               straight_keys = numbers(packing.straight_count(), query);
    packing.turn(key.const_data_ptr<float>(), turned_keys.mutable_data_ptr<float>());
    packing.turn(value.const_data_ptr<float>(), turned_values.mutable_data_ptr<float>());
    packing.straighten(key.const_data_ptr<float>(), straight_keys.mutable_data_ptr<float>());
    const float *q = query.const_data_ptr<float>(), *g = gradient.const_data_ptr<float>(),
                *o = out.const_data_ptr<float>(), *log_sum = log_sums.const_data_ptr<float>(),
                *kt = turned_keys.const_data_ptr<float>(), *vt = turned_values.const_data_ptr<float>(),
                *k = straight_keys.const_data_ptr<float>();
    float *by_q = by_query.mutable_data_ptr<float>(), *by_k = by_key.mutable_data_ptr<float>(),
          *by_v = by_value.mutable_data_ptr<float>();
    const Sums sums(packing);
    at::Tensor added = numbers(sums.count, query);
    float *const shared_sums = added.mutable_data_ptr<float>();
    int64_t most = 0, pairs = 0;
    for (const Chunk &chunk : sums.chunks) {
        pairs += chunk.pairs;
        for (int64_t run = chunk.first; run < chunk.last && chunk.own_sums < 0; ++run)
            most = std::max(most, Sums::numbers_of(packing, run));
    }
    // The gradients of one head's keys and values, from where they are added up to where they belong.
    const auto put = [&](const float *from, int64_t run, int64_t head, float *to) {
        const int64_t step = rounded(runs[run].length, most_rows);
        for (int64_t token = 0; token < runs[run].length; ++token)
            for (int64_t i = 0; i < size; ++i)
                to[((runs[run].start + token) * key_heads + head) * size + i] =
                    from[(i / width * step + token) * width + i % width];
    };
    const auto count = static_cast<int64_t>(sums.chunks.size()) * key_heads;
    const int64_t laid = rounded(size, block_keys);
    const int64_t tile_numbers = tile_rows * (2 * laid + 3 * panels * width + 2 * block_keys);
    Workspace workspace(tile_numbers + 2 * most, count, query);
    parallel_tasks(
        count, 8 * size * pairs * packing.shared / std::max<int64_t>(1, static_cast<int64_t>(sums.chunks.size())),
        [&](int64_t task, int thread) {
            const Chunk &chunk = sums.chunks[task / key_heads];
            const int64_t head = task % key_heads;
            float *const queries = workspace.of(thread), *const gradients = queries + tile_rows * laid,
                        *const rows_of_queries = gradients + tile_rows * laid,
                        *const rows_of_gradients = rows_of_queries + tile_rows * panels * width,
                        *const by_rows = rows_of_gradients + tile_rows * panels * width,
                        *const scores = by_rows + tile_rows * panels * width,
                        *const by_scores = scores + tile_rows * block_keys,
                        *const own = by_scores + tile_rows * block_keys;
            // By keys, then by values.
            const auto place = [&](int64_t start, int64_t run) {
                return shared_sums + start + 2 * head * Sums::numbers_of(packing, run);
            };
            float *const by_prompt = chunk.prompt >= 0 ? place(chunk.prompt_sums, chunk.prompt) : nullptr;
            if (by_prompt) std::fill_n(by_prompt, 2 * Sums::numbers_of(packing, chunk.prompt), 0.0f);
            for (int64_t run = chunk.first; run < chunk.last; ++run) {
                float *const by_run = chunk.own_sums >= 0 ? place(chunk.own_sums, run) : own;
                const int64_t by_run_count = Sums::numbers_of(packing, run);
                std::fill_n(by_run, 2 * by_run_count, 0.0f);
                for (int64_t first = 0; first < runs[run].length * packing.shared; first += tile_rows) {
                    const Tile tile(packing, run, head, first);
                    tile.lay(q, static_cast<float>(scale), queries);
                    tile.lay(g, 1, gradients);
                    tile.straighten(q, static_cast<float>(scale), rows_of_queries);
                    tile.straighten(g, 1, rows_of_gradients);
                    std::fill_n(by_rows, tile_rows * panels * width, 0.0f);
                    float means[tile_rows];
                    for (int64_t row = 0; row < tile.rows; ++row) {
                        const float *by_out = g + tile.places[row] * size, *at = o + tile.places[row] * size;
                        float sum = 0;
                        for (int64_t i = 0; i < size; ++i) sum += by_out[i] * at[i];
                        means[row] = sum;
                    }
                    tile.each_block([&](int64_t seen, int64_t first_key, int64_t keys, bool is_own) {
                        const int64_t padded = rounded(keys, width);
                        for (int64_t i = 0; i < padded; i += width) {
                            const int64_t panel = packing.turned(seen, head) + (first_key + i) * size;
                            tile.score(queries, kt + panel, scores + i);
                            tile.score(gradients, vt + panel, by_scores + i);
                        }
                        for (int64_t row = 0; row < tile.rows; ++row) {
                            dispatch<SoftmaxRowGradient>(
                                scores + row * block_keys, by_scores + row * block_keys,
                                tile.visible(row, first_key, keys, is_own), padded, log_sum[tile.places[row]],
                                means[row]);
                        }
                        const int64_t step = rounded(runs[seen].length, most_rows);
                        float *const by_keys = is_own ? by_run : by_prompt,
                                    *const by_values = by_keys + Sums::numbers_of(packing, seen);
                        for (int64_t panel = 0; panel < panels; ++panel) {
                            const int64_t rows = panel * tile_rows * width, to = (panel * step + first_key) * width;
                            add_columns(by_scores, rows_of_queries + rows, tile.rows, by_keys + to, keys);
                            add_columns(scores, rows_of_gradients + rows, tile.rows, by_values + to, keys);
                            multiply_rows(
                                by_scores,
                                k + packing.straight(seen, head) + (panel * packing.padded(seen) + first_key) * width,
                                keys, by_rows + rows, width, tile.rows, true);
                        }
                    });
                    tile.put(by_rows, nullptr, static_cast<float>(scale), by_q);
                }
                if (chunk.own_sums >= 0) continue;
                put(by_run, run, head, by_k);
                put(by_run + by_run_count, run, head, by_v);
            }
        });
    parallel_tasks(
        static_cast<int64_t>(sums.prompts.size()) * key_heads, sums.count / key_heads, [&](int64_t task, int) {
            const auto &[run, parts] = sums.prompts[task / key_heads];
            const int64_t head = task % key_heads, half = Sums::numbers_of(packing, run);
            float *const whole = shared_sums + parts[0] + 2 * head * half;
            for (size_t i = 1; i < parts.size(); ++i) {
                const float *part = shared_sums + parts[i] + 2 * head * half;
                for (int64_t j = 0; j < 2 * half; ++j) whole[j] += part[j];
            }
            put(whole, run, head, by_k);
            put(whole + half, run, head, by_v);
        });
}

}  // namespace ctorch
