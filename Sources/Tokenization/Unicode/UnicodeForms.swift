import Foundation

/// The four Unicode normalization forms (UAX #15) over UTF-8 bytes, as the `tokenizers` library has them: for the
/// characters of Unicode 9; whatever came later stays as it is.
///
/// Foundation knows how a single character decomposes, no more is asked of it: of whole texts its forms leave a Hangul
/// syllable apart from its final consonant and put some Tibetan marks out of order.
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
        /// The first of these is no final consonant but the code point before them.
        static let trails: Range<UInt32> = 0x11A7..<0x11A7 + 28
    }

    /// Full decompositions of the characters that have one, and the compatible ones where they differ.
    private var canonical: [UInt32: [UInt32]] = [:]
    private var compatibility: [UInt32: [UInt32]] = [:]
    /// `first << 32 | second` to the character that both compose to.
    private var composed: [UInt64: UInt32] = [:]
    private var markClass: [UInt32: UInt8] = [:]

    private init() {
        let scalars = UnicodeVersion.normalization.characters(from: 0xA0).filter {
            !Hangul.syllables.contains($0.value) && !$0.properties.isUnifiedIdeograph
        }
        // One call for all: between two of them stands a character that takes part in nothing.
        let joined = scalars.map { String(Character($0)) }.joined(separator: "\0")
        let separate = { (text: String) in text.unicodeScalars.split(separator: "\0").map { $0.map(\.value) } }
        let canonicals = separate(joined.decomposedStringWithCanonicalMapping)
        let compatibles = separate(joined.decomposedStringWithCompatibilityMapping)
        /// By their full decompositions: how one of two parts is found in one of three.
        var composites: [[UInt32]: UInt32] = [:]
        for (scalar, (parts, compatible)) in zip(scalars, zip(canonicals, compatibles)) {
            let mark = scalar.properties.canonicalCombiningClass.rawValue
            if mark != 0 { markClass[scalar.value] = mark }
            if compatible != parts { compatibility[scalar.value] = compatible }
            guard parts != [scalar.value] else { continue }
            canonical[scalar.value] = parts
            if !scalar.properties.isFullCompositionExclusion { composites[parts] = scalar.value }
        }
        for (parts, whole) in composites {
            let first = parts.count == 2 ? parts[0] : composites[Array(parts.dropLast())]
            if let first { composed[UInt64(first) << 32 | UInt64(parts[parts.count - 1])] = whole }
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
            if let starter, starter == kept.count - 1 || (lastClass != 0 && lastClass < markClass),
                let joined = pair(kept[starter], point)
            {
                kept[starter] = joined
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
