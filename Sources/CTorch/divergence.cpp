#include "include/ctorch_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "support.hpp"

namespace ctorch {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor log_probabilities(const at::Tensor &states, const at::Tensor &words, double temperature) {
    at::Tensor logits = at::mm(states, words.t());
    if (temperature != 1) logits.div_(temperature);
    return at::log_softmax(logits, 1);
}

/// Two policies over some rows, p and q, [n, V] each, and m = beta·q + (1 − beta)·p between them.
///
///     divergence  beta·KL(q‖m) + (1 − beta)·KL(p‖m); its limits' slopes, KL(p‖q) at 1 and KL(q‖p) at 0
struct Pair {
    double beta;
    /// p, and log p − log m; at 0, where m is p, log p − log q. `other` is q, where it is used.
    at::Tensor powers, differences, other;
    /// q·(log q − log m), where it is used.
    at::Tensor other_terms;

    Pair(
        const at::Tensor &states, const at::Tensor &words, const at::Tensor &other_states,
        const at::Tensor &other_words, double temperature, double beta)
        : beta(beta) {
        powers = log_probabilities(states, words, temperature);
        other = log_probabilities(other_states, other_words, temperature);
        if (beta == 1) {
            differences = other.neg_().add_(powers);
        } else if (beta == 0) {
            differences = powers - other;
            other.exp_();
        } else {
            const at::Tensor mixture = at::logaddexp(powers + std::log1p(-beta), other + std::log(beta));
            differences = powers - mixture;
            other_terms = (other - mixture).mul_(other.exp_());
        }
        powers.exp_();
    }

    at::Tensor values() const {
        if (beta == 1) return (powers * differences).sum(1);
        if (beta == 0) return (other * differences).sum(1).neg_();
        return (powers * differences).sum(1).mul_(1 - beta).add_(other_terms.sum(1), beta);
    }

    /// By each logit, without the temperature.
    at::Tensor gradient() {
        if (beta == 0) return powers - other;
        const at::Tensor sums = (powers * differences).sum(1, true);
        differences.sub_(sums).mul_(powers);
        return beta == 1 ? differences : differences.mul_(1 - beta);
    }
};

struct Divergence : torch::autograd::Function<Divergence> {
    static at::Tensor forward(
        AutogradContext *context, const at::Tensor &hidden, const at::Tensor &head, const at::Tensor &other_hidden,
        const at::Tensor &other_head, double temperature, double beta,
        int64_t chunk_elements) {
        const auto type = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        const at::Tensor states = hidden.to(type), words = head.to(type), others = other_hidden.to(type),
                         other_words = other_head.to(type);
        const int64_t count = states.size(0), chunk = std::max<int64_t>(1, chunk_elements / words.size(0));
        at::Tensor sums = at::empty({count}, states.options());
        for (int64_t start = 0; start < count; start += chunk) {
            const int64_t length = std::min(chunk, count - start);
            const Pair pair(
                states.narrow(0, start, length), words, others.narrow(0, start, length), other_words, temperature,
                beta);
            sums.narrow(0, start, length).copy_(pair.values());
        }
        context->saved_data["temperature"] = temperature;
        context->saved_data["beta"] = beta;
        context->saved_data["chunk"] = chunk;
        context->save_for_backward({hidden, head, other_hidden, other_head});
        return sums;
    }

    /// By logit v: (1 − beta)·p_v·(log p_v − log m_v − KL(p‖m)) / temperature; p_v·(log p_v − log q_v − KL(p‖q)) at 1,
    /// p_v − q_v at 0.
    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &hidden = saved[0], &head = saved[1];
        const double temperature = context->saved_data["temperature"].toDouble();
        const int64_t chunk = context->saved_data["chunk"].toInt();
        const double beta = context->saved_data["beta"].toDouble();
        const auto type = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        const at::Tensor states = hidden.to(type), words = head.to(type), others = saved[2].to(type),
                         other_words = saved[3].to(type);
        const at::Tensor factors = gradients[0].to(type) / temperature;
        const bool wants_states = context->needs_input_grad(0), wants_words = context->needs_input_grad(1);
        at::Tensor by_states = wants_states ? at::empty_like(states) : at::Tensor(),
                   by_words = wants_words ? at::zeros_like(words) : at::Tensor();
        const int64_t count = states.size(0);
        for (int64_t start = 0; start < count; start += chunk) {
            const int64_t length = std::min(chunk, count - start);
            const auto part = [&](const at::Tensor &whole) { return whole.narrow(0, start, length); };
            Pair pair(part(states), words, part(others), other_words, temperature, beta);
            at::Tensor by_logits = pair.gradient().mul_(part(factors).unsqueeze(1));
            if (wants_states) {
                at::Tensor target = part(by_states);
                at::mm_out(target, by_logits, words);
            }
            if (wants_words) by_words.addmm_(by_logits.t(), part(states));
        }
        return {
            wants_states ? by_states.to(hidden.scalar_type()) : at::Tensor(),
            wants_words ? by_words.to(head.scalar_type()) : at::Tensor(),
            at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    }
};

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_divergence(
    ctorch_tensor hidden, ctorch_tensor head, ctorch_tensor other_hidden, ctorch_tensor other_head,
    double temperature, double beta, ptrdiff_t chunk_elements, ctorch_tensor *divergence) {
    return guarded([&] {
        const at::Tensor &states = unwrap(hidden), &words = unwrap(head), &others = unwrap(other_hidden),
                         &other_words = unwrap(other_head);
        TORCH_CHECK(
            states.dim() == 2 && words.dim() == 2 && states.size(1) == words.size(1), "hidden ", states.sizes(),
            " and head ", words.sizes(), " must be [tokens, D] and [vocabulary, D]");
        TORCH_CHECK(
            others.dim() == 2 && other_words.dim() == 2 && others.size(1) == other_words.size(1) &&
                others.size(0) == states.size(0) && other_words.size(0) == words.size(0),
            "the other policy's hidden ", others.sizes(), " and head ", other_words.sizes(), " must have ",
            states.size(0), " tokens and ", words.size(0), " words");
        TORCH_CHECK(beta >= 0 && beta <= 1, "beta ", beta, ": must be from 0 to 1");
        TORCH_CHECK(temperature > 0, "temperature ", temperature, ": must be above 0");
        *divergence = wrap(
            Divergence::apply(
                states, words, others.detach(), other_words.detach(), temperature, beta, chunk_elements));
    });
}
