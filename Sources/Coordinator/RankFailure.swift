internal import Credit
internal import Records

/// What broke on this rank of several, and whether the others know of it.
enum RankFailure: Error, CustomStringConvertible {
    /// They were told, and leave the step where this rank does.
    case told(any Error)
    /// They wait for this rank in the work that broke, and come to be told nowhere else: that it is gone they learn when
    /// its process ends.
    case untold(any Error)

    /// Whether every rank comes to it in the same place: to a stop, to what it was told, and to what it finds in batches
    /// and weights that all have. Whatever else ends a step is this rank's alone.
    static func isEverybodys(_ error: any Error) -> Bool {
        switch error {
        case is StopRequested, is NotFinite, is CoordinatorError, is CreditError, RankFailure.told(_): true
        default: false
        }
    }

    /// What ends work that this rank does with `others`, on its way to those that wait for the end of all such work.
    ///
    /// - Parameter others: `nil` where it does the work by itself, and can say that it broke.
    static func ending(_ error: any Error, with others: (any Ranks)?) -> any Error {
        others == nil || error is RankFailure || isEverybodys(error) ? error : RankFailure.untold(error)
    }

    var error: any Error {
        switch self {
        case .told(let error), .untold(let error): error
        }
    }

    var description: String { "\(error)" }
}
