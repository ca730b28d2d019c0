#include "include/ctorch_elementwise.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/add.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/digamma.h>
#include <ATen/ops/div.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/gt.h>
#include <ATen/ops/le.h>
#include <ATen/ops/lgamma.h>
#include <ATen/ops/log.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/masked_fill.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "support.hpp"

using namespace ctorch;

namespace {

/// libtorch turns integers beside a floating scalar into floats; a whole number beside integers stays whole here.
at::Scalar scalar(double value, const at::Tensor &beside) {
    const bool fits = std::trunc(value) == value && std::abs(value) < 9.0e15;
    if (fits && at::isIntegralType(beside.scalar_type(), /*includeBool=*/false)) {
        return at::Scalar(static_cast<int64_t>(value));
    }
    return at::Scalar(value);
}

/// minimum and maximum have no scalar form; clamp passes NaN through as they do.
at::Tensor binary(ctorch_binary_op op, const at::Tensor &a, const at::Scalar &b) {
    switch (op) {
        case CTORCH_ADD: return at::add(a, b);
        case CTORCH_SUBTRACT: return at::sub(a, b);
        case CTORCH_MULTIPLY: return at::mul(a, b);
        case CTORCH_DIVIDE: return at::div(a, b);
        case CTORCH_MINIMUM: return at::clamp(a, std::nullopt, b);
        case CTORCH_MAXIMUM: return at::clamp(a, b, std::nullopt);
        case CTORCH_GREATER: return at::gt(a, b);
        case CTORCH_LESS: return at::lt(a, b);
        case CTORCH_LESS_EQUAL: return at::le(a, b);
        case CTORCH_EQUAL: return at::eq(a, b);
        default: TORCH_CHECK(false, "no operation with a number has the code ", static_cast<int>(op));
    }
}

at::Tensor binary(ctorch_binary_op op, const at::Tensor &a, const at::Tensor &b) {
    switch (op) {
        case CTORCH_ADD: return at::add(a, b);
        case CTORCH_SUBTRACT: return at::sub(a, b);
        case CTORCH_MULTIPLY: return at::mul(a, b);
        case CTORCH_DIVIDE: return at::div(a, b);
        case CTORCH_MINIMUM: return at::minimum(a, b);
        case CTORCH_MAXIMUM: return at::maximum(a, b);
        case CTORCH_GREATER: return at::gt(a, b);
        case CTORCH_LESS: return at::lt(a, b);
        case CTORCH_LESS_EQUAL: return at::le(a, b);
        case CTORCH_EQUAL: return at::eq(a, b);
        case CTORCH_LOGICAL_AND: return at::logical_and(a, b);
    }
    TORCH_CHECK(false, "no operation on two tensors has the code ", static_cast<int>(op));
}

at::Tensor unary(ctorch_unary_op op, const at::Tensor &x) {
    switch (op) {
        case CTORCH_NEGATE: return at::neg(x);
        case CTORCH_EXP: return at::exp(x);
        case CTORCH_EXPM1: return at::expm1(x);
        case CTORCH_LOG: return at::log(x);
        case CTORCH_SQRT: return at::sqrt(x);
        case CTORCH_RSQRT: return at::rsqrt(x);
        case CTORCH_SQUARE: return at::mul(x, x);  // at::square goes through pow
        case CTORCH_ABS: return at::abs(x);
        case CTORCH_SIGN: return at::sign(x);
        case CTORCH_SIGMOID: return at::sigmoid(x);
        case CTORCH_LOG_SIGMOID: return at::log_sigmoid(x);
        case CTORCH_TANH: return at::tanh(x);
        case CTORCH_COS: return at::cos(x);
        case CTORCH_SIN: return at::sin(x);
        case CTORCH_LOG_GAMMA: return at::lgamma(x);
        case CTORCH_DIGAMMA: return at::digamma(x);
        case CTORCH_LOGICAL_NOT: return at::logical_not(x);
    }
    TORCH_CHECK(false, "no operation on one tensor has the code ", static_cast<int>(op));
}

}  // namespace

extern "C" {

ctorch_status ctorch_unary(ctorch_unary_op op, ctorch_tensor tensor, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(unary(op, unwrap(tensor))); });
}

ctorch_status ctorch_binary(ctorch_binary_op op, ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(binary(op, unwrap(a), unwrap(b))); });
}

bool ctorch_ranks_fit(ctorch_tensor a, ctorch_tensor b) {
    const int64_t rank_a = unwrap(a).dim(), rank_b = unwrap(b).dim();
    return rank_a == rank_b || rank_a == 0 || rank_b == 0;
}

ctorch_status ctorch_binary_scalar(ctorch_binary_op op, ctorch_tensor a, double b, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(binary(op, unwrap(a), scalar(b, unwrap(a)))); });
}

ctorch_status ctorch_scalar_minus(double b, ctorch_tensor a, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::rsub(unwrap(a), scalar(b, unwrap(a)))); });
}

ctorch_status ctorch_scalar_over(double b, ctorch_tensor a, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(b == 1 ? at::reciprocal(unwrap(a)) : at::mul(at::reciprocal(unwrap(a)), b)); });
}

ctorch_status ctorch_clamp(ctorch_tensor tensor, double low, double high, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &x = unwrap(tensor);
        *out = wrap(at::clamp(x, scalar(low, x), scalar(high, x)));
    });
}

ctorch_status ctorch_where(ctorch_tensor condition, ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::where(unwrap(condition), unwrap(a), unwrap(b))); });
}

ctorch_status ctorch_masked_fill(ctorch_tensor tensor, ctorch_tensor mask, double value, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::masked_fill(unwrap(tensor), unwrap(mask), value)); });
}

}  // extern "C"
