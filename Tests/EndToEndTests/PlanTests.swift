import Foundation
import JSON
import Planning
import Testing

@Suite("Plans are made, simulated and carried out on a folder's weights")
struct PlanTests {
    private let place: Workplace
    init() throws {
        place = try Workplace()
        try place.write(
            "cluster.json",
            #"{"nodes": 1, "devicesPerNode": 2, "memoryBytes": 1073741824, "intraGBps": 10, "interGBps": 1, "hbmGBps": 100, "peakTFLOPs": 1}"#
        )
    }

    private func run(_ arguments: String...) throws -> Command.Outcome {
        try Command.run(arguments, in: place.folder)
    }

    private func plan() throws -> ExecutionPlan {
        try ExecutionPlan(
            parsing: Array(Data(contentsOf: place.folder.appending(path: "plan.json"))), file: "plan.json")
    }

    @Test func fromAClusterToAnEqualBit() throws {
        let made = try run(
            "plan", "--cluster", "cluster.json", "--graph", "grpo", "--models", "actor=model", "--prompt-tokens", "8",
            "--json", "-o", "plan.json", "beta=0.04", "max_completion_length=16")
        #expect(made.status == 0, "\(made.progress)")
        var plan = try plan()
        #expect(Set(plan.assignments.keys) == ["actor_gen", "ref_inf", "actor_train"])
        let numbers = try JSONValue(parsing: made.output)
        #expect(numbers["plan_hash"]?.string == plan.planHash)

        let simulated = try run("simulate", "plan.json", "--json", "--timeline", "timeline.json")
        #expect(simulated.status == 0 && simulated.output == made.output)
        let timeline = try JSONValue(
            parsing: Array(Data(contentsOf: place.folder.appending(path: "timeline.json"))))
        #expect((timeline["traceEvents"]?.elements?.count ?? 0) > 10)

        // Two stages to train, two replicas to sample.
        let both = Mesh(nodes: 0..<1, slots: 0..<2)
        plan.assignments["actor_train"] = Assignment(
            mesh: both, strategy: Strategy(2, 1, 1), layout: .fp32Master, microBatches: 4, after: [.dropGradients])
        plan.assignments["actor_gen"] = Assignment(
            mesh: both, strategy: Strategy(1, 1, 2), layout: .bf16, after: [.dropKV, .dropWeights])
        try place.write("plan.json", plan.json.indented)
        let moved = try run(
            "reshard", "--from", "plan.json:actor_train", "--to", "plan.json:actor_gen", "--model", "model", "--verify")
        #expect(moved.status == 0, "\(moved.progress)")
        #expect(moved.output.contains("equal to the bit"))
    }

    @Test func whatIsWrongIsSaid() throws {
        let near = try run("plan", "--cluster", "cluster.json", "--graph", "grppo", "--models", "actor=model")
        #expect(near.status == 65 && near.progress.contains("did you mean"))
        let none = try run("plan", "--cluster", "cluster.json", "--graph", "grpo")
        #expect(none.status == 65 && none.progress.contains("no model of the role actor"))
        try place.write("small.json", #"{"nodes": 1, "devicesPerNode": 3}"#)
        let small = try run("plan", "--cluster", "small.json", "--graph", "grpo", "--models", "actor=model")
        #expect(
            small.status == 65 && small.progress.contains("devicesPerNode is '3'")
                && small.progress.contains("memoryBytes"))
        let file = try run("simulate", "cluster.json")
        #expect(file.status == 65 && file.progress.contains("cluster is missing"))
    }
}
