#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "include/ctorch_attention.h"
#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

/// Rows of one prompt that one task handles together: enough to use a key read from memory many times, few enough that
/// one prompt still feeds every thread.
constexpr int64_t rows_per_task = 8;
/// Queries that read one tile of keys at the same time.
constexpr int64_t queries_at_once = 8;

int64_t whole_tiles(int64_t length) { return (length + lane_count - 1) / lane_count; }

/// Scores of `count` queries against one tile of 16 keys.
template <class T, int count>
CTORCH_INLINE void score_tile(
    const T *const *queries, const T *tile, int64_t size, T scale, T *const *scores, int64_t place) {
    Lanes<T> sums[count] = {};
    for (int64_t i = 0; i < size; ++i) {
        const Lanes<T> keys = *reinterpret_cast<const Lanes<T> *>(tile + i * lane_count);
        for (int q = 0; q < count; ++q) sums[q] += keys * queries[q][i];
    }
    for (int q = 0; q < count; ++q) *reinterpret_cast<Lanes<T> *>(scores[q] + place) = sums[q] * scale;
}

template <class T>
CTORCH_INLINE void score_tiles(
    const T *const *queries, int64_t count, const T *keys, int64_t length, int64_t size, T scale, T *const *scores,
    int64_t place) {
    for (int64_t tile = 0; tile * lane_count < length; ++tile) {
        const T *from = keys + tile * size * lane_count;
        const int64_t at = place + tile * lane_count;
        int64_t q = 0;
        for (; q + queries_at_once <= count; q += queries_at_once)
            score_tile<T, queries_at_once>(queries + q, from, size, scale, scores + q, at);
        for (; q + 2 <= count; q += 2) score_tile<T, 2>(queries + q, from, size, scale, scores + q, at);
        for (; q < count; ++q) score_tile<T, 1>(queries + q, from, size, scale, scores + q, at);
    }
}

/// scores become exp(scores − their maximum); returns the sum. Lanes past `length` of each part were set to −infinity.
template <class T>
CTORCH_INLINE T exponentials_of_row(T *scores, int64_t count) {
    Lanes<T> best = *reinterpret_cast<const Lanes<T> *>(scores);
    for (int64_t i = lane_count; i < count; i += lane_count) {
        const Lanes<T> next = *reinterpret_cast<const Lanes<T> *>(scores + i);
        best = next > best ? next : best;
    }
    T highest = best[0];
    for (int64_t i = 1; i < lane_count; ++i) highest = best[i] > highest ? best[i] : highest;
    Lanes<T> sums = {};
    for (int64_t i = 0; i < count; i += lane_count) {
        auto &place = *reinterpret_cast<Lanes<T> *>(scores + i);
        Lanes<T> power = place - highest;
        exponentials(power);
        place = power;
        sums += power;
    }
    return total<T>(sums);
}

/// out[q] += Σ over keys of weight · value, for `queries` queries and `chunks` · 16 elements of the head.
template <class T, int queries, int chunks>
CTORCH_INLINE void add_values(
    const T *const *weights, int64_t place, const T *values, int64_t length, int64_t size, T *const *out,
    int64_t offset) {
    Lanes<T> sums[queries][chunks];
    for (int q = 0; q < queries; ++q)
        for (int c = 0; c < chunks; ++c)
            sums[q][c] = *reinterpret_cast<const Lanes<T> *>(out[q] + offset + c * lane_count);
    for (int64_t key = 0; key < length; ++key) {
        const T *from = values + key * size + offset;
        for (int c = 0; c < chunks; ++c) {
            const Lanes<T> value = *reinterpret_cast<const Lanes<T> *>(from + c * lane_count);
            for (int q = 0; q < queries; ++q) sums[q][c] += value * weights[q][place + key];
        }
    }
    for (int q = 0; q < queries; ++q)
        for (int c = 0; c < chunks; ++c) *reinterpret_cast<Lanes<T> *>(out[q] + offset + c * lane_count) = sums[q][c];
}

template <class T, int queries>
CTORCH_INLINE void add_all_values(
    const T *const *weights, int64_t place, const T *values, int64_t length, int64_t size, T *const *out) {
    int64_t offset = 0;
    for (; offset + 4 * lane_count <= size; offset += 4 * lane_count)
        add_values<T, queries, 4>(weights, place, values, length, size, out, offset);
    for (; offset + lane_count <= size; offset += lane_count)
        add_values<T, queries, 1>(weights, place, values, length, size, out, offset);
    for (; offset < size; ++offset)
        for (int q = 0; q < queries; ++q)
            for (int64_t key = 0; key < length; ++key)
                out[q][offset] += weights[q][place + key] * values[key * size + offset];
}

template <class T>
CTORCH_INLINE void add_values_of_queries(
    const T *const *weights, int64_t count, int64_t place, const T *values, int64_t length, int64_t size,
    T *const *out) {
    // Keys in stretches whose values stay in the first-level cache while every query reads them.
    for (int64_t start = 0; start < length; start += 64) {
        const int64_t keys = std::min<int64_t>(64, length - start);
        int64_t q = 0;
        for (; q + 4 <= count; q += 4)
            add_all_values<T, 4>(weights + q, place + start, values + start * size, keys, size, out + q);
        for (; q < count; ++q)
            add_all_values<T, 1>(weights + q, place + start, values + start * size, keys, size, out + q);
    }
}

/// Keys and values of one key head.
template <class T>
struct HeadCache {
    const T *keys, *values;
    int64_t length;
};

/// One task: the queries of a few rows of one prompt that read one key head. `shared` queries a row.
template <class T>
struct HeadTask {
    HeadCache<T> prompt;
    /// One a row.
    const HeadCache<T> *own;
    int64_t rows, shared, size;
    T scale;
    /// One a query, row by row. `scores` has room for the prompt's and the longest row's tiles.
    const T *const *queries;
    T *const *scores;
    T *const *out;
};

template <class T>
CTORCH_INLINE void hide(T *scores, int64_t place, int64_t length) {
    const int64_t end = (length + lane_count - 1) / lane_count * lane_count;
    for (int64_t i = length; i < end; ++i) scores[place + i] = -std::numeric_limits<T>::infinity();
}

template <class T>
struct DecodeHead {
    static CTORCH_INLINE void run(const HeadTask<T> *work) {
        const HeadTask<T> &task = *work;
        const int64_t count = task.rows * task.shared;
        const int64_t own_place = (task.prompt.length + lane_count - 1) / lane_count * lane_count;
        score_tiles<T>(
            task.queries, count, task.prompt.keys, task.prompt.length, task.size, task.scale, task.scores, 0);
        for (int64_t row = 0; row < task.rows; ++row) {
            const HeadCache<T> &own = task.own[row];
            T *const *scores = task.scores + row * task.shared;
            score_tiles<T>(
                task.queries + row * task.shared, task.shared, own.keys, own.length, task.size, task.scale, scores,
                own_place);
            const int64_t end = own_place + (own.length + lane_count - 1) / lane_count * lane_count;
            for (int64_t q = 0; q < task.shared; ++q) {
                hide(scores[q], 0, task.prompt.length);
                hide(scores[q], own_place, own.length);
                const T inverse = 1 / exponentials_of_row(scores[q], end);
                for (int64_t i = 0; i < end; i += lane_count) *reinterpret_cast<Lanes<T> *>(scores[q] + i) *= inverse;
                T *out = task.out[row * task.shared + q];
                for (int64_t i = 0; i < task.size; ++i) out[i] = 0;
            }
            add_values_of_queries<T>(
                scores, task.shared, own_place, own.values, own.length, task.size, task.out + row * task.shared);
        }
        add_values_of_queries<T>(
            task.scores, count, 0, task.prompt.values, task.prompt.length, task.size, task.out);
    }
};

/// Sizes of a cache as the header states them.
struct CacheShape {
    int64_t slots, heads, tiles, size, capacity;

    CacheShape(const at::Tensor &keys, const at::Tensor &values)
        : slots(keys.size(0)), heads(keys.size(1)), tiles(keys.size(2)), size(keys.size(3)), capacity(values.size(2)) {
        TORCH_CHECK(
            keys.dim() == 5 && values.dim() == 4 && keys.size(4) == lane_count && values.size(0) == slots &&
                values.size(1) == heads && values.size(3) == size && tiles == whole_tiles(capacity) &&
                keys.is_contiguous() && values.is_contiguous() && keys.scalar_type() == values.scalar_type(),
            "cache keys ", keys.sizes(), " and values ", values.sizes(),
            " must be [slots, heads, capacity / 16, d, 16] and [slots, heads, capacity, d]");
    }
};

bool has_kernel(const at::Tensor &x) {
    return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

template <class T>
void decode_rows(
    const at::Tensor &query, const ctorch_decode_cache &prompt, const ctorch_decode_cache &own,
    const ctorch_decode_rows &rows,
    T scale, at::Tensor &out) {
    const CacheShape prompts(unwrap(prompt.keys), unwrap(prompt.values)), owns(unwrap(own.keys), unwrap(own.values));
    const int64_t heads = query.size(1), size = query.size(2), shared = heads / owns.heads;
    // Rows of one prompt side by side, cut into tasks of a few rows.
    std::vector<int64_t> order(rows.count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return rows.prompt_slots[a] != rows.prompt_slots[b] ? rows.prompt_slots[a] < rows.prompt_slots[b]
                                                            : rows.prompt_lengths[a] < rows.prompt_lengths[b];
    });
    std::vector<std::pair<int64_t, int64_t>> parts;
    for (int64_t i = 0; i < rows.count; ++i) {
        const bool joins = !parts.empty() && i - parts.back().first < rows_per_task &&
                           rows.prompt_slots[order[i]] == rows.prompt_slots[order[i - 1]] &&
                           rows.prompt_lengths[order[i]] == rows.prompt_lengths[order[i - 1]];
        if (!joins) parts.emplace_back(i, 0);
        parts.back().second++;
    }
    const int64_t longest_prompt = *std::max_element(rows.prompt_lengths, rows.prompt_lengths + rows.count);
    const int64_t longest_own = *std::max_element(rows.own_lengths, rows.own_lengths + rows.count);
    const int64_t width = (whole_tiles(longest_prompt) + whole_tiles(longest_own)) * lane_count;
    const int64_t most = rows_per_task * shared, threads = thread_count();
    std::vector<T> memory(threads * most * width);
    std::vector<const T *> queries(threads * most);
    std::vector<T *> scores(threads * most), outs(threads * most);
    std::vector<HeadCache<T>> own_heads(threads * rows_per_task);

    const T *q = query.const_data_ptr<T>(), *prompt_keys = unwrap(prompt.keys).template const_data_ptr<T>(),
            *prompt_values = unwrap(prompt.values).template const_data_ptr<T>(),
            *own_keys = unwrap(own.keys).template const_data_ptr<T>(),
            *own_values = unwrap(own.values).template const_data_ptr<T>();
    T *to = out.mutable_data_ptr<T>();
    const auto head_of = [size](
                             const CacheShape &shape, const T *keys, const T *values, int64_t slot, int64_t head,
                             int64_t length) {
        const int64_t place = slot * shape.heads + head;
        return HeadCache<T>{
            keys + place * shape.tiles * size * lane_count, values + place * shape.capacity * size, length};
    };
    const auto tasks = static_cast<int64_t>(parts.size()) * owns.heads;
    // A vector instruction does 16 of the multiplications of a task.
    const int64_t operations = rows.count * heads * width * size / (4 * tasks);
    parallel_tasks(tasks, operations, [&](int64_t index, int thread) {
        const auto [first, count] = parts[index / owns.heads];
        const int64_t head = index % owns.heads;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t row = order[first + i];
            own_heads[thread * rows_per_task + i] =
                head_of(owns, own_keys, own_values, rows.own_slots[row], head, rows.own_lengths[row]);
            for (int64_t s = 0; s < shared; ++s) {
                const int64_t place = thread * most + i * shared + s, at = (row * heads + head * shared + s) * size;
                queries[place] = q + at;
                outs[place] = to + at;
                scores[place] = memory.data() + place * width;
            }
        }
        const int64_t row = order[first];
        const HeadTask<T> task{
            head_of(prompts, prompt_keys, prompt_values, rows.prompt_slots[row], head, rows.prompt_lengths[row]),
            own_heads.data() + thread * rows_per_task, count, shared, size, scale, queries.data() + thread * most,
            scores.data() + thread * most, outs.data() + thread * most};
        dispatch<DecodeHead<T>>(&task);
    });
}

at::Tensor indices(const int64_t *values, int64_t count, at::Device device) {
    return at::tensor(at::ArrayRef<int64_t>(values, count), at::kLong).to(device);
}

/// Keys and values of the rows' slots as [R, Hkv, capacity, d], and where a key exists [R, capacity].
struct GatheredCache {
    at::Tensor keys, values, exists;

    GatheredCache(const ctorch_decode_cache &cache, const int64_t *slots, const int64_t *lengths, int64_t count) {
        const at::Tensor &k = unwrap(cache.keys), &v = unwrap(cache.values);
        const CacheShape shape(k, v);
        const at::Tensor rows = indices(slots, count, k.device()), ends = indices(lengths, count, k.device());
        keys = k.index_select(0, rows)
                   .permute({0, 1, 2, 4, 3})
                   .reshape({count, shape.heads, shape.tiles * lane_count, shape.size})
                   .narrow(2, 0, shape.capacity);
        values = v.index_select(0, rows);
        exists = at::arange(shape.capacity, ends.options()).unsqueeze(0) < ends.unsqueeze(1);
    }
};

at::Tensor composed_decode(
    const at::Tensor &query, const ctorch_decode_cache &prompt, const ctorch_decode_cache &own,
    const ctorch_decode_rows &rows,
    double scale) {
    const GatheredCache first(prompt, rows.prompt_slots, rows.prompt_lengths, rows.count),
        second(own, rows.own_slots, rows.own_lengths, rows.count);
    const at::Tensor keys = at::cat({first.keys, second.keys}, 2), values = at::cat({first.values, second.values}, 2),
                     exists = at::cat({first.exists, second.exists}, 1);
    const int64_t heads = query.size(1), key_heads = keys.size(1), size = query.size(2);
    const at::Tensor q = query.reshape({rows.count, key_heads, heads / key_heads, size});
    const auto wide = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor scores = at::matmul(q, keys.transpose(2, 3)).to(wide) * scale;
    scores.masked_fill_(exists.logical_not().view({rows.count, 1, 1, -1}), -std::numeric_limits<double>::infinity());
    // What was never written may be anything, infinity too; 0 · infinity would spoil the sum.
    const at::Tensor read = values.masked_fill(exists.logical_not().view({rows.count, 1, -1, 1}), 0);
    return at::matmul(at::softmax(scores, -1).to(query.scalar_type()), read).reshape({rows.count, heads, size});
}

void check_positions(
    const CacheShape &shape, const int64_t *slots, const int64_t *ends, int64_t count, int64_t least,
    const char *name) {
    for (int64_t i = 0; i < count; ++i)
        TORCH_CHECK(
            slots[i] >= 0 && slots[i] < shape.slots && ends[i] >= least && ends[i] <= shape.capacity, "row ", i, ": ",
            name, " slot ", slots[i], " with ", ends[i], " keys, the cache has ", shape.slots,
            " slots of ", shape.capacity);
}

template <class T>
void write_rows(
    const ctorch_decode_cache &cache, const CacheShape &shape, const at::Tensor &keys, const at::Tensor &values,
    const int64_t *slots, const int64_t *positions, int64_t count) {
    const T *k = keys.const_data_ptr<T>(), *v = values.const_data_ptr<T>();
    T *to_keys = unwrap(cache.keys).template mutable_data_ptr<T>();
    T *to_values = unwrap(cache.values).template mutable_data_ptr<T>();
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t head = 0; head < shape.heads; ++head) {
            const int64_t place = slots[i] * shape.heads + head, from = (i * shape.heads + head) * shape.size;
            T *tile = to_keys + (place * shape.tiles + positions[i] / lane_count) * shape.size * lane_count;
            for (int64_t d = 0; d < shape.size; ++d) tile[d * lane_count + positions[i] % lane_count] = k[from + d];
            std::copy_n(v + from, shape.size, to_values + (place * shape.capacity + positions[i]) * shape.size);
        }
    }
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_cache_write(
    ctorch_decode_cache cache, ctorch_tensor keys, ctorch_tensor values, const int64_t *slots, const int64_t *positions,
    int64_t count) {
    return guarded([&] {
        const c10::NoGradGuard no_gradients;
        const at::Tensor &to_keys = unwrap(cache.keys), &to_values = unwrap(cache.values);
        const CacheShape shape(to_keys, to_values);
        const at::Tensor k = unwrap(keys).contiguous(), v = unwrap(values).contiguous();
        const std::vector<int64_t> expected = {count, shape.heads, shape.size};
        TORCH_CHECK(
            k.sizes() == at::IntArrayRef(expected) && v.sizes() == k.sizes() &&
            k.scalar_type() == to_keys.scalar_type() &&
                v.scalar_type() == k.scalar_type() && k.device() == to_keys.device(),
            "keys ", k.sizes(), " ", k.scalar_type(), " and values ", v.sizes(), " ", v.scalar_type(), " must be ",
            at::IntArrayRef(expected), " ", to_keys.scalar_type());
        for (int64_t i = 0; i < count; ++i)
            TORCH_CHECK(
                slots[i] >= 0 && slots[i] < shape.slots && positions[i] >= 0 && positions[i] < shape.capacity,
                "token ", i,
                ": slot ", slots[i], " position ", positions[i], ", the cache has ", shape.slots, " slots of ",
                shape.capacity);
        if (has_kernel(to_keys)) {
            to_keys.scalar_type() == at::kFloat ? write_rows<float>(cache, shape, k, v, slots, positions, count)
                                                : write_rows<double>(cache, shape, k, v, slots, positions, count);
            return;
        }
        const at::Tensor slot = indices(slots, count, k.device()), position = indices(positions, count, k.device());
        const at::Tensor tile = position.div(lane_count, "floor"), lane = position.remainder(lane_count);
        to_keys.permute({0, 2, 4, 1, 3}).index_put_({slot, tile, lane}, k);
        to_values.permute({0, 2, 1, 3}).index_put_({slot, position}, v);
    });
}

extern "C" ctorch_status ctorch_decode_attention(
    ctorch_tensor query, ctorch_decode_cache prompt, ctorch_decode_cache own, ctorch_decode_rows rows, double scale,
    bool composed, ctorch_tensor *out) {
    return guarded([&] {
        const c10::NoGradGuard no_gradients;
        const at::Tensor q = unwrap(query).contiguous();
        const CacheShape prompts(unwrap(prompt.keys), unwrap(prompt.values));
        const CacheShape owns(unwrap(own.keys), unwrap(own.values));
        TORCH_CHECK(
            q.dim() == 3 && q.size(0) == rows.count && rows.count > 0 && q.size(2) == owns.size &&
            prompts.size == owns.size &&
                prompts.heads == owns.heads && q.size(1) % owns.heads == 0 &&
                q.scalar_type() == unwrap(own.keys).scalar_type() &&
                q.scalar_type() == unwrap(prompt.keys).scalar_type(),
            "query ", q.sizes(), " ", q.scalar_type(), " must be [", rows.count, ", a multiple of ", owns.heads, ", ",
            owns.size, "] of the caches' element type ", unwrap(own.keys).scalar_type());
        check_positions(prompts, rows.prompt_slots, rows.prompt_lengths, rows.count, 0, "prompt");
        check_positions(owns, rows.own_slots, rows.own_lengths, rows.count, 1, "own");
        if (composed || !has_kernel(q)) {
            *out = wrap(composed_decode(q, prompt, own, rows, scale));
            return;
        }
        at::Tensor result = at::empty_like(q);
        q.scalar_type() == at::kFloat ? decode_rows<float>(q, prompt, own, rows, static_cast<float>(scale), result)
                                      : decode_rows<double>(q, prompt, own, rows, scale, result);
        *out = wrap(result);
    });
}
