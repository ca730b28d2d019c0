// Where the elements of tensors on the CPU lie.
//
// A training step makes and frees tens of GB in blocks of the same few sizes. glibc gives each block of more than 32 MiB
// back to the system when it is freed, so that its next use faults every page in again, and keeps the rest in heaps of
// 64 MiB, between which nothing can be joined. Here all blocks from 1 MiB on come from one pool: the smallest piece that
// is large enough is taken, what is freed is joined with its neighbours and taken again, and all that is free goes to the
// system when it is asked for.
//
// Left out, as measured: huge pages (MADV_HUGEPAGE). Matrix products are no faster with them, and where memory has to be
// moved together first a fresh GB takes 3 seconds in place of half a second.

#include "include/ctorch_engine.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

namespace ctorch {
namespace {

/// Smaller blocks are the C library's.
constexpr size_t smallest_block = 1 << 20;
/// What the system is asked for at least.
constexpr size_t smallest_piece = 64 << 20;

class Pool {
  public:
    /// - Returns: `bytes` that begin a page, or null where the system has none.
    char *take(size_t bytes) {
        const size_t size = whole_pages(bytes);
        const std::lock_guard<std::mutex> guard(mutex_);
        auto piece = by_size_.lower_bound({size, nullptr});
        if (piece == by_size_.end()) {
            if (!grow(size)) return nullptr;
            piece = by_size_.lower_bound({size, nullptr});
        }
        const auto [found, start] = *piece;
        remove_free(free_.find(start));
        if (found > size) add_free(start + size, found - size);
        taken_.emplace(start, size);
        return start;
    }

    /// - Returns: whether the block was the pool's.
    bool give(char *start) {
        if (reinterpret_cast<uintptr_t>(start) % page_ != 0) return false;
        const std::lock_guard<std::mutex> guard(mutex_);
        const auto block = taken_.find(start);
        if (block == taken_.end()) return false;
        const size_t size = block->second;
        taken_.erase(block);
        add_free(start, size);
        return true;
    }

    /// Everything that is free goes to the system.
    void release() {
        const std::lock_guard<std::mutex> guard(mutex_);
        release_free();
    }

    size_t kept_bytes() {
        const std::lock_guard<std::mutex> guard(mutex_);
        size_t sum = 0;
        for (const auto &[start, size] : free_) sum += size;
        return sum;
    }

  private:
    using Pieces = std::map<char *, size_t>;

    size_t whole_pages(size_t bytes) const { return (bytes + page_ - 1) / page_ * page_; }

    /// Asks the system for a piece; where it refuses, once more with everything given back.
    bool grow(size_t least) {
        for (const size_t size : {std::max(least, smallest_piece), least}) {
            void *start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
            if (start != MAP_FAILED) {
                add_free(static_cast<char *>(start), size);
                return true;
            }
            release_free();
        }
        return false;
    }

    void release_free() {
        for (auto next = free_.begin(); next != free_.end();) {
            const auto piece = next++;
            if (munmap(piece->first, piece->second) == 0) remove_free(piece);
        }
    }

    void add_free(char *start, size_t size) {
        const auto next = free_.lower_bound(start);
        if (next != free_.begin()) {
            const auto before = std::prev(next);
            if (before->first + before->second == start) {
                start = before->first;
                size += before->second;
                remove_free(before);
            }
        }
        if (next != free_.end() && start + size == next->first) {
            size += next->second;
            remove_free(next);
        }
        free_.emplace(start, size);
        by_size_.emplace(size, start);
    }

    void remove_free(Pieces::iterator piece) {
        by_size_.erase({piece->second, piece->first});
        free_.erase(piece);
    }

    const size_t page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    std::mutex mutex_;
    /// By address, in whole pages.
    Pieces taken_, free_;
    /// What is free, the smallest first.
    std::set<std::pair<size_t, char *>> by_size_;
};

/// Never destroyed: tensors may be freed after everything else.
Pool &pool() {
    static Pool &shared = *new Pool;
    return shared;
}

/// What a thread allocates while a test watches it.
class Watch {
  public:
    explicit Watch(ptrdiff_t failing) : failing_(failing) {}

    /// Throws what libtorch does where there is no memory, when it is this one's turn.
    void before(size_t bytes) {
        found_.count += 1;
        TORCH_CHECK(
            found_.count != failing_, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes,
            " bytes, and a test has it fail");
    }

    void after(const void *start, size_t bytes) {
        sizes_[start] = bytes;
        found_.held_bytes += static_cast<ptrdiff_t>(bytes);
        found_.most_bytes = std::max(found_.most_bytes, found_.held_bytes);
    }

    void freed(const void *start) {
        const auto size = sizes_.find(start);
        if (size == sizes_.end()) return;  // made before
        found_.held_bytes -= static_cast<ptrdiff_t>(size->second);
        sizes_.erase(size);
    }

    const ctorch_allocations &found() const { return found_; }

  private:
    const ptrdiff_t failing_;
    ctorch_allocations found_{0, 0, 0};
    std::unordered_map<const void *, size_t> sizes_;
};

/// Of the calling thread; null where nobody watches it.
thread_local Watch *own_watch = nullptr;
/// Threads that are watched: what everyone reads while there is none.
std::atomic<int> watched_threads{0};

/// The calling thread's watch; null almost always.
inline Watch *watching() { return watched_threads.load(std::memory_order_relaxed) > 0 ? own_watch : nullptr; }

struct PoolAllocator final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override {
        Watch *const watch = bytes > 0 ? watching() : nullptr;
        if (watch != nullptr) watch->before(bytes);
        void *const start = taken(bytes);
        c10::DataPtr data{start, start, &release, c10::Device(c10::DeviceType::CPU)};
        if (watch != nullptr) watch->after(start, bytes);
        return data;
    }

    static void *taken(size_t bytes) {
        void *start = bytes >= smallest_block ? pool().take(bytes) : nullptr;
        // Which also says what is wrong where the system has no such memory.
        if (start == nullptr) start = c10::alloc_cpu(bytes);
        return start;
    }

    static void release(void *start) {
        if (Watch *const watch = watching()) watch->freed(start);
        if (start != nullptr && !pool().give(static_cast<char *>(start))) c10::free_cpu(start);
    }

    c10::DeleterFnPtr raw_deleter() const override { return &release; }

    void copy_data(void *to, const void *from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};

/// Above the priority of libtorch's own.
const bool installed = [] {
    static PoolAllocator allocator;
    c10::SetCPUAllocator(&allocator, 1);
    return true;
}();

}  // namespace
}  // namespace ctorch

extern "C" void ctorch_return_memory(void) {
    ctorch::pool().release();
#ifdef __GLIBC__
    // Over all arenas: the tensor thread and libtorch's own threads each have one.
    malloc_trim(0);
#endif
}

extern "C" ptrdiff_t ctorch_kept_bytes(void) { return static_cast<ptrdiff_t>(ctorch::pool().kept_bytes()); }

extern "C" void ctorch_watch_allocations(ptrdiff_t failing) {
    using namespace ctorch;
    ctorch_watched_allocations();
    own_watch = new Watch(failing);
    watched_threads.fetch_add(1, std::memory_order_relaxed);
}

extern "C" ctorch_allocations ctorch_watched_allocations(void) {
    using namespace ctorch;
    if (own_watch == nullptr) return {0, 0, 0};
    const ctorch_allocations found = own_watch->found();
    watched_threads.fetch_sub(1, std::memory_order_relaxed);
    delete own_watch;
    own_watch = nullptr;
    return found;
}
