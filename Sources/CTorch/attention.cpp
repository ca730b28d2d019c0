#include "include/ctorch_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "packed_attention.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Consecutive packed tokens.
struct Span {
    int64_t start, length;
};

/// Queries of one padded call and the keys they see. Two lists of equal length; all key spans of a non-causal call are
/// of one length, so that no key needs a mask; in a causal call padding stands behind every real query and is never
/// seen.
struct Call {
    std::vector<Span> queries, keys;
    bool is_causal;
};

std::vector<Call> calls_of(const ctorch_attention_plan &plan) {
    std::vector<Call> calls;
    const int64_t *run = plan.runs;
    for (size_t bucket = 0; bucket < plan.run_bucket_count; ++bucket) {
        Call call{{}, {}, true};
        for (int64_t i = 0; i < plan.run_buckets[bucket]; ++i, run += 2) call.queries.push_back({run[0], run[1]});
        call.keys = call.queries;
        calls.push_back(std::move(call));
    }
    const int64_t *block = plan.blocks;
    for (size_t bucket = 0; bucket < plan.block_bucket_count; ++bucket) {
        Call call{{}, {}, false};
        for (int64_t i = 0; i < plan.block_buckets[bucket]; ++i, block += 4) {
            call.queries.push_back({block[0], block[1]});
            call.keys.push_back({block[2], block[3]});
        }
        calls.push_back(std::move(call));
    }
    return calls;
}

/// Brings packed rows `[tokens, ...]` of several spans to one padded `[spans, width, ...]` and back.
class Gathering {
  public:
    Gathering(const std::vector<Span> &spans, at::Device device) : spans_(spans) {
        for (const Span &span : spans) width_ = std::max(width_, span.length);
        if (spans.size() == 1) return;
        std::vector<int64_t> rows, kept, padding, tokens;
        for (const Span &span : spans) {
            for (int64_t i = 0; i < width_; ++i) {
                const auto index = static_cast<int64_t>(rows.size());
                (i < span.length ? kept : padding).push_back(index);
                if (i < span.length) tokens.push_back(span.start + i);
                rows.push_back(span.start + std::min(i, span.length - 1));
            }
        }
        rows_ = at::tensor(rows, at::kLong).to(device);
        tokens_ = at::tensor(tokens, at::kLong).to(device);
        if (padding.empty()) return;
        kept_ = at::tensor(kept, at::kLong).to(device);
        padding_ = at::tensor(padding, at::kLong).to(device);
    }

    int64_t width() const { return width_; }
    int64_t count() const { return static_cast<int64_t>(spans_.size()); }

    /// Padding repeats a span's last row, or holds `fill`.
    at::Tensor take(const at::Tensor &packed, std::optional<double> fill = std::nullopt) const {
        if (count() == 1) return packed.narrow(0, spans_[0].start, spans_[0].length).unsqueeze(0);
        at::Tensor rows = packed.index_select(0, rows_);
        if (fill && padding_.defined()) rows.index_fill_(0, padding_, *fill);
        auto shape = packed.sizes().vec();
        shape[0] = width_;
        shape.insert(shape.begin(), count());
        return rows.view(shape);
    }

    /// Writes, or adds, the real rows of `[spans, width, ...]` to the packed rows. No row stands in two spans.
    void put(at::Tensor &packed, const at::Tensor &padded, bool adds) const {
        if (count() == 1) {
            at::Tensor target = packed.narrow(0, spans_[0].start, spans_[0].length);
            adds ? target.add_(padded.squeeze(0)) : target.copy_(padded.squeeze(0));
            return;
        }
        at::Tensor rows = padded.flatten(0, 1);
        if (kept_.defined()) rows = rows.index_select(0, kept_);
        adds ? packed.index_add_(0, tokens_, rows) : packed.index_copy_(0, tokens_, rows);
    }

  private:
    std::vector<Span> spans_;
    int64_t width_ = 0;
    at::Tensor rows_, tokens_, kept_, padding_;
};

/// The sizes that fold and unfold heads: H = key heads · shared.
struct Heads {
    int64_t key_heads, shared, size;
};

/// [n, L, H, d] -> [n·shared, Hkv, L, d], a view where n is 1. The query heads that share a key head go to the batch
/// axis, where the key needs no copy of its own.
at::Tensor fold_queries(const at::Tensor &x, const Heads &heads) {
    const int64_t n = x.size(0), length = x.size(1);
    return x.view({n, length, heads.key_heads, heads.shared, heads.size})
        .permute({0, 3, 2, 1, 4})
        .reshape({n * heads.shared, heads.key_heads, length, heads.size});
}

at::Tensor unfold_queries(const at::Tensor &x, int64_t n, const Heads &heads) {
    const int64_t length = x.size(2);
    return x.reshape({n, heads.shared, heads.key_heads, length, heads.size})
        .permute({0, 3, 2, 1, 4})
        .reshape({n, length, heads.key_heads * heads.shared, heads.size});
}

/// The same for numbers of one a query: [n, L, H] <-> [n·shared, Hkv, L].
at::Tensor fold_numbers(const at::Tensor &x, const Heads &heads) {
    const int64_t n = x.size(0), length = x.size(1);
    return x.view({n, length, heads.key_heads, heads.shared})
        .permute({0, 3, 2, 1})
        .reshape({n * heads.shared, heads.key_heads, length});
}

at::Tensor unfold_numbers(const at::Tensor &x, int64_t n, const Heads &heads) {
    const int64_t length = x.size(2);
    return x.reshape({n, heads.shared, heads.key_heads, length})
        .permute({0, 3, 2, 1})
        .reshape({n, length, heads.key_heads * heads.shared});
}

/// [n, L, Hkv, d] -> [n·shared, Hkv, L, d]; no copy where n or shared is 1.
at::Tensor fold_keys(const at::Tensor &x, const Heads &heads) {
    const int64_t n = x.size(0), length = x.size(1);
    return x.permute({0, 2, 1, 3})
        .unsqueeze(1)
        .expand({n, heads.shared, heads.key_heads, length, heads.size})
        .reshape({n * heads.shared, heads.key_heads, length, heads.size});
}

at::Tensor unfold_key_gradient(const at::Tensor &x, int64_t n, const Heads &heads) {
    const at::Tensor parts = x.reshape({n, heads.shared, heads.key_heads, x.size(2), heads.size});
    return (heads.shared == 1 ? parts.squeeze(1) : parts.sum(1)).permute({0, 2, 1, 3});
}

/// Attention of [B, H, L, d] with its log-sum-exp [B, H, L], and its backward from the output and log-sum-exp of a
/// larger whole: p = exp(s − whole's log-sum-exp) are then this call's share of the probabilities.
struct Engine {
    bool composed;
    double scale;

    at::Tensor scores(const at::Tensor &q, const at::Tensor &k, bool is_causal) const {
        const auto wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        at::Tensor s = at::matmul(q.to(wide), k.to(wide).transpose(-1, -2)) * scale;
        if (!is_causal) return s;
        const at::Tensor later = at::ones({s.size(-2), s.size(-1)}, s.options().dtype(at::kBool)).triu(1);
        return s.masked_fill_(later, -std::numeric_limits<double>::infinity());
    }

    std::pair<at::Tensor, at::Tensor> forward(
        const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, bool is_causal) const {
        if (!composed) {
            auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0, is_causal, {}, scale);
            return {out, log_sum};
        }
        const at::Tensor s = scores(q, k, is_causal), log_sum = at::logsumexp(s, {-1});
        return {at::matmul((s - log_sum.unsqueeze(-1)).exp().to(v.scalar_type()), v), log_sum};
    }

    std::tuple<at::Tensor, at::Tensor, at::Tensor> backward(
        const at::Tensor &gradient, const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
        const at::Tensor &out,
        const at::Tensor &log_sum, bool is_causal) const {
        if (!composed)
            return at::_scaled_dot_product_flash_attention_for_cpu_backward(
                gradient, q, k, v, out, log_sum, 0, is_causal, {}, scale);
        const at::Tensor p = (scores(q, k, is_causal) - log_sum.unsqueeze(-1)).exp();
        const auto wide = p.scalar_type();
        const at::Tensor g = gradient.to(wide), mean = (g * out.to(wide)).sum(-1, true);
        const at::Tensor by_scores = p * (at::matmul(g, v.to(wide).transpose(-1, -2)) - mean) * scale;
        return {
            at::matmul(by_scores, k.to(wide)).to(q.scalar_type()),
            at::matmul(by_scores.transpose(-1, -2), q.to(wide)).to(k.scalar_type()),
            at::matmul(p.transpose(-1, -2), g).to(v.scalar_type())};
    }
};

/// What a completion's queries saw in themselves and in their prompt, put together by the two log-sum-exps.
void merge(
    at::Tensor &out, at::Tensor &log_sums, const Gathering &queries, const at::Tensor &more,
    const at::Tensor &more_sums) {
    const at::Tensor first = queries.take(out), first_sums = queries.take(log_sums);
    const at::Tensor sums = at::logaddexp(first_sums, more_sums);
    const auto type = out.scalar_type();
    const at::Tensor merged = first * (first_sums - sums).exp().unsqueeze(-1).to(type) +
                              more * (more_sums - sums).exp().unsqueeze(-1).to(type);
    queries.put(out, merged, false);
    queries.put(log_sums, sums, false);
}

/// Whether our own kernels read it.
bool is_plain(const at::Tensor &query) { return query.is_cpu() && query.scalar_type() == at::kFloat; }

/// The runs in the order of their tokens, each with its prompt's.
std::vector<AttendingRun> runs_of(const std::vector<Call> &calls) {
    std::vector<AttendingRun> runs;
    for (const Call &call : calls)
        for (const Span &span : call.queries)
            if (call.is_causal) runs.push_back({span.start, span.length, -1});
    std::sort(runs.begin(), runs.end(), [](const auto &a, const auto &b) { return a.start < b.start; });
    const auto from = [&](int64_t start) {
        return std::lower_bound(
            runs.begin(), runs.end(), start, [](const AttendingRun &run, int64_t at) { return run.start < at; });
    };
    for (const Call &call : calls) {
        for (size_t i = 0; i < call.queries.size() && !call.is_causal; ++i) {
            const Span &prompt = call.keys[i], &queries = call.queries[i];
            const auto read = from(prompt.start);
            TORCH_CHECK(
                read != runs.end() && read->start == prompt.start && read->length == prompt.length,
                "the prompt at packed token ", prompt.start, " is no run of the plan");
            const int64_t end = queries.start + queries.length;
            for (auto run = from(queries.start); run != runs.end() && run->start < end; ++run) {
                TORCH_CHECK(
                    run->prompt < 0 && run->start + run->length <= end, "the run at packed token ", run->start,
                    " sees two prompts of the plan, or ends behind those that see one");
                run->prompt = read - runs.begin();
            }
        }
    }
    for (const AttendingRun &run : runs)
        TORCH_CHECK(
            run.prompt < 0 || runs[run.prompt].prompt < 0, "the prompt of the run at packed token ", run.start,
            " sees a prompt itself");
    return runs;
}

/// What attention makes, from somewhere else. No input of it: nothing has a gradient in it.
struct Known {
    at::Tensor out, log_sums;
};

struct SharedPromptAttention : torch::autograd::Function<SharedPromptAttention> {
    /// - Parameter known: What comes out, and the log-sum-exps, where that is known.
    static variable_list forward(
        AutogradContext *context, const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
        std::vector<Call> calls, double scale, bool composed, const std::optional<Known> &known) {
        const at::Tensor q = query.contiguous(), k = key.contiguous(), v = value.contiguous();
        const Heads heads{k.size(1), q.size(1) / k.size(1), q.size(2)};
        const Engine engine{composed, scale};
        const auto wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        at::Tensor out = known ? known->out.variable_data().view(q.sizes()) : at::empty_like(q);
        at::Tensor log_sums =
            known ? known->log_sums.variable_data() : at::empty({q.size(0), q.size(1)}, q.options().dtype(wide));
        const bool has_kernel = !composed && is_plain(q);
        if (has_kernel && !known) attend(q, k, v, runs_of(calls), scale, out, log_sums);
        for (const Call &call : has_kernel || known ? std::vector<Call>() : calls) {
            const Gathering queries(call.queries, q.device()), keys(call.keys, q.device());
            const auto [part, sums] = engine.forward(
                fold_queries(queries.take(q), heads), fold_keys(keys.take(k), heads), fold_keys(keys.take(v), heads),
                call.is_causal);
            const at::Tensor rows = unfold_queries(part, queries.count(), heads),
                             row_sums = unfold_numbers(sums, queries.count(), heads);
            if (call.is_causal) {
                queries.put(out, rows, false);
                queries.put(log_sums, row_sums, false);
            } else {
                merge(out, log_sums, queries, rows, row_sums);
            }
        }
        context->save_for_backward({q, k, v, out, log_sums});
        context->saved_data["scale"] = scale;
        context->saved_data["composed"] = composed;
        save_calls(context, calls);
        context->mark_non_differentiable({log_sums});
        return {out, log_sums};
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sums = saved[4];
        const at::Tensor gradient = gradients[0].contiguous();
        const Heads heads{k.size(1), q.size(1) / k.size(1), q.size(2)};
        const Engine engine{context->saved_data["composed"].toBool(), context->saved_data["scale"].toDouble()};
        at::Tensor by_q = at::empty_like(q), by_k = at::empty_like(k), by_v = at::empty_like(v);
        const auto calls = saved_calls(context);
        if (!engine.composed && is_plain(q)) {
            attend_backward(
                gradient, q, k, v, out, log_sums, runs_of(calls), engine.scale, by_q, by_k, by_v);
            return {by_q, by_k, by_v, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
        }
        constexpr double infinity = std::numeric_limits<double>::infinity();
        for (const Call &call : calls) {
            const Gathering queries(call.queries, q.device()), keys(call.keys, q.device());
            // A padded query gets probabilities of 0 from an infinite log-sum-exp, so it gives no key a gradient.
            const auto [part_q, part_k, part_v] = engine.backward(
                fold_queries(queries.take(gradient, 0), heads), fold_queries(queries.take(q), heads),
                fold_keys(keys.take(k), heads), fold_keys(keys.take(v), heads), fold_queries(queries.take(out), heads),
                fold_numbers(queries.take(log_sums, infinity), heads), call.is_causal);
            const bool adds = !call.is_causal;
            queries.put(by_q, unfold_queries(part_q, queries.count(), heads), adds);
            keys.put(by_k, unfold_key_gradient(part_k, keys.count(), heads), adds);
            keys.put(by_v, unfold_key_gradient(part_v, keys.count(), heads), adds);
        }
        return {by_q, by_k, by_v, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    }

    /// The calls as one list of integers: causal or not, spans, then four numbers a pair of spans.
    static void save_calls(AutogradContext *context, const std::vector<Call> &calls) {
        std::vector<int64_t> numbers;
        for (const Call &call : calls) {
            numbers.push_back(call.is_causal);
            numbers.push_back(static_cast<int64_t>(call.queries.size()));
            for (size_t i = 0; i < call.queries.size(); ++i)
                numbers.insert(
                    numbers.end(),
                    {call.queries[i].start, call.queries[i].length, call.keys[i].start, call.keys[i].length});
        }
        context->saved_data["calls"] = numbers;
    }

    static std::vector<Call> saved_calls(AutogradContext *context) {
        const auto numbers = context->saved_data["calls"].toIntVector();
        std::vector<Call> calls;
        for (size_t at = 0; at < numbers.size();) {
            Call call{{}, {}, numbers[at] != 0};
            const int64_t count = numbers[at + 1];
            at += 2;
            for (int64_t i = 0; i < count; ++i, at += 4) {
                call.queries.push_back({numbers[at], numbers[at + 1]});
                call.keys.push_back({numbers[at + 2], numbers[at + 3]});
            }
            calls.push_back(std::move(call));
        }
        return calls;
    }
};

/// Refuses a plan whose spans leave the packed tokens, or whose runs do not hold every token exactly once.
void check_plan(const std::vector<Call> &calls, int64_t tokens) {
    std::vector<uint8_t> covered(tokens, 0);
    const auto inside = [&](const Span &span) {
        return span.start >= 0 && span.length > 0 && span.start <= tokens - span.length;
    };
    for (const Call &call : calls) {
        for (size_t i = 0; i < call.queries.size(); ++i) {
            const Span &query = call.queries[i], &key = call.keys[i];
            TORCH_CHECK(inside(query) && inside(key), "the plan leaves the ", tokens, " packed tokens");
            TORCH_CHECK(
                call.is_causal || key.length == call.keys[0].length, "a padded call holds prompts of ", key.length,
                " and ",
                call.keys[0].length, " tokens");
            for (int64_t token = query.start; call.is_causal && token < query.start + query.length; ++token)
                TORCH_CHECK(
                    !std::exchange(covered[token], 1), "packed token ", token, " stands in two runs of the plan");
        }
    }
    for (int64_t token = 0; token < tokens; ++token)
        TORCH_CHECK(covered[token], "packed token ", token, " stands in no run of the plan");
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_shared_prompt_attention(
    ctorch_tensor query, ctorch_tensor key, ctorch_tensor value, ctorch_attention_plan plan, double scale,
    bool composed, ctorch_tensor known_out, ctorch_tensor known_log_sums, ctorch_tensor *out, ctorch_tensor *log_sums) {
    return guarded([&] {
        const at::Tensor &q = unwrap(query), &k = unwrap(key), &v = unwrap(value);
        TORCH_CHECK(
            q.dim() == 3 && k.dim() == 3 && k.sizes() == v.sizes() && k.size(0) == q.size(0) &&
            k.size(2) == q.size(2) &&
                k.size(1) > 0 && q.size(1) % k.size(1) == 0 && k.scalar_type() == q.scalar_type() &&
                v.scalar_type() == q.scalar_type() && k.device() == q.device() && v.device() == q.device(),
            "query ", q.toString(), " ", q.sizes(), ", key ", k.toString(), " ", k.sizes(), ", value ", v.toString(),
            " ", v.sizes(),
            " must be of one type and device, [tokens, H, d] and twice [tokens, Hkv, d] with H a multiple of Hkv");
        auto calls = calls_of(plan);
        check_plan(calls, q.size(0));
        std::optional<Known> known;
        if (known_out && known_log_sums) {
            known = {unwrap(known_out), unwrap(known_log_sums)};
            const std::vector<int64_t> sums = {q.size(0), q.size(1)};
            const auto wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
            const auto fits = [&](const at::Tensor &one, at::ScalarType type) {
                return one.is_contiguous() && one.scalar_type() == type && one.device() == q.device() &&
                       !one.requires_grad();
            };
            TORCH_CHECK(
                known->out.numel() == q.numel() && fits(known->out, q.scalar_type()) &&
                    known->log_sums.sizes() == at::IntArrayRef(sums) && fits(known->log_sums, wide),
                "known ", known->out.toString(), " ", known->out.sizes(), " and log-sum-exps ",
                known->log_sums.toString(), " ", known->log_sums.sizes(), " of attention that makes ", q.sizes());
        }
        const variable_list made =
            SharedPromptAttention::apply(q, k, v, std::move(calls), scale, composed || !q.is_cpu(), known);
        *out = wrap(made[0]);
        *log_sums = wrap(made[1]);
    });
}
