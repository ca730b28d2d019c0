#include "include/ctorch_reduce.h"

#include <ATen/ops/all.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/index_add.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "support.hpp"

using namespace ctorch;

namespace {

at::Tensor reduce(ctorch_reduction op, const at::Tensor &x, at::IntArrayRef axes, bool keeps) {
    switch (op) {
        case CTORCH_SUM: return at::sum(x, axes, keeps);
        case CTORCH_MEAN: return at::mean(x, axes, keeps);
        case CTORCH_MAX: return at::amax(x, axes, keeps);
        case CTORCH_MIN: return at::amin(x, axes, keeps);
        case CTORCH_ARGMAX:
            return axes.empty() ? at::argmax(x, std::nullopt, keeps) : at::argmax(x, axes[0], keeps);
    }
    TORCH_CHECK(false, "no reduction has the code ", static_cast<int>(op));
}

}  // namespace

extern "C" {

ctorch_status ctorch_reduce_all(ctorch_reduction op, ctorch_tensor tensor, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(reduce(op, unwrap(tensor), {}, false)); });
}

ctorch_status ctorch_reduce(
    ctorch_reduction op, ctorch_tensor tensor, ptrdiff_t axis, bool keeps_axis, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(reduce(op, unwrap(tensor), {static_cast<int64_t>(axis)}, keeps_axis)); });
}

ctorch_status ctorch_softmax(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::softmax(unwrap(tensor), axis)); });
}

ctorch_status ctorch_log_softmax(ctorch_tensor tensor, ptrdiff_t axis, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::log_softmax(unwrap(tensor), axis)); });
}

ctorch_status ctorch_top_k(ctorch_tensor tensor, ptrdiff_t k, ctorch_tensor *values, ctorch_tensor *indices) {
    return guarded([&] {
        auto [largest, where] = at::topk(unwrap(tensor), k);
        *values = wrap(largest);
        *indices = wrap(where);
    });
}

ctorch_status ctorch_all_finite(ctorch_tensor tensor, bool *out) {
    return guarded([&] {
        const at::Tensor x = unwrap(tensor).detach();
        if (!at::isFloatingType(x.scalar_type())) {
            *out = true;
            return;
        }
        // Infinity and NaN stay in a sum, so a finite sum settles it without a second tensor; a sum may also overflow.
        *out = std::isfinite(at::sum(x).item<double>()) || at::isfinite(x).all().item<bool>();
    });
}

ctorch_status ctorch_segment_sum(ctorch_tensor values, ctorch_tensor segments, ptrdiff_t count, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &x = unwrap(values);
        const at::Tensor zeros = at::zeros({static_cast<int64_t>(count)}, x.options().dtype(at::kDouble));
        *out = wrap(at::index_add(zeros, 0, unwrap(segments), x.to(at::kDouble)).to(x.scalar_type()));
    });
}

}  // extern "C"
