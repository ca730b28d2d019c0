#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "cache.hpp"
#include "decode_head.hpp"
#include "include/ctorch_attention.h"
#include "parallel.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

/// Rows of one prompt that one task handles together: enough to use a key read from memory many times, few enough that
/// one prompt still feeds every thread.
constexpr int64_t rows_per_task = 8;

template <class T>
void decode_rows(
    const at::Tensor &query, const ctorch_decode_cache &prompt, const ctorch_decode_cache &own,
    const ctorch_decode_rows &rows,
    T scale, at::Tensor &out) {
    const CacheShape prompts(unwrap(prompt.keys), unwrap(prompt.values)), owns(unwrap(own.keys), unwrap(own.values));
    const int64_t heads = query.size(1), size = query.size(2), shared = heads / owns.heads;
    // Rows of one prompt side by side, cut into tasks of a few rows.
    std::vector<int64_t> order(rows.count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return rows.prompt_slots[a] != rows.prompt_slots[b] ? rows.prompt_slots[a] < rows.prompt_slots[b]
                                                            : rows.prompt_lengths[a] < rows.prompt_lengths[b];
    });
    std::vector<std::pair<int64_t, int64_t>> parts;
    for (int64_t i = 0; i < rows.count; ++i) {
        const bool joins = !parts.empty() && i - parts.back().first < rows_per_task &&
                           rows.prompt_slots[order[i]] == rows.prompt_slots[order[i - 1]] &&
                           rows.prompt_lengths[order[i]] == rows.prompt_lengths[order[i - 1]];
        if (!joins) parts.emplace_back(i, 0);
        parts.back().second++;
    }
    const int64_t longest_prompt = *std::max_element(rows.prompt_lengths, rows.prompt_lengths + rows.count);
    const int64_t longest_own = *std::max_element(rows.own_lengths, rows.own_lengths + rows.count);
    const int64_t width = (whole_tiles(longest_prompt) + whole_tiles(longest_own)) * lane_count;
    const int64_t most = rows_per_task * shared, threads = thread_count();
    std::vector<T> memory(threads * most * width);
    std::vector<const T *> queries(threads * most);
    std::vector<T *> scores(threads * most), outs(threads * most);
    std::vector<HeadCache<T>> own_heads(threads * rows_per_task);

    const T *q = query.const_data_ptr<T>(), *prompt_keys = unwrap(prompt.keys).template const_data_ptr<T>(),
            *prompt_values = unwrap(prompt.values).template const_data_ptr<T>(),
            *own_keys = unwrap(own.keys).template const_data_ptr<T>(),
            *own_values = unwrap(own.values).template const_data_ptr<T>();
    T *to = out.mutable_data_ptr<T>();
    const auto head_of = [size](
                             const CacheShape &shape, const T *keys, const T *values, int64_t slot, int64_t head,
                             int64_t length) {
        const int64_t index = slot * shape.heads + head;
        return HeadCache<T>{
            keys + index * shape.tiles * size * lane_count, values + index * shape.capacity * size, length};
    };
    const auto tasks = static_cast<int64_t>(parts.size()) * owns.heads;
    // A vector instruction does 16 of the multiplications of a task.
    const int64_t operations = rows.count * heads * width * size / (4 * tasks);
    parallel_tasks(tasks, operations, [&](int64_t index, int thread) {
        const auto [first, count] = parts[index / owns.heads];
        const int64_t head = index % owns.heads;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t row = order[first + i];
            own_heads[thread * rows_per_task + i] =
                head_of(owns, own_keys, own_values, rows.own_slots[row], head, rows.own_lengths[row]);
            for (int64_t s = 0; s < shared; ++s) {
                const int64_t item = thread * most + i * shared + s, at = (row * heads + head * shared + s) * size;
                queries[item] = q + at;
                outs[item] = to + at;
                scores[item] = memory.data() + item * width;
            }
        }
        const int64_t row = order[first];
        const HeadTask<T> task{
            head_of(prompts, prompt_keys, prompt_values, rows.prompt_slots[row], head, rows.prompt_lengths[row]),
            own_heads.data() + thread * rows_per_task, count, shared, size, scale, queries.data() + thread * most,
            scores.data() + thread * most, outs.data() + thread * most};
        dispatch<DecodeHead<T>>(&task);
    });
}

/// Keys and values of the rows' slots as [R, Hkv, capacity, d], and where a key exists [R, capacity].
struct GatheredCache {
    at::Tensor keys, values, exists;

    GatheredCache(const ctorch_decode_cache &cache, const int64_t *slots, const int64_t *lengths, int64_t count) {
        const at::Tensor &k = unwrap(cache.keys), &v = unwrap(cache.values);
        const CacheShape shape(k, v);
        const at::Tensor rows = indices(slots, count, k.device()), ends = indices(lengths, count, k.device());
        keys = k.index_select(0, rows)
                   .permute({0, 1, 2, 4, 3})
                   .reshape({count, shape.heads, shape.tiles * lane_count, shape.size})
                   .narrow(2, 0, shape.capacity);
        values = v.index_select(0, rows);
        exists = at::arange(shape.capacity, ends.options()).unsqueeze(0) < ends.unsqueeze(1);
    }
};

at::Tensor composed_decode(
    const at::Tensor &query, const ctorch_decode_cache &prompt, const ctorch_decode_cache &own,
    const ctorch_decode_rows &rows,
    double scale) {
    const GatheredCache first(prompt, rows.prompt_slots, rows.prompt_lengths, rows.count),
        second(own, rows.own_slots, rows.own_lengths, rows.count);
    const at::Tensor keys = at::cat({first.keys, second.keys}, 2), values = at::cat({first.values, second.values}, 2),
                     exists = at::cat({first.exists, second.exists}, 1);
    const int64_t heads = query.size(1), key_heads = keys.size(1), size = query.size(2);
    const at::Tensor q = query.reshape({rows.count, key_heads, heads / key_heads, size});
    const auto wide = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor scores = at::matmul(q, keys.transpose(2, 3)).to(wide) * scale;
    scores.masked_fill_(exists.logical_not().view({rows.count, 1, 1, -1}), -std::numeric_limits<double>::infinity());
    // What was never written may be anything, infinity too; 0 · infinity would spoil the sum.
    const at::Tensor read = values.masked_fill(exists.logical_not().view({rows.count, 1, -1, 1}), 0);
    return at::matmul(at::softmax(scores, -1).to(query.scalar_type()), read).reshape({rows.count, heads, size});
}

void check_positions(
    const CacheShape &shape, const int64_t *slots, const int64_t *ends, int64_t count, int64_t least,
    const char *name) {
    for (int64_t i = 0; i < count; ++i)
        TORCH_CHECK(
            slots[i] >= 0 && slots[i] < shape.slots && ends[i] >= least && ends[i] <= shape.capacity, "row ", i, ": ",
            name, " slot ", slots[i], " with ", ends[i], " keys, the cache has ", shape.slots,
            " slots of ", shape.capacity);
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_decode_attention(
    ctorch_tensor query, ctorch_decode_cache prompt, ctorch_decode_cache own, ctorch_decode_rows rows, double scale,
    bool composed, ctorch_tensor *out) {
    return guarded([&] {
        const c10::NoGradGuard no_gradients;
        const at::Tensor q = unwrap(query).contiguous();
        const CacheShape prompts(unwrap(prompt.keys), unwrap(prompt.values));
        const CacheShape owns(unwrap(own.keys), unwrap(own.values));
        TORCH_CHECK(
            q.dim() == 3 && q.size(0) == rows.count && rows.count > 0 && q.size(2) == owns.size &&
            prompts.size == owns.size &&
                prompts.heads == owns.heads && q.size(1) % owns.heads == 0 &&
                q.scalar_type() == unwrap(own.keys).scalar_type() &&
                q.scalar_type() == unwrap(prompt.keys).scalar_type(),
            "query ", q.sizes(), " ", q.scalar_type(), " must be [", rows.count, ", a multiple of ", owns.heads, ", ",
            owns.size, "] of the caches' element type ", unwrap(own.keys).scalar_type());
        check_positions(prompts, rows.prompt_slots, rows.prompt_lengths, rows.count, 0, "prompt");
        check_positions(owns, rows.own_slots, rows.own_lengths, rows.count, 1, "own");
        if (composed || !has_kernel(q)) {
            *out = wrap(composed_decode(q, prompt, own, rows, scale));
            return;
        }
        at::Tensor result = at::empty_like(q);
        q.scalar_type() == at::kFloat ? decode_rows<float>(q, prompt, own, rows, static_cast<float>(scale), result)
                                      : decode_rows<double>(q, prompt, own, rows, scale, result);
        *out = wrap(result);
    });
}
