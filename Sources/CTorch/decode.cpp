#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <limits>
#include <utility>

#include "cache.hpp"
#include "decode_tasks.hpp"
#include "include/ctorch_attention.h"
#include "parallel.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

template <class T>
void decode_rows(
    const at::Tensor &query, const ctorch_decode_cache &prompt, const ctorch_decode_cache &own,
    const ctorch_decode_rows &rows, double scale, at::Tensor &out, at::Tensor &log_sums) {
    DecodeTasks<T> tasks(
        query.size(1), prompt, own, rows, static_cast<T>(scale), query.const_data_ptr<T>(), out.mutable_data_ptr<T>(),
        log_sums.mutable_data_ptr<T>(), thread_count());
    parallel_tasks(tasks.count(), tasks.operations() / tasks.count(), [&](int64_t task, int thread) {
        tasks.run(task, thread, [](int64_t, int64_t) {});
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

std::pair<at::Tensor, at::Tensor> composed_decode(
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
    return {
        at::matmul(at::softmax(scores, -1).to(query.scalar_type()), read).reshape({rows.count, heads, size}),
        at::logsumexp(scores, {-1}).reshape({rows.count, heads})};
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_decode_attention(
    ctorch_tensor query, ctorch_decode_cache prompt, ctorch_decode_cache own, ctorch_decode_rows rows, double scale,
    bool composed, ctorch_tensor *out, ctorch_tensor *log_sums) {
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
        check_rows(prompts, owns, rows);
        if (composed || !has_kernel(q)) {
            const auto [found, sums] = composed_decode(q, prompt, own, rows, scale);
            *out = wrap(found);
            *log_sums = wrap(sums);
            return;
        }
        at::Tensor result = at::empty_like(q), sums = at::empty({q.size(0), q.size(1)}, q.options());
        q.scalar_type() == at::kFloat ? decode_rows<float>(q, prompt, own, rows, scale, result, sums)
                                      : decode_rows<double>(q, prompt, own, rows, scale, result, sums);
        *out = wrap(result);
        *log_sums = wrap(sums);
    });
}
