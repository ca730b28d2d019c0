internal import Coordinator
internal import Credit
internal import Foundation
import JSON
internal import Models
internal import Planning
internal import PolicyUpdater
internal import PromptSets
internal import Records
internal import RewardInterface
internal import Runs
internal import Tensors
internal import Tokenization

/// Sorts errors into the user's input and our own broken promises.
package enum JobFailure {
    /// Whether the user can mend it: a file, a row, a setting, a reward, a full disk.
    package static func isInput(_ error: any Error) -> Bool {
        switch error {
        case is JobError, is SettingsProblem, is SettingsError, is PlanError, is RewardError, is RunError,
            is ModelError,
            is TokenizerError,
            is PromptSetError, is ChatTemplateError, is JSONError, is ControllerStateError, is NotFinite,
            is DecodingError:
            true
        case let error as TensorError:
            switch error {
            case .file, .system, .device: true
            // A job that is too large for the machine.
            case .engine(_, let message): message.contains("allocate memory")
            case .shape, .elementType, .layout: false
            }
        case let error as UpdateError: if case .state = error { true } else { false }
        case let error as CoordinatorError:
            switch error {
            case .tooFewLiveGroups, .diverged, .rank, .foreignBatch: true
            case .missingPart, .lostGroup, .stale, .cannotSampleAhead: false
            }
        case is RanksLost: true  // a machine or a link that failed, or what the other process says of itself
        case is CocoaError: true  // a file that cannot be read or written
        default: false
        }
    }
}
