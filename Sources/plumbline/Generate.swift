import ArgumentParser
import Foundation
import Job
import Records
import Tensors

/// Options that say how prompts are read.
struct PromptOptions: ParsableArguments {
    @Flag(
        inversion: .prefixedNo,
        help: "Put plain-text prompts through the model's chat template, each as one user message.")
    var applyChatTemplate: Bool?
    @Flag(help: "Read special tokens spelled out in a prompt, such as <|im_end|>, as plain text.")
    var splitSpecialTokens = false

    var reading: PromptReading {
        PromptReading(appliesChatTemplate: applyChatTemplate, splitsSpecialTokens: splitSpecialTokens)
    }
}

/// Options that shape prompts and sampling, shared by generate and eval.
struct SamplingOptions: ParsableArguments {
    @OptionGroup var prompts: PromptOptions
    @Option(help: "Divides the logits; 0 is greedy.") var temperature = 1.0
    @Option(help: "Keep this many of the likeliest tokens; 0 keeps all.") var topK = 0
    @Option(help: "Keep the smallest set with this mass.") var topP = 1.0
    @Option(help: "Drop tokens below this share of the likeliest.") var minP = 0.0
    @Option(help: "Penalty on tokens already in the text; 1 is off.") var repetitionPenalty = 1.0
    @Option(help: "Most tokens of a completion; 512 by default, or half of a small model's context.")
    var maxCompletionLength: Int?
    @Option(help: "Threads per operation; by default all cores, or one for a model below 2 M weights.")
    var threads: Int?
    @Option(
        help: "Where the weights are: cpu, cuda or cuda:N.",
        transform: { text in
            guard let device = Device(text) else { throw ValidationError("'\(text)'; expected cpu, cuda or cuda:N") }
            return device
        })
    var device = Device.cpu
    @Option(help: "A text that ends a completion; may be repeated.") var stop: [String] = []
    @Option(help: "Seeds the draws: same seed, same completions.") var seed = 0
    @OptionGroup(title: "Soft thinking") var soft: SoftThinkingOptions

    func validate() throws {
        guard temperature >= 0 else { throw ValidationError("--temperature \(temperature): 0 or above") }
        if let maxCompletionLength, !(1...1_000_000).contains(maxCompletionLength) {
            throw ValidationError("--max-completion-length \(maxCompletionLength): at least 1")
        }
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads \(threads): between 1 and 1024")
        }
    }

    var request: SamplingRequest {
        get throws {
            let flags: [SettingsNode.Member?] = [
                .flag("temperature", temperature, "--temperature"), .flag("top_k", topK, "--top-k"),
                .flag("top_p", topP, "--top-p"), .flag("min_p", minP, "--min-p"),
                .flag("repetition_penalty", repetitionPenalty, "--repetition-penalty"),
                .flag("max_completion_length", maxCompletionLength, "--max-completion-length"),
                .flag("apply_chat_template", prompts.applyChatTemplate, "--apply-chat-template"),
                .flag("split_special_tokens", prompts.splitSpecialTokens, "--split-special-tokens"),
                SettingsNode.Member(
                    "stop_strings",
                    SettingsNode(
                        .list(stop.map { SettingsNode(.scalar($0, isQuoted: true), place: "--stop") }), place: "--stop")
                ),
            ]
            return try SamplingRequest(
                flags.compactMap(\.self) + soft.flags, thinks: soft.softThinking != nil, seed: seed, threads: threads,
                device: device)
        }
    }
}

struct Generate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Sample completions of prompts.")

    @Option(help: ModelArgument.help) var model: String
    @Option(help: "A prompt file or folder.") var prompts: String?
    @Option(help: "A single prompt.") var prompt: String?
    @Option(parsing: .upToNextOption, help: "Column names, as in column_map: prompt=question.")
    var columnMap: [String] = []
    @Option(help: "Completions per prompt.") var samples = 1
    @Option(help: "Use only the first rows.") var limit: Int?
    @OptionGroup var sampling: SamplingOptions
    @Flag(help: "JSON Lines: prompt, and per completion text, token ids, log-probs and finish reason.") var json = false

    func validate() throws {
        guard (prompts == nil) != (prompt == nil) else { throw ValidationError("give either --prompts or --prompt") }
        guard (1...4096).contains(samples) else { throw ValidationError("--samples \(samples): between 1 and 4096") }
    }

    func run() async throws {
        let generation = try await TextGeneration(model: model, sampling: try sampling.request) {
            Terminal.progress("note: \($0)")
        }
        let source: TextGeneration.Source = prompt.map { .text($0) } ?? .file(prompts ?? "", limit: limit)
        let groups = try await generation.groups(
            source, columnMap: columnMap, samples: samples, stop: Interruption.shared.stop)
        for try await group in groups {
            try json ? Terminal.exact(TextGeneration.json(group)) : Terminal.text(plain(group))
        }
        try Task.checkCancellation()  // a cancelled stream ends without an error
    }

    private func plain(_ group: RolloutGroup) -> String {
        group.rollouts.map { "\(group.prompt.prompt.text) → \($0.completion.text)" }.joined(separator: "\n")
    }
}
