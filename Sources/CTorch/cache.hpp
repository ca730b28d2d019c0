// Inside CTorch only: the sizes of a cache of keys and values, for those who write it and those who read it.
#pragma once

#include <ATen/ops/tensor.h>

#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {

inline int64_t whole_tiles(int64_t length) { return (length + lane_count - 1) / lane_count; }

/// Sizes of a cache as the header states them.
struct CacheShape {
    int64_t slots, heads, tiles, size, capacity;

    CacheShape(const at::Tensor &keys, const at::Tensor &values)
        : slots(keys.size(0)), heads(keys.size(1)), tiles(keys.size(2)), size(keys.size(3)), capacity(values.size(2)) {
        TORCH_CHECK(
            keys.dim() == 5 && values.dim() == 4 && keys.size(4) == lane_count && values.size(0) == slots &&
                values.size(1) == heads && values.size(3) == size && tiles == whole_tiles(capacity) &&
                keys.is_contiguous() && values.is_contiguous() && keys.scalar_type() == values.scalar_type(),
            "cache keys ", keys.sizes(), " and values ", values.sizes(),
            " must be [slots, heads, capacity / 16, d, 16] and [slots, heads, capacity, d]");
    }
};

inline bool has_kernel(const at::Tensor &x) {
    return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

inline at::Tensor indices(const int64_t *values, int64_t count, at::Device device) {
    return at::tensor(at::ArrayRef<int64_t>(values, count), at::kLong).to(device);
}

}  // namespace ctorch
