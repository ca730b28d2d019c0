internal import Foundation
internal import Job

extension BenchmarkSuite {
    /// A model and the step that is timed on it.
    package struct Shape: Sendable {
        package let name: String
        let vocabulary: Int
        let hidden: Int
        let layers: Int
        let heads: Int
        let keyValueHeads: Int
        let intermediate: Int
        let prompts: Int
        let pairs: Int
        let promptTokens: Int
        /// Completions of one pass of TRL's in a step of ``Workload/Algorithm/grpo``; `nil` for all at once.
        let trlPass: Int?
        /// Whether ``Part/growth`` is measured on it.
        let grows: Bool

        package init(
            name: String, vocabulary: Int, hidden: Int, layers: Int, heads: Int, keyValueHeads: Int, intermediate: Int,
            prompts: Int, pairs: Int, promptTokens: Int, trlPass: Int? = nil, grows: Bool = false
        ) {
            self.name = name
            self.vocabulary = vocabulary
            self.hidden = hidden
            self.layers = layers
            self.heads = heads
            self.keyValueHeads = keyValueHeads
            self.intermediate = intermediate
            self.prompts = prompts
            self.pairs = pairs
            self.promptTokens = promptTokens
            self.trlPass = trlPass
            self.grows = grows
        }

        /// 6 and 135 million parameters. TRL has a step of each at its best: the tiny model's fastest is one pass over
        /// all 64 completions; the small one's are passes of 8, as one of 32 takes longer, and with adapters more
        /// memory than many machines have.
        package static let all = [
            Shape(
                name: "tiny", vocabulary: 512, hidden: 256, layers: 6, heads: 8, keyValueHeads: 4, intermediate: 1024,
                prompts: 8, pairs: 32, promptTokens: 32, grows: true),
            Shape(
                name: "small", vocabulary: 49152, hidden: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediate: 1536, prompts: 4, pairs: 8, promptTokens: 256, trlPass: 8),
        ]

        /// What is measured on it of what was asked for.
        func parts(of asked: Set<Part>) -> Set<Part> { grows ? asked : asked.subtracting([.growth]) }

        func making(output: String, tokenizer: String) -> ModelMaking {
            ModelMaking(
                output: output, family: "qwen2", tokenizer: tokenizer, vocabularySize: vocabulary, hiddenSize: hidden,
                layers: layers, heads: heads, keyValueHeads: keyValueHeads, intermediateSize: intermediate,
                contextLength: 2048, tiesEmbeddings: true, seed: 0)
        }

        /// Prompts of a step.
        func prompts(_ algorithm: Workload.Algorithm) -> Int { algorithm == .dpo ? pairs : prompts }

        func completions(_ algorithm: Workload.Algorithm) -> Int { algorithm == .dpo ? 2 : 8 }

        static let completionTokens = 64

        /// Tokens of the completions of a step.
        func newTokens(_ algorithm: Workload.Algorithm) -> Int {
            prompts(algorithm) * completions(algorithm) * Self.completionTokens
        }

        /// The flags of a step, of Plumbline and of its peers.
        func flags(_ algorithm: Workload.Algorithm, steps: Int) -> [String] {
            ["--algorithm", algorithm.rawValue]
                + Self.size(prompts: prompts(algorithm), completions: completions(algorithm))
                + lengths(steps: steps)
        }

        func lengths(steps: Int) -> [String] {
            Self.lengths(promptTokens: promptTokens, completionTokens: Self.completionTokens, steps: steps)
        }

        static func size(prompts: Int, completions: Int) -> [String] {
            ["--prompts", "\(prompts)", "--completions", "\(completions)"]
        }

        static func lengths(promptTokens: Int, completionTokens: Int, steps: Int) -> [String] {
            [
                "--prompt-tokens", "\(promptTokens)", "--completion-tokens", "\(completionTokens)", "--steps",
                "\(steps)", "--threads", "\(ProcessInfo.processInfo.activeProcessorCount)",
            ]
        }
    }
}
