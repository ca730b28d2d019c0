import Records

/// A run that cannot go on.
package enum CoordinatorError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The recipe has a call and the run no part that answers it.
    case missingPart(String, call: String)
    /// Generation ended without this prompt's completions.
    case lostGroup(prompt: String)
    /// Dynamic sampling ended with too few groups that differ.
    case tooFewLiveGroups(kept: Int, wanted: Int, waves: Int, reward: String)

    package var description: String {
        switch self {
        case .missingPart(let part, let call): "the recipe's call '\(call)' needs a \(part), and the run has none"
        case .lostGroup(let prompt): "generation ended without the completions of \(prompt)"
        case .tooFewLiveGroups(let kept, let wanted, let waves, let reward):
            "dynamic sampling: after \(waves) waves \(kept) of \(wanted) groups have completions that \(reward) tells apart; "
                + "the set may be too easy or too hard for the policy. Raise dynamic_sampling_max_waves, or set "
                + "dynamic_sampling_exhausted: partial"
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
            case .demonstrate, .compare, .infer, .weigh, .train: break
            }
        }
    }
}
