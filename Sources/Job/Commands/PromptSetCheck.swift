package import Foundation
internal import Models
internal import PromptSets
internal import Records
internal import RewardInterface
internal import Tokenization

/// `plumbline data check`: what a prompt set looks like to the model and to the rewards.
package struct PromptSetCheck: Sendable {
    /// A prompt file or folder.
    package var path: String
    package var split = "train"
    /// A model or tokenizer folder, or a name in the Hugging Face cache.
    package var model: String?
    package var rewards: [JobReward] = []
    /// Where relative paths of rewards start.
    var rewardFolder = URL(filePath: ".")
    var columns = ColumnMap()
    package var reading = PromptReading()
    /// Other prompt files, looked through for prompts of this set.
    package var against: [String] = []
    package var maxPromptLength: Int?
    /// First rows to show.
    package var shownRows = 3
    package var asDemonstrations = false

    package init(path: String) { self.path = path }

    /// Sets `columns` from `name=column` each, as in `column_map`.
    package mutating func mapColumns(_ entries: [String]) throws(JobError) {
        columns = try ColumnMap(arguments: entries)
    }

    /// One check for each prompt set of a job, with the job's model, rewards and limits.
    package static func ofJob(_ url: URL) throws -> [PromptSetCheck] {
        let file = try JobFile(url: url)
        let job = try ResolvedJob(file)
        let model = try ModelSource(job.model.path, job.model.reading)
        let limit =
            try job.plan.pairs.map { min($0.maxLength, model.configuration.contextLength) - 1 }
            ?? model.promptLimit(asked: job.data.maxPromptLength, completion: job.sampling.maxCompletionLength)
        return try job.data.datasets.map { dataset in
            var check = PromptSetCheck(path: try DatasetFolder.url(dataset.path, file.folder).path)
            check.split = dataset.split ?? "train"
            check.columns = try RunPromptSets.columns(dataset, job.data)
            check.model = job.model.path
            check.reading = job.model.reading
            check.rewards = job.rewards?.entries ?? []
            check.rewardFolder = file.folder
            check.maxPromptLength = limit
            check.asDemonstrations = job.needsCompletions
            return check
        }
    }

    /// - Parameter progress: Is told of the rows that are read and scored.
    /// - Throws: The errors of a set that cannot be opened, of a model without a tokenizer and of a reward that cannot
    ///   start.
    package func run(progress: @escaping ProgressNote = { _, _, _ in }) async throws -> PromptSetReport {
        progress("opening \(path)", 0, 0)
        let set = try PromptSet(DatasetFolder.url(path), split: split, columns: columns)
        let encoder = try encoder()
        var report = PromptSetReport(set)
        var survey = Survey(unit: encoder == nil ? "characters" : "tokens")
        for row in 0..<set.count {
            if row % 64 == 0 {
                try Task.checkCancellation()
                progress("reading prompts of \(set.name)", row, set.count)
            }
            survey.note(row, of: set, encoder, asDemonstrations: asDemonstrations)
        }
        report.problemCount = survey.problemCount
        report.problems = survey.kinds.prefix(Survey.mostKinds).map(\.problem)
        report.unit = survey.unit
        report.limit = maxPromptLength
        if set.detectedForm.hasPreferences { report.equalSides = survey.equalSides }
        report.duplicates = survey.usable.count - survey.hashes.count
        if !survey.lengths.isEmpty { report.lengths = LengthDistribution(survey.lengths) }
        report.overlaps = try others(set).map { try Self.overlap(of: $0, with: survey.hashes) }
        if let encoder, let first = survey.usable.first {
            report.notes = try encoder.templateNotices(for: try set.prompt(at: first))
        }
        if let note = set.systemNotice() { report.notes.append(note) }
        if let note = survey.spellings?.note(of: set, splits: reading.splitsSpecialTokens) { report.notes.append(note) }
        if let note = survey.leftOut?.leftOutNote(of: set) { report.notes.append(note) }
        report.rewards = try await rewardChecks(set, survey.usable, encoder, progress)
        report.rows = try survey.usable.prefix(shownRows).map { row in
            var shown = try shown(row, of: set, encoder)
            shown.calls = report.rewards.compactMap { check in
                check.arguments[row].map { PromptSetReport.Call(reward: check.name, arguments: $0) }
            }
            return shown
        }
        return report
    }

    private func encoder() throws -> PromptEncoder? {
        guard let model else { return nil }
        let tokenizer = try Tokenizer(
            folder: ModelFolder.tokenizerFolder(of: HuggingFaceCache.folder(of: model)))
        let template = try ChatTemplateRenderer(tokenizer: tokenizer, variables: reading.templateVariables)
        return PromptEncoder(tokenizer: tokenizer, template: template, maxPromptLength: Int.max, reading: reading)
    }

    /// What one pass over the rows finds. Memory: a length and a hash for each row.
    private struct Survey {
        let unit: String
        var usable: [Int] = []
        var lengths: [Int] = []
        var hashes: Set<Int> = []
        /// Pairs with nothing to prefer; no fault, but nothing is learned from them.
        var equalSides = 0
        /// What is wrong, rows with the same fault together.
        var kinds: [(kind: String, problem: PromptSetReport.Problem)] = []
        var problemCount: Int { kinds.reduce(0) { $0 + $1.problem.rows } }

        static let mostKinds = 20
        private static let mostKindsCounted = 1_000

        /// Rows whose texts hold something.
        struct Holding {
            private var first: [Int] = []
            private var count = 0
            private let example: String

            private static let mostNamed = 5

            init(_ example: String) { self.example = example }

            mutating func add(_ row: Int) {
                count += 1
                if first.count < Self.mostNamed { first.append(row) }
            }

            private func places(of set: PromptSet) -> String {
                first.map { set.place(of: $0) }.joined(separator: ", ") + (count > first.count ? " …" : "")
            }

            /// What they hold is a special token, spelled out.
            func note(of set: PromptSet, splits: Bool) -> String {
                "\(count) \(count == 1 ? "row spells" : "rows spell") out a special token, such as \(example): "
                    + places(of: set)
                    + (splits
                        ? "; it is read as the text it is (split_special_tokens)"
                        : "; the model reads the token. split_special_tokens: true makes it read the text")
            }

            /// What they hold is a character that is not read.
            func leftOutNote(of set: PromptSet) -> String {
                "\(count) \(count == 1 ? "row has" : "rows have") characters that the tokenizer has no symbol for and leaves "
                    + "out, such as \(JSONText.string(example)): \(places(of: set))"
            }
        }
        var spellings: Holding?
        var leftOut: Holding?

        init(unit: String) { self.unit = unit }

        mutating func note(_ row: Int, of set: PromptSet, _ encoder: PromptEncoder?, asDemonstrations: Bool) {
            do {
                let prompt: Prompt
                var demonstration: Demonstration?
                if set.detectedForm.hasPreferences, !asDemonstrations {
                    let pair = try set.preference(at: row)
                    equalSides += pair.hasEqualSides ? 1 : 0
                    prompt = pair.prompt
                } else {
                    demonstration = asDemonstrations ? try set.demonstration(at: row) : nil
                    prompt = try demonstration?.prompt ?? set.prompt(at: row)
                }
                lengths.append(try encoder?.tokens(of: prompt).count ?? prompt.text.count)
                hashes.insert(prompt.content.hashValue)
                let completion = demonstration?.completion
                Self.note(encoder?.specialTokens(spelledIn: prompt, completion: completion).first, row, &spellings)
                Self.note(encoder?.firstLeftOut(of: prompt, completion: completion), row, &leftOut)
                usable.append(row)
            } catch {
                let kind = kinds.count < Self.mostKindsCounted ? Self.kind(of: error) : kinds[0].kind
                if let index = kinds.firstIndex(where: { $0.kind == kind }) {
                    kinds[index].problem.rows += 1
                } else {
                    kinds.append((kind, PromptSetReport.Problem(first: "\(error)", rows: 1)))
                }
            }
        }

        private static func note(_ example: String?, _ row: Int, _ rows: inout Holding?) {
            guard let example else { return }
            var found = rows ?? Holding(example)
            found.add(row)
            rows = found
        }

        /// The error without the row it is of.
        private static func kind(of error: any Error) -> String {
            switch error {
            case PromptSetError.row(_, _, let column, let message): "\(column ?? ""): \(message)"
            case let error as JobError: error.problems.map(\.message).joined(separator: "\n")
            default: "\(error)"
            }
        }
    }

    // MARK: - Other sets

    /// The sets that are compared with this one: the folder's other splits, and those that were named.
    private func others(_ set: PromptSet) throws -> [PromptSet] {
        let folder = try DatasetFolder.url(path)
        let splits = try ["train", "eval", "test", "validation"].filter { try PromptFile.holds($0, in: folder) }
        let others = splits.map { (folder, $0) } + against.map { (URL(filePath: $0), "eval") }
        var seen: Set = [set.url.standardizedFileURL]
        return try others.filter { url, split in
            seen.insert(try PromptFile(url, split: split).urls[0].standardizedFileURL).inserted
        }.map { try PromptSet($0, split: $1, columns: columns) }
    }

    private static func overlap(of other: PromptSet, with hashes: Set<Int>) throws -> PromptSetReport.Overlap {
        let shared = try (0..<other.count).count { hashes.contains(try other.prompt(at: $0).content.hashValue) }
        return PromptSetReport.Overlap(file: other.url.lastPathComponent, rows: other.count, shared: shared)
    }

    // MARK: - Rewards and rows

    private func rewardChecks(
        _ set: PromptSet, _ usable: [Int], _ encoder: PromptEncoder?, _ progress: ProgressNote
    ) async throws -> [RewardRowCheck] {
        var checks: [RewardRowCheck] = []
        for reward in rewards {
            let source = try await RewardAssembly(folder: rewardFolder, timeoutSeconds: 60, waitsForServers: false)
                .source(of: reward)
            do {
                for name in source.names {
                    checks.append(
                        try await RewardRowCheck(
                            source, name, set, usable, shown: shownRows, encoder: encoder, progress: progress))
                }
                await source.close()
            } catch {
                await source.close()
                throw error
            }
        }
        return checks
    }

    private func shown(_ row: Int, of set: PromptSet, _ encoder: PromptEncoder?) throws -> PromptSetReport.Row {
        let prompt = try set.prompt(at: row)
        var shown = PromptSetReport.Row(place: set.place(of: row), prompt: prompt)
        if asDemonstrations { shown.completion = try set.demonstration(at: row).completion }
        if set.detectedForm.hasPreferences, !asDemonstrations {
            let pair = try set.preference(at: row)
            shown.sides = [("chosen", pair.chosen), ("rejected", pair.rejected)]
        }
        if let encoder {
            shown.tokenIDs = try encoder.tokens(of: prompt)
            shown.rendered = try encoder.tokenizer.decode(shown.tokenIDs)
        }
        return shown
    }
}
