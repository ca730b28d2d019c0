/// Looks for stop strings in text that arrives in pieces, and holds back what could still begin one.
///
/// The match is the one that ends first; of several that end together, the longest. The result does not depend on how
/// the text was cut. Strings are compared byte by byte.
package struct StopStringMatcher: Sendable {
    /// What one piece of text led to.
    package struct Outcome: Sendable, Equatable {
        /// Text that is certain to stand before any stop string.
        package let text: String
        /// The stop string that matched; what follows `text` was cut away.
        package let matched: String?

        package init(text: String, matched: String?) {
            self.text = text
            self.matched = matched
        }
    }

    private let stops: [(text: String, bytes: [UInt8])]
    private let longest: Int
    private var held: [UInt8] = []

    /// - Parameter stops: empty strings are left out.
    package init(_ stops: [String]) {
        self.stops = stops.filter { !$0.isEmpty }.map { ($0, Array($0.utf8)) }
            .sorted { $0.bytes.count > $1.bytes.count }
        longest = self.stops.first?.bytes.count ?? 0
    }

    /// Reads one piece. After a match the matcher starts anew.
    package mutating func feed(_ piece: String) -> Outcome {
        guard longest > 0 else { return Outcome(text: piece, matched: nil) }
        var text: [UInt8] = []
        for byte in piece.utf8 {
            held.append(byte)
            if let (stop, bytes) = stops.first(where: { held.hasSuffix($0.bytes) }) {
                text += held.dropLast(bytes.count)
                held = []
                return Outcome(text: String(decoding: text, as: UTF8.self), matched: stop)
            }
            if held.count >= 2 * longest { release(held.count - longest, &text) }
        }
        release(held.count - heldLength(), &text)
        return Outcome(text: String(decoding: text, as: UTF8.self), matched: nil)
    }

    /// The text still held back, when no more will come.
    package mutating func finish() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }

    /// Moves the first bytes out, never part of a character.
    private mutating func release(_ count: Int, _ text: inout [UInt8]) {
        var end = count
        while end > 0, end < held.count, held[end] & 0xC0 == 0x80 { end -= 1 }
        text += held.prefix(end)
        held.removeFirst(end)
    }

    /// How many bytes at the end could begin a stop string.
    private func heldLength() -> Int {
        for length in stride(from: min(held.count, longest - 1), to: 0, by: -1) {
            let tail = held.suffix(length)
            if stops.contains(where: { $0.bytes.count > length && $0.bytes.starts(with: tail) }) { return length }
        }
        return 0
    }
}

extension [UInt8] {
    fileprivate func hasSuffix(_ end: [UInt8]) -> Bool {
        count >= end.count && suffix(end.count).elementsEqual(end)
    }
}
