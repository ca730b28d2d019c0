#include "include/ctorch_sampling.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <limits>

#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

constexpr int64_t block_size = 256;

int64_t blocks_of(int64_t count) { return (count + block_size - 1) / block_size; }

struct RowMaximum {
    static CTORCH_INLINE void run(const float *z, int64_t count, float *out) {
        *out = largest(z, count);
    }
};

/// weights = exp(z − highest), and their sum over each block of 256 words in double.
struct RowWeights {
    static CTORCH_INLINE void run(const float *z, int64_t count, float highest, float *weights, double *block_sums) {
        for (int64_t start = 0; start < count; start += block_size) {
            const int64_t end = std::min(count, start + block_size),
                whole = start + (end - start) / lane_count * lane_count;
            Lanes<double> sums = {};
            for (int64_t i = start; i < whole; i += lane_count) {
                Lanes<float> power = *reinterpret_cast<const Lanes<float> *>(z + i) - highest;
                exponentials(power);
                *reinterpret_cast<Lanes<float> *>(weights + i) = power;
                sums += __builtin_convertvector(power, Lanes<double>);
            }
            double sum = total<double>(sums);
            for (int64_t i = whole; i < end; ++i) {
                weights[i] = std::exp(z[i] - highest);
                sum += weights[i];
            }
            block_sums[start / block_size] = sum;
        }
    }
};

/// Working memory of one thread.
struct Scratch {
    std::vector<float> logits, weights, ordered;
    std::vector<double> sums;
    std::vector<std::pair<float, int64_t>> edge;

    void reserve(int64_t words) {
        logits.resize(words);
        weights.resize(words);
        ordered.resize(words);
        sums.resize(blocks_of(words));
        edge.reserve(words);
    }
};

double sum_of(const std::vector<double> &sums) {
    double sum = 0;
    for (double part : sums) sum += part;
    return sum;
}

/// The first word at which the running sum of weights passes `share` of the total, in vocabulary order.
int64_t inverse_cumulative(const float *weights, int64_t count, const std::vector<double> &sums, double share) {
    const double goal = share * sum_of(sums);
    double before = 0;
    size_t block = 0;
    while (block + 1 < sums.size() && before + sums[block] <= goal) before += sums[block++];
    for (int64_t i = static_cast<int64_t>(block) * block_size; i < count; ++i) {
        before += weights[i];
        if (before > goal) return i;
    }
    // Rounding left the goal at the very end: the last word that can be drawn.
    for (int64_t i = count - 1; i > 0; --i)
        if (weights[i] > 0) return i;
    return 0;
}

constexpr float removed = -std::numeric_limits<float>::infinity();

/// Keeps the k largest logits and what equals the k-th.
void keep_top_k(float *z, int64_t count, int64_t k, Scratch &scratch) {
    std::copy(z, z + count, scratch.ordered.begin());
    const auto kth = scratch.ordered.begin() + (k - 1);
    std::nth_element(scratch.ordered.begin(), kth, scratch.ordered.end(), std::greater<>());
    const float lowest = *kth;
    for (int64_t i = 0; i < count; ++i)
        if (z[i] < lowest) z[i] = removed;
}

/// Keeps the words before which, from the most likely down, less than `share` of the mass stands. Equal words: lowest
/// id first.
///
/// Words are sorted only within the one bin of 1/32 nat in which the share is reached.
void keep_top_p(float *z, int64_t count, float highest, double share, Scratch &scratch) {
    dispatch<RowWeights>(static_cast<const float *>(z), count, highest, scratch.weights.data(), scratch.sums.data());
    const double goal = share * sum_of(scratch.sums);
    constexpr int bins = 1024;
    std::array<double, bins> mass{};
    const auto bin_of = [&](float logit) {
        return static_cast<int>(std::min<float>((highest - logit) * 32, bins - 1));
    };
    for (int64_t i = 0; i < count; ++i)
        if (z[i] != removed) mass[bin_of(z[i])] += scratch.weights[i];
    double before = 0;
    int crossing = 0;
    while (crossing < bins - 1 && before + mass[crossing] < goal) before += mass[crossing++];
    scratch.edge.clear();
    for (int64_t i = 0; i < count; ++i) {
        if (z[i] == removed) continue;
        const int bin = bin_of(z[i]);
        if (bin == crossing) scratch.edge.emplace_back(z[i], i);
        if (bin > crossing) z[i] = removed;
    }
    std::sort(scratch.edge.begin(), scratch.edge.end(), [](const auto &a, const auto &b) {
        return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    for (const auto &[logit, word] : scratch.edge) {
        (void)logit;
        if (before >= goal) z[word] = removed;
        before += scratch.weights[word];
    }
}

struct Drawn {
    int64_t token;
    float sampling, policy;
};

struct RowSampler {
    const ctorch_policy_distribution &distribution;
    const ctorch_sampling_rows &rows;
    int64_t words;

    /// Divides by the temperature where it is not 1.
    void scale(float *z) const {
        if (distribution.temperature == 1) return;
        const float temperature = static_cast<float>(distribution.temperature);
        for (int64_t i = 0; i < words; ++i) z[i] /= temperature;
    }

    void penalize(float *z, int64_t row) const {
        const float penalty = static_cast<float>(distribution.repetition_penalty);
        for (int64_t i = rows.seen_offsets[row]; i < rows.seen_offsets[row + 1]; ++i) {
            float &logit = z[rows.seen[i]];
            logit = logit < 0 ? logit * penalty : logit / penalty;
        }
    }

    bool filters() const {
        return (distribution.top_k > 0 && distribution.top_k < words) || distribution.top_p < 1 ||
            distribution.min_p > 0;
    }

    Drawn draw(const float *logits, int64_t row, Scratch &scratch) const {
        float *z = scratch.logits.data();
        std::copy(logits, logits + words, z);
        scale(z);
        float highest;
        dispatch<RowMaximum>(static_cast<const float *>(z), words, &highest);
        dispatch<RowWeights>(
            static_cast<const float *>(z), words, highest, scratch.weights.data(), scratch.sums.data());
        const double log_sum = std::log(sum_of(scratch.sums));
        const auto policy = [&, base = highest](int64_t token) {
            const float logit = distribution.temperature == 1
                                    ? logits[token]
                                    : logits[token] / static_cast<float>(distribution.temperature);
            return static_cast<float>(logit - base - log_sum);
        };
        if (!std::isfinite(log_sum)) return {-1, 0, 0};
        const bool penalized = distribution.repetition_penalty != 1;
        if (penalized) {
            std::copy(logits, logits + words, z);
            penalize(z, row);
        }
        if (rows.greedy[row]) {
            const float *from = penalized ? z : logits;
            const int64_t token = std::max_element(from, from + words) - from;
            return {token, 0, policy(token)};
        }
        if (penalized) scale(z);
        if (!penalized && !filters()) {
            const int64_t token = inverse_cumulative(scratch.weights.data(), words, scratch.sums, rows.uniforms[row]);
            return {token, policy(token), policy(token)};
        }
        dispatch<RowMaximum>(static_cast<const float *>(z), words, &highest);
        if (distribution.top_k > 0 && distribution.top_k < words) keep_top_k(z, words, distribution.top_k, scratch);
        if (distribution.top_p < 1) keep_top_p(z, words, highest, distribution.top_p, scratch);
        if (distribution.min_p > 0) {
            const float lowest = highest + static_cast<float>(std::log(distribution.min_p));
            for (int64_t i = 0; i < words; ++i)
                if (z[i] < lowest) z[i] = removed;
        }
        dispatch<RowWeights>(
            static_cast<const float *>(z), words, highest, scratch.weights.data(), scratch.sums.data());
        const int64_t token = inverse_cumulative(scratch.weights.data(), words, scratch.sums, rows.uniforms[row]);
        const auto sampling = static_cast<float>(z[token] - highest - std::log(sum_of(scratch.sums)));
        return {token, sampling, policy(token)};
    }
};

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_sample_tokens(
    ctorch_tensor logits, ctorch_policy_distribution distribution, ctorch_sampling_rows rows, int64_t *tokens,
    float *sampling_log_probabilities, float *policy_log_probabilities) {
    return guarded([&] {
        const at::Tensor &input = unwrap(logits);
        TORCH_CHECK(
            input.dim() == 2 && input.size(0) == rows.count && input.size(1) > 0, "logits ", input.sizes(),
            " must be [",
            rows.count, ", vocabulary]");
        const at::Tensor z = input.to(at::kCPU, at::kFloat).contiguous();
        const int64_t words = z.size(1);
        for (int64_t i = 0; rows.seen != nullptr && i < rows.seen_offsets[rows.count]; ++i)
            TORCH_CHECK(rows.seen[i] >= 0 && rows.seen[i] < words, "token id ", rows.seen[i], " is outside ", words);
        // Each made where it stays: a copy would not have the room that is reserved.
        std::vector<Scratch> scratch(std::min<int64_t>(thread_count(), rows.count));
        for (Scratch &one : scratch) one.reserve(words);
        const RowSampler sampler{distribution, rows, words};
        const float *from = z.const_data_ptr<float>();
        parallel_tasks(rows.count, 8 * words, [&](int64_t row, int thread) {
            const Drawn drawn = sampler.draw(from + row * words, row, scratch[thread]);
            tokens[row] = drawn.token;
            sampling_log_probabilities[row] = drawn.sampling;
            policy_log_probabilities[row] = drawn.policy;
        });
        for (int64_t row = 0; row < rows.count; ++row)
            TORCH_CHECK(tokens[row] >= 0, "row ", row, " has logits that are not finite");
    });
}
