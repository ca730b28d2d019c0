internal import Foundation
internal import Models
package import Records
package import RewardInterface
internal import Tensors
internal import Tokenization

/// A reward model: a sequence classifier in a Hugging Face folder, as a ``RewardSource``.
///
///     reward = score of the last token of prompt + completion that is no padding
///
/// In float32, without gradients, on the thread of ``TensorActor`` between the steps of whatever else runs there. Its
/// weights stay in memory until the source is let go.
package final class ModelReward: RewardSource {
    package let names: [String]
    package var reportsMetrics: Bool { false }
    /// Tells this model, read as it is, from others: its folder, name, size and date of its files, those of its base where
    /// it is an adapter, and the settings that a score depends on.
    package let identity: String
    private let reader: RewardModelReader
    private let classifier: ClassifierOnThread
    private let label: Int

    /// Tokens of one forward pass.
    private static let tokensPerPass = 16_384

    private init(_ settings: RewardModelSettings, reader: RewardModelReader, classifier: ClassifierOnThread, label: Int)
    {
        names = [settings.name]
        identity = Self.identity(of: settings.folder) + "label \(label), \(reader.identity)"
        self.reader = reader
        self.classifier = classifier
        self.label = label
    }

    /// Reads the model.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when the folder holds no sequence classifier or no tokenizer
    ///   that fits, and ``RewardError/wrongSetting(reward:name:found:expected:)`` for a label or length it does not
    ///   have.
    package static func open(_ settings: RewardModelSettings) async throws -> ModelReward {
        do {
            let configuration = try ClassifierConfiguration(folder: settings.folder)
            let trunk = configuration.trunk
            let tokenizer = try Tokenizer(folder: ModelFolder.tokenizerFolder(of: settings.folder))
            guard tokenizer.vocabularySize <= trunk.vocabularySize else {
                throw RewardError.unusable(
                    reward: settings.name,
                    problem:
                        "\(settings.folder.path): the tokenizer has \(tokenizer.vocabularySize) ids, the embedding "
                        + "\(trunk.vocabularySize) rows; they do not belong together")
            }
            if let length = settings.maxLength, length > trunk.contextLength {
                throw RewardError.wrongSetting(
                    reward: settings.name, name: "max_length", found: "\(length)",
                    expected: "at most the model's context of \(trunk.contextLength) tokens")
            }
            let reader = try RewardModelReader(
                tokenizer: tokenizer, settings: settings, limit: settings.maxLength ?? trunk.contextLength,
                addsEndToken: settings.addsEndToken ?? configuration.expectsEndToken)
            let classifier = try await ClassifierOnThread(settings.folder)
            let label = try label(settings, count: await classifier.labelCount, names: configuration.labels)
            return ModelReward(settings, reader: reader, classifier: classifier, label: label)
        } catch let error as RewardError {
            throw error
        } catch {
            throw RewardError.unusable(reward: settings.name, problem: "\(error)")
        }
    }

    private static func label(
        _ settings: RewardModelSettings, count: Int, names: [String]?
    ) throws(RewardError) -> Int {
        let known = names.map { " (\($0.enumerated().map { "\($0) \($1)" }.joined(separator: ", ")))" } ?? ""
        guard let label = settings.label else {
            guard count == 1 else {
                throw .wrongSetting(
                    reward: settings.name, name: "label", found: "not set",
                    expected: "the label whose number is the reward, 0…\(count - 1)\(known): the model has \(count)")
            }
            return 0
        }
        guard label < count else {
            throw .wrongSetting(
                reward: settings.name, name: "label", found: "\(label)", expected: "0…\(count - 1)\(known)")
        }
        return label
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let rollouts = group.rollouts + (group.greedy.map { [$0] } ?? [])
        let prompt = group.prompt.prompt
        let readings = try rollouts.map { try reader.read($0.completion, after: prompt) }
        let texts = readings.compactMap { reading -> [Int]? in
            if case .tokens(let tokens, _) = reading { tokens } else { nil }
        }
        var numbers: [Double] = []
        for run in PackedTexts.runs(of: texts, limit: Self.tokensPerPass) {
            numbers += try await classifier.scores(of: texts[run]).map { $0[label] }
        }
        var next = numbers.makeIterator()
        let scores = readings.map { reading -> [RewardScore] in
            switch reading {
            case .tokens(_, let note): [.value(next.next() ?? .nan, note: note)]
            case .unreadable(let message): [.failed(message: message)]
            }
        }
        return GroupScores(
            scores: Array(scores.prefix(group.rollouts.count)), greedyScores: group.greedy == nil ? nil : scores.last)
    }

    private static func identity(of folder: URL) -> String {
        // A folder that cannot be read was not opened either.
        let base = (try? ModelFolder.baseFolder(of: folder)) ?? folder
        return listing(of: folder) + (base == folder ? "" : listing(of: base))
    }

    private static func listing(of folder: URL) -> String {
        // As above; a base may be a single file.
        let files =
            (try? FileManager.default.contentsOfDirectory(
                at: folder, includingPropertiesForKeys: [.fileSizeKey, .contentModificationDateKey])) ?? [folder]
        let lines = files.map { file -> String in
            let values = try? file.resourceValues(forKeys: [.fileSizeKey, .contentModificationDateKey])  // as above
            let date = values?.contentModificationDate?.timeIntervalSince1970 ?? 0
            return "\(file.lastPathComponent) \(values?.fileSize ?? 0) \(date)\n"
        }
        return "\(folder.path(percentEncoded: false))\n" + lines.sorted().joined()
    }
}

/// The classifier where tensors may be touched.
@TensorActor
private final class ClassifierOnThread {
    private let classifier: SequenceClassifier

    init(_ folder: URL) throws { classifier = try SequenceClassifier.load(folder) }

    var labelCount: Int { classifier.labelCount }

    /// `[text][label]`.
    func scores(of texts: ArraySlice<[Int]>) throws -> [[Double]] {
        let packed = try PackedTexts(texts, padding: classifier.configuration.trunk.paddingTokenID)
        return try classifier.scores(tokens: packed.tokens, layout: packed.layout, at: packed.lastTokens)
    }
}
