package import JSON
package import Records
internal import Runs

// plan.json: cluster, models, graph and assignments, in one fixed order of keys.

extension ExecutionPlan {
    /// The plan as a file says it; its keys always stand in this order, calls in the order of the graph.
    package var json: JSONValue {
        .object([
            .init("cluster", cluster.json),
            .init("models", .object(sorting: models.mapValues(\.json))),
            .init("graph", graph.json),
            .init(
                "calls",
                .object(
                    graph.calls.compactMap { call in
                        assignments[call.name].map { .init(call.name, $0.json) }
                    })),
        ])
    }

    /// The bytes that ``planHash`` is of.
    package var canonicalBytes: [UInt8] { json.serializedBytes(.compact) }

    /// SHA-256 of the canonical bytes, as 64 hexadecimal digits: what ranks compare.
    package var planHash: String {
        var hash = SHA256()
        hash.update(canonicalBytes)
        return hash.hexDigest()
    }

    /// Reads a plan.
    ///
    /// - Parameter file: What messages call it.
    /// - Throws: `JSONError` for a text that is no JSON, `SettingsError` naming each key that is missing, unknown or
    ///   wrong. The rules of a plan are ``problems(_:)``.
    package init(parsing bytes: [UInt8], file: String) throws {
        var plan = try PlanSection(JSONValue(parsing: bytes), file: file)
        cluster = try plan.section("cluster") { section throws(SettingsError) in try Cluster(reading: &section) }
        models = try plan.sections("models") { section, _ throws(SettingsError) in try ModelShape(reading: &section) }
            .reduce(into: [:]) { $0[$1.name] = $1.value }
        graph = try plan.section("graph") { section throws(SettingsError) in try DataflowGraph(reading: &section) }
        assignments = try plan.sections("calls") { section, _ throws(SettingsError) in
            try Assignment(reading: &section)
        }.reduce(into: [:]) { $0[$1.name] = $1.value }
        try plan.finish()
    }
}

/// An object of a plan's file, read key by key; every complaint has the path of its key.
package struct PlanSection {
    private let path: String
    private let file: String
    private var settings: SettingsReader
    private var left: [String: JSONValue]
    private var names: [String]

    /// - Throws: `SettingsError` for a value that is no object.
    package init(_ value: JSONValue, file: String, path: String = "") throws(SettingsError) {
        guard let members = value.members else {
            throw SettingsError(
                place: file, message: "\(path.isEmpty ? "the file" : path) is \(value.kind); expected an object")
        }
        self.file = file
        self.path = path
        names = members.map(\.key)
        left = Dictionary(members.map { ($0.key, $0.value) }) { $1 }
        let owner = path.isEmpty ? file : "\(file) \(path)"
        settings = SettingsReader(
            owner, members.map { .init($0.key, SettingsNode(json: $0.value, place: owner)) })
    }

    /// A value that must be there.
    package mutating func value<Value: SettingsValue>(
        _ key: String, _ bound: SettingsBound<Value> = .any, standIn: Value
    ) -> Value {
        left[key] = nil
        return settings.read(key, required: "expected \(Value.expectation)", standIn: standIn, bound)
    }

    /// A value with a default.
    package mutating func value<Value: SettingsValue>(
        _ key: String, default fallback: Value, _ bound: SettingsBound<Value> = .any
    ) -> Value {
        left[key] = nil
        return settings.read(key, default: fallback, bound)
    }

    /// An object inside, read by `read`.
    package mutating func section<Value>(
        _ key: String, _ read: (inout PlanSection) throws(SettingsError) -> Value
    ) throws(SettingsError) -> Value {
        guard let value = left.removeValue(forKey: key) else {
            throw SettingsError(place: settings.owner, message: "\(key) is missing; expected an object")
        }
        var inner = try PlanSection(value, file: file, path: path.isEmpty ? key : "\(path).\(key)")
        let result = try read(&inner)
        try inner.finish()
        return result
    }

    /// An object inside whose keys are names, each of an object read by `read`; in the order of the file.
    package mutating func sections<Value>(
        _ key: String, _ read: (inout PlanSection, String) throws(SettingsError) -> Value
    ) throws(SettingsError) -> [(name: String, value: Value)] {
        try section(key) { outer throws(SettingsError) in
            var values: [(name: String, value: Value)] = []
            for name in outer.names {
                let value = try outer.section(name) { inner throws(SettingsError) in try read(&inner, name) }
                values.append((name, value))
            }
            return values
        }
    }

    /// A list inside, of objects each read by `read`.
    package mutating func elements<Value>(
        _ key: String, _ read: (inout PlanSection) throws(SettingsError) -> Value
    ) throws(SettingsError) -> [Value] {
        guard let list = left.removeValue(forKey: key)?.elements else {
            throw SettingsError(place: settings.owner, message: "\(key) is missing or no list; expected objects")
        }
        var values: [Value] = []
        for (index, value) in list.enumerated() {
            let own = path.isEmpty ? "\(key).\(index)" : "\(path).\(key).\(index)"
            var inner = try PlanSection(value, file: file, path: own)
            values.append(try read(&inner))
            try inner.finish()
        }
        return values
    }

    /// - Throws: What was wrong so far: of a file of another version the rest means nothing.
    package func requireRight() throws(SettingsError) { try settings.finish() }

    /// Notes that a value does not fit.
    package mutating func refuse(_ key: String, _ message: String) { settings.refuse(key, message) }

    /// - Throws: Everything that was wrong, keys that nobody asked for among it.
    package mutating func finish() throws(SettingsError) {
        let known = settings.entries.map(\.key)
        for name in names where left[name] != nil {
            let near = nearestNames(to: name, among: known)
            settings.refuse(
                name,
                "no key '\(name)'; "
                    + (near.isEmpty ? "known are \(known.joined(separator: ", "))" : "did you mean '\(near[0])'?")
            )
        }
        try settings.finish()
    }
}

// MARK: - Parts

extension Cluster {
    package var json: JSONValue {
        .object([
            "nodes": .number(nodes), "devicesPerNode": .number(devicesPerNode), "memoryBytes": .number(memoryBytes),
            "intraGBps": .number(intraGBps), "interGBps": .number(interGBps), "hbmGBps": .number(hbmGBps),
            "hostGBps": .number(hostGBps), "peakTFLOPs": .number(peakTFLOPs),
        ])
    }

    package init(reading section: inout PlanSection) throws(SettingsError) {
        let rate = SettingsBound<Double>.above(0, atMost: 1e9)
        self.init(
            nodes: section.value("nodes", .from(1, to: 1024), standIn: 1),
            devicesPerNode: section.value(
                "devicesPerNode",
                SettingsBound("that is a power of two up to 64") { (1...64).contains($0) && $0.nonzeroBitCount == 1 },
                standIn: 1),
            memoryBytes: section.value("memoryBytes", .from(1 << 20, to: 1 << 50), standIn: 1 << 30),
            intraGBps: section.value("intraGBps", rate, standIn: 1),
            interGBps: section.value("interGBps", rate, standIn: 1),
            hbmGBps: section.value("hbmGBps", rate, standIn: 1),
            hostGBps: section.value("hostGBps", default: 16, rate),
            peakTFLOPs: section.value("peakTFLOPs", rate, standIn: 1))
        try section.finish()
    }
}

extension ModelShape {
    package var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("layers", .number(layers)), .init("hiddenSize", .number(hiddenSize)),
            .init("intermediateSize", .number(intermediateSize)), .init("heads", .number(heads)),
            .init("keyValueHeads", .number(keyValueHeads)), .init("headSize", .number(headSize)),
            .init("vocabularySize", .number(vocabularySize)),
        ]
        switch output {
        case .head: break
        case .tied: members.append(.init("tied", true))
        case .values(let count): members.append(.init("values", .number(count)))
        }
        for (name, bias) in Self.biasNames where biases.contains(bias) { members.append(.init(name, true)) }
        if normalizesQueriesAndKeys { members.append(.init("normalizesQueriesAndKeys", true)) }
        if fusesProjections { members.append(.init("fusesProjections", true)) }
        return .object(members)
    }

    private static let biasNames: [(String, Biases)] = [
        ("queryKeyValueBias", .queryKeyValue), ("attentionOutputBias", .attentionOutput),
        ("feedForwardBias", .feedForward),
    ]

    /// The most that a file's model may have: what a plan keeps of each is counted in whole bytes.
    private static let mostParameters = 1 << 42

    package init(reading section: inout PlanSection) throws(SettingsError) {
        let number = SettingsBound<Int>.from(1, to: 1 << 12)
        self.init(
            layers: section.value("layers", .from(1, to: 1 << 10), standIn: 1),
            hiddenSize: section.value("hiddenSize", .from(1, to: 1 << 17), standIn: 1),
            intermediateSize: section.value("intermediateSize", .from(1, to: 1 << 19), standIn: 1),
            heads: section.value("heads", number, standIn: 1),
            keyValueHeads: section.value("keyValueHeads", number, standIn: 1),
            headSize: section.value("headSize", number, standIn: 1),
            vocabularySize: section.value("vocabularySize", .from(1, to: 1 << 22), standIn: 1))
        let isTied = section.value("tied", default: false)
        let values: Int? = section.value(
            "values", default: nil, SettingsBound("from 1 to 1024") { $0.map { (1...1024).contains($0) } ?? true })
        output = values.map { .values($0) } ?? (isTied ? .tied : .head)
        if isTied, values != nil { section.refuse("tied", "tied and values are both given; a model has one output") }
        for (name, bias) in Self.biasNames where section.value(name, default: false) { biases.insert(bias) }
        normalizesQueriesAndKeys = section.value("normalizesQueriesAndKeys", default: false)
        fusesProjections = section.value("fusesProjections", default: false)
        if !heads.isMultiple(of: keyValueHeads) {
            section.refuse(
                "keyValueHeads", "keyValueHeads is \(keyValueHeads); expected a divisor of the \(heads) heads")
        }
        if parameterCount > Self.mostParameters {
            section.refuse(
                "layers",
                "layers is \(layers), which makes \(parameterCount) parameters with the other sizes; expected at most "
                    + "\(Self.mostParameters)")
        }
        try section.finish()
    }
}

extension DataflowGraph {
    package var json: JSONValue {
        .object([
            .init("name", .string(name)),
            .init("calls", .object(calls.map { .init($0.name, $0.json) })),
        ])
    }

    package init(reading section: inout PlanSection) throws(SettingsError) {
        name = section.value("name", default: "graph")
        calls = try section.sections("calls") { call, name throws(SettingsError) in
            try CallSpec(name, reading: &call)
        }.map(\.value)
        if !(1...64).contains(calls.count) {
            section.refuse("calls", "calls has \(calls.count) entries; expected 1 to 64")
        }
        try section.finish()
    }
}

extension CallSpec.Kind: SettingsChoice {}
extension WeightLayout: SettingsChoice {}
extension Release: SettingsChoice {}

extension CallSpec {
    package var json: JSONValue {
        var members: [JSONValue.Member] = [.init("kind", .string(kind.rawValue))]
        if let role { members.append(.init("role", .string(role))) }
        members += [
            .init("inputs", .array(inputs.map { .string($0) })), .init("outputs", .array(outputs.map { .string($0) })),
            .init("sequences", .number(work.sequences)), .init("promptTokens", .number(work.promptTokens)),
            .init("newTokens", .number(work.newTokens)),
        ]
        if work.completionsPerPrompt > 1 {
            members.append(.init("completionsPerPrompt", .number(work.completionsPerPrompt)))
        }
        if kind == .train {
            members += [
                .init("miniBatches", .number(work.miniBatches)), .init("groupSize", .number(work.groupSize)),
                .init("recomputes", .bool(work.recomputes)),
            ]
            if let optimizer = work.optimizer {
                members += [
                    .init("optimizer", .string(optimizer.name)),
                    .init("trainedParameters", .number(optimizer.parameters)),
                    .init("optimizerBytes", .number(optimizer.stateBytes)),
                ]
            }
        }
        if kind == .host { members.append(.init("hostMilliseconds", .number(work.hostMilliseconds))) }
        return .object(members)
    }

    package init(_ name: String, reading section: inout PlanSection) throws(SettingsError) {
        let count = SettingsBound<Int>.from(0, to: 1 << 24)
        let positive = SettingsBound<Int>.from(1, to: 1 << 24)
        let kind = section.value("kind", standIn: Kind.host)
        let role: String? = section.value("role", default: nil)
        let inputs: [String] = section.value("inputs", default: [])
        let outputs: [String] = section.value("outputs", default: [])
        var work = Work(
            sequences: section.value("sequences", positive, standIn: 1),
            promptTokens: section.value("promptTokens", count, standIn: 0),
            newTokens: section.value("newTokens", count, standIn: 0))
        let most = 1 << 40
        if work.tokens > most {
            section.refuse(
                "sequences",
                "sequences is \(work.sequences), of promptTokens and newTokens together \(work.length); expected at most "
                    + "\(most) tokens of all of them")
        }
        work.completionsPerPrompt = section.value("completionsPerPrompt", default: 1, positive)
        if kind == .train {
            work.miniBatches = section.value("miniBatches", default: 1, positive)
            work.groupSize = section.value("groupSize", default: 1, positive)
            work.recomputes = section.value("recomputes", default: true)
            let optimizer: String? = section.value("optimizer", default: nil)
            if let optimizer {
                work.optimizer = Work.Optimizer(
                    name: optimizer, parameters: section.value("trainedParameters", .from(0, to: 1 << 42), standIn: 0),
                    stateBytes: section.value("optimizerBytes", .from(0, to: 1 << 46), standIn: 0))
            }
        }
        if kind == .host {
            work.hostMilliseconds = section.value("hostMilliseconds", default: 0, .from(0, to: 100_000_000))
        }
        self.init(name, kind, role: role, inputs: inputs, outputs: outputs, work: work)
        try section.finish()
    }
}

extension Assignment {
    package var json: JSONValue {
        .object([
            "mesh": .array([
                .number(mesh.nodes.lowerBound), .number(mesh.nodes.upperBound), .number(mesh.slots.lowerBound),
                .number(mesh.slots.upperBound),
            ]),
            "pp": .number(strategy.pipeline), "tp": .number(strategy.tensor), "dp": .number(strategy.data),
            "layout": .string(layout.rawValue), "microbatches": .number(microBatches),
            "after": .array(after.sorted().map { .string($0.rawValue) }),
        ])
    }

    package init(reading section: inout PlanSection) throws(SettingsError) {
        let degree = SettingsBound<Int>.from(1, to: 1 << 16)
        let bounds = SettingsBound<[Int]>("that is [first node, end of nodes, first slot, end of slots]") {
            $0.count == 4 && $0[0] >= 0 && $0[0] < $0[1] && $0[2] >= 0 && $0[2] < $0[3] && $0[1] <= 1024 && $0[3] <= 64
        }
        let mesh = section.value("mesh", bounds, standIn: [0, 1, 0, 1])
        self.init(
            mesh: Mesh(nodes: mesh[0]..<mesh[1], slots: mesh[2]..<mesh[3]),
            strategy: Strategy(
                section.value("pp", degree, standIn: 1), section.value("tp", degree, standIn: 1),
                section.value("dp", degree, standIn: 1)),
            layout: section.value("layout", standIn: .bf16),
            microBatches: section.value("microbatches", default: 1, .from(1, to: 1 << 20)),
            after: Set(section.value("after", default: [Release]())))
        try section.finish()
    }
}
