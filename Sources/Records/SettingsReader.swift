public import JSON

/// Reads settings by name, and records what was asked for and what came of it.
///
///     init(reading job: inout SettingsReader) {
///         epsilon = job.read("epsilon", default: 0.2, .above(0), "How far a ratio may leave 1 (arXiv:1707.06347).")
///         upper = job.read("epsilon_high", optional: nil, .above(0), "The upper clip where it differs.")
///         job.check(upper ?? epsilon >= epsilon, "epsilon_high", "at least epsilon, which is \(epsilon)")
///     }
///
/// One line has the key, type, bound, default and meaning of a setting; it stands in the type that uses it. A value
/// that cannot be used is noted and its default stands in, so that one pass finds everything that is wrong;
/// ``finish()`` throws it together. From the record come the resolved file, explanations, near names of unknown keys,
/// and what a file gives without effect.
///
/// Keys of sections are dotted. Values come from the file and its overrides, else from a preset, else from the line
/// itself.
public struct SettingsReader: Sendable {
    /// One setting that was asked for.
    public struct Entry: Sendable, Equatable {
        public let key: String
        /// One to three sentences: what it does, its formula or denominator, its source.
        public let meaning: String
        /// What a right value is.
        public let expectation: String
        /// The line's default as YAML; `nil` for a setting that must be given.
        public let fallback: String?
        /// What came of it, as YAML.
        public var value: String
        /// Whether the file or an override gives it.
        public let isGiven: Bool
    }

    /// What messages call the whole: `the job`, `reward length_reward`.
    public let owner: String
    /// In the order in which they were asked for.
    public private(set) var entries: [Entry] = []
    /// What is wrong so far, in the order of the file.
    package var problems: [SettingsProblem] { found.enumerated().sorted(by: Self.isEarlier).map(\.element.problem) }
    /// Things the user should know that stop nothing.
    package private(set) var notices: [String] = []
    /// Keys that were given another value than their default and change nothing beside the others.
    package private(set) var ignored: [String] = []

    private var given: SettingsNode
    private var preset = SettingsNode(.map([]), place: "")
    private var found: [(position: Int, problem: SettingsProblem)] = []
    /// What is wrong with a value whatever the others are, by key.
    private var wrongValues: [String: SettingsProblem] = [:]

    /// - Parameters:
    ///   - owner: What messages call the whole.
    ///   - members: Of the file; of two with the same key the last one counts.
    public init(_ owner: String, _ members: [SettingsNode.Member] = []) {
        self.owner = owner
        given = SettingsNode(.map(members), place: owner)
    }

    /// Settings that were read elsewhere.
    public init(_ owner: String, values: [String: JSONValue]) {
        self.init(
            owner, values.sorted { $0.key < $1.key }.map { .init($0.key, SettingsNode(json: $0.value, place: owner)) })
    }

    // MARK: Reading

    /// A setting with a default.
    ///
    /// - Parameter meaning: One to three sentences: what it does, its formula or denominator, its source.
    public mutating func read<Value: SettingsValue>(
        _ key: String, default fallback: Value, _ bound: SettingsBound<Value>, _ meaning: String = ""
    ) -> Value {
        ask(key, fallback, bound.expectation, meaning, bound.holds) ?? fallback
    }

    /// A setting with a default, of which every value of the type will do.
    public mutating func read<Value: SettingsValue>(
        _ key: String, default fallback: Value, _ meaning: String = ""
    ) -> Value {
        read(key, default: fallback, .any, meaning)
    }

    /// A setting that may be absent. The bound holds for a value that is there.
    public mutating func read<Value: SettingsValue>(
        _ key: String, optional fallback: Value?, _ bound: SettingsBound<Value>, _ meaning: String = ""
    ) -> Value? {
        let whole = bound.orNothing
        return ask(key, Optional(fallback), whole.expectation, meaning, whole.holds) ?? fallback
    }

    /// A setting that may be absent, of which every value of the type will do.
    public mutating func read<Value: SettingsValue>(
        _ key: String, optional fallback: Value?, _ meaning: String = ""
    ) -> Value? {
        read(key, optional: fallback, .any, meaning)
    }

    /// A setting that must be given.
    ///
    /// - Parameters:
    ///   - standIn: A value that the bound allows, for what follows while the setting is missing or wrong; ``finish()``
    ///     then throws.
    ///   - advice: What to do about a missing one, behind a semicolon.
    public mutating func read<Value: SettingsValue>(
        _ key: String, required advice: String = "the setting is required", standIn: Value,
        _ bound: SettingsBound<Value> = .any, meaning: String = ""
    ) -> Value {
        if let value = ask(key, nil, bound.expectation, meaning, bound.holds) { return value }
        if node(key) == nil { note(SettingsProblem(place: owner, message: "\(key) is missing; \(advice)"), of: key) }
        return standIn
    }

    private mutating func ask<Value: SettingsValue>(
        _ key: String, _ fallback: Value?, _ expectation: String, _ meaning: String, _ holds: (Value) -> Bool
    ) -> Value? {
        let own = given.member(key)
        var value = fallback
        if let node = own ?? preset.member(key) {
            do throws(SettingsProblem) {
                if let read = try Value.read(node), holds(read) {
                    guard read.isInReach else { throw node.beyondReach(key, expectation) }
                    value = read
                } else if node.isBeyondInt, let largest = Int.max as? Value, holds(largest) {
                    // The bound leaves it to the type how large a number may be.
                    throw node.problem("\(key) is \(node.found); expected \(expectation), and below 2^63")
                } else if node.content != .null || fallback == nil {  // a key without a value leaves the default
                    throw node.problem("\(key) is \(Value.found(in: node)); expected \(expectation)")
                }
            } catch {
                note(error, of: key)
                wrongValues[key] = wrongValues[key] ?? error
            }
        }
        if !entries.contains(where: { $0.key == key }) {
            entries.append(
                Entry(
                    key: key, meaning: meaning, expectation: expectation, fallback: fallback?.yaml,
                    value: value?.yaml ?? "null", isGiven: own != nil))
        }
        return value
    }

    // MARK: What belongs beside the lines

    /// Whether the file or an override gives the key.
    public func isGiven(_ key: String) -> Bool { given.member(key) != nil }

    /// Refuses a value that does not fit the others.
    ///
    /// - Parameters:
    ///   - key: The setting at fault, read before.
    ///   - expected: What would be right, so that it reads after "expected".
    public mutating func check(_ holds: Bool, _ key: String, _ expected: @autoclosure () -> String) {
        guard !holds else { return }
        refuse(key, "\(key) is \(entry(key)?.value ?? "not set"); expected \(expected())")
    }

    /// Refuses a setting in words of its own.
    public mutating func refuse(_ key: String, _ message: String) {
        note(SettingsProblem(place: node(key)?.place ?? owner, message: message), of: key)
    }

    /// Says something to the user that stops nothing.
    public mutating func notice(_ text: String) { notices.append(text) }

    /// Notes settings that change nothing beside the others, those of them that are given and not what they would be
    /// anyway.
    public mutating func ignore(_ keys: String..., when isWithoutEffect: Bool = true) {
        guard isWithoutEffect else { return }
        for key in keys where !ignored.contains(key) {
            if let entry = entry(key), entry.isGiven, entry.value != entry.fallback { ignored.append(key) }
        }
    }

    /// Notes a setting that another reader knows, and this one has no use for.
    package mutating func disregard(_ key: String) { ignored.append(key) }

    /// Makes the value of a setting what the others make it, so that the resolved file says it.
    public mutating func resolve(_ key: String, to value: some SettingsValue) {
        guard let index = entries.firstIndex(where: { $0.key == key }) else { return }
        entries[index].value = value.yaml
    }

    /// Throws everything that is wrong.
    public func finish() throws(SettingsError) {
        guard found.isEmpty else { throw SettingsError(problems) }
    }

    /// The same, and refuses settings that nobody asked for.
    public mutating func finishAll() throws(SettingsError) {
        for member in unread {
            let near = nearestNames(to: member.key, among: entries.map(\.key))
            refuse(
                member.key,
                entries.isEmpty
                    ? "no setting '\(member.key)'; it has no settings"
                    : "no setting '\(member.key)'; "
                        + (near.isEmpty
                            ? "it has \(Self.quoted(entries.map(\.key)))" : "did you mean \(Self.quoted(near))?"))
        }
        try finish()
    }

    private static func quoted(_ names: [String]) -> String { names.map { "'\($0)'" }.joined(separator: ", ") }

    // MARK: The record

    package func entry(_ key: String) -> Entry? { entries.first { $0.key == key } }

    /// The members of the file that nobody asked for, those of sections by their dotted keys, in the order of the file.
    package var unread: [SettingsNode.Member] {
        let asked = Set(entries.map(\.key))
        let sections = Set(asked.compactMap { $0.contains(".") ? $0.prefix { $0 != "." } : nil }.map(String.init))
        guard case .map(let members) = given.content else { return [] }
        return members.flatMap { member -> [SettingsNode.Member] in
            if asked.contains(member.key) { return [] }
            guard sections.contains(member.key) else { return [member] }
            switch member.node.content {
            case .map(let inner):
                return inner.map { .init("\(member.key).\($0.key)", $0.node) }.filter { !asked.contains($0.key) }
            case .null: return []
            case .scalar, .list: return [member]
            }
        }
    }

    /// The dotted keys' sections.
    package func isSection(_ key: String) -> Bool { entries.contains { $0.key.hasPrefix(key + ".") } }

    /// Puts a value over the file's.
    ///
    /// - Parameter key: Dotted for a member of a section or of a list.
    package mutating func override(_ key: String, _ node: SettingsNode) {
        do throws(SettingsProblem) { try given.set(key, node) } catch { note(error, of: key) }
    }

    /// Reads a key under another name of it.
    ///
    /// Both given is refused, as it is not known which one counts.
    package mutating func rename(_ old: String, to key: String) {
        guard let node = given.member(old), case .map(var members) = given.content else { return }
        if isGiven(key) {
            refuse(old, "\(old) is another name of \(key), which is given too; leave one of them out")
        }
        members = members.compactMap { member in
            guard member.key == old else { return member }
            return isGiven(key) ? nil : SettingsNode.Member(key, node)
        }
        given = SettingsNode(.map(members), place: given.place)
    }

    /// Fills in values that the file does not give; a later call does not replace what an earlier one set.
    package mutating func fill(_ key: String, _ yaml: String, from place: String) {
        guard preset.member(key) == nil else { return }
        let node = SettingsNode(.scalar(yaml, isQuoted: false), place: place)
        do throws(SettingsProblem) { try preset.set(key, node) } catch { note(error, of: key) }
    }

    /// Notes a problem that is about a key of the file.
    package mutating func note(_ problem: SettingsProblem, of key: String? = nil) {
        guard !found.contains(where: { $0.problem == problem }) else { return }
        found.append((position(of: key), problem))
    }

    /// What is wrong with a setting's value by itself: its type or its bound, not what other settings make of it.
    package func wrongValue(of key: String) -> SettingsProblem? { wrongValues[key] }

    /// The value as it is given, for who knows the key.
    package func node(_ key: String) -> SettingsNode? { given.member(key) }

    /// A reader over the same file that has asked for nothing yet: what another type would read of it.
    package var fresh: SettingsReader {
        var fresh = self
        (fresh.entries, fresh.found, fresh.notices, fresh.ignored) = ([], [], [], [])
        fresh.wrongValues = [:]
        return fresh
    }

    /// Where the key's member stands among the file's; behind all of them when it does not.
    private func position(of key: String?) -> Int {
        guard let key, case .map(let members) = given.content else { return .max }
        let top = key.prefix { $0 != "." }
        return members.lastIndex { $0.key == key || $0.key == top } ?? .max
    }

    private static func isEarlier(
        _ left: (offset: Int, element: (position: Int, problem: SettingsProblem)),
        _ right: (offset: Int, element: (position: Int, problem: SettingsProblem))
    ) -> Bool {
        (left.element.position, left.offset) < (right.element.position, right.offset)
    }
}
