#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <array>
#include <optional>

#include "block_kernels.hpp"
#include "decode_tasks.hpp"
#include "include/ctorch_layer.h"
#include "packed_attention.hpp"
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
        heads_ = heads;
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
        own_.emplace(missing * width);
        float *free = own_->get();
        // Rows that are given lie as they lie; in room of our own what one projection makes lies together.
        const auto take = [&](int64_t outputs) {
            std::vector<float *> places = starts;
            for (float *&place : places)
                if (!place) place = std::exchange(free, free + outputs);
            for (float *&start : starts)
                if (start) start += outputs;
            return places;
        };
        for (int projection = 0; projection < CTORCH_PROJECTIONS; ++projection)
            places_[projection] = take(layer.projections[projection].outputs);
        if (!keeps_attention_) return;
        found_ = take(queries);
        log_sums_ = take(heads);
    }

    /// One a row.
    float *const *of(int projection) const { return places_[projection].data(); }
    int64_t heads() const { return heads_; }
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

    std::optional<Numbers> own_;
    std::array<std::vector<float *>, CTORCH_PROJECTIONS> places_;
    std::vector<float *> found_, log_sums_;
    int64_t heads_;
    bool keeps_attention_ = false;
};

/// The rows' queries, turned, and what the heads find with them: `[R, H · d]` twice, and log-sum-exps `[R, H]`.
struct HeadRows {
    Numbers memory;
    float *queries, *found, *log_sums;

    HeadRows(int64_t rows, int64_t heads, int64_t size)
        : memory(rows * heads * (2 * size + 1)), queries(memory.get()),
          found(queries + rows * heads * size), log_sums(found + rows * heads * size) {}
};

/// Brings what a projection has made of a row's heads to its position, `[R, d / 2]` angles each, behind the head's norm.
struct Turning {
    const float *cosines, *sines;
    int64_t size;
    float epsilon;

    /// - Parameter some: Room for a head.
    void run(int64_t row, const float *from, ctorch_tensor norm, int64_t heads, float *to, float *some) const {
        const float *c = cosines + row * size / 2, *s = sines + row * size / 2;
        if (!norm) {
            dispatch<TurnToken<float>>(from, c, s, to, heads, size / 2, 1.0f);
            return;
        }
        float scale;
        for (int64_t head = 0; head < heads; ++head) {
            dispatch<NormRow<float>>(
                from + head * size, unwrap(norm).const_data_ptr<float>(), some, &scale, size, epsilon);
            dispatch<TurnToken<float>>(
                static_cast<const float *>(some), c, s, to + head * size, int64_t{1}, size / 2, 1.0f);
        }
    }
};

/// All of a layer but attention, whose phases stand between the projections and what joins their heads.
template <class Weight, class... Bodies>
void pass_layer(
    const at::Tensor &x, const ctorch_layer &layer, const ProductRows &products, const HeadRows &heads,
    int64_t attention_operations, at::Tensor &out, const Phase<Bodies> &...attention) {
    const int64_t count = x.size(0), hidden = x.size(1), threads = thread_count();
    const int64_t query_width = layer.projections[CTORCH_QUERY].outputs, inner = layer.projections[CTORCH_GATE].outputs;
    const float *input = x.const_data_ptr<float>();
    const auto epsilon = static_cast<float>(layer.epsilon);
    const auto weights = [](ctorch_tensor norm) { return norm ? unwrap(norm).const_data_ptr<float>() : nullptr; };

    // The states between attention and feed-forward; and what a thread works on.
    const int64_t of_thread = most_rows * std::max(hidden, Blocks::inputs_of_task);
    const Numbers memory(count * hidden + threads * of_thread);
    float *between = memory.get(), *of_threads = between + count * hidden;

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
    const auto join = [&](int64_t task, int) {
        joined.write(task, [&](int64_t row, int64_t height, int64_t from, int64_t number) {
            const int64_t head_count = products.heads();
            for (int64_t i = row; products.keeps_attention() && i < row + height; ++i) {
                const auto [kept, kept_sums] = products.attention(i);
                std::copy_n(heads.found + i * query_width + from, number, kept + from);
                if (from == 0) std::copy_n(heads.log_sums + i * head_count, head_count, kept_sums);
            }
            return std::pair<const float *, int64_t>(heads.found + row * query_width + from, query_width);
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
    int64_t operations = attention_operations;
    for (const auto *product : {&projected, &attended, &widened, &narrowed})
        operations += product->count() * product->operations();
    parallel_phases(
        operations, Phase{attention_input.count(), normalized(input, layer.attention_norm, attention_input)},
        Phase{projected.count(), projected}, attention..., Phase{joined.tasks(), join},
        Phase{attended.count(), attended},
        Phase{feed_forward_input.count(), normalized(between, layer.feed_forward_norm, feed_forward_input)},
        Phase{widened.count(), widened}, Phase{gated.tasks(), gate}, Phase{narrowed.count(), narrowed});
}

template <class... Bodies>
void pass(
    const at::Tensor &x, const ctorch_layer &layer, const ProductRows &products, const HeadRows &heads,
    int64_t attention_operations, at::Tensor &out, const Phase<Bodies> &...attention) {
    layer.projections[0].scales
        ? pass_layer<int8_t>(x, layer, products, heads, attention_operations, out, attention...)
        : pass_layer<float>(x, layer, products, heads, attention_operations, out, attention...);
}

/// One token of each row.
void decode(
    const at::Tensor &x, const ctorch_layer &layer, const Turning &turning, const ctorch_decode_cache &prompt,
    const ctorch_decode_cache &own, const ctorch_decode_rows &rows, const ProductRows &products, at::Tensor &out) {
    const CacheShape cache(unwrap(own.keys), unwrap(own.values));
    const int64_t size = cache.size, heads = products.heads(), shared = heads / cache.heads, threads = thread_count();
    const HeadRows of_heads(rows.count, heads, size);
    const Numbers memory(threads * 2 * size);
    const CacheWriter<float> writer(own, cache);
    DecodeTasks<float> attention(
        heads, prompt, own, rows, static_cast<float>(layer.scale), of_heads.queries, of_heads.found, of_heads.log_sums,
        threads);
    const auto attend = [&](int64_t task, int thread) {
        float *key = memory.get() + thread * 2 * size, *some = key + size;
        attention.run(task, thread, [&](int64_t row, int64_t head) {
            const int64_t first = head * shared * size;
            turning.run(
                row, products.of(CTORCH_QUERY)[row] + first, layer.query_norm, shared,
                of_heads.queries + row * heads * size + first, some);
            turning.run(row, products.of(CTORCH_KEY)[row] + head * size, layer.key_norm, 1, key, some);
            writer.write(
                rows.own_slots[row], head, rows.own_lengths[row] - 1, key,
                products.of(CTORCH_VALUE)[row] + head * size);
        });
    };
    pass(x, layer, products, of_heads, attention.operations(), out, Phase{attention.count(), attend});
}

/// Whole prompts, each a run.
void prefill(
    const at::Tensor &x, const ctorch_layer &layer, const Turning &turning, const ctorch_decode_cache &cache,
    const ctorch_prompt_rows &rows, const ProductRows &products, at::Tensor &out) {
    const CacheShape shape(unwrap(cache.keys), unwrap(cache.values));
    const int64_t size = shape.size, heads = products.heads(), threads = thread_count(), width = shape.heads * size;
    const HeadRows of_heads(x.size(0), heads, size);
    const Numbers memory(x.size(0) * width + threads * size);
    float *const keys = memory.get(), *const of_threads = keys + x.size(0) * width;
    std::vector<AttendingRun> runs;
    /// Tokens of one run: their keys stand in one tile of the cache, on lines that no other thread writes.
    struct Piece {
        int64_t slot, row, position, count;
    };
    std::vector<Piece> pieces;
    int64_t start = 0;
    for (int64_t i = 0; i < rows.count; start += rows.lengths[i++]) {
        runs.push_back({start, rows.lengths[i], -1});
        for (int64_t position = 0; position < rows.lengths[i]; position += lane_count)
            pieces.push_back(
                {rows.slots[i], start + position, position, std::min(lane_count, rows.lengths[i] - position)});
    }
    const PackedAttention attention(std::move(runs), {heads, shape.heads, size}, layer.scale, x, threads);
    const CacheWriter<float> writer(cache, shape);
    const auto turn = [&](int64_t task, int thread) {
        float *some = of_threads + thread * size;
        const Piece &piece = pieces[task];
        for (int64_t i = 0; i < piece.count; ++i) {
            const int64_t row = piece.row + i;
            float *const key = keys + row * width;
            turning.run(
                row, products.of(CTORCH_QUERY)[row], layer.query_norm, heads, of_heads.queries + row * heads * size, some);
            turning.run(row, products.of(CTORCH_KEY)[row], layer.key_norm, shape.heads, key, some);
            for (int64_t head = 0; head < shape.heads; ++head)
                writer.write(
                    piece.slot, head, piece.position + i, key + head * size,
                    products.of(CTORCH_VALUE)[row] + head * size);
        }
    };
    const auto pack = [&](int64_t task, int) { attention.pack(task, keys, products.of(CTORCH_VALUE)); };
    const auto attend = [&](int64_t task, int thread) {
        attention.attend(task, thread, of_heads.queries, of_heads.found, of_heads.log_sums);
    };
    pass(
        x, layer, products, of_heads, attention.operations(), out,
        Phase{static_cast<int64_t>(pieces.size()), turn}, Phase{attention.packing_tasks(), pack},
        Phase{attention.attending_tasks(), attend});
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

/// What both passes read, and where they put it.
struct LayerPass {
    const c10::NoGradGuard no_gradients;
    const at::Tensor x, cosines, sines;
    const ProductRows products;
    const Turning turning;
    at::Tensor out;

    LayerPass(
        ctorch_tensor hidden, const ctorch_layer &layer, ctorch_tensor c, ctorch_tensor s, const CacheShape &cache,
        const ctorch_row_run *runs, ptrdiff_t run_count)
        : x(checked(hidden)), cosines(checked(c)), sines(checked(s)),
          products((check_layer(x, layer, cache), layer), heads_of(layer, cache), x.size(0), runs, run_count),
          turning{
              cosines.const_data_ptr<float>(), sines.const_data_ptr<float>(), cache.size,
              static_cast<float>(layer.epsilon)},
          out(at::empty_like(x)) {
        const std::vector<int64_t> expected = {x.size(0), cache.size / 2};
        TORCH_CHECK(
            cosines.sizes() == at::IntArrayRef(expected) && sines.sizes() == cosines.sizes(), "states ", x.sizes(),
            " and angles ", cosines.sizes(), " of rows whose heads have ", cache.size);
    }

    static const at::Tensor &in_float32(const at::Tensor &one) {
        TORCH_CHECK(
            one.is_cpu() && one.scalar_type() == at::kFloat, one.toString(), " ", one.sizes(),
            " must be float32 on the CPU");
        return one;
    }

  private:
    static at::Tensor checked(ctorch_tensor one) {
        TORCH_CHECK(unwrap(one).dim() == 2, unwrap(one).sizes(), " must have two axes");
        return in_float32(unwrap(one)).contiguous();
    }
    static int64_t heads_of(const ctorch_layer &layer, const CacheShape &cache) {
        return layer.projections[CTORCH_QUERY].outputs / cache.size;
    }
};

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_decode_layer(
    ctorch_tensor hidden, const ctorch_layer *layer, ctorch_tensor cosines, ctorch_tensor sines,
    ctorch_decode_cache prompt, ctorch_decode_cache own, ctorch_decode_rows rows, const ctorch_row_run *runs,
    ptrdiff_t run_count, ctorch_tensor *out) {
    return guarded([&] {
        const CacheShape prompts(LayerPass::in_float32(unwrap(prompt.keys)), unwrap(prompt.values));
        const CacheShape owns(LayerPass::in_float32(unwrap(own.keys)), unwrap(own.values));
        TORCH_CHECK(
            rows.count > 0 && unwrap(hidden).size(0) == rows.count && prompts.size == owns.size &&
                prompts.heads == owns.heads,
            "states ", unwrap(hidden).sizes(), " of ", rows.count, " rows, whose heads have ", owns.size);
        check_rows(prompts, owns, rows);
        LayerPass pass(hidden, *layer, cosines, sines, owns, runs, run_count);
        decode(pass.x, *layer, pass.turning, prompt, own, rows, pass.products, pass.out);
        *out = wrap(pass.out);
    });
}

extern "C" ctorch_status ctorch_prefill_layer(
    ctorch_tensor hidden, const ctorch_layer *layer, ctorch_tensor cosines, ctorch_tensor sines,
    ctorch_decode_cache cache, ctorch_prompt_rows rows, const ctorch_row_run *runs, ptrdiff_t run_count,
    ctorch_tensor *out) {
    return guarded([&] {
        const CacheShape shape(LayerPass::in_float32(unwrap(cache.keys)), unwrap(cache.values));
        int64_t tokens = 0;
        std::vector<bool> taken(shape.slots, false);
        for (int64_t i = 0; i < rows.count; tokens += rows.lengths[i++]) {
            TORCH_CHECK(
                rows.slots[i] >= 0 && rows.slots[i] < shape.slots && rows.lengths[i] > 0 &&
                    rows.lengths[i] <= shape.capacity,
                "prompt ", i, ": ", rows.lengths[i], " tokens in slot ", rows.slots[i], ", the cache has ", shape.slots,
                " slots of ", shape.capacity);
            TORCH_CHECK(!taken[rows.slots[i]], "two prompts in slot ", rows.slots[i]);
            taken[rows.slots[i]] = true;
        }
        TORCH_CHECK(
            tokens > 0 && unwrap(hidden).size(0) == tokens, "states ", unwrap(hidden).sizes(), " of ", tokens,
            " tokens of prompts");
        LayerPass pass(hidden, *layer, cosines, sines, shape, runs, run_count);
        prefill(pass.x, *layer, pass.turning, cache, rows, pass.products, pass.out);
        *out = wrap(pass.out);
    });
}
