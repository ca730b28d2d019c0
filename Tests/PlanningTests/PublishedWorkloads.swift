import Planning
import Testing

/// ReaL's evaluation (arXiv:2406.14088v1): PPO of Llama models on nodes of eight A100, seconds an iteration of its
/// heuristic plan and of the plan its search chose; read off the figure's vector drawing.
struct PublishedWorkload: Sendable, CustomStringConvertible {
    let actor: String
    let critic: String
    let devices: Int
    let batch: Int
    let newTokens: Int
    /// All six calls on all devices, tp 8, a stage a node.
    let heuristicSeconds: Double
    let searchedSeconds: Double

    var description: String { "\(actor)+\(critic) on \(devices), \(newTokens) new tokens" }

    static let all: [PublishedWorkload] = {
        let (small, middle, code, large) = ("llama-2-7b", "llama-2-13b", "codellama-34b", "llama-2-70b")
        let rows: [(String, String, Int, [(Double, Double)])] = [
            (small, small, 8, [(31.3, 23.3), (42.3, 28.0), (63.3, 37.4)]),
            (middle, small, 16, [(30.1, 24.3), (42.6, 31.3), (69.1, 44.2)]),
            (code, small, 32, [(34.0, 29.2), (50.5, 46.7), (84.7, 77.4)]),
            (large, small, 64, [(43.7, 41.6), (71.6, 65.9), (129.0, 123.8)]),
            (small, middle, 16, [(28.5, 20.8), (37.9, 24.6), (57.5, 34.3)]),
            (small, code, 32, [(30.7, 26.7), (41.9, 29.4), (67.9, 43.4)]),
            (small, large, 64, [(33.0, 29.8), (49.8, 37.8), (77.8, 43.4)]),
            (small, small, 16, [(24.0, 14.6), (35.3, 23.2), (58.2, 34.3)]),
            (middle, middle, 32, [(27.1, 23.7), (38.5, 27.3), (67.8, 42.9)]),
            (code, code, 64, [(33.7, 29.5), (60.0, 48.8), (89.9, 77.6)]),
            (large, large, 128, [(47.6, 38.4), (78.9, 71.9), (144.0, 118.7)]),
        ]
        return rows.flatMap { actor, critic, devices, seconds in
            zip([(512, 128), (256, 384), (128, 896)], seconds).map { work, times in
                PublishedWorkload(
                    actor: actor, critic: critic, devices: devices, batch: work.0, newTokens: work.1,
                    heuristicSeconds: times.0, searchedSeconds: times.1)
            }
        }
    }()

    var cluster: Cluster { .a100(nodes: devices / 8) }
    var graph: DataflowGraph { PublishedPPO.graph(batch: batch, newTokens: newTokens) }

    func models() throws -> [String: ModelShape] { try PublishedPPO.models(actor: actor, critic: critic) }

    func heuristicPlan() throws -> ExecutionPlan {
        let stages = cluster.nodes
        let assignments = graph.calls.map { call -> (String, Assignment) in
            let isTrained = call.kind == .train
            return (
                call.name,
                Assignment(
                    mesh: Mesh(all: cluster), strategy: Strategy(stages, 8, 1),
                    layout: isTrained ? .bf16WithMaster : .bf16,
                    microBatches: isTrained ? (stages > 1 ? 2 * stages : 1) : stages,
                    after: isTrained ? [.dropGradients] : call.kind == .generate ? [.dropKV] : [])
            )
        }
        return ExecutionPlan(
            cluster: cluster, models: try models(), graph: graph,
            assignments: Dictionary(uniqueKeysWithValues: assignments))
    }
}

extension Cluster {
    /// Nodes of eight A100 with 80 GiB, with the constants of ReaL's planner.
    static func a100(nodes: Int) -> Cluster {
        Cluster(
            nodes: nodes, devicesPerNode: 8, memoryBytes: 80 << 30, intraGBps: 170, interGBps: 20, hbmGBps: 1500,
            peakTFLOPs: 312)
    }
}
