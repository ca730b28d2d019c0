import Records

/// A run that cannot go on.
package enum CoordinatorError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The recipe has a call and the run no part that answers it.
    case missingPart(String, call: String)
    /// Generation ended without this prompt's completions.
    case lostGroup(prompt: String)

    package var description: String {
        switch self {
        case .missingPart(let part, let call): "the recipe's call '\(call)' needs a \(part), and the run has none"
        case .lostGroup(let prompt): "generation ended without the completions of \(prompt)"
        }
    }
}

extension Coordinator {
    /// Checks a recipe against the parts before anything runs.
    static func requireParts(of recipe: StepRecipe, in parts: Parts) throws(CoordinatorError) {
        for call in recipe.calls {
            switch call {
            case .generate:
                if parts.generator == nil { throw .missingPart("generator", call: "generate") }
                if parts.scorer == nil { throw .missingPart("scorer", call: "generate") }
            case .credit: if parts.creditRule == nil { throw .missingPart("credit rule", call: "credit") }
            case .demonstrate, .score, .infer, .train: break
            }
        }
    }
}
