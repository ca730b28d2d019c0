// The gradient of attention of packed texts: the scores are found again, 48 rows and 96 keys at a time, from the
// log-sum-exps of the forward pass (packed_attention.cpp).
#include <algorithm>
#include <limits>
#include <vector>

#include "attention_tiles.hpp"

namespace ctorch {
namespace {

/// Tokens of completions, at least, that add up their share of the prompt's gradient together.
constexpr int64_t tokens_of_chunk = 256;

/// sums += xᵀ · panel, where x lies as scores do: the sums are of keys.
void add_columns(const float *x, const float *panel, int64_t count, float *sums, int64_t keys) {
    multiply<false>(x, block_keys, panel, count, sums, width, keys, true);
}

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

/// What a row's output and its gradient have in common: the mean of the gradients of its scores.
struct RowMean {
    static CTORCH_INLINE void run(const float *gradient, const float *out, int64_t size, float *mean) {
#pragma clang fp reassociate(on) contract(fast)
        float sum = 0;
        for (int64_t i = 0; i < size; ++i) sum += gradient[i] * out[i];
        *mean = sum;
    }
};

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
    const Packing packing(runs, {query.size(1), key.size(1), query.size(2)});
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
                        const int64_t at = tile.places[row] * size;
                        dispatch<RowMean>(g + at, o + at, size, means + row);
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
