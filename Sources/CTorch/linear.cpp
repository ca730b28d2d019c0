// Products of matrices: libtorch's own. What could take their place was measured on the matrices of a model of 135 M
// parameters (hidden 576, feed-forward 1536) and 1,024 or 1,536 tokens, MKL with AVX2, one thread by its own time:
// weights packed once for all passes (cblas_sgemm_pack) save 0 to 3 % of a product; queries, keys and values in one, or
// gate and up in one, 1 to 3 %; tokens in tiles, for whichever thread is free, between 15 % lost and 1 % saved; and a
// weight's gradient added in place (beta 1) takes as long as one written.
#include "include/ctorch_linear.h"

#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "support.hpp"

namespace ctorch {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// y = x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ, the adapter's part added to the weight's where it lies, as are both parts of x's gradient:
///
///     dx = dy·W + t·A    dA = tᵀ·x    dB = s·dyᵀ·(x·Aᵀ)    t = s·dy·B
///
/// As single operations the adapter of a wide matrix costs as much in passes over y, x and their gradients as in products.
struct AdaptedLinear : torch::autograd::Function<AdaptedLinear> {
    static at::Tensor forward(
        AutogradContext *context, const at::Tensor &x, const at::Tensor &weight, const at::Tensor &down,
        const at::Tensor &up, const std::optional<at::Tensor> &bias, double scale) {
        const at::Tensor narrow = at::mm(x, down.t());
        at::Tensor y = at::linear(x, weight, bias);
        y.addmm_(narrow, up.t(), 1, scale);
        context->saved_data["scale"] = scale;
        context->saved_data["biased"] = bias.has_value();
        context->save_for_backward({x, weight, down, up, narrow});
        return y;
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &weight = saved[1], &down = saved[2], &up = saved[3], &narrow = saved[4];
        const double scale = context->saved_data["scale"].toDouble();
        const at::Tensor by_y = gradients[0].contiguous();
        at::Tensor by_x, by_weight, by_bias, by_down, by_up;
        if (context->needs_input_grad(0) || context->needs_input_grad(2)) {
            const at::Tensor by_narrow = at::mm(by_y, up).mul_(scale);
            if (context->needs_input_grad(2)) by_down = at::mm(by_narrow.t(), x);
            if (context->needs_input_grad(0)) by_x = at::mm(by_y, weight).addmm_(by_narrow, down);
        }
        if (context->needs_input_grad(1)) by_weight = at::mm(by_y.t(), x);
        if (context->needs_input_grad(3)) by_up = at::mm(by_y.t(), narrow).mul_(scale);
        // An input that is not there has no number: the bias is the last.
        if (context->saved_data["biased"].toBool() && context->needs_input_grad(4)) by_bias = by_y.sum(0);
        return {by_x, by_weight, by_down, by_up, by_bias, at::Tensor()};
    }
};

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" {

ctorch_status ctorch_matmul(ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::matmul(unwrap(a), unwrap(b))); });
}

ctorch_status ctorch_linear(ctorch_tensor input, ctorch_tensor weight, ctorch_tensor bias, ctorch_tensor *out) {
    return guarded([&] {
        *out = wrap(
            bias ? at::linear(unwrap(input), unwrap(weight), unwrap(bias)) : at::linear(unwrap(input), unwrap(weight)));
    });
}

ctorch_status ctorch_adapted_linear(
    ctorch_tensor input, ctorch_tensor weight, ctorch_tensor bias, ctorch_tensor down, ctorch_tensor up, double scale,
    ctorch_tensor *out) {
    return guarded([&] {
        *out = wrap(AdaptedLinear::apply(
            unwrap(input), unwrap(weight), unwrap(down), unwrap(up),
            bias ? std::optional(unwrap(bias)) : std::nullopt, scale));
    });
}

ctorch_status ctorch_principal_directions(ctorch_tensor matrix, ptrdiff_t count, ctorch_tensor *out) {
    return guarded([&] {
        const at::Tensor &a = unwrap(matrix);
        TORCH_CHECK(a.dim() == 2, "a matrix has two axes, not ", a.dim());
        TORCH_CHECK(
            count >= 1 && count <= a.size(1) && count <= a.size(0), count, " directions of a matrix ", a.sizes());
        // A = QR has the right singular vectors of R, which is no larger than the shorter side.
        const at::Tensor r = std::get<1>(at::linalg_qr(a, "r"));
        const at::Tensor directions = std::get<2>(at::linalg_svd(r, /*full_matrices=*/false));
        *out = wrap(directions.narrow(0, 0, count).clone(at::MemoryFormat::Contiguous));
    });
}

}  // extern "C"
