// Products of matrices: libtorch's own. What could take their place was measured on the matrices of a model of 135 M
// parameters (hidden 576, feed-forward 1536) and 1,024 or 1,536 tokens, MKL with AVX2, one thread by its own time:
// weights packed once for all passes (cblas_sgemm_pack) save 0 to 3 % of a product; queries, keys and values in one, or
// gate and up in one, 1 to 3 %; tokens in tiles, for whichever thread is free, between 15 % lost and 1 % saved; and a
// weight's gradient added in place (beta 1) takes as long as one written.
#include "include/ctorch_linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
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

/// Numbers that an operation takes for its result. No input of it: nothing has a gradient in them.
struct Given {
    std::vector<at::Tensor> outs;

    /// - Returns: The numbers of `out`, as a tensor of its own, when they can stand for x·Wᵀ.
    static at::Tensor checked(const at::Tensor &out, const at::Tensor &x, const at::Tensor &weight) {
        TORCH_CHECK(
            x.dim() == 2 && out.dim() == 2 && out.size(0) == x.size(0) && out.size(1) == weight.size(0) &&
                out.scalar_type() == x.scalar_type() && out.device() == x.device() && !out.requires_grad(),
            "given ", out.toString(), " ", out.sizes(), " for the product of ", x.sizes(), " with ", weight.sizes());
        return out.variable_data();
    }
};

/// y = x·Wᵀ + b, of which the numbers are given.
struct GivenLinear : torch::autograd::Function<GivenLinear> {
    static at::Tensor forward(
        AutogradContext *context, const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias,
        const Given &given) {
        // Each for the other's gradient alone: under frozen weights the inputs go, as with a plain product.
        context->save_for_backward(
            {weight.requires_grad() ? x : at::Tensor(), x.requires_grad() ? weight : at::Tensor()});
        context->saved_data["biased"] = bias.has_value();
        return Given::checked(given.outs[0], x, weight);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor by_y = gradients[0].contiguous(), &x = saved[0], &weight = saved[1];
        const bool is_biased = context->saved_data["biased"].toBool();
        const auto needs = [&](size_t i) { return context->needs_input_grad(i); };
        return {
            needs(0) ? at::mm(by_y, weight) : at::Tensor(), needs(1) ? at::mm(by_y.t(), x) : at::Tensor(),
            is_biased && needs(2) ? by_y.sum(0) : at::Tensor(), at::Tensor()};
    }
};

/// yᵢ = x·Wᵢᵀ + bᵢ + s·(x·Aᵢᵀ)·Bᵢᵀ for the matrices that read one input. The adapters' parts are added where the weights'
/// lie, as are all parts of x's gradient, and the products with the narrow A are one product for all of them:
///
///     tᵢ = s·dyᵢ·Bᵢ    dx = t·A + Σᵢ dyᵢ·Wᵢ    dA = tᵀ·x    dBᵢ = s·dyᵢᵀ·(x·Aᵢᵀ)
///
/// As single operations the adapter of a wide matrix costs as much in passes over y, x and their gradients as in products.
struct AdaptedLinears : torch::autograd::Function<AdaptedLinears> {
    /// - Parameters:
    ///   - biases: One a matrix, or none.
    ///   - given: yᵢ, or none.
    static variable_list forward(
        AutogradContext *context, const at::Tensor &x, at::TensorList weights, at::TensorList downs, at::TensorList ups,
        at::TensorList biases, double scale, const Given &given) {
        const at::Tensor down = downs.size() == 1 ? downs[0] : at::cat(downs), narrow = at::mm(x, down.t());
        variable_list outs;
        int64_t start = 0;
        for (size_t i = 0; i < weights.size(); ++i) {
            const int64_t rank = downs[i].size(0);
            if (!given.outs.empty()) {
                outs.push_back(Given::checked(given.outs[i], x, weights[i]));
                continue;
            }
            at::Tensor y = at::linear(x, weights[i], biases.empty() ? std::nullopt : std::optional(biases[i]));
            y.addmm_(narrow.narrow(1, start, rank), ups[i].t(), 1, scale);
            outs.push_back(y);
            start += rank;
        }
        context->saved_data["scale"] = scale;
        context->saved_data["biased"] = !biases.empty();
        variable_list saved = {x, down, narrow};
        saved.insert(saved.end(), weights.begin(), weights.end());
        saved.insert(saved.end(), ups.begin(), ups.end());
        context->save_for_backward(saved);
        return outs;
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const size_t count = gradients.size();
        const at::Tensor &x = saved[0], &down = saved[1], &narrow = saved[2];
        const at::Tensor *weights = &saved[3], *ups = &saved[3 + count];
        const double scale = context->saved_data["scale"].toDouble();
        const bool is_biased = context->saved_data["biased"].toBool();
        // In the order of forward's arguments: x, all W, all A, all B, all b, the scale, what is given.
        const auto at_argument = [&](size_t kind, size_t i) { return 1 + kind * count + i; };
        const auto needs = [&](size_t kind, size_t i) { return context->needs_input_grad(at_argument(kind, i)); };
        variable_list found(1 + (is_biased ? 4 : 3) * count + 2);
        bool needs_down = false;
        for (size_t i = 0; i < count; ++i) needs_down = needs_down || needs(1, i);
        const bool needs_x = context->needs_input_grad(0);
        at::Tensor by_narrow = at::empty_like(narrow);
        int64_t start = 0;
        for (size_t i = 0; i < count; ++i) {
            gradients[i] = gradients[i].contiguous();
            const at::Tensor &by_y = gradients[i];
            const int64_t rank = ups[i].size(1);
            if (needs_x || needs_down) {
                at::Tensor part = by_narrow.narrow(1, start, rank);
                at::mm_out(part, by_y, ups[i] * scale);
            }
            if (needs(0, i)) found[at_argument(0, i)] = at::mm(by_y.t(), x);
            if (needs(2, i)) found[at_argument(2, i)] = at::mm(by_y.t(), narrow.narrow(1, start, rank)).mul_(scale);
            if (is_biased && needs(3, i)) found[at_argument(3, i)] = by_y.sum(0);
            start += rank;
        }
        if (needs_down) {
            const at::Tensor by_down = at::mm(by_narrow.t(), x);
            start = 0;
            for (size_t i = 0; i < count; ++i, start += ups[i - 1].size(1))
                if (needs(1, i)) found[at_argument(1, i)] = by_down.narrow(0, start, ups[i].size(1));
        }
        if (needs_x) {
            at::Tensor by_x = at::mm(by_narrow, down);
            for (size_t i = 0; i < count; ++i) by_x.addmm_(gradients[i], weights[i]);
            found[0] = by_x;
        }
        return found;
    }
};

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" {

ctorch_status ctorch_matmul(ctorch_tensor a, ctorch_tensor b, ctorch_tensor *out) {
    return guarded([&] { *out = wrap(at::matmul(unwrap(a), unwrap(b))); });
}

ctorch_status ctorch_linear(
    ctorch_tensor input, ctorch_tensor weight, ctorch_tensor bias, ctorch_tensor given, ctorch_tensor *out) {
    return guarded([&] {
        if (given) {
            *out = wrap(GivenLinear::apply(
                unwrap(input), unwrap(weight), bias ? std::optional(unwrap(bias)) : std::nullopt, Given{{unwrap(given)}}));
            return;
        }
        *out = wrap(
            bias ? at::linear(unwrap(input), unwrap(weight), unwrap(bias)) : at::linear(unwrap(input), unwrap(weight)));
    });
}

ctorch_status ctorch_adapted_linears(
    ctorch_tensor input, const ctorch_adapted_matrix *matrices, ptrdiff_t count, double scale,
    const ctorch_tensor *given, ctorch_tensor *outs) {
    return guarded([&] {
        std::vector<at::Tensor> weights, downs, ups, biases;
        for (const ctorch_adapted_matrix *one = matrices; one < matrices + count; ++one) {
            weights.push_back(unwrap(one->weight));
            downs.push_back(unwrap(one->down));
            ups.push_back(unwrap(one->up));
            if (one->bias) biases.push_back(unwrap(one->bias));
        }
        TORCH_CHECK(
            count > 0 && (biases.empty() || biases.size() == weights.size()), biases.size(), " biases of ", count,
            " matrices: expected one of each, or none");
        const auto made = AdaptedLinears::apply(
            unwrap(input), at::TensorList(weights), at::TensorList(downs), at::TensorList(ups), at::TensorList(biases),
            scale, Given{given ? unwrap_list(given, count) : std::vector<at::Tensor>()});
        for (ptrdiff_t i = 0; i < count; ++i) outs[i] = wrap(made[i]);
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
