internal import Records

// Fields whose values are more than a scalar or a list of scalars.

extension JobField {
    /// A section of names and plain values.
    init(columns name: String, _ path: WritableKeyPath<JobSettings, [JobColumn]> & Sendable, _ summary: String) {
        self.init(
            name: name, summary: summary, expectation: "a section of 'name: value' lines",
            read: { (node, settings) throws(JobProblem) in
                settings[keyPath: path] = try node.content == .null ? [] : JobColumn.list(node, name)
            }, yaml: { $0[keyPath: path].yaml })
    }

    /// A path, or true for the newest checkpoint.
    init(resume name: String, _ path: WritableKeyPath<JobSettings, String?> & Sendable, _ summary: String) {
        self.init(
            name: name, summary: summary, expectation: "a folder, true, false or nothing",
            read: { (node, settings) throws(JobProblem) in
                if let truth = Bool.read(node) {
                    settings[keyPath: path] = truth ? "true" : nil
                } else if let text = String?.read(node) {
                    settings[keyPath: path] = text
                } else {
                    throw node.problem("\(name) is \(node.found); expected a folder, true, false or nothing")
                }
            }, yaml: { $0[keyPath: path].yaml })
    }

    /// The list of rewards: names, or sections with settings.
    init(rewards name: String, _ path: WritableKeyPath<JobSettings, [JobReward]> & Sendable, _ summary: String) {
        self.init(
            name: name, summary: summary, expectation: "a reward or a list of rewards",
            read: { (node, settings) throws(JobProblem) in
                let items = if case .list(let items) = node.content { items } else { [node] }
                var rewards: [JobReward] = []
                for item in items { rewards.append(try JobReward.read(item)) }
                settings[keyPath: path] = rewards
            }, yaml: { "[" + $0[keyPath: path].map(\.yaml).joined(separator: ", ") + "]" })
    }

    init(
        name: String, summary: String, expectation: String,
        read: @escaping @Sendable (JobNode, inout JobSettings) throws(JobProblem) -> Void,
        yaml: @escaping @Sendable (JobSettings) -> String
    ) {
        self.name = name
        self.summary = summary
        self.expectation = expectation
        self.read = read
        self.yaml = yaml
    }
}

extension JobColumn {
    /// The entries of a section of names and plain values.
    static func list(_ node: JobNode, _ name: String) throws(JobProblem) -> [JobColumn] {
        guard case .map(let entries) = node.content else {
            throw node.problem("\(name) is \(node.found); expected a section of 'name: value' lines")
        }
        return entries.map { JobColumn(name: $0.key, value: $0.node.json) }
    }
}

extension [JobColumn] {
    var yaml: String { "{" + map { "\($0.name.yaml): \($0.value.yaml)" }.joined(separator: ", ") + "}" }
}

extension JobReward {
    /// Keys that name where a reward comes from; a section has exactly one.
    private static let references = ["name", "path", "command", "url", "model"]

    /// A reward as the command line names it: as in a job file, its name or a section in braces.
    ///
    /// - Throws: ``JobError`` for a section that is no YAML or names no reward.
    package init(argument text: String) throws(JobError) {
        guard text.hasPrefix("{") else {
            self.init(reference: text)
            return
        }
        let node = try JobNode.value(text, place: "the reward '\(text)'")
        do throws(JobProblem) {
            self = try Self.read(node)
        } catch {
            throw JobError([error])
        }
    }

    static func read(_ node: JobNode) throws(JobProblem) -> JobReward {
        switch node.content {
        case .scalar(let text, _) where !text.isEmpty:
            return JobReward(reference: text)
        case .map(let entries):
            let named = entries.filter { references.contains($0.key) }
            guard named.count == 1, let entry = named.first, let text = String.read(entry.node) else {
                throw node.problem(
                    "a reward's section names it by exactly one of \(references.joined(separator: ", ")); found \(node.found)"
                )
            }
            let isPlain = entry.key == "name" || entry.key == "path"
            let settings = entries.filter { $0.key != entry.key }.map { ($0.key, $0.node.json) }
            return JobReward(
                reference: isPlain ? text : "\(entry.key): \(text)",
                settings: Dictionary(settings) { _, last in last })
        default:
            throw node.problem(
                "a reward is \(node.found); expected its name, or a section with 'name:' and its settings")
        }
    }

    var yaml: String {
        let (key, text) = parts
        guard !settings.isEmpty || key != "name" else { return text.yaml }
        let others = settings.sorted { $0.key < $1.key }.map { ", \($0.key.yaml): \($0.value.yaml)" }
        return "{\(key): \(text.yaml)\(others.joined())}"
    }

    private var parts: (key: String, text: String) {
        for key in ["command", "url", "model"] where reference.hasPrefix("\(key): ") {
            return (key, String(reference.dropFirst(key.count + 2)))
        }
        return ("name", reference)
    }
}

extension JSONValue {
    /// The value as YAML on one line.
    var yaml: String {
        switch self {
        case .null: "null"
        case .bool(let value): value.yaml
        case .number(let value): Int(exactly: value).map(\.yaml) ?? value.yaml
        case .integer(let value): String(value)
        case .string(let value): value.yaml
        case .array(let values): "[" + values.map(\.yaml).joined(separator: ", ") + "]"
        case .object(let members):
            "{" + members.sorted { $0.key < $1.key }.map { "\($0.key.yaml): \($0.value.yaml)" }.joined(separator: ", ")
                + "}"
        }
    }
}
