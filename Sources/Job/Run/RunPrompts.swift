internal import Coordinator
internal import Evaluation
internal import Foundation
internal import PromptSets
internal import Records

/// The prompts of a run, read and measured.
struct RunPrompts {
    let rows: any PromptRows
    /// The same where they are pairs to compare.
    let pairs: PairRows?
    let encoder: PromptEncoder
    /// The form that was detected, and what was left out.
    let lines: [String]
    /// Says which files the rows come from.
    let identity: String
    /// What steps imitate beside sampling; `nil` where they do not.
    let demonstrations: DemonstrationFeed?
    /// What a meta-gradient is taken on; `nil` where none is.
    let heldOut: HeldOutRows?

    /// Reads every row of every set once.
    ///
    /// - Parameters:
    ///   - check: What a row that is trained on must stand beside its form and length.
    ///   - progress: Is told of the rows that are read.
    /// - Throws: An error that names the first row that cannot be used.
    init(
        _ job: ResolvedJob, _ model: ModelSource, _ sets: RunPromptSets, check: (Prompt) throws -> Void = { _ in },
        progress: ProgressNote? = nil
    ) throws {
        let training = try sets.training()
        identity = training.identity
        if let plan = job.plan.pairs, !job.recipe.generates {
            let pairs = try PairRows(training, plan, model, heads: job.plan.heads)
            try sets.checkRest(training, asDemonstrations: false)
            encoder = model.encoder(maxPromptLength: model.configuration.contextLength)
            (rows, self.pairs, demonstrations, heldOut) = (pairs, pairs, nil, nil)
            lines =
                try sets.lines(training) + pairs.lines
                + encoder.templateNotices(for: pairs.prompt(at: 0)).map { "note: \($0)" }
            return
        }
        pairs = nil
        let limit = try model.promptLimit(
            asked: job.data.maxPromptLength, completion: job.sampling.maxCompletionLength)
        encoder = model.encoder(maxPromptLength: limit, maxLength: job.data.maxLength)
        let asDemonstrations = job.needsCompletions
        if !asDemonstrations { try sets.requirePrompts() }
        let fitting = try FittingRows(
            training, encoder: encoder, asDemonstrations: asDemonstrations, drops: job.data.overlong == .drop,
            check: check, progress: progress)
        try sets.checkRest(training, asDemonstrations: asDemonstrations)
        rows = fitting
        var lines = sets.lines(training)
        if fitting.droppedCount > 0 {
            lines.append(
                "dropped \(fitting.droppedCount) rows that are too long: prompts over \(limit) tokens"
                    + (asDemonstrations ? ", or with their completion over \(encoder.maxLength)" : ""))
        }
        let encoder = encoder
        demonstrations = try job.plan.demonstrations.map { settings in
            try DemonstrationFeed(
                settings, of: fitting, encoder: encoder, limit: job.sampling.maxCompletionLength,
                promptsPerStep: job.batches.promptsPerStep,
                seed: UInt64(job.model.seed), job: job.data, sets: sets)
        }
        if let demonstrations { lines.append(demonstrations.line) }
        let trained = [fitting] + (demonstrations.map { [$0.rows] } ?? [])
        heldOut = try job.plan.weighing?.utility.map { utility in
            try HeldOutRows(utility, job, sets, encoder: encoder, trained: trained, check: check)
        }
        if let heldOut { lines.append("held out for the meta-gradient: \(heldOut.rows.identity)") }
        let notices =
            try encoder.templateNotices(for: fitting.prompt(at: 0)) + [fitting.leftOutNotice].compactMap(\.self)
        lines += notices.map { "note: \($0)" }
        self.lines = lines
    }

    /// Tokens of the longest prompt, and of the completions of the longest pair where rows are pairs. Prompts alone are
    /// measured of `count` rows that lie evenly over the set.
    func longest(among count: Int) throws -> (prompt: Int, completion: Int?) {
        if let longest = pairs?.longest { return (longest.prompt, max(1, (longest.pair - longest.prompt) / 2)) }
        let stride = max(1, rows.count / count)
        let lengths = try Swift.stride(from: 0, to: rows.count, by: stride).map {
            try encoder.tokens(of: rows.prompt(at: $0)).count
        }
        return (lengths.max() ?? 0, nil)
    }

    /// The optimizer steps of the run: `max_steps`, or what `num_train_epochs` come to.
    func maxSteps(_ job: ResolvedJob) throws(JobError) -> Int {
        let batches = job.batches
        guard batches.promptsPerStep <= rows.count else {
            throw JobError(
                place: "prompt set \(rows.name)",
                message: "a step takes \(batches.promptsPerStep) prompts and the set has \(rows.count); lower "
                    + "per_device_train_batch_size or steps_per_generation")
        }
        if let steps = job.data.maxSteps { return steps }
        let perEpoch = rows.count / batches.promptsPerStep * batches.optimizerStepsPerRollout
        // 1e15 steps take longer than anybody waits; beyond them neither Int nor Double counts.
        return Int(min((Double(perEpoch) * job.data.epochs).rounded(.up), 1e15))
    }
}

/// The prompt sets a job names: the one of `dataset_name`, or those of `datasets`.
struct RunPromptSets {
    /// At least one, for training.
    let sets: [PromptSet]
    /// Where relative paths start.
    let base: URL
    private let settings: DataSettings

    init(_ settings: DataSettings, base: URL) throws {
        self.settings = settings
        self.base = base
        sets = try settings.datasets.map { dataset in
            try PromptSet(
                DatasetFolder.url(dataset.path, base), split: dataset.split ?? "train",
                columns: try Self.columns(dataset, settings))
        }
    }

    /// The rows training draws from.
    func training() throws -> any PromptRows {
        guard settings.isMixture else { return sets[0] }
        return try PromptMixture(zip(sets, settings.datasets).map { PromptMixture.Part($0, fraction: $1.fraction) })
    }

    /// Reads the rows that a mixture leaves out: a bad one is an error all the same.
    func checkRest(_ training: any PromptRows, asDemonstrations: Bool) throws {
        guard let mixture = training as? PromptMixture else { return }
        for (set, taken) in zip(sets, mixture.counts) {
            for row in taken..<set.count {
                if row % 64 == 0 { try Task.checkCancellation() }
                _ = try set.checked(row, asDemonstration: asDemonstrations)
            }
        }
    }

    /// Refuses rows of whole texts: nothing in them says where a prompt would end.
    func requirePrompts() throws(JobError) {
        guard let set = sets.first(where: { $0.detectedForm.convention == .text }) else { return }
        let column = set.detectedForm.promptColumn
        throw JobError(
            place: set.url.path,
            message:
                "its rows are whole texts (`\(column)`), which algorithm: sft learns from; where they are prompts to "
                + "complete, say so with column_map: {prompt: \(column)}")
    }

    /// What the start of a run says of its sets.
    func lines(_ training: any PromptRows) -> [String] {
        let notes = sets.compactMap { $0.systemNotice() }.map { "note: \($0)" }
        guard let mixture = training as? PromptMixture else {
            return sets.map { "prompts: \($0.identity), \($0.detectedForm)" } + notes
        }
        return ["prompts: \(mixture.count) rows of \(sets.count) sets"]
            + zip(sets, mixture.counts).enumerated().map { index, part in
                let share = NumberText.percent(Double(part.1) / Double(mixture.count))
                return "  datasets[\(index)]: \(part.1) rows (\(share)) of \(part.0.identity), \(part.0.detectedForm)"
            } + notes
    }

    /// The rows evaluation reads: the test split of every set.
    static func evaluation(_ settings: DataSettings, base: URL) throws -> any PromptRows {
        let sets = try settings.datasets.map { dataset in
            let url = try DatasetFolder.url(dataset.path, base)
            let split = try settings.testSplit ?? TextGeneration.split(of: url.path, wanted: "eval")
            return try PromptSet(url, split: split, columns: try columns(dataset, settings))
        }
        return settings.isMixture ? try PromptMixture(sets.map { PromptMixture.Part($0) }) : sets[0]
    }

    /// As ``evaluation(_:base:)``; `nil` where there is no such file, for what works without one.
    static func testRows(_ settings: DataSettings, base: URL) throws -> (any PromptRows)? {
        do {
            return try evaluation(settings, base: base)
        } catch PromptSetError.file {
            return nil
        }
    }

    /// The indices of at most `limit` rows: the first of a set, and of a mixture the same share of every part.
    static func indices(_ rows: any PromptRows, limit: Int?) -> [Int] {
        let count = min(limit ?? .max, rows.count)
        return (0..<count).map { rows is PromptMixture ? $0 * rows.count / count : $0 }
    }

    static func columns(_ dataset: DatasetSettings, _ settings: DataSettings) throws(JobError) -> ColumnMap {
        try dataset.columns(otherwise: columns(settings.columnMap))
    }

    static func columns(_ columnMap: [NamedValue]) throws(JobError) -> ColumnMap {
        var entries: [String: String] = [:]
        for column in columnMap {
            guard let name = column.value.text else {
                throw JobError(
                    place: "column_map", message: "'\(column.name)' must name a column, found \(column.value.yaml)")
            }
            entries[column.name] = name
        }
        return ColumnMap(entries)
    }
}
