/// How rectangles of matrices get from the ranks that have them to those that need them: steps that every rank of a
/// group walks in the same order.
///
/// The steps of a round are under way at once: receives first, then sends, in the order of the list, with a step's
/// index as its tag. A round is over on a rank when its messages are; then what it kept of them is let go of.
package struct TensorTransfer: Sendable, Equatable {
    /// A rectangle of a whole tensor; of a vector with one column.
    package struct Region: Sendable, Equatable {
        package let name: String
        package let rows: Range<Int>
        package let columns: Range<Int>

        package init(name: String, rows: Range<Int>, columns: Range<Int>) {
            self.name = name
            self.rows = rows
            self.columns = columns
        }

        var count: Int { rows.count * columns.count }
    }

    /// One message, or a copy where the sender is the receiver.
    package struct Step: Sendable, Equatable {
        package let sender: Int
        package let receivers: [Int]
        /// What it consists of, rectangle behind rectangle.
        package let regions: [Region]

        package init(sender: Int, receivers: [Int], regions: [Region]) {
            self.sender = sender
            self.receivers = receivers
            self.regions = regions
        }
    }

    package let rounds: [[Step]]

    package init(rounds: [[Step]]) { self.rounds = rounds }
}
