// Inside CTorch only: attention of a decoding step, cut into tasks.
#pragma once

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "cache.hpp"
#include "decode_head.hpp"
#include "include/ctorch_attention.h"

namespace ctorch {

/// Rows of one prompt that one task handles together: enough to use a key read from memory many times, few enough that
/// one prompt still feeds every thread.
constexpr int64_t rows_per_task = 8;

/// Attention of queries `[R, H, d]`, whose tasks are a few rows of one prompt and a key head each.
template <class T>
class DecodeTasks {
  public:
    /// - Parameter log_sums: `[R, H]`.
    DecodeTasks(
        int64_t heads, const ctorch_decode_cache &prompt, const ctorch_decode_cache &own, const ctorch_decode_rows &rows,
        T scale, const T *queries, T *outs, T *log_sums, int64_t threads)
        : prompts_(unwrap(prompt.keys), unwrap(prompt.values)), owns_(unwrap(own.keys), unwrap(own.values)), rows_(rows),
          heads_(heads), shared_(heads / owns_.heads), most_(rows_per_task * shared_), scale_(scale), queries_(queries),
          outs_(outs), log_sums_(log_sums), prompt_keys_(unwrap(prompt.keys).template const_data_ptr<T>()),
          prompt_values_(unwrap(prompt.values).template const_data_ptr<T>()),
          own_keys_(unwrap(own.keys).template const_data_ptr<T>()),
          own_values_(unwrap(own.values).template const_data_ptr<T>()), order_(rows.count) {
        // Rows of one prompt side by side, cut into tasks of a few rows.
        std::iota(order_.begin(), order_.end(), 0);
        std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
            return rows.prompt_slots[a] != rows.prompt_slots[b] ? rows.prompt_slots[a] < rows.prompt_slots[b]
                                                                : rows.prompt_lengths[a] < rows.prompt_lengths[b];
        });
        for (int64_t i = 0; i < rows.count; ++i) {
            const bool joins = !parts_.empty() && i - parts_.back().first < rows_per_task &&
                               rows.prompt_slots[order_[i]] == rows.prompt_slots[order_[i - 1]] &&
                               rows.prompt_lengths[order_[i]] == rows.prompt_lengths[order_[i - 1]];
            if (!joins) parts_.emplace_back(i, 0);
            parts_.back().second++;
        }
        const int64_t longest_prompt = *std::max_element(rows.prompt_lengths, rows.prompt_lengths + rows.count);
        const int64_t longest_own = *std::max_element(rows.own_lengths, rows.own_lengths + rows.count);
        width_ = (whole_tiles(longest_prompt) + whole_tiles(longest_own)) * lane_count;
        memory_.resize(threads * most_ * width_);
        task_queries_.resize(threads * most_);
        task_scores_.resize(threads * most_);
        task_outs_.resize(threads * most_);
        task_log_sums_.resize(threads * most_);
        own_heads_.resize(threads * rows_per_task);
    }

    int64_t count() const { return static_cast<int64_t>(parts_.size()) * owns_.heads; }
    /// About what all tasks do: a vector instruction does 16 of the multiplications.
    int64_t operations() const { return rows_.count * heads_ * width_ * owns_.size / 4; }
    /// Query heads that share a key head.
    int64_t shared() const { return shared_; }

    /// - Parameter prepare: Called as `prepare(row, key_head)` before anything of a row is read.
    template <class Prepare>
    void run(int64_t index, int thread, const Prepare &prepare) {
        const int64_t size = owns_.size;
        const auto head_of = [size](
                                 const CacheShape &shape, const T *keys, const T *values, int64_t slot, int64_t head,
                                 int64_t length) {
            const int64_t at = slot * shape.heads + head;
            return HeadCache<T>{
                keys + at * shape.tiles * size * lane_count, values + at * shape.capacity * size, length};
        };
        const auto [first, count] = parts_[index / owns_.heads];
        const int64_t head = index % owns_.heads;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t row = order_[first + i];
            prepare(row, head);
            own_heads_[thread * rows_per_task + i] =
                head_of(owns_, own_keys_, own_values_, rows_.own_slots[row], head, rows_.own_lengths[row]);
            for (int64_t s = 0; s < shared_; ++s) {
                const int64_t item = thread * most_ + i * shared_ + s, query = row * heads_ + head * shared_ + s;
                task_queries_[item] = queries_ + query * size;
                task_outs_[item] = outs_ + query * size;
                task_log_sums_[item] = log_sums_ + query;
                task_scores_[item] = memory_.data() + item * width_;
            }
        }
        const int64_t row = order_[first];
        const HeadTask<T> task{
            head_of(prompts_, prompt_keys_, prompt_values_, rows_.prompt_slots[row], head, rows_.prompt_lengths[row]),
            own_heads_.data() + thread * rows_per_task, count, shared_, size, scale_, task_queries_.data() + thread * most_,
            task_scores_.data() + thread * most_, task_outs_.data() + thread * most_,
            task_log_sums_.data() + thread * most_};
        dispatch<DecodeHead<T>>(&task);
    }

  private:
    CacheShape prompts_, owns_;
    const ctorch_decode_rows &rows_;
    int64_t heads_, shared_, most_, width_;
    T scale_;
    const T *queries_;
    T *outs_, *log_sums_;
    const T *prompt_keys_, *prompt_values_, *own_keys_, *own_values_;
    std::vector<int64_t> order_;
    /// The first of some rows in that order, and how many they are.
    std::vector<std::pair<int64_t, int64_t>> parts_;
    /// Of every thread: the scores of a task, and what its ``HeadTask`` points to.
    std::vector<T> memory_;
    std::vector<const T *> task_queries_;
    std::vector<T *> task_scores_, task_outs_, task_log_sums_;
    std::vector<HeadCache<T>> own_heads_;
};

/// Whether rows stand in the caches that they name; throws where they do not.
inline void check_rows(const CacheShape &prompts, const CacheShape &owns, const ctorch_decode_rows &rows) {
    const auto check = [&](const CacheShape &shape, const int64_t *slots, const int64_t *ends, int64_t least,
                           const char *name) {
        for (int64_t i = 0; i < rows.count; ++i)
            TORCH_CHECK(
                slots[i] >= 0 && slots[i] < shape.slots && ends[i] >= least && ends[i] <= shape.capacity, "row ", i, ": ",
                name, " slot ", slots[i], " with ", ends[i], " keys, the cache has ", shape.slots, " slots of ",
                shape.capacity);
    };
    check(prompts, rows.prompt_slots, rows.prompt_lengths, 0, "prompt");
    check(owns, rows.own_slots, rows.own_lengths, 1, "own");
}

}  // namespace ctorch
