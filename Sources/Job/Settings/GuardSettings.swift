internal import PromptSets
internal import Records

/// What a run must not lose while it learns something else: a set of its own that is measured on the way.
package struct GuardSettings: Sendable, Equatable {
    /// How a set is measured.
    package enum Kind: String, CaseIterable, Sendable {
        /// Answers are sampled and scored.
        case prompts
        /// The log-likelihood of completions, or of whole texts, per token; nothing is sampled.
        case texts
    }

    package let kind: Kind
    /// Where the set lies, with its split and the names of its columns.
    package let dataset: DatasetSettings
    package let name: String
    /// Optimizer steps between two measurements.
    package let every: Int
    /// Rows that are measured; `nil` for all.
    package let limit: Int?
    /// How far the number may fall below its first value.
    package let tolerance: Double
    /// Whether the run ends when it has fallen farther.
    package let stops: Bool
    /// What scores the answers; empty for the job's own rewards.
    package let rewards: [JobReward]

    /// The number that is watched.
    var metric: String { "\(family)/\(kind == .texts ? "log_likelihood" : "reward")" }
    /// Of all its numbers.
    var family: String { Self.prefix + name }
    /// Of the numbers of all guards.
    static let prefix = "eval_guard/"

    /// Reads `eval_guard:`.
    ///
    /// - Parameters:
    ///   - method: For messages.
    ///   - samples: Whether the method samples completions.
    ///   - hasRewards: Whether the job has rewards.
    ///   - learnsTexts: Whether what it trains gives texts a likelihood.
    ///   - every: Optimizer steps between two measurements unless a guard says.
    ///   - limit: Its rows unless a guard says.
    static func all(
        reading job: inout SettingsReader, method: String, samples: Bool, hasRewards: Bool, learnsTexts: Bool,
        every: Int, limit: Int?
    ) -> [GuardSettings] {
        let entries = job.read(
            "eval_guard", default: [GuardEntry](),
            "What the run must not lose, a list: {prompts: a prompt set} is the mean reward of sampled answers, {texts: rows with completions, or whole texts} the log-likelihood per token in nats, without any reward; a bare name means prompts if the job has rewards, else texts. Measured before the first step and then at intervals (every, by default eval_steps, else logging_steps) on the first limit rows (eval_limit). A fall of more than tolerance (0.05) below its first value is an alarm; with stop: true it ends the run. Also split, column_map, name, and its own reward_funcs."
        )
        let chosen = entries.map { entry in
            GuardSettings(entry, otherwise: samples && hasRewards ? .prompts : .texts, every: every, limit: limit)
        }
        job.resolve("eval_guard", to: chosen.map(GuardEntry.init))
        if !chosen.isEmpty, !learnsTexts {
            job.refuse("eval_guard", "eval_guard is set; \(method) trains no policy that generates text, leave it out")
        }
        for one in chosen where one.kind == .prompts && learnsTexts {
            if !samples {
                job.refuse(
                    "eval_guard",
                    "eval_guard samples answers to '\(one.name)', and \(method) samples none; name it under texts, whose log-likelihood needs none"
                )
            } else if !hasRewards, one.rewards.isEmpty {
                job.refuse(
                    "eval_guard",
                    "eval_guard has no reward for '\(one.name)'; give it reward_funcs, or name it under texts, whose log-likelihood needs none"
                )
            }
        }
        if let twice = chosen.first(where: { one in chosen.count { $0.name == one.name } > 1 }) {
            job.refuse("eval_guard", "eval_guard has two sets called '\(twice.name)'; give one of them another name")
        }
        return chosen
    }

    private init(_ entry: GuardEntry, otherwise kind: Kind, every: Int, limit: Int?) {
        self.kind = entry.kind ?? kind
        dataset = entry.dataset
        name = entry.name ?? entry.usualName
        self.every = entry.every ?? every
        self.limit = entry.limit ?? limit
        tolerance = entry.tolerance ?? 0.05
        stops = entry.stops ?? false
        rewards = entry.rewards ?? []
    }
}

/// One entry of `eval_guard:` as it is written.
struct GuardEntry: SettingsValue {
    var kind: GuardSettings.Kind?
    var dataset: DatasetSettings
    var name: String?
    var every: Int?
    var limit: Int?
    var tolerance: Double?
    var stops: Bool?
    var rewards: [JobReward]?

    static var expectation: String { "a prompt set, or a section with prompts or texts" }

    /// A chosen guard, so that a resolved job has every value of it.
    init(_ chosen: GuardSettings) {
        (kind, dataset, name) = (chosen.kind, chosen.dataset, chosen.name)
        (every, limit, tolerance, stops) = (chosen.every, chosen.limit, chosen.tolerance, chosen.stops)
        rewards = chosen.rewards.isEmpty ? nil : chosen.rewards
    }

    private init(path: String) { dataset = DatasetSettings(path: path) }

    /// The split, else what the path ends with.
    fileprivate var usualName: String {
        let last = dataset.path.split(separator: "/").last.map(String.init) ?? dataset.path
        return dataset.split ?? last.split(separator: ".").first.map(String.init) ?? "set"
    }

    static func read(_ node: SettingsNode) throws(SettingsProblem) -> GuardEntry? {
        if case .scalar(let path, _) = node.content, !path.isEmpty { return GuardEntry(path: path) }
        guard case .map(let members) = node.content else {
            throw node.problem("eval_guard: a guard is \(node.found); expected \(expectation)")
        }
        let kinds = members.compactMap { GuardSettings.Kind(rawValue: $0.key) }
        guard kinds.count == 1 else {
            throw node.problem("eval_guard: a guard's section has one of prompts and texts; found \(node.found)")
        }
        var entry = GuardEntry(path: "")
        entry.kind = kinds[0]
        for member in members { try entry.set(member.key, member.node) }
        if entry.kind == .texts, entry.rewards != nil {
            throw node.problem(
                "eval_guard: reward_funcs score answers that are sampled for prompts; texts have a log-likelihood")
        }
        return entry
    }

    private static let keys = [
        "prompts", "texts", "split", "column_map", "name", "every", "limit", "tolerance", "stop", "reward_funcs",
    ]

    private mutating func set(_ key: String, _ node: SettingsNode) throws(SettingsProblem) {
        switch key {
        case "prompts", "texts":
            dataset.path = try node.value(key, of: "eval_guard", "a prompt file or folder") { !$0.isEmpty }
        case "split": dataset.split = try node.value(key, of: "eval_guard", "a text") { $0.map { !$0.isEmpty } ?? true }
        case "column_map":
            guard node.content != .null else { return }
            let named: NamedValues = try node.value(key, of: "eval_guard", NamedValues.expectation) { _ in true }
            dataset.columnMap = named.values
        case "name":
            name = try node.value(key, of: "eval_guard", "a text without /") {
                $0.map { !$0.isEmpty && !$0.contains("/") } ?? true
            }
        case "every":
            every = try node.value(key, of: "eval_guard", "a whole number of at least 1") { $0.map { $0 > 0 } ?? true }
        case "limit":
            limit = try node.value(key, of: "eval_guard", "a whole number of at least 1") { $0.map { $0 > 0 } ?? true }
        case "tolerance":
            tolerance = try node.value(key, of: "eval_guard", "a number of at least 0") {
                $0.map { $0 >= 0 && $0.isInReach } ?? true
            }
        case "stop": stops = try node.value(key, of: "eval_guard", "true or false") { _ in true }
        case "reward_funcs":
            rewards = try node.value(key, of: "eval_guard", "a list of rewards") { $0.map { !$0.isEmpty } ?? true }
            let names = (rewards ?? []).map(\.reference)
            guard Set(names).count == names.count else {
                throw node.problem("eval_guard: reward_funcs names a reward twice; metrics need one name each")
            }
        default:
            throw node.unknownKey(key, of: "eval_guard", among: Self.keys)
        }
    }

    var yaml: String {
        guard let kind else { return dataset.path.yaml }
        var parts = ["\(kind.rawValue): \(dataset.path.yaml)"]
        if let split = dataset.split { parts.append("split: \(split.yaml)") }
        if let map = dataset.columnMap { parts.append("column_map: \(NamedValues(values: map).yaml)") }
        if let name { parts.append("name: \(name.yaml)") }
        if let every { parts.append("every: \(every.yaml)") }
        if let limit { parts.append("limit: \(limit.yaml)") }
        if let tolerance { parts.append("tolerance: \(tolerance.yaml)") }
        if let stops { parts.append("stop: \(stops.yaml)") }
        if let rewards { parts.append("reward_funcs: \(rewards.yaml)") }
        return "{" + parts.joined(separator: ", ") + "}"
    }
}
