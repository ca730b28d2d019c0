package import Records

/// What becomes of completions that the length limit cut off.
///
/// A masked completion stays in its group: its reward still enters the group's mean and deviation, only its tokens are
/// not learned from (DAPO's overlong filtering, arXiv:2503.14476 §3.4; TRL's `mask_truncated_completions`). Shaping the
/// reward by length instead is a reward of its own.
package enum OverlongHandling: Sendable, Equatable {
    /// Truncated completions are learned from like any other.
    case keep
    /// Truncated completions are left out of the loss.
    case mask

    package init(reading job: inout SettingsReader) {
        let masks = job.read(
            "mask_truncated_completions", default: false,
            "Leaves truncated completions out of the loss and its denominator; their rewards still count in baselines (DAPO, arXiv:2503.14476)."
        )
        self = masks ? .mask : .keep
    }

    /// Whether the completion is left out of the loss.
    package func masks(_ completion: Completion) -> Bool { self == .mask && completion.isTruncated }
}
