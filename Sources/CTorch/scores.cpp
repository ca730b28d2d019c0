#include "include/ctorch_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/custom_function.h>

#include "collective.hpp"
#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// max, sum of exp(z − max) and sum of exp(z − max)·(z − max) of one row.
template <class T>
struct RowStatistics {
    static CTORCH_INLINE void run(const T *z, int64_t count, T *out) {
        const int64_t whole = count / lane_count * lane_count;
        const T highest = largest(z, count);
        Lanes<T> sums = {}, products = {};
        for (int64_t i = 0; i < whole; i += lane_count) {
            const Lanes<T> shifted = *reinterpret_cast<const Lanes<T> *>(z + i) - highest;
            Lanes<T> power = shifted;
            exponentials(power);
            sums += power;
            products += power * shifted;
        }
        T sum = total<T>(sums), product = total<T>(products);
        for (int64_t i = whole; i < count; ++i) {
            const T shifted = z[i] - highest, power = std::exp(shifted);
            sum += power;
            product += power * shifted;
        }
        out[0] = highest;
        out[1] = sum;
        out[2] = product;
    }
};

/// z becomes softmax(z)·(a + b·z), the part of the gradient that every word of a row has.
template <class T>
struct RowGradient {
    static CTORCH_INLINE void run(T *z, int64_t count, T log_sum, T a, T b) {
        const int64_t whole = count / lane_count * lane_count;
        for (int64_t i = 0; i < whole; i += lane_count) {
            auto &lanes = *reinterpret_cast<Lanes<T> *>(z + i);
            const Lanes<T> logits = lanes;
            Lanes<T> power = logits - log_sum;
            exponentials(power);
            lanes = power * (logits * b + a);
        }
        for (int64_t i = whole; i < count; ++i) z[i] = std::exp(z[i] - log_sum) * (a + b * z[i]);
    }
};

bool has_kernel(const at::Tensor &logits) {
    return logits.is_cpu() && (logits.scalar_type() == at::kFloat || logits.scalar_type() == at::kDouble);
}

/// Scaled logits [n, V] -> log-sum-exp and entropy, [n] each.
std::pair<at::Tensor, at::Tensor> statistics(const at::Tensor &logits) {
    if (!has_kernel(logits)) {
        const at::Tensor highest = at::amax(logits, {1}, true), shifted = logits - highest, powers = shifted.exp();
        const at::Tensor sums = powers.sum(1);
        return {sums.log() + highest.squeeze(1), sums.log() - (powers * shifted).sum(1) / sums};
    }
    const int64_t rows = logits.size(0), words = logits.size(1);
    at::Tensor log_sums = at::empty({rows}, logits.options()), entropies = at::empty({rows}, logits.options());
    auto fill = [&](auto zero) {
        using T = decltype(zero);
        const T *z = logits.const_data_ptr<T>();
        T *log_sum = log_sums.mutable_data_ptr<T>(), *entropy = entropies.mutable_data_ptr<T>();
        parallel_tasks(rows, 4 * words, [&](int64_t row, int) {
            T found[3];
            dispatch<RowStatistics<T>>(z + row * words, words, static_cast<T *>(found));
            log_sum[row] = found[0] + std::log(found[1]);
            entropy[row] = std::log(found[1]) - found[2] / found[1];
        });
    };
    logits.scalar_type() == at::kFloat ? fill(0.0f) : fill(0.0);
    return {log_sums, entropies};
}

/// Which rows of a head are here: all of them without a group, else one rank's.
struct HeadPart {
    GroupPointer group;
    int64_t first = 0;
};

/// Scaled logits [n, v] of some of the words -> row by row what RowStatistics finds, in three tensors [n].
void part_statistics(const at::Tensor &logits, at::Tensor highest, at::Tensor sums, at::Tensor products) {
    TORCH_CHECK(has_kernel(logits), "ranks share words in float32 or float64 on the CPU");
    const int64_t rows = logits.size(0), words = logits.size(1);
    auto fill = [&](auto zero) {
        using T = decltype(zero);
        const T *z = logits.const_data_ptr<T>();
        T *to[] = {highest.mutable_data_ptr<T>(), sums.mutable_data_ptr<T>(), products.mutable_data_ptr<T>()};
        parallel_tasks(rows, 4 * words, [&](int64_t row, int) {
            T found[3];
            dispatch<RowStatistics<T>>(z + row * words, words, static_cast<T *>(found));
            for (int i = 0; i < 3; ++i) to[i][row] = found[i];
        });
    };
    logits.scalar_type() == at::kFloat ? fill(0.0f) : fill(0.0);
}

/// Scaled logits [n, V] become the gradient of  Σ gradient_log·log-prob + gradient_entropy·entropy  by them:
/// gradient_log·(onehot − p) − gradient_entropy·p·(log p + entropy). `gradient_target` is gradient_log where the target
/// is among the words that are here.
void turn_into_gradient(
    at::Tensor &logits, const at::Tensor &targets, const at::Tensor &log_sums, const at::Tensor &entropies,
    const at::Tensor &gradient_log, const at::Tensor &gradient_entropy, const at::Tensor &gradient_target) {
    const at::Tensor constant = -gradient_log - gradient_entropy * (entropies - log_sums), factor = -gradient_entropy;
    if (has_kernel(logits)) {
        const int64_t rows = logits.size(0), words = logits.size(1);
        const at::Tensor a = constant.contiguous(), b = factor.contiguous(), sums = log_sums.contiguous();
        auto fill = [&](auto zero) {
            using T = decltype(zero);
            T *z = logits.mutable_data_ptr<T>();
            const T *first = a.const_data_ptr<T>(), *second = b.const_data_ptr<T>(), *sum = sums.const_data_ptr<T>();
            parallel_tasks(rows, 4 * words, [&](int64_t row, int) {
                dispatch<RowGradient<T>>(z + row * words, words, sum[row], first[row], second[row]);
            });
        };
        logits.scalar_type() == at::kFloat ? fill(0.0f) : fill(0.0);
    } else {
        const at::Tensor powers = (logits - log_sums.unsqueeze(1)).exp();
        logits.mul_(factor.unsqueeze(1)).add_(constant.unsqueeze(1)).mul_(powers);
    }
    const at::Tensor index = targets.unsqueeze(1);
    logits.scatter_(1, index, logits.gather(1, index) + gradient_target.unsqueeze(1));
}

at::ScalarType sum_type(const at::Tensor &hidden) {
    return hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

struct TokenScores : torch::autograd::Function<TokenScores> {
    static variable_list forward(
        AutogradContext *context, const HeadPart &part, const at::Tensor &hidden, const at::Tensor &head,
        const at::Tensor &all_targets, double temperature, int64_t chunk_elements, int64_t kept_elements) {
        const auto type = sum_type(hidden);
        const at::Tensor states = hidden.to(type), words = head.to(type);
        const int64_t count = states.size(0), chunk = std::max<int64_t>(1, chunk_elements / words.size(0));
        // Logits that are kept for the backward pass save it a product: of four there, where the head is frozen of three.
        const int64_t kept_rows = rows_kept(count, chunk, kept_elements / words.size(0));
        at::Tensor kept = at::empty({kept_rows, words.size(0)}, states.options()),
                   buffer = at::empty({std::min(chunk, count - kept_rows), words.size(0)}, states.options());
        at::Tensor scores = at::empty({count}, states.options()), log_sums = at::empty_like(scores),
                   entropies = at::empty_like(scores);
        at::Tensor targets = all_targets, owned /* 1 where it is here */, products;
        if (part.group) {
            const int64_t end = part.first + words.size(0);
            owned = (all_targets >= part.first).logical_and(all_targets < end).to(type);
            targets = (all_targets - part.first).clamp(0, words.size(0) - 1);
            products = at::empty_like(scores);
        }
        for (int64_t start = 0; start < count; start += chunk) {
            const int64_t length = std::min(chunk, count - start);
            at::Tensor logits = start < kept_rows ? kept.narrow(0, start, length) : buffer.narrow(0, 0, length);
            at::mm_out(logits, states.narrow(0, start, length), words.t());
            if (temperature != 1) logits.div_(temperature);
            const at::Tensor picked = logits.gather(1, targets.narrow(0, start, length).unsqueeze(1)).squeeze(1);
            if (part.group) {
                // Until all ranks' are known: the highest logit, the sum and the product above it.
                part_statistics(
                    logits, log_sums.narrow(0, start, length), entropies.narrow(0, start, length),
                    products.narrow(0, start, length));
                scores.narrow(0, start, length).copy_(picked);
                continue;
            }
            const auto [log_sum, entropy] = statistics(logits);
            scores.narrow(0, start, length).copy_(picked - log_sum);
            log_sums.narrow(0, start, length).copy_(log_sum);
            entropies.narrow(0, start, length).copy_(entropy);
        }
        if (part.group) join(part.group, owned, scores, log_sums, entropies, products);
        context->saved_data["temperature"] = temperature;
        context->saved_data["chunk"] = chunk;
        if (part.group) context->saved_data["group"] = c10::IValue::make_capsule(part.group);
        context->save_for_backward({hidden, head, targets, log_sums, entropies, kept, owned});
        return {scores, entropies.clone()};
    }

    /// How many rows keep their logits where `most` may: all, or whole chunks.
    static int64_t rows_kept(int64_t count, int64_t chunk, int64_t most) {
        return count <= most ? count : most / chunk * chunk;
    }

    /// What every rank found of its own words becomes what they are together. With m the highest of all, a rank's sum
    /// Σ exp(z − mᵣ) and product Σ exp(z − mᵣ)·(z − mᵣ) are moved from its own highest mᵣ to m.
    static void join(
        const GroupPointer &group, const at::Tensor &owned, at::Tensor &scores, at::Tensor &log_sums,
        at::Tensor &entropies, const at::Tensor &products) {
        const at::Tensor highest = maximum_over(group, log_sums), shift = log_sums - highest, factor = shift.exp();
        const at::Tensor own =
            at::stack({entropies * factor, (products + entropies * shift) * factor, scores * owned});
        const at::Tensor total = sum_over(group, own), logs = total[0].log();
        log_sums.copy_(logs + highest);
        entropies.copy_(logs - total[1] / total[0]);
        scores.copy_(total[2] - log_sums);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &hidden = saved[0], &head = saved[1], &targets = saved[2], &log_sums = saved[3],
                         &entropies = saved[4], &kept = saved[5], &owned = saved[6];
        const double temperature = context->saved_data["temperature"].toDouble();
        const int64_t chunk = context->saved_data["chunk"].toInt();
        const auto type = sum_type(hidden);
        const at::Tensor states = hidden.to(type), words = head.to(type);
        const at::Tensor zero = at::zeros_like(log_sums);
        const at::Tensor by_log = gradients[0].defined() ? gradients[0].to(type) : zero,
                         by_entropy = gradients[1].defined() ? gradients[1].to(type) : zero;
        const at::Tensor by_target = owned.defined() ? by_log * owned : by_log;
        const bool wants_states = context->needs_input_grad(0), wants_words = context->needs_input_grad(1);
        const int64_t count = states.size(0);
        at::Tensor by_states = wants_states ? at::empty_like(states) : at::Tensor(),
                   by_words = !wants_words ? at::Tensor() : count > 0 ? at::empty_like(words) : at::zeros_like(words);
        at::Tensor buffer = at::empty({std::min(chunk, count), words.size(0)}, states.options());
        for (int64_t start = 0; start < count; start += chunk) {
            const int64_t length = std::min(chunk, count - start);
            const auto part = [&](const at::Tensor &whole) { return whole.narrow(0, start, length); };
            at::Tensor logits = buffer.narrow(0, 0, length);
            if (start < kept.size(0)) {
                logits.copy_(part(kept));  // Who retains the graph reads them again.
            } else {
                at::mm_out(logits, part(states), words.t());
                if (temperature != 1) logits.div_(temperature);
            }
            turn_into_gradient(
                logits, part(targets), part(log_sums), part(entropies), part(by_log), part(by_entropy),
                part(by_target));
            if (temperature != 1) logits.div_(temperature);
            if (wants_states) {
                at::Tensor target = part(by_states);
                at::mm_out(target, logits, words);
            }
            if (wants_words && start == 0) at::mm_out(by_words, logits.t(), part(states));
            if (wants_words && start > 0) by_words.addmm_(logits.t(), part(states));
        }
        if (wants_states && owned.defined()) {
            by_states = sum_over(context->saved_data["group"].toCapsule(), by_states);
        }
        return {
            at::Tensor(), wants_states ? by_states.to(hidden.scalar_type()) : at::Tensor(),
            wants_words ? by_words.to(head.scalar_type()) : at::Tensor(),
            at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    }
};

void require_matching(
    const at::Tensor &hidden, const at::Tensor &head, const at::Tensor &words, int64_t rank, int64_t vocabulary) {
    TORCH_CHECK(
        hidden.dim() == 2 && head.dim() == 2 && hidden.size(1) == head.size(1), "hidden ", hidden.sizes(), " and head ",
        head.sizes(), " must be [tokens, D] and [vocabulary, D]");
    TORCH_CHECK(
        words.dim() == rank && words.size(0) == hidden.size(0) && words.scalar_type() == at::kLong,
        "token ids must be int64 with one row a hidden state, got ", words.scalar_type(), " ", words.sizes(), " for ",
        hidden.sizes());
    if (words.numel() == 0) return;
    const auto lowest = words.min().item<int64_t>(), highest = words.max().item<int64_t>();
    TORCH_CHECK(
        lowest >= 0 && highest < vocabulary, "token id ", lowest < 0 ? lowest : highest,
        " is outside the vocabulary of ", vocabulary);
}

void token_scores(
    const HeadPart &part, ctorch_tensor hidden, ctorch_tensor head, int64_t vocabulary, ctorch_tensor targets,
    double temperature, int64_t chunk_elements, int64_t kept_elements, ctorch_tensor *log_probabilities,
    ctorch_tensor *entropies) {
    const at::Tensor &states = unwrap(hidden), &words = unwrap(head);
    require_matching(states, words, unwrap(targets), 1, vocabulary);
    TORCH_CHECK(temperature > 0, "temperature ", temperature, ": must be above 0");
    const bool keeps = at::GradMode::is_enabled() && (states.requires_grad() || words.requires_grad());
    const auto results = TokenScores::apply(
        part, states, words, unwrap(targets), temperature, chunk_elements, keeps ? kept_elements : 0);
    *log_probabilities = wrap(results[0]);
    *entropies = wrap(results[1]);
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_token_scores(
    ctorch_tensor hidden, ctorch_tensor head, ctorch_tensor targets, double temperature, int64_t chunk_elements,
    int64_t kept_elements, ctorch_tensor *log_probabilities, ctorch_tensor *entropies) {
    return guarded([&] {
        token_scores(
            HeadPart{}, hidden, head, unwrap(head).size(0), targets, temperature, chunk_elements, kept_elements,
            log_probabilities, entropies);
    });
}

extern "C" ctorch_status ctorch_group_token_scores(
    ctorch_group group, ctorch_tensor hidden, ctorch_tensor part, ptrdiff_t first, ptrdiff_t count,
    ctorch_tensor targets, double temperature, ptrdiff_t chunk_elements, ptrdiff_t kept_elements,
    ctorch_tensor *log_probabilities, ctorch_tensor *entropies) {
    return guarded([&] {
        token_scores(
            HeadPart{shared_group(group), first}, hidden, part, count, targets, temperature, chunk_elements,
            kept_elements, log_probabilities, entropies);
    });
}

extern "C" ctorch_status ctorch_support_logits(
    ctorch_tensor hidden, ctorch_tensor head, ctorch_tensor support, ctorch_tensor *logits) {
    return guarded([&] {
        const at::Tensor &states = unwrap(hidden), &words = unwrap(head), &ids = unwrap(support);
        require_matching(states, words, ids, 2, words.size(0));
        const auto type = sum_type(states);
        const at::Tensor rows =
            words.index_select(0, ids.reshape({-1})).to(type).view({ids.size(0), ids.size(1), words.size(1)});
        *logits = wrap(at::bmm(rows, states.to(type).unsqueeze(2)).squeeze(2));
    });
}
