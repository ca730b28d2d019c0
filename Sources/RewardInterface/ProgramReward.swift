public import Records

/// A reward that has programs run to find its score, such as the completion's own code against tests.
///
/// The reward says what is to be run and what the outcome is worth; the runner shuts the programs in. Nothing that a
/// program writes is trusted for more than what it is: the output of that program.
public protocol ProgramReward: Reward {
    /// The programs it runs, by name or path; each is looked for once, at the start.
    var programs: [String] { get }

    /// Tries out what it needs, once, at the start.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when the programs do not run; `CancellationError`.
    func prepare(with runner: any ProgramRunner) async throws

    /// Whether the prompt's row has what scoring reads.
    ///
    /// - Throws: As ``score(_:for:with:)``, for a bad row.
    func check(_ prompt: Prompt) throws(RewardError)

    /// Scores one completion.
    ///
    /// - Throws: As ``RewardFunction/score(_:for:)``, for a bad row; what the runner throws.
    func score(
        _ completion: Completion, for prompt: Prompt, with runner: any ProgramRunner
    ) async throws -> RewardScore
}

extension ProgramReward {
    public func prepare(with runner: any ProgramRunner) async throws {}

    public func check(_ prompt: Prompt) throws(RewardError) {}
}

/// A program with what it reads.
public struct ProgramCall: Sendable, Equatable {
    /// One of ``ProgramReward/programs``, then its arguments.
    public var arguments: [String]
    /// Its standard input.
    public var input: [UInt8]

    public init(_ arguments: [String], input: [UInt8] = []) {
        self.arguments = arguments
        self.input = input
    }
}

/// How a program ended, and what it had written by then.
public struct ProgramOutcome: Sendable, Equatable {
    public enum End: Sendable, Equatable {
        case exited(Int)
        case killed(signal: Int)
        case timedOut(seconds: Double)
        case tooMuchOutput(bytes: Int)
    }

    public var end: End
    /// Its standard output; bytes that are no UTF-8 become U+FFFD.
    public var output: String
    /// The last of its standard error.
    public var lastErrors: String

    public init(end: End, output: String, lastErrors: String) {
        self.end = end
        self.output = output
        self.lastErrors = lastErrors
    }
}

/// Runs programs shut in: with a time limit, limits on memory, processes and files, an environment without secrets, and
/// in a sandbox without network and with a file system that holds the system's programs and an empty `/tmp`.
public protocol ProgramRunner: Sendable {
    /// Runs a program to its end or to its limits.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when it could not be started; `CancellationError` when the
    ///   task is cancelled, the program being ended then.
    func run(_ call: ProgramCall) async throws -> ProgramOutcome

    /// Runs two programs that speak with each other, each shut in on its own: neither can see, stop or imitate the
    /// other.
    ///
    /// The subject's standard input and output are the judge's descriptors 4 and 3. The end of the judge ends both.
    ///
    /// - Returns: The judge's outcome.
    /// - Throws: As ``run(_:)``.
    func run(_ judge: ProgramCall, beside subject: [String]) async throws -> ProgramOutcome
}
