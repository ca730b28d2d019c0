#include "include/ctorch_index.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/index_add.h>
#include <ATen/ops/index_select.h>

#include "support.hpp"

using namespace ctorch;

namespace {

void check_sizes(const at::Tensor &target, const at::Tensor &source) {
    TORCH_CHECK(
        target.sizes() == source.sizes(), "the source has sizes ", source.sizes(), ", the target ", target.sizes());
}

template <class Body>
ctorch_status unrecorded(Body &&body) {
    return guarded([&] {
        at::NoGradGuard guard;
        body();
    });
}

}  // namespace

extern "C" {

ctorch_status ctorch_index_select(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor index, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::index_select(unwrap(tensor), axis, unwrap(index))); });
}

ctorch_status ctorch_gather(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor index, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::gather(unwrap(tensor), axis, unwrap(index))); });
}

ctorch_status ctorch_index_add(
    ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor index, ctorch_tensor source, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::index_add(unwrap(tensor), axis, unwrap(index), unwrap(source))); });
}

ctorch_status ctorch_copy_in_place(ctorch_tensor tensor, ctorch_tensor source) {
    return unrecorded([&] {
        check_sizes(unwrap(tensor), unwrap(source));
        unwrap(tensor).copy_(unwrap(source));
    });
}

ctorch_status ctorch_add_in_place(ctorch_tensor tensor, ctorch_tensor source, double scale) {
    return unrecorded([&] {
        check_sizes(unwrap(tensor), unwrap(source));
        unwrap(tensor).add_(unwrap(source), scale);
    });
}

ctorch_status ctorch_multiply_in_place(ctorch_tensor tensor, double factor) {
    return unrecorded([&] { unwrap(tensor).mul_(factor); });
}

ctorch_status ctorch_fill_in_place(ctorch_tensor tensor, double value) {
    return unrecorded([&] { unwrap(tensor).fill_(value); });
}

}  // extern "C"
