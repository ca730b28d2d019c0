internal import CTorch
internal import Glibc

/// The part of a computation that a checkpoint runs again.
private final class Segment {
    let body: ([Tensor]) throws -> Tensor
    /// What the body threw last: the engine passes only text.
    var failure: (any Error)?

    init(_ body: @escaping ([Tensor]) throws -> Tensor) { self.body = body }

    func run(_ inputs: [Tensor], _ out: UnsafeMutablePointer<OpaquePointer?>?) -> ctorch_status {
        do {
            let result = try body(inputs)
            return withExtendedLifetime(result) { ctorch_share(result.raw, out) }
        } catch {
            failure = error
            return ctorch_status(failed: true, message: strdup(String(describing: error)))
        }
    }
}

extension Tensor {
    /// `body(inputs)`, keeping the inputs instead of everything computed in between (Chen et al. 2016,
    /// arXiv:1604.06174).
    ///
    /// The body runs twice: now without recording, and once more with recording when backward arrives. It must compute
    /// the same both times. Tensors that need a gradient come in through `inputs`; leaves (parameters) may be captured
    /// instead, each backward then adds to their gradient once. Only ``backward(seed:keepsGraph:)`` goes through a
    /// checkpoint; ``gradients(of:withRespectTo:seed:keepsGraph:)`` refuses. On a CUDA device the second run happens on
    /// the engine's own thread while the calling thread waits in backward.
    ///
    /// - Throws: what `body` throws in its first run; in the second, backward throws it as
    ///   ``TensorError/engine(operation:message:)``.
    package static func checkpoint(
        inputs: [Tensor], _ body: @escaping ([Tensor]) throws -> Tensor
    ) throws -> Tensor {
        guard recordsGradients else { return try body(inputs) }
        let segment = Segment(body)
        do {
            return try make("checkpoint") { out in
                withExtendedLifetime(inputs) {
                    ctorch_checkpoint(
                        { context, inputs, count, out in
                            guard let context else { return ctorch_status(failed: true, message: strdup("no segment")) }
                            let segment = Unmanaged<Segment>.fromOpaque(context).takeUnretainedValue()
                            let handles = UnsafeBufferPointer(start: inputs, count: count)
                            return segment.run(
                                handles.compactMap { $0.map { Tensor(handle: TensorHandle($0)) } }, out)
                        },
                        Unmanaged.passRetained(segment).toOpaque(),
                        { context in
                            guard let context else { return }
                            Unmanaged<Segment>.fromOpaque(context).release()
                        },
                        handles(of: inputs), inputs.count, out)
                }
            }
        } catch {
            throw segment.failure ?? error
        }
    }
}
