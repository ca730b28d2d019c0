import JSON
internal import PromptSets
package import Records

/// `overlong_prompts:`.
package enum OverlongPrompts: String, SettingsChoice {
    case error, drop
}

/// The prompts of a job and how often they are gone through.
package struct DataSettings: Sendable {
    /// At least one.
    package let datasets: [DatasetSettings]
    /// Whether they are those of `datasets:`, mixed, and not the one of `dataset_name:`.
    package let isMixture: Bool
    package let testSplit: String?
    package let columnMap: [NamedValue]
    package let shuffles: Bool
    /// `nil` for what the model's context leaves.
    package let maxPromptLength: Int?
    /// Tokens of a demonstration; `nil` for the model's context.
    package let maxLength: Int?
    package let overlong: OverlongPrompts
    /// Optimizer steps of the run; `nil` for what the epochs come to.
    package let maxSteps: Int?
    package let epochs: Double

    /// - Parameter learnsRows: Whether the method learns from the rows' completions one by one.
    init(reading job: inout SettingsReader, learnsRows: Bool) {
        let name: String? = job.read(
            "dataset_name", optional: nil,
            "A prompt file (JSON Lines, JSON, CSV, TSV, also .gz; Parquet), or a folder with train.jsonl and eval.jsonl or with the parts of published sets (train-00000-of-00002.parquet ...), relative to the job file (on the command line, to the working directory); or a data set in the Hugging Face cache, such as trl-lib/tldr."
        )
        let configuration: String? = job.read(
            "dataset_config", optional: nil,
            "The configuration of a data set of the Hub's: its folder in the set, so that dataset_name openai/gsm8k with main is openai/gsm8k/main."
        )
        let several = job.read(
            "datasets", default: DatasetList(),
            "Several prompt sets as one, instead of dataset_name: a list of sections with path and optionally name (as dataset_config), split, fraction, columns (those to keep) and column_map. fraction f_i is the set's share of the mixture, as in TRL: the mixture has N = min(n_i / f_i) rows, and the first round(f_i N) rows of each set are taken; without fractions, all rows of all sets."
        ).datasets
        let split = job.read(
            "dataset_train_split", default: "train",
            "The file of the folder to train on: train means train.jsonl.")
        testSplit = job.read(
            "dataset_test_split", optional: nil,
            "The file of the folder to evaluate on; by default eval.jsonl, else test.jsonl.")
        columnMap =
            job.read(
                "column_map", default: NamedValues(),
                "Maps the column names expected here to yours: {prompt: question}."
            ).values
        shuffles = job.read(
            "shuffle_dataset", default: true, "Whether each epoch has its own order, drawn from the seed.")
        maxPromptLength = job.read(
            "max_prompt_length", optional: nil, .atLeast(1),
            "Most tokens of a prompt; by default the model's context minus max_completion_length. Nothing is ever cut."
        )
        maxLength =
            learnsRows
            ? job.read(
                "max_length", optional: nil, .atLeast(2),
                "Most tokens of a row, prompt and completion together; by default the model's context. A longer one is never cut: it is an error, or left out with overlong_prompts drop."
            ) : nil
        overlong = job.read(
            "overlong_prompts", default: .error,
            "error: a row over the limit ends the run before it starts. drop: such rows are left out and counted."
        )
        let steps = job.read(
            "max_steps", default: -1, SettingsBound("above 0, or -1 for num_train_epochs") { $0 > 0 || $0 == -1 },
            "Optimizer steps of the run; -1 takes num_train_epochs.")
        maxSteps = steps > 0 ? steps : nil
        epochs = job.read(
            "num_train_epochs", default: 3.0, .above(0, atMost: 1e6), "Passes over the prompt set when max_steps is -1."
        )
        isMixture = !several.isEmpty
        if isMixture {
            datasets = several
            let unused = [("dataset_name", name), ("dataset_config", configuration)].filter { $0.1 != nil }
            let names = unused.map(\.0).joined(separator: ", ")
            if !unused.isEmpty { job.notice("without effect beside datasets: \(names)") }
            check(&job)
        } else {
            var one = DatasetSettings(path: name ?? ".")
            one.split = split
            if let configuration {
                one.take(configuration: configuration)
                job.resolve("dataset_name", to: one.path)
                job.resolve("dataset_config", to: nil as String?)
            }
            datasets = [one]
            if name == nil {
                job.refuse(
                    "dataset_name", "dataset_name is missing; name a prompt file or folder, or several in datasets")
            }
        }
    }

    private func check(_ job: inout SettingsReader) {
        guard datasets.contains(where: { $0.fraction != nil }) else { return }
        let without = datasets.filter { $0.fraction == nil }.map(\.path)
        guard !without.isEmpty else { return }
        job.refuse(
            "datasets",
            "datasets gives a fraction to some sets and none to \(without.joined(separator: ", ")); expected all or none"
        )
    }
}

/// One prompt set, with TRL's names.
package struct DatasetSettings: Sendable, Equatable {
    /// A prompt file or folder, relative to the job file.
    package var path: String
    /// Which file of the folder is read; `nil` takes the one that the command wants.
    package var split: String?
    /// The set's share of the mixture, before the shares are brought to a sum of one.
    package var fraction: Double?
    /// The columns that are kept; all of them when nothing is named.
    package var columns: [String]?
    /// Names of this set's columns for the ones expected; `nil` takes the job's `column_map`.
    package var columnMap: [NamedValue]?

    package init(path: String) { self.path = path }

    /// Reads the set in one of its configurations, which is a folder of it; `default` is what the Hub calls the only one
    /// of a set without such folders.
    fileprivate mutating func take(configuration: String) {
        guard !configuration.isEmpty, configuration != "default" else { return }
        path += (path.hasSuffix("/") ? "" : "/") + configuration
    }
}

/// The value of `datasets:`.
struct DatasetList: SettingsValue {
    var datasets: [DatasetSettings] = []

    static var expectation: String { "a list of sections, each with path" }

    static func read(_ node: SettingsNode) throws(SettingsProblem) -> DatasetList? {
        switch node.content {
        case .null: return DatasetList()
        case .list(let items):
            var datasets: [DatasetSettings] = []
            for item in items {
                var dataset = try DatasetSettings.read(item)
                dataset.split = dataset.split ?? "train"
                datasets.append(dataset)
            }
            return DatasetList(datasets: datasets)
        case .scalar, .map: return nil
        }
    }

    var yaml: String { "[" + datasets.map(\.yaml).joined(separator: ", ") + "]" }
}

extension DatasetSettings {
    /// A set as the command line names it: a file or folder, or a section in braces as in `datasets:`.
    ///
    /// - Throws: ``JobError`` for a section that is no YAML, or has what no set has.
    init(argument text: String) throws(JobError) {
        self.init(path: text)
        guard text.hasPrefix("{") else { return }
        let node = try SettingsNode.value(text, place: "the prompt set '\(text)'")
        do throws(SettingsProblem) {
            self = try Self.read(node)
            if fraction != nil {
                throw node.problem("fraction is the share of a mixture; sets are evaluated one by one")
            }
        } catch {
            throw JobError([error])
        }
    }

    /// What its columns are.
    ///
    /// - Parameter others: What they are without a map of its own.
    func columns(otherwise others: ColumnMap) throws(JobError) -> ColumnMap {
        var map = try columnMap.map { named throws(JobError) in try RunPromptSets.columns(named) } ?? others
        map.kept = columns
        return map
    }

    private static let keys = ["path", "split", "fraction", "columns", "column_map", "name"]
    /// Keys of TRL's that say where the Hub has a set.
    private static let hubKeys = ["data_dir", "data_files"]

    /// A section, or the path alone.
    static func read(_ node: SettingsNode) throws(SettingsProblem) -> DatasetSettings {
        if case .scalar(let path, _) = node.content, !path.isEmpty { return DatasetSettings(path: path) }
        guard case .map(let members) = node.content else {
            throw node.problem("a set of datasets is \(node.found); expected a section with path")
        }
        var dataset = DatasetSettings(path: "")
        for member in members where member.key != "name" { try dataset.set(member.key, member.node) }
        guard !dataset.path.isEmpty else {
            throw node.problem("a set of datasets has no path; found \(node.found)")
        }
        if let name = members.last(where: { $0.key == "name" })?.node {
            let configuration: String? = try name.value("name", of: "datasets", "a text") { _ in true }
            dataset.take(configuration: configuration ?? "")
        }
        return dataset
    }

    private mutating func set(_ key: String, _ node: SettingsNode) throws(SettingsProblem) {
        switch key {
        case "path": path = try node.value("path", of: "datasets", "a prompt file or folder") { !$0.isEmpty }
        case "split": split = try node.value("split", of: "datasets", "a text") { $0.map { !$0.isEmpty } ?? true }
        case "fraction":
            fraction = try node.value("fraction", of: "datasets", "a number above 0") { $0.map { $0 > 0 } ?? true }
        case "columns":
            columns = try node.value("columns", of: "datasets", "a list of columns") { $0.map { !$0.isEmpty } ?? true }
        case "column_map":
            guard node.content != .null else { return columnMap = nil }
            let named: NamedValues = try node.value("column_map", of: "datasets", NamedValues.expectation) { _ in true }
            columnMap = named.values
        case _ where Self.hubKeys.contains(key):
            guard node.content != .null else { return }
            throw node.problem("datasets: \(key) is not supported; name the file or folder in path")
        default:
            throw node.unknownKey(key, of: "datasets", among: Self.keys)
        }
    }

    fileprivate var yaml: String {
        var parts = ["path: \(path.yaml)"]
        if let split { parts.append("split: \(split.yaml)") }
        if let fraction { parts.append("fraction: \(fraction.yaml)") }
        if let columns { parts.append("columns: \(columns.yaml)") }
        if let columnMap { parts.append("column_map: \(NamedValues(values: columnMap).yaml)") }
        return "{" + parts.joined(separator: ", ") + "}"
    }
}
