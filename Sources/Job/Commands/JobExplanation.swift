internal import Records

/// What `plumbline explain` says of a key.
package enum JobExplanation {
    /// - Throws: ``JobError`` with the nearest names for a key nobody knows.
    package static func text(of name: String) throws(JobError) -> String {
        if let field = JobFields.byName[name] {
            let methods = field.methods.map { $0.map(\.rawValue).sorted().joined(separator: ", ") }
            return """
                \(name)
                    \(field.summary)
                    takes: \(field.expectation)
                    default: \(field.yaml(JobSettings()))
                """ + (methods.map { "\n    read by: \($0)" } ?? "")
        }
        if name == "preset" {
            let papers = JobPresets.papers.sorted { $0.key < $1.key }.map { name, preset in
                "    \(name): \(preset.algorithm.rawValue), \(preset.source)"
            }
            return """
                preset
                    A paper's settings with its sizes; a key of the job wins over them. --dry-run shows every value.
                    takes:
                \(papers.map { "    " + $0 }.joined(separator: "\n"))
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
