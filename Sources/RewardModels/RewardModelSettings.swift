package import Foundation
package import Models
package import RewardInterface

/// How a reward model reads texts and which of its numbers is the reward.
package struct RewardModelSettings: Sendable {
    /// What becomes of a text that is longer than the limit.
    package enum Truncation: String, Sendable, CaseIterable {
        /// The completion's score fails and counts against the error budget.
        case error
        /// The beginning is cut off.
        case left
        /// The end is cut off.
        case right
    }

    /// The name in metrics.
    package var name: String
    /// The Hugging Face folder.
    package var folder: URL
    /// Which label's number is the reward; only a model with one label needs none.
    package var label: Int?
    /// The most tokens of a text; `nil` for what the model is made for.
    package var maxLength: Int?
    package var truncation = Truncation.error
    /// Whether the text of a prompt that is no chat gets the tokenizer's special tokens.
    package var addsSpecialTokens = true

    package init(name: String, folder: URL) {
        self.name = name
        self.folder = folder
    }

    /// Reads an entry `{model: reference, …}`.
    ///
    /// - Parameters:
    ///   - reference: A folder, relative to `base` or to the working folder, or a model's name in the Hugging Face cache.
    ///   - values: The rest of the entry. An unknown one is an error.
    /// - Throws: ``RewardError`` for a folder that is not there or a setting that is none.
    package init(
        _ reference: String, _ values: inout RewardSettings, base: URL?
    ) throws(RewardError) {
        do throws(ModelError) {
            folder = try Self.folder(of: reference, base: base)
        } catch {
            throw .unusable(reward: "model: \(reference)", problem: "\(error)")
        }
        let last = reference.split(separator: "/").last.map(String.init) ?? reference
        name = try values.text("metric_name", default: last)
        label = try values.integer("label", default: -1, in: -1...1_000_000)
        if label == -1 { label = nil }
        maxLength = try values.integer("max_length", default: 0, in: 0...1 << 31)
        if maxLength == 0 { maxLength = nil }
        let cut = try values.choice(
            "truncation", of: Truncation.allCases.map(\.rawValue), default: Truncation.error.rawValue)
        truncation = Truncation(rawValue: cut) ?? .error
        addsSpecialTokens = try values.flag("add_special_tokens", default: true)
        try values.refuseUnasked()
    }

    /// The folder that a job's entry means.
    package static func folder(of reference: String, base: URL?) throws(ModelError) -> URL {
        if let base, !reference.hasPrefix("/"), !reference.hasPrefix("~") {
            let beside = base.appending(path: reference, directoryHint: .isDirectory)
            if FileManager.default.fileExists(atPath: beside.path(percentEncoded: false)) { return beside }
        }
        return try HuggingFaceCache.folder(of: reference)
    }
}
