// Inside CTorch only: vector arithmetic for our kernels and the choice of instruction set while the program runs.
//
// SwiftPM compiles for the oldest x86-64. A kernel is therefore written once, as a struct with an inlined `run`, and
// `dispatch` calls the copy compiled for the widest instructions that the processor has. Vectors are passed by
// reference, because the calling convention of wide vectors differs between the copies.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#define CTORCH_INLINE inline __attribute__((always_inline))

namespace ctorch {

/// Sixteen numbers that move together, wherever they stand in memory.
template <class T>
struct LanesOf;
template <>
struct LanesOf<float> {
    typedef float Type __attribute__((vector_size(64), aligned(4)));
};
template <>
struct LanesOf<double> {
    typedef double Type __attribute__((vector_size(128), aligned(8)));
};
template <class T>
using Lanes = typename LanesOf<T>::Type;
constexpr int64_t lane_count = 16;

/// x becomes eˣ, to about 1e-7 of its value; 0 below −87.
CTORCH_INLINE void exponentials(Lanes<float> &x) {
    typedef int32_t Integers __attribute__((vector_size(64)));
    typedef float Aligned __attribute__((vector_size(64)));
    const Aligned input = x;
    const Aligned lowest = Aligned{} - 87.0f, highest = Aligned{} + 88.0f;
    Aligned limited = input < lowest ? lowest : input;
    limited = limited > highest ? highest : limited;
    // Adding 1.5·2²³ rounds to an integer and leaves it in the low bits.
    const Aligned shifted = limited * 1.44269504088896341f + 12582912.0f;
    const Aligned whole = shifted - 12582912.0f;
    const Aligned rest = (limited - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Aligned series = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    series = series * rest + 8.3334519073e-3f;
    series = series * rest + 4.1665795894e-2f;
    series = series * rest + 1.6666665459e-1f;
    series = series * rest + 5.0000001201e-1f;
    series = series * (rest * rest) + rest + 1.0f;
    Integers exponent;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    exponent = (exponent - 0x4B400000 + 127) << 23;
    Aligned power;
    std::memcpy(&power, &exponent, sizeof power);
    x = input < lowest ? Aligned{} : series * power;
}

CTORCH_INLINE void exponentials(Lanes<double> &x) {
    for (int64_t i = 0; i < lane_count; ++i) x[i] = std::exp(x[i]);
}

/// Half plus half, until one number is left: in the same order with any instructions.
template <class T>
CTORCH_INLINE T total(const Lanes<T> &x) {
    const auto eight = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
                       __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    const auto four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
    const auto two = __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
    return two[0] + two[1];
}

/// The largest of some numbers, at least one; any of them where one is NaN.
template <class T>
CTORCH_INLINE T largest(const T *numbers, int64_t count) {
    const int64_t whole = count / lane_count * lane_count;
    T found = numbers[0];
    if (whole > 0) {
        Lanes<T> best = *reinterpret_cast<const Lanes<T> *>(numbers);
        for (int64_t i = lane_count; i < whole; i += lane_count) {
            const Lanes<T> next = *reinterpret_cast<const Lanes<T> *>(numbers + i);
            best = next > best ? next : best;
        }
        const auto first = __builtin_shufflevector(best, best, 0, 1, 2, 3, 4, 5, 6, 7),
                   second = __builtin_shufflevector(best, best, 8, 9, 10, 11, 12, 13, 14, 15);
        const auto eight = second > first ? second : first;
        for (int i = 0; i < 8; ++i) found = eight[i] > found ? eight[i] : found;
    }
    for (int64_t i = whole; i < count; ++i) found = numbers[i] > found ? numbers[i] : found;
    return found;
}

// Without the copies for x86-64 a kernel is plain C++ for any processor: on others, and with CTORCH_PORTABLE
// (Package.swift sets it where the variable PLUMBLINE_PORTABLE is set), so that this form is built and tested on x86-64
// too.
#if defined(__x86_64__) && !defined(CTORCH_PORTABLE)

enum class InstructionSet { baseline, avx2, avx512 };

/// The widest that the processor has; no wider than PLUMBLINE_INSTRUCTIONS (`baseline`, `avx2`) where that is set.
inline InstructionSet instruction_set() {
    static const InstructionSet found = [] {
        const char *asked = std::getenv("PLUMBLINE_INSTRUCTIONS");
        const bool is_baseline = asked && std::strcmp(asked, "baseline") == 0;
        const bool is_avx2 = asked && std::strcmp(asked, "avx2") == 0;
        if (is_baseline || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
            return InstructionSet::baseline;
        const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                __builtin_cpu_supports("avx512dq");
        return has_avx512 && !is_avx2 ? InstructionSet::avx512 : InstructionSet::avx2;
    }();
    return found;
}

inline const char *instruction_set_name() {
    switch (instruction_set()) {
        case InstructionSet::avx512: return "avx512";
        case InstructionSet::avx2: return "avx2";
        case InstructionSet::baseline: return "baseline";
    }
    return "";
}

template <class Kernel, class... Arguments>
__attribute__((target("avx512f,avx512vl,avx512dq,avx2,fma"))) void run_avx512(Arguments... arguments) {
    Kernel::run(arguments...);
}

template <class Kernel, class... Arguments>
__attribute__((target("avx2,fma"))) void run_avx2(Arguments... arguments) {
    Kernel::run(arguments...);
}

/// Runs `Kernel::run(arguments...)` compiled for this processor. `run` and all it calls must be CTORCH_INLINE.
template <class Kernel, class... Arguments>
void dispatch(Arguments... arguments) {
    switch (instruction_set()) {
        case InstructionSet::avx512: return run_avx512<Kernel, Arguments...>(arguments...);
        case InstructionSet::avx2: return run_avx2<Kernel, Arguments...>(arguments...);
        case InstructionSet::baseline: return Kernel::run(arguments...);
    }
}

#else

inline const char *instruction_set_name() { return "portable"; }

template <class Kernel, class... Arguments>
void dispatch(Arguments... arguments) {
    Kernel::run(arguments...);
}

#endif

}  // namespace ctorch
