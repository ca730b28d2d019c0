package import Methods
internal import Records

/// What `plumbline explain` says of a key, of a method or of a preset.
package enum JobExplanation {
    /// Every key with its meaning.
    package static var all: String {
        JobKeys().supported.map { "\($0.entry.key)\n    \($0.entry.meaning)" }.joined(separator: "\n")
    }

    /// - Throws: ``JobError`` with the nearest names for a key nobody knows.
    package static func text(
        of name: String, catalogue: MethodCatalogue = MethodCatalogue()
    ) throws(JobError) -> String {
        let keys = JobKeys(catalogue).supported
        if let key = keys.first(where: { $0.entry.key == name }) {
            return text(of: key) + (name == "preset" ? "\n" + presets(catalogue) : "")
        }
        let members = keys.filter { $0.entry.key.hasPrefix(name + ".") }
        if !members.isEmpty {
            // A method's section may have the method's name.
            let method = catalogue.method(named: name).map { text(of: $0.method, $0.variant, keys) + "\n" } ?? ""
            return method + members.map(text).joined(separator: "\n")
        }
        if let (method, variant) = catalogue.method(named: name) { return text(of: method, variant, keys) }
        if let conditional = JobKnownKeys.conditional[name] {
            let harmless = (["nothing"] + conditional.harmless.sorted()).joined(separator: ", ")
            return switch conditional.otherwise {
            case .refuse(let instead): "\(name)\n    supported only as \(harmless): \(instead)"
            case .notice(let instead): "\(name)\n    accepted and without effect here: \(instead)"
            }
        }
        if let instead = JobKnownKeys.notBuilt[name] { return "\(name)\n    not supported: \(instead)" }
        if JobKnownKeys.isWithoutEffect(name) { return "\(name)\n    accepted and without effect here" }
        throw JobError(place: "explain", message: JobKeys.unknown(name))
    }

    private static func text(of key: JobKeys.Key) -> String {
        let others = key.defaults.map { "; \($0.yaml) for \($0.method)" }.joined()
        return """
            \(key.entry.key)
                \(key.entry.meaning)
                takes: \(key.entry.expectation)
                default: \(key.entry.fallback ?? "none, it must be given")\(others)
            """ + key.meanings.map { "\n    for \($0.method): \($0.meaning)" }.joined()
                + (key.methods.map { "\n    read by: \($0.joined(separator: ", "))" } ?? "")
    }

    /// A method with the keys that not every method reads, and the names that stand for it.
    private static func text(of method: any Method.Type, _ variant: Preset?, _ keys: [JobKeys.Key]) -> String {
        func listed(_ preset: Preset) -> String {
            "\(preset.name): \(preset.values.map { "\($0.key): \($0.yaml)" }.joined(separator: ", ")) "
                + "(\(preset.source))"
        }
        var lines = [method.name, "    \(method.title)"]
        if let variant { lines.append("    algorithm: " + listed(variant)) }
        let own = keys.filter { $0.methods?.contains(method.name) ?? false }.map(\.entry.key)
        lines.append("    reads, besides what every method reads: " + own.joined(separator: ", "))
        lines += method.variants.map { "    algorithm: " + listed($0) }
        lines += method.presets.map { "    preset: " + listed($0) }
        return lines.joined(separator: "\n")
    }

    private static func presets(_ catalogue: MethodCatalogue) -> String {
        catalogue.methods.flatMap { method in
            method.presets.map { "    \($0.name): \(method.name), \($0.source)" }
        }.sorted().joined(separator: "\n")
    }
}

/// The version of the command.
package enum PlumblineVersion {
    package static let text = "0.1.0"
}
