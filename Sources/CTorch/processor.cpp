// Which kernels MKL multiplies with.
//
// MKL, which libtorch's x86-64 builds contain, asks two functions of its own whether Intel made the processor, and where
// it was not it stays with generic kernels, whatever instructions the processor has. It looks these functions up as any
// program's symbols, so that the ones defined here answer in their place: then MKL goes by the instructions alone. On an
// EPYC of 2023 that is AVX-512 in place of AVX2, and a training step a ninth shorter. Processors of Intel get the kernels
// that they had. A libtorch without MKL never asks.

#if defined(__x86_64__) && defined(__linux__)

extern "C" {

__attribute__((visibility("default"))) int mkl_serv_intel_cpu(void) { return 1; }
__attribute__((visibility("default"))) int mkl_serv_intel_cpu_true(void) { return 1; }

}  // extern "C"

#endif
