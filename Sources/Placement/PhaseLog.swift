package import Records
internal import Synchronization
internal import Tensors

/// What a run was at for some time.
package struct PhaseSpan: Sendable, Equatable {
    /// What is drawn below one another in a timeline.
    package enum Lane: String, Sendable {
        case sampling
        case rewards = "scoring by rewards"
        case inferring = "scoring by models"
        case view = "making a view"
        case training
        case evaluating
        case saving
    }

    package var lane: Lane
    /// The role, or what else tells it from others of its lane.
    package var name: String
    /// The version of the weights.
    package var version: Int?
    /// Nanoseconds since the log began.
    package var start: Int
    package var end: Int
    /// What was copied to bring weights into a layout.
    package var movedBytes: Int?
    /// The most bytes resident meanwhile.
    package var peakBytes: Int?

    package init(
        lane: Lane, name: String, version: Int? = nil, start: Int, end: Int, movedBytes: Int? = nil,
        peakBytes: Int? = nil
    ) {
        (self.lane, self.name, self.version) = (lane, name, version)
        (self.start, self.end, self.movedBytes, self.peakBytes) = (start, end, movedBytes, peakBytes)
    }
}

/// What lay in memory at a moment.
package struct MemorySample: Sendable, Equatable {
    /// Nanoseconds since the log began.
    package var time: Int
    package var bytes: [MemoryTag: Int]
    /// Resident bytes of the process.
    package var residentBytes: Int?

    package init(time: Int, bytes: [MemoryTag: Int], residentBytes: Int?) {
        (self.time, self.bytes, self.residentBytes) = (time, bytes, residentBytes)
    }
}

/// Notes the phases of a run, and what lay in memory at their ends.
package final class PhaseLog: Sendable {
    private struct Weak { weak var role: ReallocatingActor? }

    private struct State {
        var spans: [PhaseSpan] = []
        var samples: [MemorySample] = []
        /// Since the last call of ``takeMetrics()``.
        var peaks: [PhaseSpan.Lane: Int] = [:]
        var held: [MemoryTag: Int] = [:]
        var views = 0
    }

    private let state = Mutex(State())
    private let clock = ContinuousClock()
    private let began: ContinuousClock.Instant
    /// Whether spans and samples are kept until they are taken.
    private let isKept: Bool
    @TensorActor private var roles: [Weak] = []

    /// - Parameter isKept: Whether spans and samples are kept until they are taken; the peaks are in any case.
    package init(isKept: Bool) {
        self.isKept = isKept
        began = clock.now
    }

    /// Nanoseconds since the log began.
    package var now: Int {
        let (seconds, attoseconds) = (clock.now - began).components
        return Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
    }

    /// Notes the phases of these roles from now on, and what they hold.
    @TensorActor package func follow(_ followed: [ReallocatingActor]) {
        for role in followed {
            role.log = self
            roles.append(Weak(role: role))
        }
    }

    /// What all roles hold together.
    @TensorActor package var footprint: Footprint {
        roles.reduce(into: Footprint()) { all, weak in if let role = weak.role { all.add(role.footprint()) } }
    }

    /// Notes what lies in memory now.
    @TensorActor func sample() {
        let bytes = footprint.byTag
        let sample = MemorySample(time: now, bytes: bytes, residentBytes: ProcessMemory.residentBytes)
        state.withLock { state in
            for (tag, held) in bytes { state.held[tag] = max(state.held[tag] ?? 0, held) }
            state.views = max(state.views, bytes.reduce(0) { $0 + ($1.key.isView ? $1.value : 0) })
            if isKept { state.samples.append(sample) }
        }
    }

    package func note(_ span: PhaseSpan) {
        state.withLock { state in
            if let peak = span.peakBytes { state.peaks[span.lane] = max(state.peaks[span.lane] ?? 0, peak) }
            if isKept { state.spans.append(span) }
        }
    }

    /// Notes how long something takes, also when it fails, and the peak of memory meanwhile.
    package func noting<R: Sendable>(
        _ lane: PhaseSpan.Lane, _ name: String, isolation: isolated (any Actor)? = #isolation,
        _ body: () async throws -> R
    ) async rethrows -> R {
        let (start, peak) = (now, PeakMemory.shared.begin())
        defer {
            note(PhaseSpan(lane: lane, name: name, start: start, end: now, peakBytes: PeakMemory.shared.end(peak)))
        }
        return try await body()
    }

    /// What was noted since the last call, in the order in which it ended.
    package func take() -> (spans: [PhaseSpan], samples: [MemorySample]) {
        state.withLock { state in
            defer { (state.spans, state.samples) = ([], []) }
            return (state.spans, state.samples)
        }
    }

    /// Numbers since the last call, in GB of 10⁹ bytes: `memory/generating_peak_gb`, `memory/scoring_peak_gb` and
    /// `memory/training_peak_gb`, the most that the process held in phases of the kind, and the most that was held at
    /// once for each purpose: `memory/weights_gb`, `memory/gradients_gb`, `memory/optimizer_gb`, `memory/view_gb`,
    /// `memory/kv_cache_gb`, `memory/forward_cache_gb`, `memory/reference_gb`, `memory/value_head_gb`. What there is nothing of is absent.
    package func takeMetrics() -> Metrics {
        let (peaks, held, views) = state.withLock { state in
            defer { (state.peaks, state.held, state.views) = ([:], [:], 0) }
            return (state.peaks, state.held, state.views)
        }
        var metrics = Metrics()
        for (lane, name) in [(PhaseSpan.Lane.sampling, "generating"), (.inferring, "scoring"), (.training, "training")]
        {
            metrics["memory/\(name)_peak_gb", .max] = peaks[lane].map { Double($0) / 1e9 }
        }
        for tag in MemoryTag.allCases where !tag.isView {
            metrics["memory/\(tag.rawValue)_gb", .max] = held[tag].map { Double($0) / 1e9 }
        }
        if views > 0 { metrics["memory/view_gb", .max] = Double(views) / 1e9 }
        return metrics
    }
}
