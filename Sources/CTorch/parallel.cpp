#include "parallel.hpp"

#include <ATen/Parallel.h>
#include <dlfcn.h>

namespace ctorch {

int thread_count() { return at::get_num_threads(); }

void run_team(void (*region)(void *), void *context, int threads) {
    // The entry that compilers emit for `#pragma omp parallel`, from the runtime already in the process. A libtorch
    // built on another runtime has no such symbol; then the calling thread does the work alone.
    using Entry = void (*)(void (*)(void *), void *, unsigned, unsigned);
    static const auto entry = reinterpret_cast<Entry>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    if (threads > 1 && entry != nullptr) {
        entry(region, context, static_cast<unsigned>(threads), 0);
    } else {
        region(context);
    }
}

}  // namespace ctorch
