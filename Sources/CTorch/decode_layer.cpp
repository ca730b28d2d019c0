#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <array>

#include "block_kernels.hpp"
#include "decode_tasks.hpp"
#include "include/ctorch_decode.h"
#include "packed_product.hpp"
#include "support.hpp"

namespace ctorch {
namespace {

/// Where the projections' outputs of each row go: to the rows that are given, or to room of our own; and what attention
/// makes behind them, where the rows that are given are wide enough.
class ProductRows {
  public:
    /// - Parameter heads: Of queries.
    ProductRows(
        const ctorch_layer &layer, int64_t heads, int64_t rows, const ctorch_row_run *runs, int64_t run_count) {
        const int64_t queries = layer.projections[CTORCH_QUERY].outputs;
        int64_t width = 0;
        for (const auto &projection : layer.projections) width += projection.outputs;
        const auto is_given = [](const ctorch_row_run &run) { return run.matrix != nullptr; };
        const ctorch_row_run *given = std::find_if(runs, runs + run_count, is_given);
        keeps_attention_ = given != runs + run_count && unwrap(given->matrix).size(-1) == width + queries + heads;
        if (keeps_attention_) width += queries + heads;
        std::vector<float *> starts;
        int64_t missing = run_count == 0 ? rows : 0;
        for (const ctorch_row_run *run = runs; run < runs + run_count; ++run) {
            if (!run->matrix) missing += run->count;
            for (int64_t i = 0; i < run->count; ++i)
                starts.push_back(run->matrix ? row(run, run->first + i, width) : nullptr);
        }
        if (run_count == 0) starts.resize(rows);
        TORCH_CHECK(static_cast<int64_t>(starts.size()) == rows, starts.size(), " rows are kept of a step of ", rows);
        own_ = std::make_unique_for_overwrite<float[]>(missing * width);
        float *free = own_.get();
        for (float *&start : starts)
            if (!start) start = std::exchange(free, free + width);
        for (int projection = 0; projection < CTORCH_PROJECTIONS; ++projection) {
            places_[projection] = starts;
            for (float *&start : starts) start += layer.projections[projection].outputs;
        }
        if (!keeps_attention_) return;
        found_ = starts;
        for (float *&start : starts) start += queries;
        log_sums_ = std::move(starts);
    }

    /// One a row.
    float *const *of(int projection) const { return places_[projection].data(); }
    bool keeps_attention() const { return keeps_attention_; }
    /// Where what attention makes of a row goes, `[H · d]` and `[H]`.
    std::pair<float *, float *> attention(int64_t row) const { return {found_[row], log_sums_[row]}; }

  private:
    static float *row(const ctorch_row_run *run, int64_t index, int64_t width) {
        at::Tensor &matrix = unwrap(run->matrix);
        TORCH_CHECK(
            matrix.dim() == 2 && matrix.is_contiguous() && matrix.is_cpu() && matrix.scalar_type() == at::kFloat &&
                matrix.size(1) == width && index >= 0 && index < matrix.size(0),
            "row ", index, " of ", matrix.toString(), " ", matrix.sizes(), " for products of ", width,
            " numbers in float32");
        return matrix.mutable_data_ptr<float>() + index * width;
    }

    std::unique_ptr<float[]> own_;
    std::array<std::vector<float *>, CTORCH_PROJECTIONS> places_;
    std::vector<float *> found_, log_sums_;
    bool keeps_attention_ = false;
};

/// The angles of the rows' positions, `[R, d / 2]` each.
struct Angles {
    const float *cosines, *sines;
};

template <class Weight>
void decode_layer(
    const at::Tensor &x, const ctorch_layer &layer, const Angles &angles, const ctorch_decode_cache &prompt,
    const ctorch_decode_cache &own, const ctorch_decode_rows &rows, const ProductRows &products, at::Tensor &out) {
    const CacheShape cache(unwrap(own.keys), unwrap(own.values));
    const int64_t count = rows.count, hidden = x.size(1), size = cache.size, threads = thread_count();
    const int64_t query_width = layer.projections[CTORCH_QUERY].outputs, inner = layer.projections[CTORCH_GATE].outputs;
    const int64_t heads = query_width / size, shared = heads / cache.heads;
    const float *input = x.const_data_ptr<float>();
    const auto epsilon = static_cast<float>(layer.epsilon);
    const auto weights = [](ctorch_tensor norm) { return norm ? unwrap(norm).const_data_ptr<float>() : nullptr; };

    // Turned queries, what the heads find with its log-sum-exps, the states between attention and feed-forward; and what a
    // thread works on.
    const int64_t of_thread = most_rows * std::max(hidden, Blocks::inputs_of_task) + 2 * size;
    const auto memory =
        std::make_unique_for_overwrite<float[]>(count * (2 * query_width + heads + hidden) + threads * of_thread);
    float *queries = memory.get(), *found = queries + count * query_width, *between = found + count * query_width;
    float *log_sums = between + count * hidden, *of_threads = log_sums + count * heads;

    const auto part = [&](int number, Added added = {}) {
        const ctorch_packed_matrix &one = layer.projections[number];
        return Part<Weight>{
            static_cast<const Weight *>(unwrap(one.packed).const_data_ptr()), weights(one.scales), weights(one.bias),
            one.outputs, products.of(number), added};
    };
    const Blocks attention_input(count, hidden), joined(count, query_width), feed_forward_input(count, hidden),
        gated(count, inner);
    const Product<Weight>
        projected(attention_input, {part(CTORCH_QUERY), part(CTORCH_KEY), part(CTORCH_VALUE)}, hidden, threads),
        attended(joined, {part(CTORCH_OUTPUT, {input, between})}, query_width, threads),
        widened(feed_forward_input, {part(CTORCH_GATE), part(CTORCH_UP)}, hidden, threads),
        narrowed(gated, {part(CTORCH_DOWN, {between, out.mutable_data_ptr<float>()})}, inner, threads);

    const auto normalized = [&](const float *from, ctorch_tensor norm, const Blocks &blocks) {
        return [&, from, norm](int64_t block, int thread) {
            float *some = of_threads + thread * of_thread;
            float scale;
            for (int64_t i = 0; i < blocks.height(block); ++i)
                dispatch<NormRow<float>>(
                    from + (blocks.start(block) + i) * hidden, weights(norm), some + i * hidden, &scale, hidden,
                    epsilon);
            blocks.write_whole(block, some);
        };
    };
    const auto turned = [&](
                            int64_t row, const float *from, ctorch_tensor norm, int64_t head_count, float *to,
                            float *some) {
        const float *cosines = angles.cosines + row * size / 2, *sines = angles.sines + row * size / 2;
        float scale;
        for (int64_t head = 0; norm && head < head_count; ++head) {
            dispatch<NormRow<float>>(from + head * size, weights(norm), some, &scale, size, epsilon);
            dispatch<TurnToken<float>>(
                static_cast<const float *>(some), cosines, sines, to + head * size, int64_t{1}, size / 2, 1.0f);
        }
        if (!norm) dispatch<TurnToken<float>>(from, cosines, sines, to, head_count, size / 2, 1.0f);
    };
    const CacheWriter<float> writer(own, cache);
    DecodeTasks<float> attention(
        heads, prompt, own, rows, static_cast<float>(layer.scale), queries, found, log_sums, threads);
    const auto attend = [&](int64_t task, int thread) {
        float *key = of_threads + thread * of_thread, *some = key + size;
        attention.run(task, thread, [&](int64_t row, int64_t head) {
            const int64_t first = head * shared * size;
            turned(
                row, products.of(CTORCH_QUERY)[row] + first, layer.query_norm, shared,
                queries + row * query_width + first, some);
            turned(row, products.of(CTORCH_KEY)[row] + head * size, layer.key_norm, 1, key, some);
            writer.write(
                rows.own_slots[row], head, rows.own_lengths[row] - 1, key,
                products.of(CTORCH_VALUE)[row] + head * size);
        });
    };
    const auto join = [&](int64_t task, int) {
        joined.write(task, [&](int64_t row, int64_t height, int64_t from, int64_t number) {
            for (int64_t i = row; products.keeps_attention() && i < row + height; ++i) {
                const auto [kept, kept_sums] = products.attention(i);
                std::copy_n(found + i * query_width + from, number, kept + from);
                if (from == 0) std::copy_n(log_sums + i * heads, heads, kept_sums);
            }
            return std::pair<const float *, int64_t>(found + row * query_width + from, query_width);
        });
    };
    const auto gate = [&](int64_t task, int thread) {
        float *some = of_threads + thread * of_thread;
        gated.write(task, [&](int64_t row, int64_t height, int64_t from, int64_t number) {
            for (int64_t i = 0; i < height; ++i)
                dispatch<GateBlock<float>>(
                    static_cast<const float *>(products.of(CTORCH_GATE)[row + i] + from),
                    static_cast<const float *>(products.of(CTORCH_UP)[row + i] + from), some + i * number, number);
            return std::pair<const float *, int64_t>(some, number);
        });
    };
    int64_t operations = attention.operations();
    for (const auto *product : {&projected, &attended, &widened, &narrowed})
        operations += product->count() * product->operations();
    parallel_phases(
        operations, Phase{attention_input.count(), normalized(input, layer.attention_norm, attention_input)},
        Phase{projected.count(), projected}, Phase{attention.count(), attend}, Phase{joined.tasks(), join},
        Phase{attended.count(), attended},
        Phase{feed_forward_input.count(), normalized(between, layer.feed_forward_norm, feed_forward_input)},
        Phase{widened.count(), widened}, Phase{gated.tasks(), gate}, Phase{narrowed.count(), narrowed});
}

void check_layer(const at::Tensor &x, const ctorch_layer &layer, const CacheShape &cache) {
    const auto &projections = layer.projections;
    const int64_t hidden = x.size(1), queries = projections[CTORCH_QUERY].outputs, keys = cache.heads * cache.size;
    const int64_t inner = projections[CTORCH_GATE].outputs;
    const std::array<int64_t, CTORCH_PROJECTIONS> inputs = {hidden, hidden, hidden, queries, hidden, hidden, inner},
                                                  outputs = {queries, keys, keys, hidden, inner, inner, hidden};
    for (int number = 0; number < CTORCH_PROJECTIONS; ++number) {
        const ctorch_packed_matrix &one = projections[number];
        check_packed(one, inputs[number]);
        TORCH_CHECK(
            one.outputs == outputs[number], "projection ", number, " of ", one.outputs, " outputs, not ",
            outputs[number]);
        TORCH_CHECK(
            !one.scales == !projections[0].scales, "matrices that are packed in two ways are not read together");
    }
    TORCH_CHECK(
        queries % keys == 0 && cache.size % 2 == 0, queries, " outputs of queries and ", keys, " of keys, in heads of ",
        cache.size);
    const auto check_norm = [](ctorch_tensor norm, int64_t size) {
        const at::Tensor &weight = unwrap(norm);
        TORCH_CHECK(
            weight.scalar_type() == at::kFloat && weight.is_cpu() && weight.is_contiguous() && weight.numel() == size,
            "a norm of ", weight.toString(), " ", weight.sizes(), " must be ", size, " numbers in float32 on the CPU");
    };
    check_norm(layer.attention_norm, hidden);
    check_norm(layer.feed_forward_norm, hidden);
    if (layer.query_norm) check_norm(layer.query_norm, cache.size);
    if (layer.key_norm) check_norm(layer.key_norm, cache.size);
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_decode_layer(
    ctorch_tensor hidden, const ctorch_layer *layer, ctorch_tensor cosines, ctorch_tensor sines,
    ctorch_decode_cache prompt, ctorch_decode_cache own, ctorch_decode_rows rows, const ctorch_row_run *runs,
    ptrdiff_t run_count, ctorch_tensor *out) {
    return guarded([&] {
        const c10::NoGradGuard no_gradients;
        const at::Tensor x = unwrap(hidden).contiguous(), c = unwrap(cosines).contiguous(),
                         s = unwrap(sines).contiguous();
        const CacheShape prompts(unwrap(prompt.keys), unwrap(prompt.values));
        const CacheShape owns(unwrap(own.keys), unwrap(own.values));
        for (const at::Tensor &one : {x, c, s, unwrap(prompt.keys), unwrap(own.keys)})
            TORCH_CHECK(
                one.is_cpu() && one.scalar_type() == at::kFloat, one.toString(), " ", one.sizes(),
                " must be float32 on the CPU");
        const std::vector<int64_t> expected = {rows.count, owns.size / 2};
        TORCH_CHECK(
            x.dim() == 2 && rows.count > 0 && x.size(0) == rows.count && prompts.size == owns.size &&
                prompts.heads == owns.heads && c.sizes() == at::IntArrayRef(expected) && s.sizes() == c.sizes(),
            "states ", x.sizes(), " and angles ", c.sizes(), " of ", rows.count, " rows, whose heads have ", owns.size);
        check_rows(prompts, owns, rows);
        check_layer(x, *layer, owns);
        const int64_t heads = layer->projections[CTORCH_QUERY].outputs / owns.size;
        const ProductRows products(*layer, heads, rows.count, runs, run_count);
        at::Tensor result = at::empty_like(x);
        const Angles angles{c.const_data_ptr<float>(), s.const_data_ptr<float>()};
        layer->projections[0].scales ? decode_layer<int8_t>(x, *layer, angles, prompt, own, rows, products, result)
                                     : decode_layer<float>(x, *layer, angles, prompt, own, rows, products, result);
        *out = wrap(result);
    });
}
