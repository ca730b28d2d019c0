#include "include/ctorch_shape.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/narrow.h>
#include <ATen/ops/permute.h>
#include <ATen/ops/reshape.h>
#include <ATen/ops/select.h>
#include <ATen/ops/split_with_sizes.h>
#include <ATen/ops/squeeze.h>
#include <ATen/ops/transpose.h>
#include <ATen/ops/unsqueeze.h>

#include "support.hpp"

using namespace ctorch;

extern "C" {

ctorch_status ctorch_reshape(ctorch_tensor tensor, const ptrdiff_t *shape, size_t rank, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::reshape(unwrap(tensor), sizes(shape, rank))); });
}

ctorch_status ctorch_expand(ctorch_tensor tensor, const ptrdiff_t *shape, size_t rank, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unwrap(tensor).expand(sizes(shape, rank))); });
}

ctorch_status ctorch_transpose(ctorch_tensor tensor, ptrdiff_t a, ptrdiff_t b, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::transpose(unwrap(tensor), a, b)); });
}

ctorch_status ctorch_permute(ctorch_tensor tensor, const ptrdiff_t *axes, size_t rank, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::permute(unwrap(tensor), sizes(axes, rank))); });
}

ctorch_status ctorch_unsqueeze(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::unsqueeze(unwrap(tensor), axis)); });
}

ctorch_status ctorch_squeeze(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &x = unwrap(tensor);
        TORCH_CHECK(x.size(axis) == 1, "axis ", axis, " of ", x.sizes(), " has not size 1");
        *out = wrap(at::squeeze(x, axis));
    });
}

ctorch_status ctorch_narrow(
    ctorch_tensor tensor, ptrdiff_t axis, ptrdiff_t start, ptrdiff_t length, ctorch_tensor *out) {
    return guarded([&] {
        *out = wrap(at::narrow(unwrap(tensor), axis, static_cast<int64_t>(start), static_cast<int64_t>(length)));
    });
}

ctorch_status ctorch_select(ctorch_tensor tensor, ptrdiff_t axis, ptrdiff_t index, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::select(unwrap(tensor), axis, index)); });
}

ctorch_status ctorch_flip(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::flip(unwrap(tensor), {static_cast<int64_t>(axis)})); });
}

ctorch_status ctorch_concatenate(const ctorch_tensor *tensors, size_t count, ptrdiff_t axis, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::cat(unwrap_list(tensors, count), axis)); });
}

ctorch_status ctorch_split(
    ctorch_tensor tensor, const ptrdiff_t *lengths, size_t count, ptrdiff_t axis, ctorch_tensor *out) {
    return guarded([&] { wrap_list(at::split_with_sizes(unwrap(tensor), sizes(lengths, count), axis), out); });
}

}  // extern "C"
