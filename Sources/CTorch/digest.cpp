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

/// Of words that lie in runs of `run`: the indices of each begin `stride` behind those of the one before, those of the
/// first at `first`.
template <class Word>
uint64_t digest(const void *data, int64_t count, uint64_t seed, int64_t first, int64_t run, int64_t stride) {
    if (count == 0) return 0;
    const int64_t part = std::min<int64_t>(run, 1 << 16), parts = (run + part - 1) / part;
    const auto *words = static_cast<const Word *>(data);
    std::vector<uint64_t> sums(count / run * parts);
    parallel_tasks(static_cast<int64_t>(sums.size()), part / 4, [&](int64_t task, int) {
        const int64_t number = task / parts, begin = task % parts * part;
        dispatch<PartDigest<Word>>(words + number * run + begin, first + number * stride + begin,
                                   std::min(part, run - begin), seed, &sums[task]);
    });
    uint64_t sum = 0;
    for (const uint64_t one : sums) sum += one;
    return sum;
}

}  // namespace
}  // namespace ctorch

using namespace ctorch;

extern "C" ctorch_status ctorch_digest(ctorch_tensor tensor, uint64_t seed, ptrdiff_t first, ptrdiff_t run,
                                       ptrdiff_t stride, uint64_t *out) {
    return guarded([&] {
        const at::Tensor values = unwrap(tensor).detach().cpu().contiguous();
        const void *data = values.const_data_ptr();
        const int64_t count = values.numel();
        TORCH_CHECK(count == 0 || (run > 0 && count % run == 0), "runs of ", run, " in ", count, " elements");
        switch (values.element_size()) {
            case 8: *out = digest<uint64_t>(data, count, seed, first, run, stride); break;
            case 4: *out = digest<uint32_t>(data, count, seed, first, run, stride); break;
            case 2: *out = digest<uint16_t>(data, count, seed, first, run, stride); break;
            default: {  // an element of several bytes that is no word of the above is its bytes
                const int64_t size = values.element_size();
                *out = digest<uint8_t>(data, count * size, seed, first * size, run * size, stride * size);
            }
        }
    });
}
