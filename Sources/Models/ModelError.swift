/// What can be wrong with a model's folder, or with what is asked of a model.
package enum ModelError: Error, Sendable, Equatable, CustomStringConvertible {
    /// `config.json` states something that is not supported or contradicts itself.
    case configuration(path: String, problems: [ConfigurationProblem])
    /// The weights do not fit the configuration.
    case weights(path: String, problems: [WeightProblem])
    /// A file or folder cannot be read or written.
    case file(path: String, message: String)
    /// `name` is neither a folder nor a model in the Hugging Face cache.
    case notFound(name: String, searched: [String])
    /// The call does not fit the model, such as a text longer than it can compute.
    case call(String)

    /// One tensor that is missing, unknown or of another shape.
    package enum WeightProblem: Sendable, Equatable, CustomStringConvertible {
        case missing(name: String, shape: [Int])
        case unexpected(name: String, shape: [Int])
        case shape(name: String, found: [Int], expected: [Int])

        package var description: String {
            switch self {
            case .missing(let name, let shape): "\(name) is missing; expected shape \(shape)"
            case .unexpected(let name, let shape): "\(name) of shape \(shape) has no place in this model"
            case .shape(let name, let found, let expected): "\(name) has shape \(found); expected \(expected)"
            }
        }
    }

    package var description: String {
        switch self {
        case .configuration(let path, let problems):
            problems.map { "\(path): \($0)" }.joined(separator: "\n")
        case .weights(let path, let problems):
            Self.listed(problems.map { "\(path): \($0)" })
        case .file(let path, let message): "\(path): \(message)"
        case .notFound(let name, let searched):
            """
            \(name): no such model folder (looked at \(searched.joined(separator: ", "))). \
            Give a folder with config.json and safetensors files, or download it first: \
            hf download \(name.contains("/") ? name : "ORGANISATION/\(name)")
            """
        case .call(let message): message
        }
    }

    /// The first twenty lines, and how many were left out: a wrong family names every tensor twice.
    private static func listed(_ lines: [String]) -> String {
        let shown = lines.prefix(20)
        let rest = lines.count - shown.count
        return (shown + (rest > 0 ? ["… and \(rest) more"] : [])).joined(separator: "\n")
    }
}
