/// A batch or a saved state that cannot be used.
package enum UpdateError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A completion's arrays do not fit its tokens.
    case batch(group: Int, completion: Int, message: String)
    /// A batch has other parts than the updater was made for.
    case parts(found: Int, expected: Int)
    /// A group cannot be learned from at all.
    case group(Int, message: String)
    /// Log-probs were asked for under weights that the updater does not have.
    case missingReference
    /// Values were asked for, and there is no critic.
    case missingCritic
    /// The saved state does not belong to this model or job.
    case state(message: String)

    package var description: String {
        switch self {
        case .batch(let group, let completion, let message):
            "update batch, group \(group), completion \(completion): \(message)"
        case .parts(let found, let expected): "update batch: \(found) parts; this updater learns from \(expected)"
        case .group(let group, let message): "update batch, group \(group): \(message)"
        case .missingReference:
            "log-probs of the reference policy were asked for, but none is loaded; a reference is loaded when beta "
                + "is above 0"
        case .missingCritic: "values were asked for, but the method has no critic; only ppo has one"
        case .state(let message): "saved optimizer state: \(message)"
        }
    }
}
