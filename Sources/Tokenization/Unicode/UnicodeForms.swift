/// The four Unicode normalization forms (UAX #15) over UTF-8 bytes.
///
/// Foundation's forms follow another Unicode version than the tokenizers these texts must agree with.
enum UnicodeForm: String, Sendable, CaseIterable {
    case nfc = "NFC"
    case nfd = "NFD"
    case nfkc = "NFKC"
    case nfkd = "NFKD"

    private var composes: Bool { self == .nfc || self == .nfkc }
    private var isCompatible: Bool { self == .nfkc || self == .nfkd }

    /// The text in this form. Valid UTF-8 in, valid UTF-8 out; linear but for sorting long runs of marks.
    func normalized(_ bytes: [UInt8]) -> [UInt8] {
        if isAlreadyNormal(bytes) { return bytes }
        let tables = UnicodeFormTables.shared
        var points: [UInt32] = []
        points.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            let (point, width) = scalar(in: bytes, at: index)
            tables.appendDecomposition(of: point, compatible: isCompatible, to: &points)
            index += width
        }
        tables.sortMarks(&points)
        if composes { tables.compose(&points) }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        for point in points { appendScalar(point, to: &result) }
        return result
    }

    private func isAlreadyNormal(_ bytes: [UInt8]) -> Bool {
        guard self == .nfc else { return bytes.allSatisfy { $0 < 0x80 } }
        let classes = UnicodeClasses.shared
        var index = 0
        while index < bytes.count {
            // Everything below U+0300 is in NFC as it stands, and so is its neighbour.
            if bytes[index] < 0xCC {
                index += 1
                continue
            }
            let (point, width) = scalar(in: bytes, at: index)
            if classes[point].contains(.composing) { return false }
            index += width
        }
        return true
    }
}

/// Decompositions, mark classes and compositions, read once.
private struct UnicodeFormTables: Sendable {
    static let shared = UnicodeFormTables()

    private enum Hangul {
        static let syllables: Range<UInt32> = 0xAC00..<0xAC00 + 11172
        static let leads: Range<UInt32> = 0x1100..<0x1100 + 19
        static let vowels: Range<UInt32> = 0x1161..<0x1161 + 21
        /// The first of these is no trailing consonant but the place before them.
        static let trails: Range<UInt32> = 0x11A7..<0x11A7 + 28
    }

    private var canonical: [UInt32: [UInt32]] = [:]
    private var compatibility: [UInt32: [UInt32]] = [:]
    private var composed: [UInt64: UInt32] = [:]
    private var markClass: [UInt32: UInt8] = [:]

    private init() {
        for row in UnicodeTables.rows(UnicodeTables.canonical) {
            canonical[UInt32(row[0])] = row.dropFirst().map { UInt32($0) }
        }
        for row in UnicodeTables.rows(UnicodeTables.compatibility) {
            compatibility[UInt32(row[0])] = row.dropFirst().map { UInt32($0) }
        }
        for row in UnicodeTables.rows(UnicodeTables.compositions) {
            composed[UInt64(row[0]) << 32 | UInt64(row[1])] = UInt32(row[2])
        }
        for row in UnicodeTables.combiningClasses.split(separator: ";") {
            guard let space = row.firstIndex(of: " "), let number = UInt8(row[..<space], radix: 16) else { continue }
            for run in UnicodeTables.runs(row[space...]) {
                for point in run { markClass[UInt32(point)] = number }
            }
        }
    }

    func appendDecomposition(of point: UInt32, compatible: Bool, to points: inout [UInt32]) {
        if point < 0xA0 {
            points.append(point)
        } else if Hangul.syllables.contains(point) {
            let index = point - Hangul.syllables.lowerBound
            points.append(Hangul.leads.lowerBound + index / (21 * 28))
            points.append(Hangul.vowels.lowerBound + index % (21 * 28) / 28)
            if index % 28 != 0 { points.append(Hangul.trails.lowerBound + index % 28) }
        } else if let parts = compatible ? compatibility[point] ?? canonical[point] : canonical[point] {
            points += parts
        } else {
            points.append(point)
        }
    }

    /// Puts each run of marks in the order of their classes; equal classes keep their order.
    func sortMarks(_ points: inout [UInt32]) {
        var start = 0
        while start < points.count {
            guard classOf(points[start]) != 0 else {
                start += 1
                continue
            }
            var end = start
            while end < points.count, classOf(points[end]) != 0 { end += 1 }
            if end - start > 1 {
                let marks = points[start..<end].enumerated()
                    .sorted { (classOf($0.element), $0.offset) < (classOf($1.element), $1.offset) }
                points.replaceSubrange(start..<end, with: marks.map(\.element))
            }
            start = end
        }
    }

    func compose(_ points: inout [UInt32]) {
        var kept: [UInt32] = []
        kept.reserveCapacity(points.count)
        var starter: Int?
        var lastClass: UInt8 = 0
        for point in points {
            let markClass = classOf(point)
            if let place = starter, place == kept.count - 1 || (lastClass != 0 && lastClass < markClass),
                let joined = pair(kept[place], point)
            {
                kept[place] = joined
                continue
            }
            if markClass == 0 { starter = kept.count }
            lastClass = markClass
            kept.append(point)
        }
        points = kept
    }

    private func classOf(_ point: UInt32) -> UInt8 { point < 0x300 ? 0 : markClass[point] ?? 0 }

    private func pair(_ first: UInt32, _ second: UInt32) -> UInt32? {
        if Hangul.leads.contains(first), Hangul.vowels.contains(second) {
            let index = (first - Hangul.leads.lowerBound) * 21 + second - Hangul.vowels.lowerBound
            return Hangul.syllables.lowerBound + index * 28
        }
        if Hangul.syllables.contains(first), (first - Hangul.syllables.lowerBound) % 28 == 0,
            Hangul.trails.dropFirst().contains(second)
        {
            return first + second - Hangul.trails.lowerBound
        }
        return composed[UInt64(first) << 32 | UInt64(second)]
    }
}
