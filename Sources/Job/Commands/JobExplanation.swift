internal import Records

/// What `plumbline explain` says of a key.
package enum JobExplanation {
    /// - Throws: ``JobError`` with the nearest names for a key nobody knows.
    package static func text(of name: String) throws(JobError) -> String {
        if let field = JobFields.byName[name] {
            return """
                \(name)
                    \(field.summary)
                    takes: \(field.expectation)
                    default: \(field.yaml(JobSettings()))
                """
        }
        if JobFields.sections.contains(name) {
            let members = JobFields.supported.map(\.name).filter { $0.hasPrefix(name + ".") }
            return try members.map(text).joined(separator: "\n")
        }
        if let conditional = JobKnownKeys.conditional[name] {
            let harmless = (["nothing"] + conditional.harmless.sorted()).joined(separator: ", ")
            return switch conditional.otherwise {
            case .refuse(let instead): "\(name)\n    not supported but for \(harmless): \(instead)"
            case .notice(let instead): "\(name)\n    accepted and without effect here: \(instead)"
            }
        }
        if let instead = JobKnownKeys.notBuilt[name] { return "\(name)\n    not supported: \(instead)" }
        if JobKnownKeys.withoutEffect.contains(name)
            || JobKnownKeys.prefixesWithoutEffect.contains(where: name.hasPrefix)
        {
            return "\(name)\n    accepted and without effect here"
        }
        let near = nearestNames(to: name, among: JobFields.supported.map(\.name))
        throw JobError(
            place: "explain",
            message: "unknown key '\(name)'" + (near.isEmpty ? "" : "; did you mean \(near.joined(separator: ", "))?"))
    }
}

/// The version of the command.
package enum PlumblineVersion {
    package static let text = "0.1.0"
}
