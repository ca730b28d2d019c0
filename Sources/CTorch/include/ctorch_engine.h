// The process and the calling thread: version, threads, devices, live handles.
#ifndef CTORCH_ENGINE_H
#define CTORCH_ENGINE_H

#include "ctorch_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Version of the headers this was compiled against, such as "2.13.0".
const char *ctorch_version(void);
/// The instructions that our kernels run with: "avx512", "avx2", "baseline" (of x86-64) or "portable".
const char *ctorch_instructions(void);
/// Threads libtorch uses for work that starts on the calling thread.
int ctorch_thread_count(void);
ctorch_status ctorch_set_thread_count(int count);
/// Names the calling thread for debuggers and `top`; the system keeps 15 bytes.
void ctorch_name_thread(const char *name);
int ctorch_cuda_device_count(void);
/// Whether this libtorch was built with CUDA, whatever devices the machine has.
bool ctorch_has_cuda(void);
/// Gives memory that was freed back to the system: what the pool of tensors keeps, and what the C library does where it
/// is glibc.
void ctorch_return_memory(void);
/// Bytes of freed tensors that the pool keeps for the next ones.
ptrdiff_t ctorch_kept_bytes(void);
/// What a thread has allocated for tensors on the CPU since it is watched. Memory that another thread frees counts as held.
typedef struct ctorch_allocations {
    ptrdiff_t count;
    /// Of these, the bytes that are held, and the most that were at a time.
    ptrdiff_t held_bytes, most_bytes;
} ctorch_allocations;
/// For tests: watches the calling thread's allocations from here on. The one with the number `failing`, 1 being the next,
/// fails as one does for which there is no memory; none does where it is 0.
void ctorch_watch_allocations(ptrdiff_t failing);
/// Ends that, and says what there was; nothing where there was no watch.
ctorch_allocations ctorch_watched_allocations(void);
/// For tests: fails as a call does whose message finds no memory.
ctorch_status ctorch_fail_without_memory(void);
/// Handles given out and not yet released, over all threads.
ptrdiff_t ctorch_live_handles(void);

#ifdef __cplusplus
}
#endif
#endif
