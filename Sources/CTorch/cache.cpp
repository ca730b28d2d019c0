#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "cache.hpp"
#include "include/ctorch_attention.h"
#include "parallel.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

template <class T>
void write_rows(
    const ctorch_decode_cache &cache, const CacheShape &shape, const at::Tensor &keys, const at::Tensor &values,
    const int64_t *slots, const int64_t *positions, int64_t count) {
    const T *k = keys.const_data_ptr<T>(), *v = values.const_data_ptr<T>();
    const CacheWriter<T> writer(cache, shape);
    // Each number of a key goes to a line of its own, which it shares with those of 15 tokens beside it: one thread has all
    // of these, unless there are fewer tokens than that.
    constexpr int64_t operations_of_line = 32;
    const int64_t together = count >= lane_count * thread_count() ? lane_count : 1;
    const int64_t tasks = (count + together - 1) / together;
    parallel_tasks(tasks, together * shape.heads * shape.size * operations_of_line, [&](int64_t task, int) {
        for (int64_t i = task * together; i < std::min(count, (task + 1) * together); ++i) {
            for (int64_t head = 0; head < shape.heads; ++head) {
                const int64_t from = (i * shape.heads + head) * shape.size;
                writer.write(slots[i], head, positions[i], k + from, v + from);
            }
        }
    });
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_cache_write(
    ctorch_decode_cache cache, ctorch_tensor keys, ctorch_tensor values, const int64_t *slots, const int64_t *positions,
    int64_t count) {
    return guarded([&] {
        const c10::NoGradGuard no_gradients;
        const at::Tensor &to_keys = unwrap(cache.keys), &to_values = unwrap(cache.values);
        const CacheShape shape(to_keys, to_values);
        const at::Tensor k = unwrap(keys).contiguous(), v = unwrap(values).contiguous();
        const std::vector<int64_t> expected = {count, shape.heads, shape.size};
        TORCH_CHECK(
            k.sizes() == at::IntArrayRef(expected) && v.sizes() == k.sizes() &&
            k.scalar_type() == to_keys.scalar_type() &&
                v.scalar_type() == k.scalar_type() && k.device() == to_keys.device() && v.device() == k.device(),
            "keys ", k.sizes(), " ", k.scalar_type(), " and values ", v.sizes(), " ", v.scalar_type(), " must be ",
            at::IntArrayRef(expected), " ", to_keys.scalar_type());
        for (int64_t i = 0; i < count; ++i)
            TORCH_CHECK(
                slots[i] >= 0 && slots[i] < shape.slots && positions[i] >= 0 && positions[i] < shape.capacity,
                "token ", i,
                ": slot ", slots[i], " position ", positions[i], ", the cache has ", shape.slots, " slots of ",
                shape.capacity);
        if (has_kernel(to_keys)) {
            to_keys.scalar_type() == at::kFloat ? write_rows<float>(cache, shape, k, v, slots, positions, count)
                                                : write_rows<double>(cache, shape, k, v, slots, positions, count);
            return;
        }
        const at::Tensor slot = indices(slots, count, k.device()), position = indices(positions, count, k.device());
        const at::Tensor tile = position.div(lane_count, "floor"), lane = position.remainder(lane_count);
        to_keys.permute({0, 2, 4, 1, 3}).index_put_({slot, tile, lane}, k);
        to_values.permute({0, 2, 1, 3}).index_put_({slot, position}, v);
    });
}
