// Products of matrices: libtorch's own. What could take their place was measured on the matrices of a model of 135 M
// parameters (hidden 576, feed-forward 1536) and 1,024 or 1,536 tokens, MKL with AVX2, one thread by its own time:
// weights packed once for all passes (cblas_sgemm_pack) save 0 to 3 % of a product; queries, keys and values in one, or
// gate and up in one, 1 to 3 %; tokens in tiles, for whichever thread is free, between 15 % lost and 1 % saved; and a
// weight's gradient added in place (beta 1) takes as long as one written.
#include "include/ctorch_linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "adapters.hpp"
#include "gate.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Numbers that an operation takes for its results. No input of it: nothing has a gradient in them.
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

/// yᵢ = x·Wᵢᵀ + bᵢ for the matrices that read one input, or with adapters + s·(x·Aᵢᵀ)·Bᵢᵀ. All parts of x's gradient are
/// added where the first one lies:
///
///     dx = Σᵢ dyᵢ·Wᵢ    dWᵢ = dyᵢᵀ·x    dbᵢ = Σ dyᵢ
///
/// As single operations they would be added up by passes over them, one a matrix. With adapters their parts join, and the
/// products with the narrow A are one for all of them:
///
///     tᵢ = s·dyᵢ·Bᵢ    dx = t·A + Σᵢ dyᵢ·Wᵢ    dA = tᵀ·x    dBᵢ = s·dyᵢᵀ·(x·Aᵢᵀ)
///
/// As single operations the adapter of a wide matrix costs as much in passes over y, x and their gradients as in products.
///
/// An x that is a gated activation is not kept: the pass over memory that finds the gradients of its two halves makes it
/// again, and nothing makes it before where the products are given.
struct Linears : torch::autograd::Function<Linears> {
    /// - Parameters:
    ///   - biases: One a matrix, or none.
    ///   - downs, ups: A and B, one of each a matrix, or none.
    ///   - factor: x is silu(input)·factor where there is one, else the input.
    ///   - given: yᵢ, or none.
    static variable_list forward(
        AutogradContext *context, const at::Tensor &input, at::TensorList weights, at::TensorList biases,
        at::TensorList downs, at::TensorList ups, at::TensorList factor, double scale, const Given &given) {
        const bool is_gated = !factor.empty();
        const at::Tensor x = is_gated && given.outs.empty() ? gated(input, factor[0]) : input;
        at::Tensor down, narrow;
        if (!downs.empty()) {
            down = downs.size() == 1 ? downs[0] : at::cat(downs);
            if (given.outs.empty()) narrow = at::mm(x, down.t());
        }
        variable_list outs;
        int64_t start = 0;
        for (size_t i = 0; i < weights.size(); ++i) {
            if (!given.outs.empty()) {
                outs.push_back(Given::checked(given.outs[i], x, weights[i]));
                continue;
            }
            at::Tensor y = at::linear(x, weights[i], biases.empty() ? std::nullopt : std::optional(biases[i]));
            if (!downs.empty()) {
                const int64_t rank = downs[i].size(0);
                y.addmm_(narrow.narrow(1, start, rank), ups[i].t(), 1, scale);
                start += rank;
            }
            outs.push_back(y);
        }
        context->saved_data["scale"] = scale;
        context->saved_data["biased"] = !biases.empty();
        // Each for the other's gradient alone: under frozen weights the inputs go, as with a plain product.
        const auto is_learned = [](at::TensorList list) {
            return std::any_of(list.begin(), list.end(), [](const at::Tensor &one) { return one.requires_grad(); });
        };
        const bool is_wanted = is_gated ? input.requires_grad() || factor[0].requires_grad() : input.requires_grad();
        variable_list saved = {
            is_gated || is_learned(weights) || is_learned(downs) || is_learned(ups) ? input : at::Tensor(),
            is_gated ? factor[0] : at::Tensor(), down};
        for (const at::Tensor &weight : weights) saved.push_back(is_wanted ? weight : at::Tensor());
        saved.insert(saved.end(), ups.begin(), ups.end());
        context->save_for_backward(saved);
        return outs;
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const size_t count = gradients.size();
        const at::Tensor &input = saved[0], &factor = saved[1], &down = saved[2];
        const at::Tensor *weights = &saved[3], *ups = weights + count;
        const double scale = context->saved_data["scale"].toDouble();
        const bool is_biased = context->saved_data["biased"].toBool(), is_adapted = down.defined(),
                   is_gated = factor.defined();
        // In the order of forward's arguments: the input, all W, all b, all A, all B, the factor, the scale, what is given.
        const size_t first_bias = 1 + count, first_down = first_bias + (is_biased ? count : 0),
                     first_up = first_down + (is_adapted ? count : 0), end = first_up + (is_adapted ? count : 0);
        const auto needs = [&](size_t argument) { return context->needs_input_grad(argument); };
        const auto needs_any = [&](size_t first) {
            for (size_t i = first; i < first + count; ++i)
                if (needs(i)) return true;
            return false;
        };
        const bool needs_adapter = is_adapted && (needs_any(first_down) || needs_any(first_up)),
                   needs_x = needs(0) || (is_gated && needs(end));
        variable_list found(end + is_gated + 2);
        for (at::Tensor &gradient : gradients) gradient = gradient.contiguous();
        AdapterGradients adapter;
        if (is_adapted && (needs_x || (needs_adapter && !is_gated)))
            adapter = adapter_gradients(
                gradients, needs_adapter && !is_gated ? input.contiguous() : at::Tensor(), down, ups, scale);
        at::Tensor by_x;
        if (needs_x) {
            if (is_adapted) by_x = at::mm(adapter.by_narrow, down);
            for (size_t i = 0; i < count; ++i)
                by_x = by_x.defined() ? by_x.addmm_(gradients[i], weights[i]) : at::mm(gradients[i], weights[i]);
        }
        at::Tensor x = input;
        if (is_gated) {
            const bool is_read = needs_any(1) || needs_adapter;
            if (needs_x) {
                GateGradients of_gate = gate_gradients(input, factor, by_x, is_read);
                by_x.reset();
                found[0] = of_gate.by_gate;
                found[end] = of_gate.by_up;
                x = of_gate.output;
            } else if (is_read) {
                x = gated(input, factor);
            }
            if (needs_adapter) adapter = adapter_gradients(gradients, x, down, ups, scale);
        } else {
            found[0] = by_x;
        }
        int64_t first = 0;  // of an adapter's narrow numbers
        for (size_t i = 0; i < count; ++i) {
            if (needs(1 + i)) found[1 + i] = at::mm(gradients[i].t(), x);
            if (is_biased && needs(first_bias + i)) found[first_bias + i] = gradients[i].sum(0);
            if (!is_adapted) continue;
            if (needs(first_up + i)) found[first_up + i] = adapter.by_up[i];
            const int64_t rank = ups[i].size(1);
            if (needs(first_down + i)) found[first_down + i] = adapter.by_down.narrow(0, first, rank);
            first += rank;
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

ctorch_status ctorch_linears(
    ctorch_tensor input, ctorch_tensor factor, const ctorch_linear_map *maps, ptrdiff_t count, double scale,
    const ctorch_tensor *given, ctorch_tensor *outs) {
    return guarded([&] {
        const at::Tensor &x = unwrap(input);
        std::vector<at::Tensor> factors;
        if (factor) factors.push_back(unwrap(factor));
        TORCH_CHECK(
            !factor || (factors[0].sizes() == x.sizes() && factors[0].scalar_type() == x.scalar_type()), "gate ",
            x.toString(), " ", x.sizes(), " and up must have one shape and element type");
        if (count == 1 && !maps->down && !given && !factor) {
            *outs = wrap(at::linear(
                x, unwrap(maps->weight), maps->bias ? std::optional(unwrap(maps->bias)) : std::nullopt));
            return;
        }
        std::vector<at::Tensor> weights, biases, downs, ups;
        for (const ctorch_linear_map *one = maps; one < maps + count; ++one) {
            weights.push_back(unwrap(one->weight));
            if (one->bias) biases.push_back(unwrap(one->bias));
            if (!one->down) continue;
            downs.push_back(unwrap(one->down));
            ups.push_back(unwrap(one->up));
            const at::Tensor &down = downs.back(), &up = ups.back();
            const auto fits = [&](const at::Tensor &half) {
                return half.dim() == 2 && half.scalar_type() == x.scalar_type() && half.device() == x.device();
            };
            TORCH_CHECK(
                fits(down) && fits(up) && down.size(1) == x.size(-1) && up.size(0) == weights.back().size(0) &&
                    up.size(1) == down.size(0),
                "an adapter of ", down.toString(), " ", down.sizes(), " and ", up.sizes(), " of a matrix ",
                weights.back().sizes(), " that reads ", x.toString(), " ", x.sizes());
        }
        const auto all_or_none = [&](const std::vector<at::Tensor> &list) {
            return list.empty() || list.size() == weights.size();
        };
        TORCH_CHECK(
            x.dim() == 2 && count > 0 && all_or_none(biases) && all_or_none(downs), biases.size(), " biases and ",
            downs.size(), " adapters of ", count, " matrices that read ", x.sizes(),
            ": expected one of each, or none, and an input of two axes");
        const auto made = Linears::apply(
            x, at::TensorList(weights), at::TensorList(biases), at::TensorList(downs), at::TensorList(ups),
            at::TensorList(factors), scale, Given{given ? unwrap_list(given, count) : std::vector<at::Tensor>()});
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
