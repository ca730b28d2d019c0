import Foundation
import Job
import Planning
import TestSupport
import Testing

@Suite("Weights from one call's layout to another's")
struct ReshardingTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private var model: String { folder.url.appending(path: "model").path }

    /// One block of width 8 with two heads, 16 words and a head of its own: trained by two shards, sampled from by two
    /// replicas.
    private func write() async throws {
        let maker = ModelMaking(
            output: model, family: "llama", tokenizer: nil, vocabularySize: 16, hiddenSize: 8, layers: 1, heads: 2,
            keyValueHeads: 2, intermediateSize: 16, contextLength: 32, tiesEmbeddings: false, seed: 0)
        _ = try await maker.run()
        let both = Mesh(nodes: 0..<1, slots: 0..<2)
        let work = CallSpec.Work(sequences: 8, promptTokens: 4, newTokens: 4)
        let plan = ExecutionPlan(
            cluster: Cluster(
                nodes: 1, devicesPerNode: 2, memoryBytes: 1 << 30, intraGBps: 1, interGBps: 1, hbmGBps: 1,
                peakTFLOPs: 1),
            models: [
                "actor": ModelShape(
                    layers: 1, hiddenSize: 8, intermediateSize: 16, heads: 2, keyValueHeads: 2, vocabularySize: 16)
            ],
            graph: DataflowGraph(
                name: "two",
                calls: [
                    CallSpec("sample", .generate, role: "actor", inputs: [], outputs: ["sequences"], work: work),
                    CallSpec("learn", .train, role: "actor", inputs: ["sequences"], outputs: [], work: work),
                ]),
            assignments: [
                "sample": Assignment(
                    mesh: both, strategy: Strategy(1, 1, 2), layout: .bf16, after: [.dropKV, .dropWeights]),
                "learn": Assignment(
                    mesh: both, strategy: Strategy(1, 2, 1), layout: .fp32Master, after: [.dropGradients]),
            ])
        _ = try folder.file("plan.json", Array(plan.json.indented.utf8))
    }

    private func resharding() throws -> Resharding {
        let plan = folder.url.appending(path: "plan.json").path
        return try Resharding(from: plan + ":learn", to: plan + ":sample")
    }

    /// Cut are 2·16·8 numbers of words, 4·8·8 of attention and 3·8·16 of the rest, 896; three norms of 8 are not. Two
    /// shards have 896 + 2·24 of them, two replicas 2·920: 2784, of four bytes.
    @Test func shardsThatDoNotFitAreRefused() async throws {
        try await write()
        let said = try await resharding().verify(model, memoryBytes: 11_136)
        #expect(said.contains("equal to the bit"))
        let error = await #expect(throws: JobError.self) {
            _ = try await resharding().verify(model, memoryBytes: 11_135)
        }
        #expect("\(error!)".contains("take 11136 bytes") && "\(error!)".contains("at most 11135"), "\(error!)")
    }
}
