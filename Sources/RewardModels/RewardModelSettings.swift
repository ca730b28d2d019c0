package import Foundation
package import Models
package import Records
package import RewardInterface

/// How a reward model reads texts and which of its numbers is the reward.
package struct RewardModelSettings: Sendable {
    /// What becomes of a text that is longer than the limit.
    package enum Truncation: String, SettingsChoice {
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
    /// Whether the text of a finished completion ends with the tokenizer's end-of-text token; `nil` as the folder says.
    package var addsEndToken: Bool?

    package init(name: String, folder: URL) {
        self.name = name
        self.folder = folder
    }

    /// Reads an entry `{model: reference, …}`.
    ///
    /// - Parameters:
    ///   - reference: A folder, relative to `base` or to the working folder, or a model's name in the Hugging Face
    ///     cache.
    ///   - values: The rest of the entry; what is wrong with it is left for the caller to throw.
    /// - Throws: ``RewardError`` for a folder that is not there or a setting that is none.
    package init(
        _ reference: String, reading values: inout SettingsReader, base: URL?
    ) throws(RewardError) {
        do throws(ModelError) {
            folder = try Self.folder(of: reference, base: base)
        } catch {
            throw .unusable(reward: "model: \(reference)", problem: "\(error)")
        }
        name = values.read("metric_name", default: Self.name(of: reference), "The name in metrics.")
        label = values.read(
            "label", optional: nil, .from(0, to: 1_000_000),
            "The label whose number is the reward, if the model has several.")
        maxLength = values.read(
            "max_length", optional: nil, .from(1, to: 1 << 31),
            "Most tokens of a text; the model's own limit unless set.")
        truncation = values.read("truncation", default: .error, "What happens to a longer text.")
        addsSpecialTokens = values.read(
            "add_special_tokens", default: true,
            "Whether a plain-text prompt gets the tokenizer's special tokens.")
        addsEndToken = values.read(
            "add_eos", optional: nil,
            "Whether a finished completion gets the end-of-text token, as when TRL and Plumbline train reward models; as the folder says unless set."
        )
    }

    /// What metrics call a model that its entry gives no name.
    package static func name(of reference: String) -> String {
        reference.split(separator: "/").last.map(String.init) ?? reference
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
