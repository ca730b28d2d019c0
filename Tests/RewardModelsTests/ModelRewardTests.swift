import Foundation
import JSON
import Models
import Records
import RewardInterface
import RewardModels
import Tensors
import TestSupport
import Testing

/// What transformers computes from the folders of `Tests/References/classifiers`, made by `sequence_classifiers.py`.
private struct Published: Decodable {
    struct Case: Decodable {
        var prompt: String?
        var messages: [ChatMessage]?
        var completions: [String]
        /// `[completion][label]`.
        var scores: [[Double]]
        var without_specials: [[Double]]?

        var content: PromptContent { prompt.map(PromptContent.text) ?? .messages(messages ?? []) }
    }

    var texts: [Case]
    var chats: [Case]

    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "References/classifiers")

    static func read(_ name: String) throws -> Published {
        let all = try JSONDecoder().decode(
            [String: Published].self, from: Data(contentsOf: root.appending(path: "scores.json")))
        return try #require(all[name])
    }
}

/// A published folder with the tokenizer that all of them share.
private func folder(_ name: String, in place: TemporaryFolder) throws -> URL {
    let folder = place.url.appending(path: name)
    try FileManager.default.copyItem(at: Published.root.appending(path: name), to: folder)
    let tokenizer = Published.root.appending(path: "tokenizer")
    for file in try FileManager.default.contentsOfDirectory(at: tokenizer, includingPropertiesForKeys: nil) {
        try FileManager.default.copyItem(at: file, to: folder.appending(path: file.lastPathComponent))
    }
    return folder
}

private func group(_ content: PromptContent, _ completions: [String], greedy: String? = nil) -> RolloutGroup {
    func rollout(_ text: String, _ sample: Int) -> Rollout {
        Rollout(
            completion: Completion(text: text), samplingLogProbabilities: [], policyLogProbabilities: [], sample: sample
        )
    }
    return RolloutGroup(
        prompt: TokenizedPrompt(prompt: Prompt(row: 3, source: "set", content: content), tokenIDs: [1]),
        rollouts: completions.enumerated().map { rollout($1, $0) }, greedy: greedy.map { rollout($0, 0) },
        policyVersion: PolicyVersion(0))
}

private func open(
    _ folder: URL, _ values: [String: JSONValue] = [:]
) async throws -> ModelReward {
    var reader = SettingsReader("reward model: \(folder.lastPathComponent)", values: values)
    let settings = try RewardModelSettings(folder.path, reading: &reader, base: nil)
    try reader.finishReward()
    return try await ModelReward.open(settings)
}

/// An adapter of a classifier, in a folder without a tokenizer.
@TensorActor
private func saveAdapter(on base: URL, to folder: URL) throws {
    let configuration = try ClassifierConfiguration(folder: base).trunk.adapted(by: LoRAConfiguration(rank: 2))
    var parameters = try configuration.freshAdapters(seed: 1)
    parameters["score.weight"] = try Tensor.zeros([1, configuration.hiddenSize])
    try ModelFolder.saveAdapters(
        configuration: configuration, parameters: parameters, baseName: base.path(percentEncoded: false), to: folder,
        labels: ["LABEL_0"])
}

@Suite("Reward models score as transformers does")
struct ModelRewardTests {
    @Test(arguments: ["llama", "llama_two_labels", "mistral", "qwen2", "qwen3"])
    func scoresAreTransformers(_ name: String) async throws {
        let place = try TemporaryFolder()
        let folder = try folder(name, in: place)
        let published = try Published.read(name)
        let labels = published.texts[0].scores[0].count
        for label in 0..<labels {
            let settings: [String: JSONValue] = labels > 1 ? ["label": .number(Double(label))] : [:]
            let plain = settings.merging(["add_special_tokens": .bool(false)]) { $1 }
            let (reward, bare) = (try await open(folder, settings), try await open(folder, plain))
            #expect(reward.names == [name])
            for example in published.texts + published.chats {
                let group = group(example.content, example.completions, greedy: example.completions[0])
                let scores = try await reward.score(group, at: TrainingProgress())
                let found = scores.scores.map { $0[0].score ?? .nan }
                let expected = example.scores.map { $0[label] }
                #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-4 }, "\(found) \(expected)")
                #expect(abs((scores.greedyScores?[0].score ?? .nan) - expected[0]) < 1e-4)
                guard let without = example.without_specials else { continue }
                let others = try await bare.score(group, at: TrainingProgress()).scores.map { $0[0].score ?? .nan }
                #expect(zip(others, without).allSatisfy { abs($0 - $1[label]) < 1e-4 })
            }
        }
    }

    @Test func aTextThatIsTooLongFailsOrIsCutAsAsked() async throws {
        let place = try TemporaryFolder()
        let folder = try folder("llama", in: place)
        let long = group(.text("2 + 2 = "), ["4", "5 or so"])
        let strict = try await open(folder, ["max_length": .number(12)])
        let scores = try await strict.score(long, at: TrainingProgress()).scores
        #expect(scores[0][0].state == "scored" && scores[1][0].state == "failed")
        #expect(scores[1][0].note?.contains("have 16 tokens, the reward model takes 12") == true)
        // One token a byte: cut on the left, these two texts are the same.
        let left = try await open(folder, ["max_length": .number(4), "truncation": .string("left")])
        let cut = try await left.score(group(.text("2 + 2 = "), ["abcd", "xabcd"]), at: TrainingProgress()).scores
        #expect(cut[0][0].score == cut[1][0].score && cut[0][0].note == "13 tokens cut to 4")
        let right = try await open(folder, ["max_length": .number(4), "truncation": .string("right")])
        let same = try await right.score(long, at: TrainingProgress()).scores
        #expect(same[0][0].score == same[1][0].score && same[0][0].score != cut[0][0].score)
    }

    /// A cache keeps scores by it: openings that may score a text differently have none in common.
    @Test func theIdentityTellsEverySettingApart() async throws {
        let place = try TemporaryFolder()
        let folder = try folder("llama_two_labels", in: place)
        let usual: [String: JSONValue] = [
            "label": .number(0), "max_length": .number(4), "truncation": .string("right"),
        ]
        let others: [[String: JSONValue]] = [
            [:], ["label": .number(1)], ["max_length": .number(5)], ["truncation": .string("left")],
            ["truncation": .string("error")], ["add_special_tokens": .bool(false)], ["add_eos": .bool(true)],
        ]
        var identities: Set<String> = []
        for other in others { identities.insert(try await open(folder, usual.merging(other) { $1 }).identity) }
        #expect(identities.count == others.count, "\(identities.sorted())")
        // What a setting is unless set, and a name in metrics, change no score.
        let same = try await open(folder, usual.merging(["add_special_tokens": .bool(true)]) { $1 })
        let named = try await open(folder, usual.merging(["metric_name": .string("judge")]) { $1 })
        #expect(identities.contains(same.identity) && named.identity == same.identity)
    }

    /// A cache keeps scores by it: an adapter scores otherwise on other weights of its base, and with another tokenizer.
    @Test func theIdentityOfAnAdapterHasItsBase() async throws {
        let place = try TemporaryFolder()
        let base = try folder("llama", in: place)
        let adapter = place.url.appending(path: "adapter")
        try await saveAdapter(on: base, to: adapter)
        var identities = [try await open(adapter).identity]
        #expect(try await open(adapter).identity == identities[0])
        for file in ["llama/model.safetensors", "llama/tokenizer.json", "adapter/adapter_model.safetensors"] {
            let path = place.url.appending(path: file).path(percentEncoded: false)
            try FileManager.default.setAttributes(
                [.modificationDate: Date(timeIntervalSince1970: 1_000_000)], ofItemAtPath: path)
            identities.append(try await open(adapter).identity)
        }
        #expect(Set(identities).count == 4, "\(identities)")
    }

    @Test func whatCannotWorkIsSaid() async throws {
        let place = try TemporaryFolder()
        let two = try folder("llama_two_labels", in: place)
        func problem(_ folder: URL, _ values: [String: JSONValue] = [:]) async -> String {
            do {
                _ = try await open(folder, values)
                return "it opened"
            } catch {
                return "\(error)"
            }
        }
        #expect(
            await problem(two).contains(
                "'label' is not set, expected the label whose number is the reward, 0…1 (0 bad, 1 good)"))
        #expect(await problem(two, ["label": .number(2)]).contains("'label' is 2, expected 0…1"))
        #expect(await problem(two, ["lable": .number(1)]).contains("did you mean 'label'?"))
        #expect(await problem(two, ["max_length": .number(300)]).contains("at most the model's context of 256"))
        #expect(await problem(place.url.appending(path: "none")).contains("no such folder"))
        let policy = Published.root.deletingLastPathComponent().appending(path: "models/llama2")
        #expect(
            await problem(policy).contains("architectures is [\"LlamaForCausalLM\"]; expected a sequence classifier"))
        let headless = two.appending(path: "config.json")
        let text = try String(contentsOf: headless, encoding: .utf8)
        try Data(text.replacing("\"bad\"", with: "\"bad\", \"2\": \"so-so\"").utf8).write(to: headless)
        #expect(await problem(two).contains("score.weight has shape [2, 16]; expected [3, 16]"))
    }

    @Test func aChatNeedsATemplate() async throws {
        let place = try TemporaryFolder()
        let folder = try folder("qwen3", in: place)
        try FileManager.default.removeItem(at: folder.appending(path: "chat_template.jinja"))
        let reward = try await open(folder)
        let error = await #expect(throws: RewardError.self) {
            let chat = PromptContent.messages([ChatMessage(role: "user", content: "Hi")])
            return try await reward.score(group(chat, ["a"]), at: TrainingProgress())
        }
        #expect(
            error?.description.contains("set row 3 is a chat, and the reward model's folder has no chat template")
                == true)
    }
}
