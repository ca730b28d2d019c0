// Inside CTorch only: the kernel of decoding, attention of a few rows of one prompt that read one key head.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "vectors.hpp"

namespace ctorch {

/// Queries that read one tile of keys at the same time.
constexpr int64_t queries_at_once = 8;

/// Scores of `count` queries against `tiles` tiles of 16 keys: as many sums at a time as keep the processor busy, each in
/// the order of the head's elements.
template <class T, int count, int tiles>
CTORCH_INLINE void score_tiles_at_once(
    const T *const *queries, const T *keys, int64_t size, T scale, T *const *scores, int64_t first) {
    Lanes<T> sums[count][tiles] = {};
    for (int64_t i = 0; i < size; ++i)
        for (int t = 0; t < tiles; ++t) {
            const Lanes<T> key = *reinterpret_cast<const Lanes<T> *>(keys + (t * size + i) * lane_count);
            for (int q = 0; q < count; ++q) sums[q][t] += key * queries[q][i];
        }
    for (int q = 0; q < count; ++q)
        for (int t = 0; t < tiles; ++t)
            *reinterpret_cast<Lanes<T> *>(scores[q] + first + t * lane_count) = sums[q][t] * scale;
}

/// Scores of any number of queries against `tiles` tiles.
template <class T, int tiles>
CTORCH_INLINE void score_some(
    const T *const *queries, int64_t count, const T *keys, int64_t size, T scale, T *const *scores, int64_t first) {
    int64_t q = 0;
    for (; q + queries_at_once <= count; q += queries_at_once)
        for (int t = 0; t < tiles; ++t)
            score_tiles_at_once<T, queries_at_once, 1>(
                queries + q, keys + t * size * lane_count, size, scale, scores + q, first + t * lane_count);
    // Three together rather than one alone, whose few sums would be waited for.
    if ((count - q) % 2 == 1 && count - q > 1) {
        score_tiles_at_once<T, 3, tiles>(queries + q, keys, size, scale, scores + q, first);
        q += 3;
    }
    for (; q + 2 <= count; q += 2)
        score_tiles_at_once<T, 2, tiles>(queries + q, keys, size, scale, scores + q, first);
    for (; q < count; ++q) score_tiles_at_once<T, 1, tiles>(queries + q, keys, size, scale, scores + q, first);
}

template <class T>
CTORCH_INLINE void score_tiles(
    const T *const *queries, int64_t count, const T *keys, int64_t length, int64_t size, T scale, T *const *scores,
    int64_t first) {
    const int64_t end = (length + lane_count - 1) / lane_count;
    int64_t tile = 0;
    for (; tile + 4 <= end; tile += 4)
        score_some<T, 4>(
            queries, count, keys + tile * size * lane_count, size, scale, scores, first + tile * lane_count);
    for (; tile < end; ++tile)
        score_some<T, 1>(
            queries, count, keys + tile * size * lane_count, size, scale, scores, first + tile * lane_count);
}

/// scores become exp(scores − their maximum); returns the sum. Lanes past `length` of each part were set to −infinity.
template <class T>
CTORCH_INLINE T exponentials_of_row(T *scores, int64_t count, T &highest) {
    highest = largest(static_cast<const T *>(scores), count);
    Lanes<T> sums = {};
    for (int64_t i = 0; i < count; i += lane_count) {
        auto &lanes = *reinterpret_cast<Lanes<T> *>(scores + i);
        Lanes<T> power = lanes - highest;
        exponentials(power);
        lanes = power;
        sums += power;
    }
    return total<T>(sums);
}

/// out[q] += Σ over keys of weight · value, for `queries` queries and `chunks` · 16 elements of the head.
template <class T, int queries, int chunks>
CTORCH_INLINE void add_values(
    const T *const *weights, int64_t first, const T *values, int64_t length, int64_t size, T *const *out,
    int64_t offset) {
    Lanes<T> sums[queries][chunks];
    for (int q = 0; q < queries; ++q)
        for (int c = 0; c < chunks; ++c)
            sums[q][c] = *reinterpret_cast<const Lanes<T> *>(out[q] + offset + c * lane_count);
    for (int64_t key = 0; key < length; ++key) {
        const T *from = values + key * size + offset;
        for (int c = 0; c < chunks; ++c) {
            const Lanes<T> value = *reinterpret_cast<const Lanes<T> *>(from + c * lane_count);
            for (int q = 0; q < queries; ++q) sums[q][c] += value * weights[q][first + key];
        }
    }
    for (int q = 0; q < queries; ++q)
        for (int c = 0; c < chunks; ++c) *reinterpret_cast<Lanes<T> *>(out[q] + offset + c * lane_count) = sums[q][c];
}

template <class T, int queries>
CTORCH_INLINE void add_all_values(
    const T *const *weights, int64_t first, const T *values, int64_t length, int64_t size, T *const *out) {
    int64_t offset = 0;
    for (; offset + 4 * lane_count <= size; offset += 4 * lane_count)
        add_values<T, queries, 4>(weights, first, values, length, size, out, offset);
    for (; offset + 2 * lane_count <= size; offset += 2 * lane_count)
        add_values<T, queries, 2>(weights, first, values, length, size, out, offset);
    for (; offset + lane_count <= size; offset += lane_count)
        add_values<T, queries, 1>(weights, first, values, length, size, out, offset);
    for (; offset < size; ++offset)
        for (int q = 0; q < queries; ++q)
            for (int64_t key = 0; key < length; ++key)
                out[q][offset] += weights[q][first + key] * values[key * size + offset];
}

template <class T>
CTORCH_INLINE void add_values_of_queries(
    const T *const *weights, int64_t count, int64_t first, const T *values, int64_t length, int64_t size,
    T *const *out) {
    // Keys in stretches whose values stay in the first-level cache while every query reads them.
    for (int64_t start = 0; start < length; start += 64) {
        const int64_t keys = std::min<int64_t>(64, length - start);
        int64_t q = 0;
        for (; q + 4 <= count; q += 4)
            add_all_values<T, 4>(weights + q, first + start, values + start * size, keys, size, out + q);
        for (; q + 3 <= count; q += 3)
            add_all_values<T, 3>(weights + q, first + start, values + start * size, keys, size, out + q);
        for (; q + 2 <= count; q += 2)
            add_all_values<T, 2>(weights + q, first + start, values + start * size, keys, size, out + q);
        if (q < count) add_all_values<T, 1>(weights + q, first + start, values + start * size, keys, size, out + q);
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
    /// Where the logarithm of each query's sum of exponentials goes.
    T *const *log_sums;
};

template <class T>
CTORCH_INLINE void hide(T *scores, int64_t first, int64_t length) {
    const int64_t end = (length + lane_count - 1) / lane_count * lane_count;
    for (int64_t i = length; i < end; ++i) scores[first + i] = -std::numeric_limits<T>::infinity();
}

template <class T>
struct DecodeHead {
    static CTORCH_INLINE void run(const HeadTask<T> *work) {
        const HeadTask<T> &task = *work;
        const int64_t count = task.rows * task.shared;
        const int64_t own_first = (task.prompt.length + lane_count - 1) / lane_count * lane_count;
        score_tiles<T>(
            task.queries, count, task.prompt.keys, task.prompt.length, task.size, task.scale, task.scores, 0);
        for (int64_t row = 0; row < task.rows; ++row) {
            const HeadCache<T> &own = task.own[row];
            T *const *scores = task.scores + row * task.shared;
            score_tiles<T>(
                task.queries + row * task.shared, task.shared, own.keys, own.length, task.size, task.scale, scores,
                own_first);
            const int64_t end = own_first + (own.length + lane_count - 1) / lane_count * lane_count;
            for (int64_t q = 0; q < task.shared; ++q) {
                hide(scores[q], 0, task.prompt.length);
                hide(scores[q], own_first, own.length);
                T highest;
                const T sum = exponentials_of_row(scores[q], end, highest), inverse = 1 / sum;
                *task.log_sums[row * task.shared + q] = highest + std::log(sum);
                for (int64_t i = 0; i < end; i += lane_count) *reinterpret_cast<Lanes<T> *>(scores[q] + i) *= inverse;
                T *out = task.out[row * task.shared + q];
                for (int64_t i = 0; i < task.size; ++i) out[i] = 0;
            }
            add_values_of_queries<T>(
                scores, task.shared, own_first, own.values, own.length, task.size, task.out + row * task.shared);
        }
        add_values_of_queries<T>(
            task.scores, count, 0, task.prompt.values, task.prompt.length, task.size, task.out);
    }
};

}  // namespace ctorch
