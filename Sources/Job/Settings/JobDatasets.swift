internal import Records

/// One prompt set of `datasets:`, with TRL's names.
package struct JobDataset: Sendable, Equatable {
    /// A prompt file or folder, relative to the job file.
    package var path: String
    /// Which file of the folder training reads.
    package var split = "train"
    /// The set's share of the mixture, before the shares are brought to a sum of one.
    package var fraction: Double?
    /// The columns that are kept; all of them when nothing is named.
    package var columns: [String]?
    /// Names of this set's columns for the ones expected; `nil` takes the job's `column_map`.
    package var columnMap: [JobColumn]?

    package init(path: String) { self.path = path }
}

extension JobDataset {
    private static let keys = ["path", "split", "fraction", "columns", "column_map"]
    /// Keys of TRL's that say where the Hub has a set.
    private static let hubKeys = ["name", "data_dir", "data_files"]

    /// A section, or the path alone.
    static func read(_ node: JobNode) throws(JobProblem) -> JobDataset {
        if case .scalar(let path, _) = node.content, !path.isEmpty { return JobDataset(path: path) }
        guard case .map(let entries) = node.content else {
            throw node.problem("a set of datasets is \(node.found); expected a section with path")
        }
        var dataset = JobDataset(path: "")
        for (key, value) in entries { try dataset.set(key, value) }
        guard !dataset.path.isEmpty else {
            throw node.problem("a set of datasets has no path; found \(node.found)")
        }
        return dataset
    }

    /// Takes one key of the section.
    mutating func set(_ key: String, _ node: JobNode) throws(JobProblem) {
        switch key {
        case "path": path = try Self.value(node, "path", "a prompt file or folder") { !$0.isEmpty }
        case "split": split = try Self.value(node, "split", "a text") { !$0.isEmpty }
        case "fraction": fraction = try Self.value(node, "fraction", "a number above 0") { $0.map { $0 > 0 } ?? true }
        case "columns":
            columns = try Self.value(node, "columns", "a list of columns") { $0.map { !$0.isEmpty } ?? true }
        case "column_map": columnMap = try node.content == .null ? nil : JobColumn.list(node, "datasets: column_map")
        case _ where Self.hubKeys.contains(key):
            guard node.content != .null else { return }
            throw node.problem("datasets: \(key) is not supported; name the file or folder in path")
        default:
            let near = nearestNames(to: key, among: Self.keys)
            throw node.problem(
                "datasets: unknown key '\(key)'; "
                    + (near.isEmpty
                        ? "expected \(Self.keys.joined(separator: ", "))"
                        : "did you mean \(near.joined(separator: ", "))?"))
        }
    }

    private static func value<Value: JobScalar>(
        _ node: JobNode, _ key: String, _ expectation: String, _ holds: (Value) -> Bool
    ) throws(JobProblem) -> Value {
        guard let value = Value.read(node), holds(value) else {
            throw node.problem("datasets: \(key) is \(node.found); expected \(expectation)")
        }
        return value
    }

    var yaml: String {
        var parts = ["path: \(path.yaml)", "split: \(split.yaml)"]
        if let fraction { parts.append("fraction: \(fraction.yaml)") }
        if let columns { parts.append("columns: \(columns.yaml)") }
        if let columnMap { parts.append("column_map: \(columnMap.yaml)") }
        return "{" + parts.joined(separator: ", ") + "}"
    }
}

extension JobField {
    /// The list of prompt sets that are mixed.
    init(datasets name: String, _ path: WritableKeyPath<JobSettings, [JobDataset]> & Sendable, _ summary: String) {
        self.init(
            name: name, summary: summary, expectation: "a list of sections, each with path",
            read: { (node, settings) throws(JobProblem) in
                guard node.content != .null else { return settings[keyPath: path] = [] }
                guard case .list(let items) = node.content else {
                    throw node.problem("\(name) is \(node.found); expected a list of sections, each with path")
                }
                var datasets: [JobDataset] = []
                for item in items { datasets.append(try JobDataset.read(item)) }
                settings[keyPath: path] = datasets
            }, yaml: { "[" + $0[keyPath: path].map(\.yaml).joined(separator: ", ") + "]" })
    }
}

extension [JobDataset] {
    /// Takes an override such as `datasets.0.fraction=0.5`.
    ///
    /// - Parameter member: `0.fraction`.
    mutating func set(_ member: String, _ node: JobNode) throws(JobProblem) {
        let parts = member.split(separator: ".", maxSplits: 1).map(String.init)
        guard parts.count == 2, let place = Int(parts[0]), indices.contains(place) else {
            let known = isEmpty ? "it has no sets" : "it has the sets 0 to \(count - 1)"
            throw node.problem(
                "datasets has no member '\(member)'; \(known), and datasets.0.fraction=0.5 changes the first")
        }
        try self[place].set(parts[1], node)
    }
}
