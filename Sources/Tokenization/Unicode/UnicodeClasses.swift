/// The classes of a code point that splitting asks for, several at once.
struct CharacterClass: OptionSet, Sendable {
    let rawValue: UInt8

    /// `\p{L}`.
    static let letter = CharacterClass(rawValue: 1)
    /// `\p{N}`.
    static let number = CharacterClass(rawValue: 2)
    /// `\s`.
    static let space = CharacterClass(rawValue: 4)
    /// `\w`: what an added token with `single_word` may not touch.
    static let word = CharacterClass(rawValue: 8)
    /// What the `Digits` pre-tokenizer takes; ``UnicodeVersion/digits`` is later than that of `\p{N}`.
    static let digit = CharacterClass(rawValue: 16)
    /// May change under NFC, alone or beside others.
    static let composing = CharacterClass(rawValue: 32)
    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what a word begins with, where case counts.
    static let head = CharacterClass(rawValue: 64)
    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what a word goes on with, where case counts.
    static let tail = CharacterClass(rawValue: 128)

    static let letterOrNumber: CharacterClass = [.letter, .number]
    static let notOther: CharacterClass = [.letter, .number, .space]
}

/// Code point to ``CharacterClass`` in two look-ups: a block of 256 code points, then an index into it.
struct UnicodeClasses: Sendable {
    static let shared = UnicodeClasses()

    private var blockOf: [UInt16]
    private var classes: [UInt8]

    private init() {
        var flat = [UInt8](repeating: 0, count: 0x110000)
        for scalar in UnicodeVersion.digits.characters(from: 0) {
            flat[Int(scalar.value)] = CharacterClass(of: scalar).rawValue
        }
        blockOf = []
        classes = []
        var known: [ArraySlice<UInt8>: UInt16] = [:]
        for start in stride(from: 0, to: flat.count, by: 256) {
            let block = flat[start..<start + 256]
            if let index = known[block] {
                blockOf.append(index)
                continue
            }
            let index = UInt16(classes.count / 256)
            known[block] = index
            blockOf.append(index)
            classes += block
        }
    }

    @inline(__always)
    subscript(point: UInt32) -> CharacterClass {
        let block = Int(blockOf[Int(point >> 8)])
        return CharacterClass(rawValue: classes[block << 8 | Int(point & 0xFF)])
    }
}

extension CharacterClass {
    /// By the standard library's properties, as far as each class's Unicode version knows the character.
    init(of scalar: Unicode.Scalar) {
        self = []
        let properties = scalar.properties
        let isKnown = UnicodeVersion.expressions.knows(scalar)
        var isWord = properties.isAlphabetic || properties.isJoinControl
        // Marks that compose, or move past one another, and the vowels and final consonants of Hangul.
        var composes = properties.canonicalCombiningClass != .notReordered || properties.isFullCompositionExclusion
        composes = composes || (0x1160..<0x1200).contains(scalar.value)
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
            guard isKnown else { break }
            insert(.letter)
            if properties.generalCategory != .lowercaseLetter { insert(.head) }
            if ![.uppercaseLetter, .titlecaseLetter].contains(properties.generalCategory) { insert(.tail) }
        case .decimalNumber:
            isWord = true
            formUnion(isKnown ? [.digit, .number] : .digit)
        case .letterNumber, .otherNumber:
            formUnion(isKnown ? [.digit, .number] : .digit)
        case .nonspacingMark, .spacingMark, .enclosingMark:
            isWord = true
            composes = true
            if isKnown { formUnion([.head, .tail]) }
        case .connectorPunctuation:
            isWord = true
        default: break
        }
        if composes { insert(.composing) }
        if isKnown && isWord { insert(.word) }
        if isKnown && properties.isWhitespace { insert(.space) }
    }
}

/// The code point that starts at `index` of valid UTF-8, and its length in bytes.
@inline(__always)
func scalar(in bytes: [UInt8], at index: Int) -> (point: UInt32, width: Int) {
    let first = UInt32(bytes[index])
    if first < 0x80 { return (first, 1) }
    let second = UInt32(bytes[index + 1] & 0x3F)
    if first < 0xE0 { return ((first & 0x1F) << 6 | second, 2) }
    let third = UInt32(bytes[index + 2] & 0x3F)
    if first < 0xF0 { return ((first & 0x0F) << 12 | second << 6 | third, 3) }
    return ((first & 0x07) << 18 | second << 12 | third << 6 | UInt32(bytes[index + 3] & 0x3F), 4)
}

/// Appends a code point as UTF-8.
func appendScalar(_ point: UInt32, to bytes: inout [UInt8]) {
    switch point {
    case ..<0x80: bytes.append(UInt8(point))
    case ..<0x800: bytes += [UInt8(0xC0 | point >> 6), UInt8(0x80 | point & 0x3F)]
    case ..<0x10000: bytes += [UInt8(0xE0 | point >> 12), UInt8(0x80 | point >> 6 & 0x3F), UInt8(0x80 | point & 0x3F)]
    default:
        bytes += [
            UInt8(0xF0 | point >> 18), UInt8(0x80 | point >> 12 & 0x3F), UInt8(0x80 | point >> 6 & 0x3F),
            UInt8(0x80 | point & 0x3F),
        ]
    }
}
