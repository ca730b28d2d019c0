import Foundation
import JSON
import Planning
import Records
import Testing

@Suite("Plans: their rules, their file, their number")
struct PlanRuleTests {
    private static let large = Cluster.a100(nodes: 2)

    /// One call on the 7B model, changed so that it breaks a rule.
    private func broken(
        _ strategy: Strategy, kind: CallSpec.Kind = .infer, mesh: Mesh = Mesh(nodes: 0..<1, slots: 0..<8),
        layout: WeightLayout = .bf16, sequences: Int = 512, groupSize: Int = 1, after: Set<Release> = [],
        rules: RuleSet = .plumbline
    ) throws -> [PlanRule] {
        let shape = try #require(ModelShape.published["llama-2-7b"])
        let work = CallSpec.Work(
            sequences: sequences, promptTokens: 128, newTokens: 128, miniBatches: 1, groupSize: groupSize)
        let call = CallSpec("call", kind, role: "actor", inputs: [], outputs: [], work: work)
        let assignment = Assignment(mesh: mesh, strategy: strategy, layout: layout, after: after)
        return rules.problems(of: call, assignment, shape, Self.large).map(\.rule)
    }

    @Test func eachRuleIsNamed() throws {
        #expect(try broken(Strategy(1, 8, 1)).isEmpty)
        // V1: three slots, slots from an index that is no multiple, a part of two nodes, a node that is not there.
        for (nodes, slots) in [(0..<1, 0..<3), (0..<1, 1..<3), (0..<2, 0..<4), (1..<3, 0..<8)] {
            let mesh = Mesh(nodes: nodes, slots: slots)
            #expect(try broken(Strategy(1, 1, mesh.size), mesh: mesh) == [.mesh])
        }
        #expect(try broken(Strategy(2, 2, 1)) == [.size])
        #expect(try broken(Strategy(1, 16, 1), mesh: Mesh(nodes: 0..<2, slots: 0..<8)) == [.tensorDegree])
        #expect(try broken(Strategy(2, 2, 1), mesh: Mesh(nodes: 0..<1, slots: 0..<4), sequences: 1) == [.batch])
        #expect(try broken(Strategy(2, 2, 2), kind: .train, layout: .fp32Master, sequences: 7) == [.batch])
        // 510 sequences in groups of 10 are 51 groups, which two replicas cannot share.
        #expect(
            try broken(Strategy(1, 4, 2), kind: .train, layout: .fp32Master, sequences: 510, groupSize: 10) == [.batch])
        #expect(
            try broken(Strategy(1, 8, 1), kind: .train, layout: .fp32Master, sequences: 515, groupSize: 10) == [.batch])
        #expect(
            try broken(Strategy(1, 2, 1), mesh: Mesh(nodes: 0..<1, slots: 0..<2), rules: .published) == [.pruning])
        #expect(
            try broken(
                Strategy(1, 8, 2), kind: .train, mesh: Mesh(nodes: 0..<2, slots: 0..<8), layout: .fp32Master,
                rules: .published) == [.pruning])
        #expect(try broken(Strategy(1, 8, 1), kind: .train, layout: .bf16) == [.layout])
        #expect(try broken(Strategy(1, 8, 1), kind: .train, layout: .int8) == [.layout])
        #expect(try broken(Strategy(1, 8, 1), after: [.dropGradients]) == [.layout])
        #expect(try broken(Strategy(1, 8, 1), kind: .generate, layout: .int8).isEmpty)
    }

    /// V6: 3 nodes of 8 in two stages of 12 devices.
    @Test func aStageIsAPartOfANodeOrWholeNodes() throws {
        let shape = try #require(ModelShape.published["llama-2-7b"])
        let cluster = Cluster.a100(nodes: 3)
        let work = CallSpec.Work(sequences: 512, promptTokens: 128, newTokens: 128)
        let call = CallSpec("call", .infer, role: "actor", inputs: [], outputs: [], work: work)
        let assignment = Assignment(mesh: Mesh(all: cluster), strategy: Strategy(2, 4, 3), layout: .bf16)
        #expect(RuleSet.plumbline.problems(of: call, assignment, shape, cluster).map(\.rule) == [.stageWidth])
    }

    /// V3: of 33 words two or eight shards have parts that differ by one, which ReaL's rules do not have.
    @Test func wordsAreCutUnevenly() throws {
        let cluster = Toy.cluster(nodes: 1, devices: 8)
        let call = CallSpec(
            "call", .infer, role: "actor", inputs: [], outputs: [],
            work: .init(sequences: 64, promptTokens: 16, newTokens: 8))
        func rules(_ words: Int, _ tp: Int, _ rules: RuleSet = .plumbline) -> [PlanRule] {
            let shape = ModelShape(
                layers: 2, hiddenSize: 32, intermediateSize: 64, heads: 8, keyValueHeads: 8, vocabularySize: words)
            let own = Assignment(mesh: Mesh(all: cluster), strategy: Strategy(1, tp, 8 / tp), layout: .bf16)
            return rules.problems(of: call, own, shape, cluster).map(\.rule)
        }
        #expect(rules(33, 2).isEmpty && rules(33, 8).isEmpty && rules(8, 8).isEmpty)
        #expect(rules(7, 8) == [.tensorDegree] && rules(33, 2, .published) == [.tensorDegree])
    }

    /// V4 and V5 are ReaL's: ours moves between any two degrees.
    @Test func thePublishedRulesOfAChangeOfDegree() throws {
        var plan = Toy.switching
        #expect(plan.problems().isEmpty)
        plan.models["actor"]?.keyValueHeads = 1
        #expect(plan.problems().isEmpty)
        let rules = Set(plan.problems(.published).map(\.rule))
        #expect(rules.contains(.keyValueHeads))
    }

    @Test func allProblemsComeTogether() throws {
        var plan = Toy.switching
        plan.assignments["ref_inf"] = nil
        plan.assignments["nobody"] = plan.assignments["actor_gen"]
        plan.assignments["actor_train"]?.layout = .int8
        #expect(plan.problems().map(\.rule) == [.complete, .complete, .layout])
        #expect(throws: PlanError.self) { try PlanSimulator(plan, costs: Toy.costs(plan.cluster)).run() }
    }

    /// V9: a device of 1 MiB.
    @Test func memoryIsARule() throws {
        var plan = Toy.switching
        _ = try PlanSimulator(plan, costs: Toy.costs(plan.cluster)).validate()
        plan.cluster.memoryBytes = 1 << 20
        let error = #expect(throws: PlanError.self) {
            _ = try PlanSimulator(plan, costs: Toy.costs(plan.cluster)).validate()
        }
        #expect(error?.problems.map(\.rule) == [.memory])
    }

    /// Meshes, and meshes with strategies, under the published rules without batches: §7 of the published planner's
    /// count.
    @Test(arguments: [(1, 3, 22), (2, 7, 58), (4, 18, 176), (8, 52, 620), (16, 168, 2464)])
    func spaceSizes(_ nodes: Int, _ meshes: Int, _ candidates: Int) throws {
        let shape = try #require(ModelShape.published["codellama-34b"])
        var wide = shape
        wide.layers = 200  // as many stages as there are devices
        let cluster = Cluster.a100(nodes: nodes)
        let work = CallSpec.Work(sequences: 1 << 20, promptTokens: 128, newTokens: 128)
        let call = CallSpec("call", .infer, role: "actor", inputs: [], outputs: [], work: work)
        #expect(Mesh.all(in: cluster, least: 4).count == meshes)
        #expect(RuleSet.published.placements(of: call, wide, cluster).count == candidates)
    }

    // MARK: The file

    @Test func aPlanReadsBackEqual() throws {
        let plan = Toy.switching
        let again = try ExecutionPlan(parsing: Array(plan.json.indented.utf8), file: "plan.json")
        #expect(again == plan)
        #expect(again.canonicalBytes == plan.canonicalBytes && again.planHash == plan.planHash)
        var other = plan
        other.assignments["actor_gen"]?.microBatches = 2
        #expect(other.planHash != plan.planHash)
    }

    /// The number ranks compare is a function of what the plan says, not of how its file is laid out.
    @Test func theHashIsThatOfTheCanonicalBytes() throws {
        let text = Toy.switching.json.indented.replacing("\"dp\": 4", with: "\"dp\":   4.0")
        #expect(text != Toy.switching.json.indented)
        #expect(try ExecutionPlan(parsing: Array(text.utf8), file: "x").planHash == Toy.switching.planHash)
        #expect(Toy.switching.planHash.count == 64)
    }

    @Test(arguments: [
        ("\"tp\": 2", "\"tp\": 0", ["calls.", "tp is '0'", "from 1 to"]),
        ("\"tp\": 2", "\"tpp\": 2", ["tp is missing", "no key 'tpp'", "did you mean"]),
        ("\"nodes\": 2", "\"nodes\": \"many\"", ["cluster", "nodes is 'many'"]),
        ("\"bf16\"", "\"fp8\"", ["layout is 'fp8'", "fp32Master"]),
        ("\"dropKV\"", "\"dropEverything\"", ["after is", "dropKV"]),
        ("\"cluster\"", "\"clusters\"", ["cluster is missing"]),
        ("\"heads\": 4", "\"heads\": 3", ["keyValueHeads is 2", "a divisor of the 3 heads"]),
    ])
    func whatIsWrongIsNamedByItsKey(_ old: String, _ new: String, _ pieces: [String]) {
        let text = Toy.switching.json.indented
        let changed = text.replacing(old, with: new, maxReplacements: 1)
        #expect(changed != text)
        let error = #expect(throws: SettingsError.self) {
            _ = try ExecutionPlan(parsing: Array(changed.utf8), file: "plan.json")
        }
        for piece in pieces + ["plan.json"] {
            #expect(error?.description.contains(piece) == true, "\(piece) in \(error?.description ?? "")")
        }
    }
}
