import Planning
import Testing

/// PPO as ReaL's evaluation runs it.
enum PublishedPPO {
    static func graph(batch: Int, newTokens: Int, promptTokens: Int = 128, miniBatches: Int = 4) -> DataflowGraph {
        let work = CallSpec.Work(
            sequences: batch, promptTokens: promptTokens, newTokens: newTokens, miniBatches: miniBatches)
        let scores = ["rewards", "ref_log_probs", "values"]
        return DataflowGraph(
            name: "ppo",
            calls: [
                CallSpec(
                    "actor_gen", .generate, role: "actor", inputs: ["prompts"], outputs: ["sequences"], work: work),
                CallSpec(
                    "reward_inf", .infer, role: "reward", inputs: ["sequences"], outputs: ["rewards"], work: work),
                CallSpec(
                    "ref_inf", .infer, role: "reference", inputs: ["sequences"], outputs: ["ref_log_probs"], work: work),
                CallSpec("critic_inf", .infer, role: "critic", inputs: ["sequences"], outputs: ["values"], work: work),
                CallSpec(
                    "actor_train", .train, role: "actor", inputs: ["sequences"] + scores, outputs: [], work: work),
                CallSpec(
                    "critic_train", .train, role: "critic", inputs: ["sequences"] + scores, outputs: [], work: work),
            ])
    }

    static func models(actor: String, critic: String) throws -> [String: ModelShape] {
        let large = try #require(ModelShape.published[actor])
        let small = try #require(ModelShape.published[critic])
        return ["actor": large, "reference": large, "critic": small.withValues(), "reward": small.withValues()]
    }
}

/// A small decoder and clusters of few devices, for tests in milliseconds.
enum Toy {
    static let shape = ModelShape(
        layers: 4, hiddenSize: 64, intermediateSize: 128, heads: 4, keyValueHeads: 2, vocabularySize: 256)

    static func cluster(nodes: Int, devices: Int, memoryBytes: Int = 1 << 30) -> Cluster {
        Cluster(
            nodes: nodes, devicesPerNode: devices, memoryBytes: memoryBytes, intraGBps: 10, interGBps: 1, hbmGBps: 100,
            peakTFLOPs: 1)
    }

    /// Generation, a reference, a step.
    static let graph: DataflowGraph = {
        let work = CallSpec.Work(sequences: 64, promptTokens: 16, newTokens: 48)
        return DataflowGraph(
            name: "grpo",
            calls: [
                CallSpec(
                    "actor_gen", .generate, role: "actor", inputs: ["prompts"], outputs: ["sequences"], work: work),
                CallSpec(
                    "ref_inf", .infer, role: "reference", inputs: ["sequences"], outputs: ["ref_log_probs"], work: work),
                CallSpec(
                    "actor_train", .train, role: "actor", inputs: ["sequences", "ref_log_probs"], outputs: [],
                    work: work),
            ])
    }()

    static let models = ["actor": shape, "reference": shape]

    /// Without overhead, so that sizes decide.
    static func costs(_ cluster: Cluster) -> AnalyticCosts {
        var costs = AnalyticCosts(cluster)
        costs.coefficients.callOverhead = 0.001
        costs.coefficients.decodeFloor = 0.00001
        costs.coefficients.decodeCollective = 0.00001
        return costs
    }

    static func plan(_ cluster: Cluster, _ assignments: [String: Assignment]) -> ExecutionPlan {
        ExecutionPlan(cluster: cluster, models: models, graph: graph, assignments: assignments)
    }

    /// Everything on all devices of two nodes of two, generation in another layout than training.
    static var switching: ExecutionPlan {
        let cluster = cluster(nodes: 2, devices: 2)
        let all = Mesh(all: cluster)
        return plan(
            cluster,
            [
                "actor_gen": Assignment(
                    mesh: all, strategy: Strategy(1, 1, 4), layout: .bf16, after: [.dropKV, .dropWeights]),
                "ref_inf": Assignment(
                    mesh: Mesh(nodes: 0..<1, slots: 0..<2), strategy: Strategy(1, 2, 1), layout: .bf16,
                    after: [.offloadWeights]),
                "actor_train": Assignment(
                    mesh: all, strategy: Strategy(2, 2, 1), layout: .fp32Master, microBatches: 4,
                    after: [.dropGradients, .offloadOptimizer]),
            ])
    }
}
