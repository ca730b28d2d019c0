import JSON
import Planning
import Records
import Testing

/// Times that are easy to reckon with.
enum ToyProfile {
    static func profile(cores: Int = 2, threads: Int = 1, model: ModelShape = Toy.shape) -> CostProfile {
        let numbers = model.parameterCount
        return CostProfile(
            machine: "a machine", cores: cores, threads: threads, memoryBytes: 1 << 30, gigaflops: 50, memoryGBps: 10,
            processGBps: 2.5, model: model, contextTokens: 32,
            points: [
                .init(.prefill, .fp32Packed, amount: 200, nanoseconds: 1800),
                .init(.prefill, .fp32Packed, amount: 100, nanoseconds: 1000),
                .init(.decode, .fp32Packed, amount: 8, nanoseconds: 400),
                .init(.decode, .fp32Packed, amount: 16, nanoseconds: 600),
                .init(.prefill, .fp32Master, amount: 100, nanoseconds: 1000),
                .init(.decode, .fp32Master, amount: 8, nanoseconds: 900),
                .init(.forward, .fp32Master, amount: 100, nanoseconds: 1000),
                .init(.forward, .fp32Master, amount: 300, nanoseconds: 2600),
                .init(.backward, .fp32Master, amount: 100, nanoseconds: 2000),
                .init(.backward, .fp32Master, amount: 300, nanoseconds: 5600),
                .init(.optimizer, .fp32Master, optimizer: "adamw_torch", amount: numbers, nanoseconds: 5000),
                .init(.optimizer, .fp32Master, optimizer: "lion", amount: numbers, nanoseconds: 3000),
                .init(.conversion, .fp32Packed, amount: numbers, nanoseconds: 700),
            ])
    }

    static func assignment(
        _ layout: WeightLayout, pp: Int = 1, tp: Int = 1, dp: Int = 1, pieces: Int = 1, after: Set<Release> = []
    ) -> Assignment {
        Assignment(
            mesh: Mesh(nodes: 0..<1, slots: 0..<pp * tp * dp), strategy: Strategy(pp, tp, dp), layout: layout,
            microBatches: pieces, after: after)
    }

    /// 16 sequences of 25 + 11 tokens, four of each prompt.
    static func call(
        _ kind: CallSpec.Kind, new: Int = 11, miniBatches: Int = 1, recomputes: Bool = false,
        optimizer: CallSpec.Work.Optimizer? = nil
    ) -> CallSpec {
        CallSpec(
            "call", kind, role: "actor", inputs: [], outputs: [],
            work: .init(
                sequences: 16, promptTokens: 25, newTokens: new, completionsPerPrompt: 4, miniBatches: miniBatches,
                recomputes: recomputes, optimizer: optimizer))
    }
}

@Suite("What was measured")
struct CostProfileTests {
    private let cluster = Toy.cluster(nodes: 1, devices: 2)

    private func nanoseconds(
        _ call: CallSpec, _ assignment: Assignment, _ profile: CostProfile = ToyProfile.profile()
    ) throws -> Int {
        try ProfiledCosts(profile, cluster).nanoseconds(call, assignment, Toy.shape)
    }

    /// Points at 8 and 16 rows, 400 and 600 ns: on the line between them, in proportion beyond.
    @Test(arguments: [(8.0, 400.0), (16, 600), (12, 500), (4, 200), (1, 50), (32, 1200), (64, 2400)])
    func aLookUpIsOnTheLine(_ rows: Double, _ expected: Double) {
        let curve = ToyProfile.profile().curve(.decode, .fp32Packed)
        #expect(curve.nanoseconds(of: rows) == expected)
        #expect(ToyProfile.profile().curve(.decode, .int8).nanoseconds(of: rows) == nil)
    }

    /// One piece: 16/4·25 = 100 tokens of prompts, 1000 ns; ten steps of 16 rows at 600. In two pieces of 8: 50 tokens,
    /// 500 ns, and ten steps at 400, each twice.
    @Test func samplingIsPrefillAndSteps() throws {
        let call = ToyProfile.call(.generate)
        #expect(try nanoseconds(call, ToyProfile.assignment(.fp32Packed)) == 1000 + 10 * 600)
        #expect(try nanoseconds(call, ToyProfile.assignment(.fp32Packed, pieces: 2)) == 2 * (500 + 10 * 400))
    }

    /// Prompts go whole to ranks: of four on eight ranks half have one, and take twice the time of an even share, which is 12.5
    /// tokens of prompts and ten steps of two rows. On two ranks each has two.
    @Test func theRankWithMostPromptsIsWaitedFor() throws {
        let profile = ToyProfile.profile(cores: 8)
        func nanoseconds(_ ranks: Int) throws -> Int {
            try ProfiledCosts(profile, profile.cluster(ranks: ranks)).nanoseconds(
                ToyProfile.call(.generate), ToyProfile.assignment(.fp32Packed, dp: ranks), Toy.shape)
        }
        #expect(try nanoseconds(8) == 2 * (125 + 10 * 100))
        #expect(try nanoseconds(2) == 500 + 10 * 400)
    }

    /// 16·10 + 4·25 = 260 tokens: 1000 + 160/200·1600. Two stages with two pieces of 130 tokens, 1240 ns, are full for
    /// three of their times: 1240·3/2.
    @Test func aPassReadsPromptsOnce() throws {
        let call = ToyProfile.call(.infer, new: 10)
        #expect(try nanoseconds(call, ToyProfile.assignment(.fp32Master)) == 2280)
        #expect(try nanoseconds(call, ToyProfile.assignment(.fp32Master, pp: 2, pieces: 2)) == 1860)
    }

    /// Two mini-batches of 8 sequences, 130 tokens: forward 1240, backward 2540, a step 5000; in two pieces of 65
    /// tokens each 650 and 1300.
    @Test func trainingIsPassesAndSteps() throws {
        let call = ToyProfile.call(.train, new: 10, miniBatches: 2)
        let one = ToyProfile.assignment(.fp32Master)
        #expect(try nanoseconds(call, one) == 2 * (1240 + 2540 + 5000))
        #expect(
            try nanoseconds(ToyProfile.call(.train, new: 10, miniBatches: 2, recomputes: true), one)
                == 2 * (2 * 1240 + 2540 + 5000))
        #expect(
            try nanoseconds(call, ToyProfile.assignment(.fp32Master, pieces: 2)) == 2 * (2 * (650 + 1300) + 5000))
        let numbers = Toy.shape.parameterCount
        let lion = CallSpec.Work.Optimizer(name: "lion", parameters: numbers / 2, stateBytes: 2 * numbers)
        // Half of the numbers are trained.
        #expect(
            try nanoseconds(ToyProfile.call(.train, new: 10, miniBatches: 2, optimizer: lion), one)
                == 2 * (1240 + 2540 + 1500))
    }

    /// Two ranks: 4 sequences a mini-batch, 65 tokens, half of the step, and 3·(1/2)·4 bytes of each number over 10
    /// bytes a nanosecond. With two threads each on two cores all but the exchange takes twice as long.
    @Test(arguments: [(1, 1), (2, 2), (4, 4)])
    func ranksShareTheMachine(_ threads: Int, _ slowdown: Int) throws {
        let call = ToyProfile.call(.train, new: 10, miniBatches: 2)
        let two = ToyProfile.assignment(.fp32Master, dp: 2)
        let exchanged = 6 * Double(Toy.shape.parameterCount) / 10
        let own = Double(slowdown) * (650 + 1300 + 2500)
        #expect(
            try nanoseconds(call, two, ToyProfile.profile(threads: threads)) == Int((2 * (own + exchanged)).rounded()))
    }

    /// Two shards: half of forward and backward over 130 tokens, half of the step, and 4·4 + 2 sums of 130·64 numbers, each
    /// of 33280 bytes: 5000 ns where that was measured, 33280/10 by the rate. Blocks that are computed twice have 2·4 more.
    @Test func shardsAddUpTheirHalves() throws {
        let call = ToyProfile.call(.train, new: 10, miniBatches: 2)
        let twice = ToyProfile.call(.train, new: 10, miniBatches: 2, recomputes: true)
        let cut = ToyProfile.assignment(.fp32Master, tp: 2)
        #expect(try nanoseconds(call, cut) == 2 * (1890 + 18 * 3328 + 2500))
        var profile = ToyProfile.profile()
        profile.points.append(.init(.allReduce, .fp32Master, amount: 33280, nanoseconds: 5000))
        #expect(try nanoseconds(call, cut, profile) == 2 * (1890 + 18 * 5000 + 2500))
        #expect(try nanoseconds(twice, cut, profile) == 2 * (2510 + 26 * 5000 + 2500))
        // Whole layers have none of it.
        let whole = ToyProfile.assignment(.fp32Master, dp: 2)
        #expect(try nanoseconds(call, whole, profile) == nanoseconds(call, whole))
    }

    /// Half of 1000 ns for 100 tokens of prompts and of ten steps of 16 rows at 600; 2·4 + 1 sums of 64 numbers for each of
    /// these tokens, and for the rows of every step; before each of 11 tokens the half of 256 logits that the other has.
    /// Sums of less than what was measured take as long as that.
    @Test func shardsThatSampleAddUpTheirHalves() throws {
        let (call, cut) = (ToyProfile.call(.generate), ToyProfile.assignment(.fp32Packed, tp: 2))
        let words = 11 * 4 * 16 * 256 / 2 / 10.0
        let sums = 9 * (4 * 100 * 64 + 10 * 4 * 16 * 64) / 10.0
        #expect(try nanoseconds(call, cut) == Int((3500 + sums + words).rounded()))
        var profile = ToyProfile.profile()
        profile.points.append(.init(.allReduce, .fp32Master, amount: 33280, nanoseconds: 5000))
        #expect(try nanoseconds(call, cut, profile) == Int((3500 + 9 * 11 * 5000 + words).rounded()))
    }

    /// Four ranks as two replicas of two shards: 65 tokens, 650 + 1300 ns of which each shard has half, sums of half the
    /// bytes, which take as long as those that were measured, a quarter of the step; replicas exchange 3/2·4 bytes of half
    /// of the numbers. Four shards: a quarter of 3780, and a sum over four moves 2·3/4 of the bytes, one over two 2·1/2.
    @Test func shardsAndReplicasShareTheWork() throws {
        var profile = ToyProfile.profile(cores: 4)
        profile.points.append(.init(.allReduce, .fp32Master, amount: 33280, nanoseconds: 5000))
        let four = Toy.cluster(nodes: 1, devices: 4)
        let call = ToyProfile.call(.train, new: 10, miniBatches: 2)
        func nanoseconds(_ assignment: Assignment) throws -> Int {
            try ProfiledCosts(profile, four).nanoseconds(call, assignment, Toy.shape)
        }
        let exchanged = 1.5 * 4 * Double(Toy.shape.parameterCount) / 2 / 10
        #expect(
            try nanoseconds(ToyProfile.assignment(.fp32Master, tp: 2, dp: 2))
                == Int((2 * (975 + 18 * 5000 + 1250 + exchanged)).rounded()))
        #expect(try nanoseconds(ToyProfile.assignment(.fp32Master, tp: 4)) == 2 * (945 + 18 * 7500 + 1250))
    }

    /// Two shards and two replicas on nodes of two: replicas of a shard are on both nodes, and exchange 3/2·4 bytes of half
    /// of the numbers at 1 byte a nanosecond.
    @Test func replicasOfShardsMayBeOnSeveralNodes() throws {
        let call = ToyProfile.call(.train, new: 10, miniBatches: 2)
        func nanoseconds(_ cluster: Cluster) throws -> Int {
            var own = ToyProfile.assignment(.fp32Master, tp: 2, dp: 2)
            own.mesh = Mesh(all: cluster)
            return try ProfiledCosts(ToyProfile.profile(cores: 4), cluster).nanoseconds(call, own, Toy.shape)
        }
        let numbers = Double(Toy.shape.parameterCount) / 2
        let difference =
            try nanoseconds(Toy.cluster(nodes: 2, devices: 2)) - nanoseconds(Toy.cluster(nodes: 1, devices: 4))
        #expect(abs(Double(difference) - 2 * 1.5 * 4 * numbers * (1 - 1 / 10.0)) <= 1)
    }

    /// AdamW's 8 bytes a number, half of them on each of two ranks, are read and written by each of two steps; the disk's
    /// half GB/s is that of both ranks. On another cluster the simulated iteration has nodes for it.
    @Test func momentsInAFileAreReadAndWritten() throws {
        var profile = ToyProfile.profile()
        profile.diskGBps = 0.5
        let call = ToyProfile.call(.train, new: 10, miniBatches: 2)
        func difference(_ cluster: Cluster) throws -> Int {
            let costs = ProfiledCosts(profile, cluster)
            let (memory, file) = (
                ToyProfile.assignment(.fp32Master, dp: 2),
                ToyProfile.assignment(.fp32Master, dp: 2, after: [.offloadOptimizer])
            )
            return try costs.nanoseconds(call, file, Toy.shape) - costs.nanoseconds(call, memory, Toy.shape)
        }
        let expected = 2 * 2 * 4 * Toy.shape.parameterCount * 4
        #expect(abs(try difference(profile.cluster(ranks: 2)) - expected) <= 1)
        #expect(try difference(cluster) == 0)
        let read = try CostProfile(parsing: Array(profile.json.indented.utf8), file: "profile.json")
        #expect(read == profile && read.cluster(ranks: 2).hostGBps == 0.25)
        // Without it, at the rate of memory.
        #expect(ToyProfile.profile().cluster(ranks: 2).hostGBps == 5)
    }

    @Test func whatWasNotMeasuredIsRefused() throws {
        let costs = ProfiledCosts(ToyProfile.profile(), cluster)
        var wide = ToyProfile.assignment(.fp32Master)
        (wide.mesh, wide.strategy) = (Mesh(all: cluster), Strategy(1, 2, 1))
        var other = Toy.shape
        other.layers += 1
        let adam8 = CallSpec.Work.Optimizer(name: "adamw_8bit", parameters: 1, stateBytes: 1)
        let cases: [(CallSpec, Assignment, ModelShape, String)] = [
            (ToyProfile.call(.infer), wide, Toy.shape, "tp 2"),
            (ToyProfile.call(.generate), ToyProfile.assignment(.int8), Toy.shape, "prefill with the layout int8"),
            (ToyProfile.call(.infer), ToyProfile.assignment(.fp32Master), other, "another shape"),
            (
                ToyProfile.call(.train, optimizer: adam8), ToyProfile.assignment(.fp32Master), Toy.shape,
                "optimizer by adamw_8bit"
            ),
        ]
        for (call, assignment, shape, words) in cases {
            #expect(!costs.knows(call, assignment, shape))
            let error = #expect(throws: PlanError.self) { try costs.nanoseconds(call, assignment, shape) }
            #expect("\(error!)".contains("the profile has no times of") && "\(error!)".contains(words), "\(error!)")
        }
        // A critic of the same trunk is known.
        #expect(costs.knows(ToyProfile.call(.infer), ToyProfile.assignment(.fp32Master), Toy.shape.withValues()))
    }

    @Test func aSearchLeavesOutWhatIsNotKnown() throws {
        var options = PlanSearch.Options()
        options.layouts = [.generate: [.fp32Packed, .int8], .infer: [.fp32Master], .train: [.fp32Master]]
        let found = try PlanSearch(
            cluster, models: Toy.models, graph: Toy.graph, costs: ProfiledCosts(ToyProfile.profile(), cluster),
            options: options
        ).run()
        // Of shards, none of the call that scores; of what samples, no int8.
        let scores = Set(Toy.graph.calls.filter { $0.kind == .infer }.map(\.name))
        #expect(
            found.plan.assignments.allSatisfy { name, own in
                (!scores.contains(name) || own.strategy.tensor == 1) && own.layout != .int8
            })
    }

    /// 700 ns are what making the layout took; the transfer's own 100 µs come on top. Without a point the memory's
    /// rate counts.
    @Test func makingALayoutIsLookedUp() throws {
        let one = Toy.cluster(nodes: 1, devices: 1)
        let costs = ProfiledCosts(ToyProfile.profile(), one)
        let bytes = 4 * Toy.shape.parameterCount
        #expect(costs.conversionNanoseconds(to: .fp32Packed, weightBytes: bytes, Toy.shape, one) == 700)
        // A part takes its share.
        #expect(costs.conversionNanoseconds(to: .fp32Packed, weightBytes: bytes / 4, Toy.shape, one) == 175)
        // 2 · 2²⁰ bytes at 100 GB/s.
        #expect(costs.conversionNanoseconds(to: .int8, weightBytes: 1 << 20, Toy.shape, one) == 20972)
    }

    @Test func aFileIsReadAsItWasWritten() throws {
        let profile = ToyProfile.profile()
        let bytes = Array(profile.json.indented.utf8)
        let read = try CostProfile(parsing: bytes, file: "profile.json")
        #expect(read == profile && read.json.serialized == profile.json.serialized)
    }

    @Test(arguments: [
        ("\"version\":1", "\"version\":2", "version is '2'; expected a whole number that is 1"),
        ("\"format\":\"plumbline-profile\"", "\"format\":\"x\"", "format is 'x'"),
        ("\"cores\":2", "\"cors\":2", "cores is missing"), ("\"cores\":2", "\"cores\":0", "cores is '0'"),
        ("\"operation\":\"decode\"", "\"operation\":\"encode\"", "operation is 'encode'; expected one of prefill"),
        ("\"amount\":8", "\"amount\":16", "measures what an earlier one does"),
        ("\"nanoseconds\":600", "\"nanoseconds\":0", "nanoseconds is '0'"),
        ("\"points\":[", "\"points\":[7,", "points.0 is a number; expected an object"),
    ])
    func aBadFileIsSaid(_ good: String, _ bad: String, _ words: String) throws {
        let text = ToyProfile.profile().json.serialized(.compact)
        #expect(text.contains(good))
        let broken = Array(text.replacing(good, with: bad).utf8)
        let error = #expect(throws: SettingsError.self) { try CostProfile(parsing: broken, file: "profile.json") }
        #expect("\(error!)".contains(words), "\(error!)")
    }

    /// AdamW's 8 bytes a number unless the call says what its optimizer keeps.
    @Test func anOptimizerHasItsOwnBytes() throws {
        var memory = MemoryModel(Toy.shape)
        let numbers = Toy.shape.parameterCount
        func demand(_ optimizer: CallSpec.Work.Optimizer?, _ layout: WeightLayout = .fp32Master) throws -> MemoryDemand
        {
            let found = memory.demand(ToyProfile.call(.train, optimizer: optimizer), ToyProfile.assignment(layout))
            return try #require(found)
        }
        let plain = try demand(nil)
        #expect(plain.optimizer == 8 * numbers && plain.gradients == 4 * numbers)
        let lion = CallSpec.Work.Optimizer(name: "lion", parameters: numbers, stateBytes: 4 * numbers)
        #expect(try demand(lion).optimizer == 4 * numbers)
        #expect(try demand(lion, .bf16WithMaster).optimizer == 8 * numbers)
        let adapters = CallSpec.Work.Optimizer(name: "adamw_torch", parameters: numbers / 4, stateBytes: 2 * numbers)
        let adapted = try demand(adapters)
        #expect(adapted.optimizer == 2 * numbers && adapted.gradients == numbers)
        // The step reads and writes it: (12 + 2·8)P and (12 + 2·4)P bytes at 100 GB/s, a millisecond of overhead apart.
        let costs = Toy.costs(Toy.cluster(nodes: 1, devices: 1))
        let own = ToyProfile.assignment(.fp32Master)
        let (whole, narrow) = (
            costs.nanoseconds(ToyProfile.call(.train), own, Toy.shape),
            costs.nanoseconds(ToyProfile.call(.train, optimizer: lion), own, Toy.shape)
        )
        #expect(abs(Double(whole - narrow) - 8 * Double(numbers) / 100) <= 1)
    }
}
