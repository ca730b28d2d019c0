/// Whole nanoseconds of estimates.
///
/// Work and rates each have their bounds, what one takes at the other has none; and sums of times are taken all over a
/// simulated run.
enum Nanoseconds {
    /// The most that one call, or what is between two, is said to take: 500 000 s. Five iterations of 64 calls with all that
    /// can be between them, one after the other, are below `Int.max`.
    static let most = 500_000_000_000_000

    /// Rounded; ``most`` for what is longer or no number, which ``PlanSimulator`` refuses.
    static func rounded(_ nanoseconds: Double) -> Int {
        nanoseconds < Double(most) ? Int(nanoseconds.rounded()) : most
    }
}
