// Inside CTorch only: what a block does to a row between its products.
#pragma once

#include <cmath>

#include "vectors.hpp"

namespace ctorch {

/// x / √(mean(x²) + epsilon) · weight; `scale` becomes the factor before the weight.
template <class T>
struct NormRow {
    static CTORCH_INLINE void run(const T *x, const T *weight, T *out, T *scale, int64_t size, T epsilon) {
#pragma clang fp reassociate(on) contract(fast)
        T sum = 0;
        for (int64_t i = 0; i < size; ++i) sum += x[i] * x[i];
        const T factor = 1 / std::sqrt(sum / size + epsilon);
        for (int64_t i = 0; i < size; ++i) out[i] = x[i] * factor * weight[i];
        *scale = factor;
    }
};

/// One token: (first, second) becomes (first·c − second·s, second·c + first·s) in every head.
template <class T>
struct TurnToken {
    static CTORCH_INLINE void run(
        const T *__restrict x, const T *__restrict cosines, const T *__restrict sines, T *__restrict out, int64_t heads,
        int64_t half, T sign) {
        for (int64_t head = 0; head < heads; ++head) {
            const T *first = x + head * 2 * half, *second = first + half;
            T *to = out + head * 2 * half;
            for (int64_t i = 0; i < half; ++i) {
                const T sine = sign * sines[i];
                to[i] = first[i] * cosines[i] - second[i] * sine;
                to[half + i] = second[i] * cosines[i] + first[i] * sine;
            }
        }
    }
};

/// Sixteen numbers, or what is left of them with zeros behind: each goes the way of all, so that its result does not depend on
/// where a row was cut.
template <class T>
CTORCH_INLINE void read_lanes(const T *from, int64_t left, Lanes<T> &to) {
    if (left >= lane_count) {
        to = *reinterpret_cast<const Lanes<T> *>(from);
        return;
    }
    to = Lanes<T>{};
    for (int64_t i = 0; i < left; ++i) to[i] = from[i];
}

template <class T>
CTORCH_INLINE void write_lanes(const Lanes<T> &from, int64_t left, T *to) {
    if (left >= lane_count)
        *reinterpret_cast<Lanes<T> *>(to) = from;
    else
        for (int64_t i = 0; i < left; ++i) to[i] = from[i];
}

template <class T>
CTORCH_INLINE void sigmoid(const Lanes<T> &gate, Lanes<T> &out) {
    Lanes<T> power = -gate;
    exponentials(power);
    out = 1 / (1 + power);
}

/// gate · sigmoid(gate) · up.
template <class T>
struct GateBlock {
    static CTORCH_INLINE void run(const T *gate, const T *up, T *out, int64_t count) {
        for (int64_t i = 0; i < count; i += lane_count) {
            Lanes<T> g, u, open;
            read_lanes(gate + i, count - i, g);
            read_lanes(up + i, count - i, u);
            sigmoid<T>(g, open);
            write_lanes<T>(g * open * u, count - i, out + i);
        }
    }
};

}  // namespace ctorch
