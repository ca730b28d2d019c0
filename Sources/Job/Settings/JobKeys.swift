package import Methods
package import Records

/// Every key that a job file may have: those that some method reads, and those of TRL's that are known and have no use
/// here.
package struct JobKeys: Sendable {
    private let catalogue: MethodCatalogue

    package init(_ catalogue: MethodCatalogue = MethodCatalogue()) { self.catalogue = catalogue }

    /// What each method reads of an empty job, in the order of the catalogue.
    private var records: [(method: any Method.Type, job: SettingsReader)] {
        catalogue.methods.map { ($0, Self.record(of: $0, SettingsReader("the job"), catalogue)) }
    }

    private static func record(
        of method: any Method.Type, _ start: SettingsReader, _ catalogue: MethodCatalogue
    ) -> SettingsReader {
        var job = start
        _ = catalogue.choose(&job)
        _ = Reading(&job, method)
        return job
    }

    /// One key with what the methods make of it.
    package struct Key: Sendable {
        package var entry: SettingsReader.Entry
        /// Methods that read it; `nil` for all.
        package var methods: [String]?
        /// Defaults that differ from the entry's, by method.
        package var defaults: [(method: String, yaml: String)]
        /// Meanings that differ from the entry's, by method.
        package var meanings: [(method: String, meaning: String)] = []
    }

    /// The keys that do something, in the order in which a resolved job lists them.
    package var supported: [Key] {
        let records = records
        var keys: [Key] = []
        for (method, job) in records {
            for entry in job.entries {
                guard let index = keys.firstIndex(where: { $0.entry.key == entry.key }) else {
                    keys.append(Key(entry: entry, methods: [method.name], defaults: []))
                    continue
                }
                keys[index].methods?.append(method.name)
                if let own = entry.fallback, own != keys[index].entry.fallback {
                    keys[index].defaults.append((method.name, own))
                }
                if entry.meaning != keys[index].entry.meaning {
                    keys[index].meanings.append((method.name, entry.meaning))
                }
            }
        }
        for index in keys.indices where keys[index].methods?.count == records.count { keys[index].methods = nil }
        return keys
    }

    // MARK: Keys that nobody asked for

    /// Says what becomes of the keys that the method did not read: without effect for it, without effect here, refused,
    /// unknown.
    func judgeUnread(of job: inout SettingsReader, _ method: any Method.Type) {
        let unread = job.unread
        guard !unread.isEmpty else { return }
        let others = catalogue.methods.filter { $0.name != method.name }.map {
            Self.record(of: $0, job.fresh, catalogue)
        }
        var quiet: [String] = []
        for member in unread.flatMap({ Self.members($0, others) }) {
            let readers = others.filter { $0.entry(member.key) != nil }
            if JobKnownKeys.notBuilt[member.key] == nil, !readers.isEmpty {
                judge(member, readBy: readers, method.name, &job)
            } else if ([job] + others).contains(where: { $0.isSection(member.key) }) {
                if member.node.content != .null {
                    job.refuse(
                        member.key,
                        "\(member.key) is \(member.node.found); expected a section of 'name: value' lines")
                }
            } else if let problem = Self.known(member, &quiet, &job) {
                job.note(member.node.problem(problem), of: member.key)
            }
        }
        if !quiet.isEmpty { job.notice("without effect here: " + quiet.joined(separator: ", ")) }
    }

    /// A section that another method reads, as its members.
    private static func members(_ member: SettingsNode.Member, _ others: [SettingsReader]) -> [SettingsNode.Member] {
        guard case .map(let inner) = member.node.content, others.contains(where: { $0.isSection(member.key) }) else {
            return [member]
        }
        return inner.map { SettingsNode.Member("\(member.key).\($0.key)", $0.node) }
    }

    /// A key of other methods: wrong all the same where its value is right for none of them, else without effect unless
    /// it changes nothing.
    ///
    /// What another method makes of the key beside others is no matter: that it is missing there, or fits no other.
    private func judge(
        _ member: SettingsNode.Member, readBy others: [SettingsReader], _ method: String, _ job: inout SettingsReader
    ) {
        guard member.node.content != .null, !JobKnownKeys.happensAnyway(member.key, member.node) else { return }
        if let other = others.first(where: { $0.wrongValue(of: member.key) == nil }) {
            if let entry = other.entry(member.key), entry.value != entry.fallback { job.disregard(member.key) }
        } else if var wrong = others[0].wrongValue(of: member.key) {
            wrong.message += "; \(method) does not read it"
            job.note(wrong, of: member.key)
        }
    }

    /// A key of TRL's or of the Hugging Face trainer's.
    ///
    /// - Parameter quiet: Takes those that ask for something and get nothing; what asks for nothing, or for what
    ///   happens anyway, needs no word.
    /// - Returns: What is wrong with it; `nil` when it is accepted.
    private static func known(
        _ member: SettingsNode.Member, _ quiet: inout [String], _ job: inout SettingsReader
    ) -> String? {
        let (key, node) = (member.key, member.node)
        if let conditional = JobKnownKeys.conditional[key] {
            guard !conditional.isHarmless(node), !Self.happensAnyway(member, job) else { return nil }
            switch conditional.otherwise {
            case .refuse(let instead): return "\(key): \(node.found) is not supported: \(instead)"
            case .notice(let instead): job.notice("\(key): \(node.found) is not taken: \(instead)")
            }
            return nil
        }
        if JobKnownKeys.isWithoutEffect(key) {
            if !JobKnownKeys.isMoot(key, node), !JobKnownKeys.isSwitchedOff(key, job) { quiet.append(key) }
            return nil
        }
        if let instead = JobKnownKeys.notBuilt[key] {
            // Switched off, or an empty section: nothing is missing.
            let isOff =
                JobConditionalKey([], .notice("")).isHarmless(node) || Bool.read(node) == false
                || JobKnownKeys.isSwitchedOff(key, job)
            guard !isOff else { return nil }
            return "\(key) is not supported: \(instead)" + Self.misplaced(node)
        }
        return unknown(key) + Self.misplaced(node)
    }

    /// That a section nobody knows has keys of a job, as in files that nest a trainer's settings.
    private static func misplaced(_ node: SettingsNode) -> String {
        guard case .map(let members) = node.content else { return "" }
        let keys = Set(JobKeys().supported.map(\.entry.key))
        guard let first = members.first(where: { keys.contains($0.key) })?.key else { return "" }
        return "; keys such as \(first) stand at the top of a job file"
    }

    /// Whether other keys make true what a key asks for.
    private static func happensAnyway(_ member: SettingsNode.Member, _ job: SettingsReader) -> Bool {
        switch member.key {
        case "bf16", "bf16_full_eval": Bool.read(member.node) == true && job.entry("dtype")?.value == "bfloat16"
        case "data_seed": String.read(member.node) == job.entry("seed")?.value
        default: false
        }
    }

    /// That nobody knows a key, with the nearest that somebody does.
    static func unknown(_ key: String) -> String {
        let near = nearestNames(to: key, among: JobKeys().supported.map(\.entry.key))
        return "unknown key '\(key)'" + invisible(in: key)
            + (near.isEmpty ? "" : "; did you mean \(near.joined(separator: ", "))?")
    }

    /// What nobody sees in a key that was copied from a page.
    private static func invisible(in key: String) -> String {
        let found = key.unicodeScalars.first { scalar in
            switch scalar.properties.generalCategory {
            case .format, .control: true
            case .spaceSeparator: scalar != " "
            default: false
            }
        }
        guard let found else { return "" }
        let digits = String(found.value, radix: 16, uppercase: true)
        let zeros = String(repeating: "0", count: max(0, 4 - digits.count))
        return ", which has the invisible character U+\(zeros)\(digits)"
    }
}
