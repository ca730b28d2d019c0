#if canImport(Tensors)
package import Tensors
import Foundation

/// Runs a body as every rank of a tensor-parallel group within this process, each on a thread of its own.
///
/// Tensors stay on the thread that made them: what the body takes and returns are values.
///
/// - Returns: Each rank's result, in the order of ranks.
/// - Throws: What the body of the first rank that failed threw.
package func onRanks<Value: Sendable>(
    _ size: Int, _ body: @escaping @Sendable (TensorParallelGroup) throws -> Value
) throws -> [Value] {
    let outcomes = Outcomes<Value>(count: size)
    let groups = try TensorParallelGroup.within(size: size)
    for group in groups { Thread { outcomes.put(Result { try body(group) }, at: group.rank) }.start() }
    // A rank that is done stays connected until the others are.
    return try withExtendedLifetime(groups) { try outcomes.all().map { try $0.get() } }
}

/// Groups of so many neighbours among so many ranks: for each of these its own, by its number.
package func neighbours(_ size: Int, among ranks: Int) throws -> [TensorParallelGroup] {
    precondition(ranks.isMultiple(of: size), "each rank has as many neighbours as every other")
    return try (0..<ranks / size).flatMap { _ in try TensorParallelGroup.within(size: size) }
}

/// Unchecked: the condition guards what is there.
private final class Outcomes<Value: Sendable>: @unchecked Sendable {
    private let condition = NSCondition()
    private var outcomes: [Result<Value, any Error>?]

    init(count: Int) { outcomes = Array(repeating: nil, count: count) }

    func put(_ outcome: Result<Value, any Error>, at index: Int) {
        condition.withLock {
            outcomes[index] = outcome
            condition.signal()
        }
    }

    func all() -> [Result<Value, any Error>] {
        condition.withLock {
            while outcomes.contains(where: { $0 == nil }) { condition.wait() }
            return outcomes.compactMap(\.self)
        }
    }
}
#endif
