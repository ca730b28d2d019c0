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
        // In "1 + 2m" and "1 + 2m^2" the letter is a variable, in "4 + 2√3 m^2" a unit.
        let isSum = bytes[..<reader.at].dropFirst().contains { "+-".utf8.contains($0) }
        let letters = rest.filter { $0 != " " }
        let isOneLetter = letters.first?.isLetter == true && letters.dropFirst().allSatisfy { "^(23)".contains($0) }
        if isSum, isOneLetter, letters.count == 1 || rest.first != " " { return nil }
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
            let joined = Self.joined(text)
            var words = joined.lowercased().split { " \n.()".contains($0) }.map(String.init)
            // In "2x" and "2(x)" nothing parts the number from its letters, nor does it in "5cm".
            var isAttached = text.first.map { $0.isCased || $0 == "(" } ?? false
            if let first = words.first, let factor = Self.scales[first] {
                scale = factor
                words.removeFirst()
                isAttached = false
            }
            guard words.count <= 5 else { return nil }
            if words.first == "%" || words.first == "percent" || words.first == "\\%" {
                isPercent = true
                words.removeFirst()
                isAttached = false
            }
            guard words.allSatisfy(Self.isUnitWord) else { return nil }
            let couldBeCapitals = words.count == 1 && !joined.contains(where: \.isLowercase)  // "5 N"
            let isSymbol = couldBeCapitals && ["n", "j", "w", "v", "a", "k", "c", "f"].contains(words[0])  // "5N"
            if isAttached, !isSymbol, let first = words.first, !Self.isKnown(first) { return nil }
            let parts = words.flatMap { $0.split { "/-".contains($0) } }
            if !parts.isEmpty, !couldBeCapitals, parts.allSatisfy(Self.couldBeVariables) { return nil }
            unit = words.first.flatMap { Self.units[$0] }
        }

        /// In one spelling: `cm ^2` and `cm^(2)` are `cm^2`, `km / h` is `km/h`.
        private static func joined(_ text: String) -> String {
            var joined = text
            for (loose, tight) in [(" ^", "^"), ("^(2)", "^2"), ("^(3)", "^3"), (" /", "/"), ("/ ", "/")] {
                while joined.contains(loose) { joined = joined.replacing(loose, with: tight) }
            }
            return joined
        }

        /// Letters, joined by `/` or `-` or not; behind a length also an exponent. `/day` needs no unit before it.
        private static func isUnitWord(_ word: String) -> Bool {
            var parts = word.split(separator: "/", omittingEmptySubsequences: false)
            if parts.count > 1, parts[0].isEmpty {
                parts.removeFirst()
                guard parts[0].count > 2 || parts[0].count == 2 && isKnown(word) else { return false }  // not "3/x"
            }
            return parts.enumerated().allSatisfy { index, part in
                let name = withoutExponent(part)
                let isSquare = name.endIndex < part.endIndex
                if isSquare, !isLength(name), index == 0 || !seconds.contains(String(name)) { return false }
                let pieces = name.split(separator: "-", omittingEmptySubsequences: false)
                return pieces.allSatisfy { isLetters($0) && (pieces.count == 1 || $0.count > 1) }
            }
        }

        private static func isLetters(_ piece: Substring) -> Bool {
            if notUnits.contains(String(piece)) { return false }
            let begins = piece.first.map { $0.isLetter || $0 == degree } ?? false
            return begins && piece.allSatisfy { $0.isLetter || $0 == "'" || $0 == degree }
        }

        private static func withoutExponent(_ part: Substring) -> Substring {
            part.hasSuffix("^2") || part.hasSuffix("^3") ? part.dropLast(2) : part
        }

        /// Whether each part of `word` is a unit of the tables: `cm`, `cm^2`, `m/s`.
        private static func isKnown(_ word: String) -> Bool {
            word.split(separator: "/").allSatisfy { part in
                let name = String(withoutExponent(part))
                return units[name] != nil || moreUnits.contains(name) || name.first == degree
            }
        }

        private static func isLength(_ name: Substring) -> Bool {
            let unit = units[String(name)] ?? String(name)
            return ["mm", "cm", "dm", "m", "km", "in", "ft", "yd", "mi", "unit", "units"].contains(unit)
        }

        /// One or two letters that are no known unit: `x` and `xy` behind a number are variables.
        private static func couldBeVariables(_ part: Substring) -> Bool {
            part.count <= 2 && part.allSatisfy { $0.isCased || $0 == "'" } && !isKnown(String(part))
        }

        private static let degree = Character(UnicodeScalar(PlainMath.degree))
        private static let seconds: Set = ["s", "sec", "second"]

        /// Units without a table of their own, and what may stand right behind a number.
        private static let moreUnits: Set = [
            "am", "pm", "hz", "kw", "kb", "mb", "gb", "tb", "hp", "pt", "px", "ev", "nm", "dm", "ha", "cc", "pa", "mv",
            "ma",
            "ms", "us", "ns", "cl", "dl", "sq", "bp", "rs", "deg", "degree", "degrees", "rad", "mol", "kwh", "khz",
            "mhz", "ghz", "kpa", "mpa", "rpm", "psi", "cal", "kcal", "mbps", "yr", "yrs", "gal", "usd", "eur", "gbp",
            "unit", "units", "percent", "people", "persons", "apples", "yuan", "newton", "newtons",
        ]

        private static let scales: [String: Int128] = [
            "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000, "trillion": 1_000_000_000_000,
        ]

        /// Words that make the text say something else than one amount.
        private static let notUnits: Set = [
            "or", "and", "to", "not", "but", "plus", "minus", "times", "is", "was", "no", "wrong", "than", "if",
            "maybe",
            "sqrt", "sin", "cos", "tan", "cot", "csc", "arcsin", "arccos", "arctan", "log", "ln", "exp", "mod",
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
