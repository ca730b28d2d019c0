import JSON
import Planning
import Records
import Testing

private let enormous = 1 << 62

/// About 10¹² parameters.
private let large = ModelShape(
    layers: 256, hiddenSize: 1 << 14, intermediateSize: 1 << 16, heads: 128, keyValueHeads: 8, vocabularySize: 1 << 18)

/// Each size is one that a model may have; together they are too many.
private let tooLarge = ModelShape(
    layers: 1024, hiddenSize: 1 << 17, intermediateSize: 1 << 19, heads: 4096, keyValueHeads: 4096, headSize: 4096,
    vocabularySize: 1 << 22)

/// Numbers that nobody means: each is an error that says what was found, and none is reckoned with.
@Suite("Plans and profiles with absurd numbers")
struct HostileFileTests {
    struct Hostile: Sendable, CustomStringConvertible {
        var description: String
        var change: @Sendable (inout ExecutionPlan) -> Void
        /// Of the message.
        var words: [String]

        init(_ description: String, _ words: [String], _ change: @escaping @Sendable (inout ExecutionPlan) -> Void) {
            self.description = description
            self.words = words
            self.change = change
        }
    }

    /// What the reader refuses.
    static let files: [Hostile] = [
        Hostile("no layers", ["models.actor", "layers is '0'; expected a whole number from 1 to 1024"]) {
            $0.models["actor"]?.layers = 0
        },
        Hostile("many layers", ["models.actor", "layers is '4611686018427387904'; expected a whole number"]) {
            $0.models["actor"]?.layers = enormous
        },
        Hostile("wide", ["hiddenSize is '1099511627776'; expected a whole number from 1 to 131072"]) {
            $0.models["actor"]?.hiddenSize = 1 << 40
        },
        Hostile("many words", ["vocabularySize is '4611686018427387904'", "from 1 to 4194304"]) {
            $0.models["reference"]?.vocabularySize = enormous
        },
        // 4·2⁴¹ numbers in a block's attention, 3·2³⁶ in the rest of it, two norms; embedding and head 2³⁹ each, a norm.
        Hostile(
            "each size is right and the model is not",
            ["models.actor", "layers is 1024, which makes 9219405267468288", "expected at most 4398046511104"]
        ) { $0.models["actor"] = tooLarge },
        Hostile("no heads", ["heads is '-1'", "from 1 to 4096"]) { $0.models["actor"]?.heads = -1 },
        Hostile("values", ["values is '4611686018427387904'"]) { $0.models["actor"]?.output = .values(enormous) },
        Hostile("tp 2⁶²", ["calls.ref_inf", "tp is '4611686018427387904'", "from 1 to 65536"]) {
            $0.assignments["ref_inf"]?.strategy.tensor = enormous
        },
        Hostile("dp below 0", ["calls.actor_gen", "dp is '-4'", "from 1 to 65536"]) {
            $0.assignments["actor_gen"]?.strategy.data = -4
        },
        Hostile("a mesh of many nodes", ["calls.actor_gen", "mesh is a list of 4", "first node, end of nodes"]) {
            $0.assignments["actor_gen"]?.mesh = Mesh(nodes: 0..<enormous, slots: 0..<1)
        },
        Hostile("a mesh before the first slot", ["mesh is a list of 4"]) {
            $0.assignments["actor_gen"]?.mesh = Mesh(nodes: 0..<1, slots: -2..<1)
        },
        Hostile("pieces", ["microbatches is '4611686018427387904'"]) {
            $0.assignments["actor_train"]?.microBatches = enormous
        },
        Hostile("many nodes", ["cluster", "nodes is '4611686018427387904'", "from 1 to 1024"]) {
            $0.cluster.nodes = enormous
        },
        Hostile("large devices", ["memoryBytes is '4611686018427387904'"]) { $0.cluster.memoryBytes = enormous },
        Hostile("fast links", ["intraGBps is '1e+300'", "above 0 and at most 1000000000"]) {
            $0.cluster.intraGBps = 1e300
        },
        Hostile("slow links", ["interGBps is '1e-300'", "1e-15"]) { $0.cluster.interGBps = 1e-300 },
        Hostile("many sequences", ["graph.calls.actor_gen", "sequences is '4611686018427387904'"]) {
            $0.graph.calls[0].work.sequences = enormous
        },
        Hostile("many tokens", ["sequences is 16777216", "together 16777232", "at most 1099511627776 tokens"]) {
            $0.graph.calls[0].work.sequences = 1 << 24
            $0.graph.calls[0].work.newTokens = 1 << 24
        },
        Hostile("mini-batches", ["miniBatches is '4611686018427387904'"]) {
            $0.graph.calls[2].work.miniBatches = enormous
        },
        Hostile("moments", ["trainedParameters is '4611686018427387904'", "optimizerBytes is '-1'"]) {
            $0.graph.calls[2].work.optimizer = CallSpec.Work.Optimizer(
                name: "adamw_torch", parameters: enormous, stateBytes: -1)
        },
        Hostile("no calls", ["graph", "calls has 0 entries; expected 1 to 64"]) { $0.graph.calls = [] },
        Hostile("65 calls", ["calls has 65 entries; expected 1 to 64"]) { plan in
            plan.graph.calls = (0..<65).map { number in
                var call = plan.graph.calls[0]
                call.name = "call_\(number)"
                return call
            }
        },
        Hostile("a slow host", ["hostMilliseconds is '4611686018427387904'"]) { plan in
            var work = plan.graph.calls[0].work
            work.hostMilliseconds = enormous
            plan.graph.calls.append(CallSpec("host", .host, role: nil, inputs: [], outputs: [], work: work))
        },
    ]

    @Test(arguments: files) func aFileIsRefusedByItsKey(_ hostile: Hostile) {
        var plan = Toy.switching
        hostile.change(&plan)
        let bytes = Array(plan.json.indented.utf8)
        let error = #expect(throws: SettingsError.self) {
            _ = try ExecutionPlan(parsing: bytes, file: "plan.json")
        }
        for piece in hostile.words + ["plan.json"] {
            #expect(error?.description.contains(piece) == true, "\(piece) in \(error?.description ?? "")")
        }
    }

    /// Numbers that are none, or none that a word of the machine holds.
    @Test(arguments: [
        ("1e400", "is too large for a 64-bit float"), ("NaN", "JSON has no NaN or Infinity"),
        ("Infinity", "JSON has no NaN or Infinity"), ("1e30", "memoryBytes is '1e+30'"),
        ("9223372036854775808", "a whole number from 1048576 to 1125899906842624"),
        ("-9223372036854775809", "memoryBytes is '-92"),
        ("0.5", "memoryBytes is '0.5'"), ("\"many\"", "memoryBytes is 'many'"), ("[1]", "memoryBytes is a list of 1"),
    ])
    func whatIsNoWholeNumber(_ number: String, _ words: String) {
        let text = Toy.switching.json.serialized(.compact)
        let changed = text.replacing("\"memoryBytes\":1073741824", with: "\"memoryBytes\":\(number)")
        #expect(changed != text)
        let error = #expect(throws: (any Error).self) {
            _ = try ExecutionPlan(parsing: Array(changed.utf8), file: "plan.json")
        }
        #expect("\(error!)".contains(words), "\(error!)")
    }

    /// What each key allows and the rules or the simulator refuse.
    static let plans: [Hostile] = [
        Hostile("degrees", ["V2 calls.actor_gen: pp 65536 × tp 65536 × dp 65536 is 281474976710656; the mesh has 4"]) {
            $0.assignments["actor_gen"]?.strategy = Strategy(1 << 16, 1 << 16, 1 << 16)
        },
        Hostile("a mesh beyond the cluster", ["V1 calls.ref_inf: the mesh lies outside the 2 nodes of 2 devices"]) {
            $0.assignments["ref_inf"]?.mesh = Mesh(nodes: 0..<1024, slots: 0..<64)
        },
        Hostile("no assignments", ["V0 calls.actor_gen: the call has no assignment", "calls.actor_train"]) {
            $0.assignments = [:]
        },
        Hostile("no models", ["V0 calls.actor_gen: there is no model of the role actor"]) { $0.models = [:] },
        // 2⁴⁰ tokens, of which a pass has 4·64 + (4·64 + 2·32 + 3·128)/2 numbers of two bytes each: 1.337·10¹⁵.
        Hostile("more than a device has", ["V9 calls.ref_inf: the call alone needs 13370061", "bytes of each of its"]) {
            for index in $0.graph.calls.indices {
                $0.graph.calls[index].work.sequences = 1 << 24
                $0.graph.calls[index].work.newTokens = (1 << 16) - 16
            }
        },
        // 4 bytes · 2⁴⁰ tokens · 258 layers · 4·2¹⁴ + 5·2¹⁴ + 5·1024 + 3·2¹⁶ numbers are 4·10²⁰.
        Hostile(
            "more than is counted",
            ["V9 calls.actor_gen: 16777216 sequences of 65536 tokens", "256 layers of 16384; expected fewer sequences"]
        ) {
            $0.models = ["actor": large, "reference": large]
            for index in $0.graph.calls.indices {
                $0.graph.calls[index].work.sequences = 1 << 24
                $0.graph.calls[index].work.newTokens = (1 << 16) - 16
            }
        },
        Hostile("slow devices", ["V0 calls.actor_train: actor_train takes 500000 s or more by the estimator"]) {
            $0.cluster.peakTFLOPs = 1e-15
        },
        Hostile("slow links", ["V0 plan: reallocate actor takes 500000 s or more"]) { $0.cluster.interGBps = 1e-15 },
        Hostile("a slow disk", ["reload for actor_train takes 500000 s or more"]) { $0.cluster.hostGBps = 1e-15 },
    ]

    @Test(arguments: plans) func aPlanIsRefusedByItsCall(_ hostile: Hostile) throws {
        var changed = Toy.switching
        hostile.change(&changed)
        let plan = try ExecutionPlan(parsing: Array(changed.json.indented.utf8), file: "plan.json")
        let error = #expect(throws: PlanError.self) {
            _ = try PlanSimulator(plan, costs: AnalyticCosts(plan.cluster)).validate()
        }
        for piece in hostile.words {
            #expect(error?.description.contains(piece) == true, "\(piece) in \(error?.description ?? "")")
        }
    }

    /// 64 calls of the host of 10¹⁴ ns each, none waiting for another: five iterations take what they take, 1000 of them
    /// might be 6.4·10¹⁸ ns long.
    @Test func iterationsAreCounted() throws {
        var plan = Toy.switching
        var work = plan.graph.calls[0].work
        work.hostMilliseconds = 100_000_000
        plan.graph.calls = (0..<64).map {
            CallSpec("host_\($0)", .host, role: nil, inputs: [], outputs: [], work: work)
        }
        plan.assignments = [:]
        let simulator = PlanSimulator(plan, costs: AnalyticCosts(plan.cluster))
        #expect(try simulator.run().iterationNanoseconds == 100_000_000_000_000)
        let error = #expect(throws: PlanError.self) { _ = try simulator.run(iterations: 1000) }
        #expect(error?.description.contains("1000 iterations take longer than can be counted") == true)
    }

    /// A search says so of a call, not that no plan keeps the rules.
    @Test func aSearchRefusesWhatCannotBeCounted() {
        var graph = Toy.graph
        for index in graph.calls.indices {
            graph.calls[index].work.sequences = 1 << 24
            graph.calls[index].work.newTokens = 1 << 16
        }
        let cluster = Toy.cluster(nodes: 1, devices: 2)
        let error = #expect(throws: PlanError.self) {
            _ = try PlanSearch(
                cluster, models: ["actor": large, "reference": large], graph: graph,
                costs: AnalyticCosts(cluster)
            ).run()
        }
        #expect(error?.description.contains("calls.actor_gen: 16777216 sequences of") == true)
    }

    @Test func aSearchRefusesMoreDevicesThanItLooksAt() {
        let cluster = Toy.cluster(nodes: 1024, devices: 64)
        let error = #expect(throws: PlanError.self) {
            _ = try PlanSearch(cluster, models: Toy.models, graph: Toy.graph, costs: AnalyticCosts(cluster)).run()
        }
        #expect(error?.description == "V1 plan: the cluster has 65536 devices; a search looks at up to 1024")
    }

    @Test(arguments: [
        ("\"cores\":2", "\"cores\":1000000", "cores is '1000000'; expected a whole number from 1 to 4096"),
        ("\"threads\":1", "\"threads\":-1", "threads is '-1'; expected a whole number from 1 to 4096"),
        ("\"memoryBytes\":1073741824", "\"memoryBytes\":0", "memoryBytes is '0'; expected a whole number from 10"),
        ("\"gigaflops\":50", "\"gigaflops\":1e300", "gigaflops is '1e+300'; expected a finite number above 0"),
        ("\"processGBps\":2.5", "\"processGBps\":-2.5", "processGBps is '-2.5'"),
        ("\"layers\":4", "\"layers\":0", "model: layers is '0'"),
        ("\"contextTokens\":32", "\"contextTokens\":4611686018427387904", "contextTokens is '4611686018427387904'"),
        ("\"amount\":8", "\"amount\":4611686018427387904", "points.2: amount is '4611686018427387904'"),
        ("\"nanoseconds\":600", "\"nanoseconds\":4611686018427387904", "points.3: nanoseconds is '46116860"),
        ("\"nanoseconds\":600", "\"nanoseconds\":1e400", "is too large for a 64-bit float"),
    ])
    func aProfileIsRefusedByItsKey(_ good: String, _ bad: String, _ words: String) {
        let text = ToyProfile.profile().json.serialized(.compact)
        #expect(text.contains(good))
        let broken = Array(text.replacing(good, with: bad, maxReplacements: 1).utf8)
        let error = #expect(throws: (any Error).self) {
            _ = try CostProfile(parsing: broken, file: "profile.json")
        }
        #expect("\(error!)".contains(words), "\(error!)")
    }

    /// A token of 2⁴⁸ ns: each number is one that a file may have, what they make is not.
    @Test func timesThatAMeasurementMakesAreRefused() throws {
        let one = Toy.cluster(nodes: 1, devices: 1)
        var profile = ToyProfile.profile()
        for index in profile.points.indices where profile.points[index].operation != .optimizer {
            profile.points[index].amount = index + 1
            profile.points[index].nanoseconds = 1 << 48
        }
        let read = try CostProfile(parsing: Array(profile.json.indented.utf8), file: "profile.json")
        var assignments: [String: Assignment] = [:]
        for call in Toy.graph.calls { assignments[call.name] = ToyProfile.assignment(.fp32Master) }
        let error = #expect(throws: PlanError.self) {
            _ = try PlanSimulator(Toy.plan(one, assignments), costs: ProfiledCosts(read, one)).run()
        }
        for call in Toy.graph.calls {
            #expect(error?.description.contains("calls.\(call.name): \(call.name) takes 500000 s") == true)
        }
    }
}
