/// How much there is of a value when it is written out, shared parts counted each time: `[x, x]` is twice `x`.
struct JinjaSize {
    /// Values in all, those in lists and mappings included.
    private(set) var values = 0
    /// Bytes of its texts.
    private(set) var bytes = 0
    /// Lists and mappings inside each other.
    private(set) var depth = 0

    /// What a template may make: what is larger is no part of a prompt.
    private static let mostValues = 1 << 20
    private static let deepest = 300

    /// - Returns: `nil` for more than a template may make, found without looking at all of it.
    init?(_ value: JinjaValue) {
        guard add(value, 0) else { return nil }
    }

    private mutating func add(_ value: JinjaValue, _ level: Int) -> Bool {
        values += 1
        depth = max(depth, level)
        guard values <= Self.mostValues, level <= Self.deepest else { return false }
        switch value {
        case .string(let text): bytes += text.utf8.count
        case .list(let items, _): for item in items where !add(item, level + 1) { return false }
        case .object(let members):
            for (key, value) in members {
                bytes += key.utf8.count
                guard add(value, level + 1) else { return false }
            }
        case .function(.method(let value, _)): return add(value, level + 1)
        default: break
        }
        return bytes <= JinjaRenderer.longestText
    }
}
