import Foundation
import Job
import Planning
import Testing

@Suite("Graphs from the methods' own recipes")
struct JobGraphTests {
    private static func graph(_ method: String, _ keys: [String] = [], rewardModels: [String] = []) throws
        -> DataflowGraph
    {
        let needsReward = !["dpo", "bvpo", "sft"].contains(method) || keys.contains("bvpo.online=true")
        let text =
            "algorithm: \(method)\nmodel_name_or_path: model\ndataset_name: prompts.jsonl\noutput_dir: run\n"
            + (needsReward ? "reward_funcs: accuracy_reward\n" : "")
        let file = try JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/"), overrides: keys)
        let job = try ResolvedJob(file)
        return DataflowGraph(job.recipe, job.graphSettings(rewardModels: rewardModels, promptTokens: 64))
    }

    /// Calls, and for each the calls it waits for.
    private static func words(_ graph: DataflowGraph) -> [String] {
        #expect(graph.problems.isEmpty, "\(graph.problems)")
        return zip(graph.calls, graph.predecessors).map { call, before in
            call.name + (before.isEmpty ? "" : " < " + before.map { graph.calls[$0].name }.joined(separator: " "))
        }
    }

    @Test func ppoHasTheSixCalls() throws {
        let graph = try Self.graph("ppo", ["num_iterations=1"], rewardModels: ["reward"])
        let names = Set(graph.calls.map(\.name))
        #expect(
            names.isSuperset(of: [
                "actor_gen", "reward_inf", "ref_inf", "critic_inf", "actor_train", "critic_train",
            ]))
        let words = Self.words(graph)
        #expect(words.contains("critic_inf < actor_gen"))
        #expect(words.contains { $0.hasPrefix("actor_train < actor_gen reward_inf") && $0.hasSuffix("critic_inf") })
        #expect(words.contains { $0.hasPrefix("critic_train < actor_gen reward_inf") })
    }

    /// A head on the policy's trunk is trained with it.
    @Test func aSharedTrunkHasOneTrainingCall() throws {
        let graph = try Self.graph("ppo", ["critic_shares_trunk=true"])
        #expect(graph.calls.filter { $0.kind == .train }.map(\.role) == ["actor"])
        #expect(graph.call(named: "critic_inf")?.role == "actor")
    }

    @Test func groupMethodsHaveNoCritic() throws {
        #expect(
            try Self.words(Self.graph("grpo")) == [
                "actor_gen", "rewards < actor_gen", "actor_train < actor_gen rewards",
            ])
        #expect(
            try Self.words(Self.graph("grpo", ["beta=0.04"]))
                == [
                    "actor_gen", "rewards < actor_gen", "ref_inf < actor_gen",
                    "actor_train < actor_gen rewards ref_inf",
                ])
        #expect(try Self.words(Self.graph("soft_grpo")).first == "actor_gen")
    }

    /// The greedy completion is scored and not learned from.
    @Test func remaxGeneratesTwice() throws {
        let words = try Self.words(Self.graph("remax"))
        #expect(
            words == [
                "actor_gen", "rewards < actor_gen", "actor_gen_greedy", "rewards_greedy < actor_gen_greedy",
                "actor_train < actor_gen rewards rewards_greedy",
            ])
    }

    @Test func eachCostModelIsACall() throws {
        let graph = try Self.graph("grpo", rewardModels: ["cost_harm", "reward"])
        #expect(graph.calls.filter { $0.kind == .infer }.map(\.role) == ["cost_harm", "reward"])
        #expect(graph.call(named: "actor_train")?.inputs == ["sequences", "cost_harm_scores", "reward_scores"])
    }

    @Test func pairsAndDemonstrationsComeFromTheDataSet() throws {
        #expect(try Self.words(Self.graph("bvpo")).last?.hasPrefix("actor_train") == true)
        let online = try Self.graph("bvpo", ["bvpo.online=true"])
        #expect(online.calls.filter { $0.kind == .generate }.count == 2)
        let amft = try Self.graph("amft")
        #expect(amft.call(named: "actor_train")?.inputs.contains("demonstrations") == true)
    }

    /// A prompt is read once for all that follow it; a reward model reads whole texts.
    @Test func promptsAreShared() throws {
        let group = try Self.graph("grpo", ["num_generations=4"], rewardModels: ["reward"])
        let shares = group.calls.map { "\($0.name) \($0.work.completionsPerPrompt)" }
        #expect(shares == ["actor_gen 4", "reward_inf 1", "actor_train 4"])
        #expect(try Self.graph("remax").call(named: "actor_gen_greedy")?.work.completionsPerPrompt == 1)
        #expect(try Self.graph("dpo").call(named: "actor_train")?.work.completionsPerPrompt == 2)
        #expect(try Self.graph("sft").call(named: "actor_train")?.work.completionsPerPrompt == 1)
    }

    /// Passes over a rollout are sequences of the training call.
    @Test func passesAreCounted() throws {
        let once = try Self.graph("grpo")
        let twice = try Self.graph("grpo", ["num_iterations=2"])
        let (one, two) = (once.call(named: "actor_train")?.work, twice.call(named: "actor_train")?.work)
        #expect(two?.sequences == one.map { 2 * $0.sequences } && two?.miniBatches == one.map { 2 * $0.miniBatches })
    }
}
