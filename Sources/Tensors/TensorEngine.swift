internal import CTorch

/// libtorch as a whole.
///
/// Deterministic algorithms are on from the start of the process. Denormal numbers are kept: the switch that flushes
/// them acts on one thread, so a result would depend on how the work is divided among threads.
package enum TensorEngine {
    /// Such as "2.13.0".
    package static var version: String { String(cString: ctorch_version()) }

    /// What our kernels are compiled for here: `avx512`, `avx2` or `baseline` of x86-64, else `portable`. The
    /// environment variable `PLUMBLINE_INSTRUCTIONS` names a narrower one than the processor's.
    package static var instructions: String { String(cString: ctorch_instructions()) }

    /// CUDA devices that this libtorch and this machine have. The first call loads CUDA, which takes seconds.
    package static var cudaDeviceCount: Int { Int(ctorch_cuda_device_count()) }

    /// Threads that one operation uses; results can differ in the last bits from one count to another.
    @TensorActor package static var threadCount: Int { Int(ctorch_thread_count()) }

    /// - Throws: ``TensorError/engine(operation:message:)`` for a count below 1.
    @TensorActor package static func setThreadCount(_ count: Int) throws(TensorError) {
        try Tensor.check("setThreadCount", ctorch_set_thread_count(Int32(clamping: count)))
    }

    /// Tensor handles that are alive, over all threads; for finding leaks.
    package static var liveTensors: Int { ctorch_live_handles() }

    /// Fails as an operation does whose message finds no memory; for tests.
    package static func failWithoutMemory() throws(TensorError) {
        try Tensor.check("failWithoutMemory", ctorch_fail_without_memory())
    }

    /// Whether this libtorch was built with CUDA, whatever devices the machine has.
    package static var hasCUDA: Bool { ctorch_has_cuda() }

    /// - Throws: ``TensorError/device(_:)`` that says whether it is libtorch or the machine that has no such device.
    package static func require(_ device: Device) throws(TensorError) {
        guard case .cuda(let index) = device else { return }
        guard hasCUDA else {
            throw .device("this libtorch (\(version)) was built without CUDA; set LIBTORCH to a CUDA build, or use cpu")
        }
        let count = cudaDeviceCount
        guard count > 0 else {
            throw .device("libtorch \(version) has CUDA, and finds no GPU on this machine; see nvidia-smi, or use cpu")
        }
        guard (0..<count).contains(index) else {
            throw .device("there is no GPU \(index); this machine has 0 to \(count - 1)")
        }
    }
}
