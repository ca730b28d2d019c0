/// An equation in plain bytes: whether it answers with one of its sides or as a whole.
struct Equation {
    /// The side that is the answer, as behind `x =`, `f(x) =`, `(x, y) =` or `24/2 =`; `nil` when the equation as a
    /// whole is, as that of a line or a circle.
    let value: [UInt8]?
    /// Both sides of one equation that answers as a whole; none of any other.
    let sides: [[UInt8]]
    /// Whether such an equation tells a value where one was asked for, as `m + n = 113` tells 113. Not when `= 0`
    /// is but its usual form, as in `2x - y + 3 = 0`, or when its right side is no number.
    let tellsValue: Bool
    /// Left side minus right side at the points of ``MathAnswer/values(of:)``.
    let differences: [Double]?

    /// Longer sides are no equation that anyone answers with.
    private static let lengthLimit = 600

    /// `nil` without a `=` outside brackets that has one side on its left, or when it belongs to `<=` or `>=`.
    init?(_ bare: [UInt8]) {
        let signs = Self.signs(in: bare)
        guard let last = signs.last, last + 1 < bare.count, !Self.isComparison(bare, last),
            MathAnswer.split(bare[..<last]).count == 1, !bare[..<last].contains(PlainMath.rowEnd)
        else { return nil }
        // Of "x = 2 + 3 = 5" the first side is x, the left one 2 + 3.
        let equals = signs.filter { !Self.isComparison(bare, $0) }
        let first = MathAnswer.undressed(Array(bare[..<equals[0]]))
        let start = equals.dropLast().last.map { $0 + 1 } ?? 0
        let left = MathAnswer.undressed(Array(bare[start..<last]))
        let right = MathAnswer.undressed(Array(bare[(last + 1)...]))
        let sides = Sides(first: first, left: left, right: right)
        value = sides.value
        self.sides = value == nil && equals.count == 1 ? [left, right] : []
        tellsValue = sides.tellsValue
        differences = value == nil && equals.count > 1 ? nil : sides.differences
    }

    private static func signs(in bare: [UInt8]) -> [Int] {
        var depth = 0
        return bare.indices.filter { index in
            depth += bare[index].bracketStep
            return depth <= 0 && bare[index] == UInt8(ascii: "=")
        }
    }

    private static func isComparison(_ bare: [UInt8], _ sign: Int) -> Bool {
        sign > 0 && "<>".utf8.contains(bare[sign - 1])
    }

    /// Whether one is the other times a number, as the differences of `2x = 4y` and `x = 2y` are.
    static func areProportional(_ left: [Double], _ right: [Double]) -> Bool {
        guard let index = left.indices.max(by: { abs(left[$0]) < abs(left[$1]) }) else { return false }
        guard abs(left[index]) > 1e-9, abs(right[index]) > 1e-9 else { return false }  // x = x says nothing
        return MathAnswer.close(left.map { $0 / left[index] }, right.map { $0 / right[index] })
    }
}

extension Equation {
    private struct Sides {
        let first: [UInt8]
        let left: [UInt8]
        let right: [UInt8]

        var value: [UInt8]? {
            guard !left.isEmpty, first.count + left.count + right.count <= lengthLimit else { return right }
            let letters = Self.letters(in: left)
            if letters == 0 {
                // "24/2 = 12", "5 = x", but "25 = x^2 + y^2".
                guard Quantity(right) == nil, MathAnswer.samples(of: right) != nil else { return right }
                return Self.isName(right) ? left : nil
            }
            // "Total cost = 5" is no mathematics on its left.
            if letters > 2 || Self.isName(left) || Self.isName(first) { return right }
            if Quantity(left)?.unit != nil, Quantity(right)?.unit != nil { return right }  // 5 cm = 50 mm
            if let left = MathAnswer.values(of: left), let right = MathAnswer.values(of: right) {
                return MathAnswer.close(left, right) ? self.right : nil
            }
            let hasOperator = left.contains { "+-*/".utf8.contains($0) } || left[0].isDigit
            return hasOperator ? nil : right
        }

        var tellsValue: Bool {
            // Names alone are no equation of a line: "m + n = 0", "A + B = (3, 4)", "S_10 - S_9 = 0", "f(1) + f(2) = 0".
            let number = Quantity(right)?.number.value ?? 0
            return number != 0 || !left.indices.contains { left[$0].isDigit && !isPartOfName($0) }
        }

        /// Whether a digit of the left side belongs to an index, as in `a_10`, or is an argument, as in `f(2)`.
        private func isPartOfName(_ digit: Int) -> Bool {
            guard let before = left[..<digit].lastIndex(where: { !$0.isDigit }) else { return false }
            if left[before] == UInt8(ascii: "_") { return true }
            let end = left[digit...].firstIndex { !$0.isDigit } ?? left.count
            return left[before] == UInt8(ascii: "(") && before > 0 && left[before - 1].isLetter && end < left.count
                && left[end] == UInt8(ascii: ")")
        }

        var differences: [Double]? {
            guard first.count + right.count <= lengthLimit, let left = MathAnswer.values(of: first),
                let right = MathAnswer.values(of: right)
            else { return nil }
            return zip(left, right).map { $0 - $1 }
        }

        /// How many letters stand together at most; 0 when all of them belong to commands and sqrt, as in `\log_2 8`.
        private static func letters(in side: [UInt8]) -> Int {
            var (longest, run, index) = (0, 0, 0)
            while index < side.count {
                if side[index] == UInt8(ascii: "\\") {
                    let end = side[(index + 1)...].firstIndex { $0 >= 0x80 || !$0.isLetter } ?? side.count
                    run = greek.contains(String(decoding: side[(index + 1)..<end], as: UTF8.self)) ? 1 : 0
                    index = end
                } else if side[index...].starts(with: "sqrt".utf8) {
                    run = 0
                    index += 4
                } else {
                    run = side[index].isLetter ? run + 1 : 0
                    index += 1
                }
                longest = max(longest, run)
            }
            return longest
        }

        private static let greek: Set = [
            "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu",
            "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega",
        ]

        /// Whether `side` only names what the other side says: `x`, `x_1`, `AB`, `\theta`, `|v|`, `f(x)`, `P(A)`,
        /// `dy/dx`, `(x, y)`.
        private static func isName(_ side: [UInt8]) -> Bool {
            let (inner, bracket) = MathAnswer.unbracketed(side)
            if bracket == .round, inner.contains(UInt8(ascii: ",")) {
                return MathAnswer.split(inner).allSatisfy { isName($0) }
            }
            let text = String(decoding: side.filter { !$0.isSpace }, as: UTF8.self)
            var name = Array(text.replacing("^(-1)", with: "").replacing("^-1", with: "").utf8)[...]
            if isDerivative(name) || isOfSegments(name) { return true }
            if name.count > 2, name.first == UInt8(ascii: "|"), name.last == UInt8(ascii: "|") {
                name = name.dropFirst().dropLast()
            }
            let head = name.prefix { $0 != UInt8(ascii: "(") }
            let argument = name.dropFirst(head.count)
            guard isHead(head) else { return false }
            guard !argument.isEmpty else { return true }
            guard MathAnswer.unbracketed(Array(argument)).bracket == .round else { return false }
            // "f(2x)" is a value of a function, "x(x+1)" is a product.
            let isSum = argument.contains { "+-*/^".utf8.contains($0) }
            return !isSum || head.count > 1 || !(argument + Array("xyz".utf8)).contains(head[head.startIndex])
        }

        /// A letter or several capitals, maybe with an index or primes, or a command.
        private static func isHead(_ head: ArraySlice<UInt8>) -> Bool {
            if head.contains(UInt8(ascii: "\\")) {
                return head.first?.isDigit == false && !head.contains { "+-*/^<>|".utf8.contains($0) }
            }
            let letters = head.prefix { $0.isLetter }
            let small = letters.count { $0 >= UInt8(ascii: "a") && $0 < 0x80 }
            let capitals = letters.count { $0 < UInt8(ascii: "a") }
            guard !letters.isEmpty, small == 0 || small + capitals == 1 else { return false }
            let rest = head.dropFirst(letters.count)
            if rest.first != UInt8(ascii: "_") { return rest.allSatisfy { $0.isDigit || $0 == UInt8(ascii: "'") } }
            // PlainMath takes the braces off "a_{n+1}".
            let index = rest.dropFirst().split(omittingEmptySubsequences: false) { "+-".utf8.contains($0) }
            return index.count <= 2 && index[0].allSatisfy { $0.isLetter || $0.isDigit }
                && index.dropFirst().allSatisfy { !$0.isEmpty && $0.allSatisfy(\.isDigit) }
        }

        /// `\frac{AB}{CD}`, `AB + BC`, `AB^2`: several capitals name one length, or another measure of a figure.
        private static func isOfSegments(_ name: ArraySlice<UInt8>) -> Bool {
            let names = name.split { !$0.isLetter }
            let isCapital = { (byte: UInt8) in (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }
            let hasFactor = name.indices.contains { index in
                name[index].isDigit && (index == name.startIndex || name[index - 1] != UInt8(ascii: "^"))
            }
            return !names.isEmpty && !hasFactor && names.allSatisfy { $0.count > 1 && $0.allSatisfy(isCapital) }
        }

        /// `dy/dx`, `\frac{dy}{dx}`.
        private static func isDerivative(_ name: ArraySlice<UInt8>) -> Bool {
            let marks = [PlainMath.fractionOpens, PlainMath.fractionBar, PlainMath.fractionCloses, UInt8(ascii: "/")]
            let letters = name.filter { !marks.contains($0) }
            let d = UInt8(ascii: "d")
            return name.count > 4 && letters.count == 4 && letters.allSatisfy(\.isLetter) && letters[0] == d
                && letters[2] == d
        }
    }
}
