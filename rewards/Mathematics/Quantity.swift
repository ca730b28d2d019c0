/// A number with what may stand behind it: a percent sign, a scale word, a unit.
struct Quantity {
    let number: RealNumber
    let isPercent: Bool
    /// The unit in one spelling, when it is one that could be mistaken for another (`cm` and `m`).
    let unit: String?

    /// Reads all of `bytes`; `nil` when something is left that is no unit.
    init?(_ bytes: [UInt8]) {
        var reader = ExpressionReader(bytes)
        guard let value = reader.sum() else { return nil }
        let rest = String(decoding: bytes[reader.at...], as: UTF8.self)
        guard let suffix = Suffix(rest) else { return nil }
        // In "1 + 2m" the letter is a variable.
        let isSum = bytes[..<reader.at].dropFirst().contains { "+-".utf8.contains($0) }
        let letters = rest.filter { $0 != " " }
        if isSum, letters.count == 1, letters.allSatisfy(\.isLetter) { return nil }
        self.init(value, suffix)
    }

    init?(_ value: RealNumber, _ suffix: Suffix) {
        guard let number = suffix.scale == 1 ? value : value.multiplied(by: RealNumber(Rational(suffix.scale))) else {
            return nil
        }
        self.number = number
        isPercent = suffix.isPercent
        unit = suffix.unit
    }

    /// Whether both are the same amount. Units that are known and differ are different; a unit on one side only is no
    /// difference. 25 % is 0.25, and also 25 where the other side leaves the sign away.
    func means(_ other: Quantity) -> Bool {
        if let unit, let second = other.unit, unit != second { return false }
        if number.means(other.number) { return true }
        guard isPercent != other.isPercent else { return false }
        let (percent, plain) = isPercent ? (number, other.number) : (other.number, number)
        return percent.multiplied(by: RealNumber(Rational(1, over: 100)!))?.means(plain) == true
    }
}

extension Quantity {
    /// What stands behind a number.
    struct Suffix {
        var scale: Int128 = 1
        var isPercent = false
        var unit: String?

        /// `nil` when `text` is more than a scale word and a unit of a few words.
        init?(_ text: String) {
            let joined = text.replacing(" ^", with: "^")
            var words = joined.lowercased().split { " \n.()".contains($0) }.map(String.init)
            if let first = words.first, let factor = Self.scales[first] {
                scale = factor
                words.removeFirst()
            }
            guard words.count <= 5 else { return nil }
            if words.first == "%" || words.first == "percent" || words.first == "\\%" {
                isPercent = true
                words.removeFirst()
            }
            guard words.allSatisfy(Self.isUnitWord) else { return nil }
            if words.count == 1, Self.couldBeVariables(words[0]), joined.contains(where: \.isLowercase) { return nil }
            unit = words.first.flatMap { Self.units[$0] }
        }

        /// Letters, with `/`, `-`, `'`, a degree sign and an exponent of one digit.
        private static func isUnitWord(_ word: String) -> Bool {
            if notUnits.contains(word) { return false }
            let degree = Character(UnicodeScalar(PlainMath.degree))
            let allowed = word.allSatisfy { $0.isLetter || "/-'^23".contains($0) || $0 == degree }
            let begins = word.first.map { $0.isLetter || $0 == "/" || $0 == degree || $0 == "^" } ?? false
            return allowed && begins
        }

        /// One or two letters that are no known unit: `x` and `xy` behind a number are variables.
        private static func couldBeVariables(_ word: String) -> Bool {
            word.count <= 2 && word.allSatisfy(\.isLetter) && units[word] == nil && !shortUnits.contains(word)
        }

        private static let shortUnits: Set = [
            "am", "pm", "hz", "kw", "kb", "mb", "gb", "tb", "hp", "pt", "px", "ev", "nm", "dm", "ha", "cc", "pa", "mv",
            "ma",
            "ms", "us", "ns", "cl", "dl", "sq", "bp", "rs",
        ]

        private static let scales: [String: Int128] = [
            "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000, "trillion": 1_000_000_000_000,
        ]

        /// Words that make the text say something else than one amount.
        private static let notUnits: Set = [
            "or", "and", "to", "not", "but", "plus", "minus", "times", "is", "was", "no", "wrong", "than", "if",
            "maybe",
        ]

        /// Units that differ from one another by a factor.
        private static let units: [String: String] = {
            let spellings: [[String]] = [
                ["mm", "millimeter", "millimetre"], ["cm", "centimeter", "centimetre"], ["m", "meter", "metre"],
                ["km", "kilometer", "kilometre"], ["in", "inch", "inche"], ["ft", "foot", "feet"], ["yd", "yard"],
                ["mi", "mile"], ["mg", "milligram"], ["g", "gram"], ["kg", "kilogram"], ["lb", "pound"],
                ["oz", "ounce"],
                ["ml", "milliliter", "millilitre"], ["l", "liter", "litre"], ["gallon"], ["s", "sec", "second"],
                ["min", "minute"], ["h", "hr", "hour"], ["day"], ["week"], ["month"], ["year"], ["cent"], ["dollar"],
                ["cm^2"], ["m^2"], ["cm^3"], ["m^3"], ["km/h", "kmh", "kph"], ["mph"], ["m/s"],
            ]
            var table: [String: String] = [:]
            for names in spellings {
                for name in names {
                    table[name] = names[0]
                    table[name + "s"] = table[name + "s"] ?? names[0]
                }
            }
            table["ms"] = nil  // metres or milliseconds
            return table
        }()
    }
}
