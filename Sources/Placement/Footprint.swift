package import Tensors

/// What a part of a process's memory is held for.
package enum MemoryTag: String, Sendable, CaseIterable {
    /// What a role trains, and what it reads beside that.
    case weights
    case gradients
    /// What an optimizer keeps between steps.
    case optimizer
    /// Weights to be read in another element type, or brought from other ranks to be read.
    case copies
    /// Matrices with what adapters add.
    case adapterSums = "adapter_sums"
    /// Matrices packed for products of few rows.
    case packed
    /// The same in eight bits a weight.
    case int8
    /// Keys and values of completions that are being sampled.
    case keyValueCache = "kv_cache"
    /// Products of sampled completions, for the update that learns from them.
    case forwardCache = "forward_cache"
    /// The weights of a role that nobody trains.
    case reference
    case valueHead = "value_head"

    /// Whether it is made from the weights to be read.
    package var isView: Bool {
        switch self {
        case .copies, .adapterSums, .packed, .int8: true
        default: false
        }
    }
}

/// The bytes that tensors hold, by what they are held for. Memory that tensors share is counted once.
package struct Footprint: Sendable, Equatable {
    private struct Held: Sendable, Equatable {
        let tag: MemoryTag
        let bytes: Int
    }

    /// By the identity of the memory.
    private var held: [UInt: Held] = [:]

    package init() {}

    package func bytes(_ tag: MemoryTag) -> Int { held.values.reduce(0) { $0 + ($1.tag == tag ? $1.bytes : 0) } }

    /// Bytes of every tag that holds something.
    package var byTag: [MemoryTag: Int] {
        held.values.reduce(into: [:]) { $0[$1.tag, default: 0] += $1.bytes }.filter { $0.value > 0 }
    }

    package var total: Int { held.values.reduce(0) { $0 + $1.bytes } }

    /// Counts memory that is not counted yet.
    package mutating func add(_ tensors: some Sequence<Tensor>, as tag: MemoryTag) {
        for tensor in tensors {
            let (identity, bytes) = tensor.storage
            if held[identity] == nil { held[identity] = Held(tag: tag, bytes: bytes) }
        }
    }

    /// Counts what the other one has and this one has not.
    package mutating func add(_ other: Footprint) { held.merge(other.held) { own, _ in own } }
}

/// Holds tensors, and says which.
@TensorActor
package protocol MemoryOwner: AnyObject {
    var footprint: Footprint { get }
}

/// What becomes of memory that a phase has no more use for: `residency:`.
package enum Residency: String, Sendable, CaseIterable {
    /// It is dropped, and goes back to the system at the ends of phases as long as that takes about 1 % of the time.
    case release
    /// It is dropped, and goes back at the end of every phase.
    case releaseAlways = "release_always"
    /// Views, gradients and the cache of keys and values stay in memory until they are made anew.
    case keep

    /// How much of the time giving memory back may cost; `nil` for any.
    var share: Double? { self == .release ? 0.01 : nil }
}
