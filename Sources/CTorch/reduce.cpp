#include "include/ctorch_reduce.h"

#include <ATen/ops/all.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/index_add.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

using namespace ctorch;

namespace {

at::Tensor reduce(ctorch_reduction op, const at::Tensor &x, at::IntArrayRef axes, bool keeps) {
    switch (op) {
        case CTORCH_SUM: return at::sum(x, axes, keeps);
        case CTORCH_MEAN: return at::mean(x, axes, keeps);
        case CTORCH_MAX: return at::amax(x, axes, keeps);
        case CTORCH_ARGMAX:
            return axes.empty() ? at::argmax(x, std::nullopt, keeps) : at::argmax(x, axes[0], keeps);
    }
    TORCH_CHECK(false, "no reduction has the code ", static_cast<int>(op));
}

/// Whether no number is infinite or NaN, whose exponents are all ones.
template <class Word, Word exponent>
struct FinitePart {
    static CTORCH_INLINE void run(const Word *words, int64_t count, bool *out) {
        Word found = 0;
        for (int64_t i = 0; i < count; ++i) found |= static_cast<Word>((words[i] & exponent) == exponent);
        *out = found == 0;
    }
};

template <class Word, Word exponent>
bool all_finite(const at::Tensor &x) {
    constexpr int64_t part = 1 << 16;
    const int64_t count = x.numel();
    const auto *words = static_cast<const Word *>(x.const_data_ptr());
    std::atomic<bool> is_finite{true};
    parallel_tasks((count + part - 1) / part, part / 4, [&](int64_t task, int) {
        bool is_part = true;
        dispatch<FinitePart<Word, exponent>>(words + task * part, std::min(part, count - task * part), &is_part);
        if (!is_part) is_finite = false;
    });
    return is_finite;
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
        // Without memory: after a step that has been written nothing may fail.
        if (x.is_cpu() && x.is_contiguous()) {
            switch (x.scalar_type()) {
                case at::kFloat: *out = all_finite<uint32_t, 0x7F800000>(x); return;
                case at::kDouble: *out = all_finite<uint64_t, 0x7FF0000000000000>(x); return;
                case at::kBFloat16: *out = all_finite<uint16_t, 0x7F80>(x); return;
                case at::kHalf: *out = all_finite<uint16_t, 0x7C00>(x); return;
                default: break;
            }
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
