#include <vector>

#include "include/ctorch_reduce.h"
#include "parallel.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace ctorch {
namespace {

/// Sum of mix64(seed ⊕ i·φ ⊕ (2·bits + 1)·c) over the words of one part, with i counted from `first`; mix64 is the
/// finaliser of splitmix64.
template <class Word>
struct PartDigest {
    static CTORCH_INLINE void run(const Word *words, int64_t first, int64_t count, uint64_t seed, uint64_t *out) {
        uint64_t sum = 0;
        for (int64_t i = 0; i < count; ++i) {
            uint64_t word = seed ^ (static_cast<uint64_t>(first + i) * 0x9E3779B97F4A7C15u) ^
                            ((2 * static_cast<uint64_t>(words[i]) + 1) * 0xBF58476D1CE4E5B9u);
            word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
            word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
            sum += word ^ (word >> 31);
        }
        *out = sum;
    }
};

template <class Word>
uint64_t digest(const void *data, int64_t count, uint64_t seed) {
    constexpr int64_t part = 1 << 16;
    const auto *words = static_cast<const Word *>(data);
    std::vector<uint64_t> sums((count + part - 1) / part);
    parallel_tasks(static_cast<int64_t>(sums.size()), part / 4, [&](int64_t task, int) {
        const int64_t first = task * part;
        dispatch<PartDigest<Word>>(words + first, first, std::min(part, count - first), seed, &sums[task]);
    });
    uint64_t sum = 0;
    for (const uint64_t one : sums) sum += one;
    return sum;
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_digest(ctorch_tensor tensor, uint64_t seed, uint64_t *out) {
    return guarded([&] {
        const at::Tensor values = unwrap(tensor).detach().cpu().contiguous();
        const void *data = values.const_data_ptr();
        switch (values.element_size()) {
            case 8: *out = digest<uint64_t>(data, values.numel(), seed); break;
            case 4: *out = digest<uint32_t>(data, values.numel(), seed); break;
            case 2: *out = digest<uint16_t>(data, values.numel(), seed); break;
            default: *out = digest<uint8_t>(data, values.numel() * values.element_size(), seed);
        }
    });
}
