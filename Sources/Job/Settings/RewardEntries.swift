package import JSON
package import Records
internal import RewardHosts
internal import RewardModels
internal import ShippedRewards

/// The rewards of a job.
package struct RewardEntries: Sendable {
    package let entries: [JobReward]
    /// The share of a reward's scores that may fail.
    package let errorBudget: Double
    package let timeoutSeconds: Double

    init(reading job: inout SettingsReader, for method: String, isNeeded: Bool = true) {
        let problemsBefore = job.problems.count
        var entries = job.read(
            "reward_funcs", default: [JobReward](),
            "Rewards by name (plumbline reward list), path/file.py:function, package.module.function, {command: …}, {url: …} or {model: folder}; an entry may be a section with the reward's own settings; beside path, command, url or model, name is its name in metrics."
        )
        let isRefused = job.problems.count > problemsBefore
        let model: String? = job.read(
            "reward_model_name_or_path", optional: nil, SettingsBound("that is not empty") { !$0.isEmpty },
            "A reward model, before the rewards of reward_funcs: TRL's way to write the entry {model: FOLDER}.")
        if let model {
            entries.insert(JobReward(reference: "model: \(model)"), at: 0)
            job.resolve("reward_funcs", to: entries)
            job.resolve("reward_model_name_or_path", to: nil as String?)
        }
        self.entries = entries
        errorBudget = job.read(
            "reward_error_budget", default: 0.05, .from(0, to: 1),
            "Largest share of a reward's last 1000 scores (counted as at least 200) that may fail or time out before the run stops with the first failure and its sample. At its end their true number counts: a run with a larger share ends with the same error, its model saved."
        )
        timeoutSeconds = job.read(
            "reward_timeout", default: 60.0, .above(0),
            "Seconds one call of a reward outside this process may take, counted from when it starts.")
        if entries.isEmpty, isNeeded, !isRefused {
            let isForSFT = JobKnownKeys.ofSFT.contains(where: job.isGiven)
            job.refuse(
                "reward_funcs",
                "reward_funcs is missing; \(method) learns from at least one reward"
                    + (job.isGiven("algorithm")
                        ? ""
                        : isForSFT
                            ? ". This looks like a file for TRL's SFTTrainer: algorithm: sft learns from its demonstrations"
                            : ". algorithm: sft learns from demonstrations instead"))
        }
        if let problem = entries.sharedName() { job.refuse("reward_funcs", "reward_funcs: \(problem)") }
    }
}

/// One entry of `reward_funcs:`: a name of the catalogue or a place outside, with its settings.
package struct JobReward: Sendable, Equatable {
    /// As written: `accuracy_reward`, `rewards.py:score`, `command: …`, `url: …`, `model: …`.
    package var reference: String
    /// Everything else of the entry, handed to the reward.
    package var settings: [String: JSONValue]

    package init(reference: String, settings: [String: JSONValue] = [:]) {
        self.reference = reference
        self.settings = settings
    }

    /// What metrics will call it, as far as that is known before it is open.
    var knownName: String? {
        if let model = modelReference, settings[RewardOpening.nameSetting] == nil {
            return RewardModelSettings.name(of: model)
        }
        return RewardOpening.name(of: reference, settings: settings, in: ShippedRewards.catalogue)
    }

    /// The folder or name of a reward model; `nil` for every other kind of reward.
    var modelReference: String? {
        guard reference.hasPrefix("model:") else { return nil }
        return String(reference.dropFirst("model:".count).drop { $0 == " " })
    }
}

extension JobReward: SettingsValue {
    /// Keys that name where a reward comes from; a section has exactly one.
    private static let references = ["name", "path", "command", "url", "model"]

    package static var expectation: String { "a reward, or a section that names one" }

    /// A reward as the command line names it: as in a job file, its name or a section in braces.
    ///
    /// - Throws: ``JobError`` for a section that is no YAML or names no reward.
    package init(argument text: String) throws(JobError) {
        guard text.hasPrefix("{") else {
            self.init(reference: text)
            return
        }
        let node = try SettingsNode.value(text, place: "the reward '\(text)'")
        do throws(SettingsProblem) {
            guard let reward = try Self.read(node) else { throw Self.noReward(node) }
            self = reward
        } catch {
            throw JobError([error])
        }
    }

    package static func read(_ node: SettingsNode) throws(SettingsProblem) -> JobReward? {
        switch node.content {
        case .scalar(let text, _) where !text.isEmpty: return JobReward(reference: text)
        case .map(let members):
            let named = members.filter { references.contains($0.key) }
            // Beside a place, the name is what metrics call the reward.
            let places = named.filter { $0.key != "name" }
            guard places.count < 2, let entry = places.first ?? named.first, let text = String.read(entry.node) else {
                throw node.problem(
                    "a reward's section names it by exactly one of \(references.joined(separator: ", ")); name may be given besides, for metrics; found \(node.found)"
                )
            }
            let isPlain = entry.key == "name" || entry.key == "path"
            var settings = members.filter { $0.key != entry.key }.map { ($0.key, $0.node.json) }
            if let index = settings.firstIndex(where: { $0.0 == "name" }) {
                guard !members.contains(where: { $0.key == RewardOpening.nameSetting }) else {
                    throw node.problem(
                        "a reward's section has name and metric_name, which mean the same beside \(entry.key); leave one of them out"
                    )
                }
                guard let name = named.first(where: { $0.key == "name" }).flatMap({ String.read($0.node) }),
                    !name.isEmpty
                else { throw node.problem("a reward's name is no text; expected its name in metrics") }
                settings[index] = (RewardOpening.nameSetting, .string(name))
            }
            return JobReward(
                reference: isPlain ? text : "\(entry.key): \(text)",
                settings: Dictionary(settings) { _, last in last })
        default: throw noReward(node)
        }
    }

    private static func noReward(_ node: SettingsNode) -> SettingsProblem {
        node.problem("a reward is \(node.found); expected its name, or a section with 'name:' and its settings")
    }

    package var yaml: String {
        let (key, text) = parts
        guard !settings.isEmpty || key != "name" else { return text.yaml }
        let others = settings.sorted { $0.key < $1.key }.map { ", \($0.key.yaml): \($0.value.yaml)" }
        return "{\(key): \(text.yaml)\(others.joined())}"
    }

    /// The entry without its settings, under another name.
    fileprivate func entry(named name: String) -> String {
        let (key, text) = parts
        return "{\(key): \(text.yaml), \(key == "name" ? RewardOpening.nameSetting : "name"): \(name.yaml)}"
    }

    private var parts: (key: String, text: String) {
        for key in ["command", "url", "model"] where reference.hasPrefix("\(key): ") {
            return (key, String(reference.dropFirst(key.count + 2)))
        }
        return ("name", reference)
    }
}

extension [JobReward] {
    /// What is wrong where two have one name, with what to write instead; `nil` where each has its own.
    ///
    /// - Parameter names: What metrics call them; what is known before they are open unless given.
    func sharedName(_ names: [String]? = nil) -> String? {
        let names = names ?? map { $0.knownName ?? $0.reference }
        guard let name = names.first(where: { name in names.count { $0 == name } > 1 }) else { return nil }
        let same = zip(self, names).filter { $0.1 == name }.map(\.0)
        let last = name.split { ":/ ".contains($0) }.last ?? "reward"
        return
            "\(same.count) rewards are named '\(name)': \(same.map(\.reference).joined(separator: " and ")); metrics need one name each. "
            + "Give all but one a name of their own, as \(same[same.count - 1].entry(named: "\(last)_\(same.count)"))"
    }
}
