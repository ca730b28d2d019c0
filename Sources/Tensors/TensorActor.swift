internal import CTorch
internal import Glibc

/// Isolates everything that touches a tensor: libtorch's teams of threads and its gradient mode belong to one thread.
@globalActor
package actor TensorActor {
    package static let shared = TensorActor()

    package nonisolated var unownedExecutor: UnownedSerialExecutor { TensorThread.shared.asUnownedSerialExecutor() }
}

/// One thread for the whole life of the process, which runs the jobs of ``TensorActor`` in the order they arrive.
///
/// Unchecked: `jobs` is read and written under `lock` only.
final class TensorThread: SerialExecutor, @unchecked Sendable {
    static let shared = TensorThread()

    /// As `top -H` and debuggers show it.
    static let name = "tensors"
    /// Address space, not memory: a deep graph or model may recurse further than the system's 8 MiB.
    private static let stackBytes = 256 << 20

    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let arrival: UnsafeMutablePointer<pthread_cond_t>
    private var jobs: [UnownedJob] = []
    private var thread = pthread_t()

    private init() {
        lock = .allocate(capacity: 1)
        arrival = .allocate(capacity: 1)
        pthread_mutex_init(lock, nil)
        pthread_cond_init(arrival, nil)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, Self.stackBytes)
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(
            &thread, &attributes,
            { context in
                guard let context else { return nil }
                Unmanaged<TensorThread>.fromOpaque(context).takeRetainedValue().run()
            }, context)
        precondition(result == 0, "the system refused a thread for tensors: error \(result)")
        pthread_attr_destroy(&attributes)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        pthread_mutex_lock(lock)
        jobs.append(job)
        pthread_cond_signal(arrival)
        pthread_mutex_unlock(lock)
    }

    func checkIsolated() {
        precondition(
            pthread_equal(pthread_self(), thread) != 0, "tensors are touched on the thread of TensorActor only")
    }

    private func run() -> Never {
        ctorch_name_thread(Self.name)
        while true {
            pthread_mutex_lock(lock)
            while jobs.isEmpty { pthread_cond_wait(arrival, lock) }
            let arrived = jobs
            jobs.removeAll(keepingCapacity: true)
            pthread_mutex_unlock(lock)
            for job in arrived { job.runSynchronously(on: asUnownedSerialExecutor()) }
        }
    }
}
