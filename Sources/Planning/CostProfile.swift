package import JSON
internal import Records

/// What the parts of calls take on one machine, as `plumbline profile` measured them.
///
/// Measured is one model as a whole; a point says how long something took with so much of it.
package struct CostProfile: Sendable, Hashable {
    package static let format = "plumbline-profile"
    package static let version = 1

    /// The machine and the versions, in words.
    package var machine: String
    /// Processors of the machine.
    package var cores: Int
    /// Threads that it was measured with.
    package var threads: Int
    package var memoryBytes: Int
    /// float32 matrix products, 10⁹ operations a second.
    package var gigaflops: Double
    /// Reading memory, 10⁹ bytes a second.
    package var memoryGBps: Double
    /// From one process to another of the machine, 10⁹ bytes a second.
    package var processGBps: Double
    /// Writing a file and reading it again, each, with nothing of it left in memory in between; 10⁹ bytes a second. `nil`
    /// where nobody has measured it.
    package var diskGBps: Double?
    package var model: ModelShape
    /// Tokens that a decoded row has before it.
    package var contextTokens: Int
    package var points: [Point]

    /// What is timed.
    package enum Operation: String, Sendable, Hashable, CaseIterable, SettingsChoice {
        /// Reading prompts and drawing the first token of each, by tokens read.
        case prefill
        /// One more token of each row, by rows.
        case decode
        /// A pass without gradients, by tokens.
        case forward
        /// What a pass with gradients takes beyond that, by tokens.
        case backward
        /// Clipping and a step, by trained numbers.
        case optimizer
        /// Making a generation layout of the weights, by numbers of the model.
        case conversion
        /// A sum over two processes of what each has, by bytes.
        case allReduce
    }

    /// One measurement: the median of its rounds.
    package struct Point: Sendable, Hashable {
        package var operation: Operation
        /// Layout of the weights that are read; of ``Operation/optimizer`` that of those that are trained.
        package var layout: WeightLayout
        /// What made the step, as a job's `optim`; `nil` of anything else.
        package var optimizer: String?
        /// How much: rows, tokens or numbers.
        package var amount: Int
        package var nanoseconds: Int

        package init(
            _ operation: Operation, _ layout: WeightLayout, optimizer: String? = nil, amount: Int, nanoseconds: Int
        ) {
            self.operation = operation
            self.layout = layout
            self.optimizer = optimizer
            self.amount = amount
            self.nanoseconds = nanoseconds
        }
    }

    package init(
        machine: String, cores: Int, threads: Int, memoryBytes: Int, gigaflops: Double, memoryGBps: Double,
        processGBps: Double, diskGBps: Double? = nil, model: ModelShape, contextTokens: Int, points: [Point]
    ) {
        self.machine = machine
        self.cores = cores
        self.threads = threads
        self.memoryBytes = memoryBytes
        self.gigaflops = gigaflops
        self.memoryGBps = memoryGBps
        self.processGBps = processGBps
        self.diskGBps = diskGBps
        self.model = model
        self.contextTokens = contextTokens
        self.points = points
    }

    /// The measurements of something, by their amounts; empty where there are none.
    package func curve(_ operation: Operation, _ layout: WeightLayout, optimizer: String? = nil) -> Curve {
        Curve(points.filter { $0.operation == operation && $0.layout == layout && $0.optimizer == optimizer })
    }

    /// Nanoseconds by an amount.
    package struct Curve: Sendable {
        private let points: [(amount: Double, nanoseconds: Double)]

        init(_ points: [Point]) {
            self.points = points.map { (Double($0.amount), Double($0.nanoseconds)) }.sorted { $0.amount < $1.amount }
        }

        /// What was measured; between two amounts on the line through them; beyond the first and the last in proportion
        /// to that one. `nil` without a point.
        package func nanoseconds(of amount: Double) -> Double? {
            guard let first = points.first, let last = points.last else { return nil }
            guard amount > first.amount else { return first.nanoseconds * amount / first.amount }
            guard let upper = points.firstIndex(where: { $0.amount >= amount }) else {
                return last.nanoseconds * amount / last.amount
            }
            let (low, high) = (points[upper - 1], points[upper])
            let share = (amount - low.amount) / (high.amount - low.amount)
            return low.nanoseconds + share * (high.nanoseconds - low.nanoseconds)
        }

        /// The same of a message, of which less than the smallest that was measured takes as long as that. `nil` without
        /// a point.
        func nanoseconds(ofMessage bytes: Double) -> Double? {
            points.first.flatMap { nanoseconds(of: max(bytes, $0.amount)) }
        }
    }

    /// The machine as so many equal devices, a process each: they share its memory, its rates and its processors. What is
    /// offloaded goes to its disk.
    ///
    /// - Parameter ranks: A power of two.
    package func cluster(ranks: Int) -> Cluster {
        let share = Double(ranks)
        return Cluster(
            nodes: 1, devicesPerNode: ranks, memoryBytes: memoryBytes / ranks, intraGBps: processGBps,
            interGBps: processGBps, hbmGBps: memoryGBps / share, hostGBps: (diskGBps ?? memoryGBps) / share,
            peakTFLOPs: gigaflops / 1000 / share)
    }
}

// MARK: - The file

extension CostProfile {
    package var json: JSONValue {
        let disk: [JSONValue.Member] = diskGBps.map { [.init("diskGBps", .number($0))] } ?? []
        return .object(
            [
                .init("format", .string(Self.format)), .init("version", .number(Self.version)),
                .init("machine", .string(machine)), .init("cores", .number(cores)), .init("threads", .number(threads)),
                .init("memoryBytes", .number(memoryBytes)), .init("gigaflops", .number(gigaflops)),
                .init("memoryGBps", .number(memoryGBps)), .init("processGBps", .number(processGBps)),
            ] + disk + [
                .init("model", model.json), .init("contextTokens", .number(contextTokens)),
                .init("points", .array(points.map(\.json))),
            ])
    }

    /// Reads a profile.
    ///
    /// - Parameter file: What messages call it.
    /// - Throws: `JSONError` for a text that is no JSON, `SettingsError` naming each key that is missing, unknown or
    ///   wrong, another format or version among them.
    package init(parsing bytes: [UInt8], file: String) throws {
        let value = try JSONValue(parsing: bytes)
        var profile = try PlanSection(value, file: file)
        let (known, own) = (Self.format, Self.version)
        _ = profile.value("format", SettingsBound<String>("that is \(known)") { $0 == known }, standIn: known)
        _ = profile.value("version", SettingsBound<Int>("that is \(own)") { $0 == own }, standIn: own)
        try profile.requireRight()
        let count = SettingsBound<Int>.from(1, to: 1 << 12)
        let rate = SettingsBound<Double>.above(0, atMost: 1e9)
        machine = profile.value("machine", standIn: "")
        cores = profile.value("cores", count, standIn: 1)
        threads = profile.value("threads", count, standIn: 1)
        memoryBytes = profile.value("memoryBytes", .from(1 << 20, to: 1 << 50), standIn: 1 << 30)
        gigaflops = profile.value("gigaflops", rate, standIn: 1)
        memoryGBps = profile.value("memoryGBps", rate, standIn: 1)
        processGBps = profile.value("processGBps", rate, standIn: 1)
        diskGBps = profile.value(
            "diskGBps", default: Double?.none,
            SettingsBound<Double?>("above 0 and at most 1000000000") { $0.map { $0 > 0 && $0 <= 1e9 } ?? true })
        model = try profile.section("model") { section throws(SettingsError) in try ModelShape(reading: &section) }
        contextTokens = profile.value("contextTokens", .from(0, to: 1 << 24), standIn: 0)
        points = try profile.elements("points") { section throws(SettingsError) in try Point(reading: &section) }
        var measured: Set<Point> = []
        for (index, point) in points.enumerated() {
            var what = point
            what.nanoseconds = 0
            guard measured.insert(what).inserted else {
                profile.refuse("points", "points.\(index) measures what an earlier one does")
                break
            }
        }
        try profile.finish()
    }
}

extension CostProfile.Point {
    var json: JSONValue {
        .object(
            [
                .init("operation", .string(operation.rawValue)), .init("layout", .string(layout.rawValue)),
            ] + (optimizer.map { [.init("optimizer", .string($0))] } ?? [])
                + [.init("amount", .number(amount)), .init("nanoseconds", .number(nanoseconds))])
    }

    init(reading section: inout PlanSection) throws(SettingsError) {
        let whole = SettingsBound<Int>.from(1, to: 1 << 48)
        self.init(
            section.value("operation", standIn: .prefill), section.value("layout", standIn: .bf16),
            optimizer: section.value("optimizer", default: String?.none),
            amount: section.value("amount", whole, standIn: 1),
            nanoseconds: section.value("nanoseconds", whole, standIn: 1))
        try section.finish()
    }
}
