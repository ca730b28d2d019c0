// Inside CTorch only: the sizes of a cache of keys and values, for those who write it and those who read it.
#pragma once

#include <ATen/ops/tensor.h>

#include <algorithm>

#include "include/ctorch_attention.h"
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

/// Puts keys and values of one head into a cache.
template <class T>
class CacheWriter {
  public:
    CacheWriter(const ctorch_decode_cache &cache, const CacheShape &shape)
        : shape_(shape), keys_(unwrap(cache.keys).template mutable_data_ptr<T>()),
          values_(unwrap(cache.values).template mutable_data_ptr<T>()) {}

    void write(int64_t slot, int64_t head, int64_t position, const T *key, const T *value) const {
        const int64_t index = slot * shape_.heads + head;
        T *tile = keys_ + (index * shape_.tiles + position / lane_count) * shape_.size * lane_count;
        for (int64_t d = 0; d < shape_.size; ++d) tile[d * lane_count + position % lane_count] = key[d];
        std::copy_n(value, shape_.size, values_ + (index * shape_.capacity + position) * shape_.size);
    }

  private:
    CacheShape shape_;
    T *keys_, *values_;
};

inline bool has_kernel(const at::Tensor &x) {
    return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

inline at::Tensor indices(const int64_t *values, int64_t count, at::Device device) {
    return at::tensor(at::ArrayRef<int64_t>(values, count), at::kLong).to(device);
}

}  // namespace ctorch
