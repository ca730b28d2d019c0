import Foundation

/// The value of expressions.
extension JinjaRenderer {
    /// - Parameter blockText: what a filter without a value of its own is applied to.
    func evaluate(
        _ expression: JinjaExpression, _ scope: JinjaScope, blockText: JinjaValue? = nil
    ) throws -> JinjaValue {
        try countStep(expression.line)
        let result = try compute(expression, scope, blockText)
        switch expression.kind {
        case .list, .object, .binary, .filter, .call, .slice: try countValue(expression.line, result)
        default: break
        }
        return result
    }

    private func compute(
        _ expression: JinjaExpression, _ scope: JinjaScope, _ blockText: JinjaValue?
    ) throws -> JinjaValue {
        let line = expression.line
        switch expression.kind {
        case .none: return .null
        case .bool(let flag): return .bool(flag)
        case .integer(let number): return .integer(number)
        case .double(let number): return .double(number)
        case .string(let text): return .string(text)
        case .name(let name): return scope.find(name) ?? .undefined(name)
        case .list(let items, let isTuple): return .list(try items.map { try evaluate($0, scope) }, isTuple: isTuple)
        case .object(let members): return try object(members, scope, line)
        case .attribute(let value, let name): return try attribute(try evaluate(value, scope), name, line)
        case .item(let value, let key): return try item(try evaluate(value, scope), try evaluate(key, scope), line)
        case .slice(let value, let start, let stop, let step):
            let bounds = try [start, stop, step].map { try $0.map { try evaluate($0, scope) } ?? .null }
            return try slice(try evaluate(value, scope), bounds, line)
        case .call(let callee, let arguments):
            let function = try evaluate(callee, scope)
            let (positional, named) = try values(of: arguments, scope)
            return try call(function, positional, named, line)
        case .filter(let value, let name, let arguments):
            let input = try value.map { try evaluate($0, scope, blockText: blockText) } ?? blockText ?? .undefined(name)
            let (positional, named) = try values(of: arguments, scope)
            return try JinjaFilters(renderer: self, line: line, name: name, arguments: positional, named: named)
                .apply(to: input)
        case .test(let value, let name, let arguments, let isNegated):
            let (positional, _) = try values(of: arguments, scope)
            let holds = try JinjaTests(renderer: self, line: line)
                .check(try evaluate(value, scope), name, positional)
            return .bool(holds != isNegated)
        case .not(let value): return .bool(!(try evaluate(value, scope).isTrue))
        case .sign(let value, let isNegative): return try sign(try evaluate(value, scope), isNegative, line)
        case .binary(let symbol, let left, let right):
            return try arithmetic(symbol, try evaluate(left, scope), try evaluate(right, scope), line)
        case .and(let left, let right):
            let value = try evaluate(left, scope)
            return value.isTrue ? try evaluate(right, scope) : value
        case .or(let left, let right):
            let value = try evaluate(left, scope)
            return value.isTrue ? value : try evaluate(right, scope)
        case .concatenation(let parts):
            var text = ""
            for part in parts {
                let next = try evaluate(part, scope).printed
                try countText(line, text.utf8.count + next.utf8.count)
                text += next
            }
            return .string(text)
        case .comparison(let first, let links):
            var left = try evaluate(first, scope)
            for (symbol, expression) in links {
                let right = try evaluate(expression, scope)
                guard try compare(symbol, left, right, line) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .conditional(let value, let condition, let otherwise):
            if try evaluate(condition, scope).isTrue { return try evaluate(value, scope) }
            return try otherwise.map { try evaluate($0, scope) } ?? .undefined("the else of an if")
        }
    }

    private func values(
        of arguments: JinjaArguments, _ scope: JinjaScope
    ) throws -> ([JinjaValue], [(name: String, value: JinjaValue)]) {
        (
            try arguments.positional.map { try evaluate($0, scope) },
            try arguments.named.map { ($0.name, try evaluate($0.value, scope)) }
        )
    }

    private func object(
        _ members: [(key: JinjaExpression, value: JinjaExpression)], _ scope: JinjaScope, _ line: Int
    ) throws -> JinjaValue {
        var result: [(key: String, value: JinjaValue)] = []
        try countStep(line, members.count * members.count >> 5)  // each key is looked for among those before
        for (keyExpression, valueExpression) in members {
            guard let key = try evaluate(keyExpression, scope).text else {
                throw error(line, "a key that is no string; keys of a mapping are strings here")
            }
            let value = try evaluate(valueExpression, scope)
            if let index = result.firstIndex(where: { $0.key.utf8.elementsEqual(key.utf8) }) {
                result[index].value = value
            } else {
                result.append((key, value))
            }
        }
        return .object(result)
    }

    /// `value.name`: a method first, then a member.
    func attribute(_ value: JinjaValue, _ name: String, _ line: Int) throws -> JinjaValue {
        switch value {
        case .undefined: throw error(line, "\(value.typeName) has no member \"\(name)\"")
        case .loop(let loop): return loop.member(name)
        case .namespace(let namespace):
            return namespace.members.first { $0.key == name }?.value ?? .undefined(name)
        default:
            if JinjaMethods.has(name, value) { return .function(.method(value, name)) }
            return value.member(name) ?? .undefined(name)
        }
    }

    /// `value[key]`: a member first, then a method.
    func item(_ value: JinjaValue, _ key: JinjaValue, _ line: Int) throws -> JinjaValue {
        if case .undefined = value { throw error(line, "\(value.typeName) has no items") }
        if let name = key.text {
            return try value.member(name) ?? attribute(value, name, line)
        }
        guard let given = key.whole else { return .undefined(key.represented) }
        switch value {
        case .list(let items, _):
            let index = given < 0 ? items.count + given : given
            return items.indices.contains(index) ? items[index] : .undefined("item \(given)")
        case .string(let text):
            let scalars = Array(text.unicodeScalars)
            let index = given < 0 ? scalars.count + given : given
            return scalars.indices.contains(index) ? .string(String(scalars[index])) : .undefined("item \(given)")
        default: return .undefined("item \(given)")
        }
    }

    private func slice(_ value: JinjaValue, _ bounds: [JinjaValue], _ line: Int) throws -> JinjaValue {
        var numbers: [Int?] = []
        for bound in bounds {
            if case .null = bound {
                numbers.append(nil)
            } else if let number = bound.whole {
                numbers.append(number)
            } else {
                throw error(line, "a slice with \(bound.typeName); expected an integer")
            }
        }
        let step = numbers[2] ?? 1
        guard step != 0 else { throw error(line, "a slice with step 0") }
        switch value {
        case .list(let items, let isTuple):
            return .list(Self.sliced(items, numbers[0], numbers[1], step), isTuple: isTuple)
        case .string(let text):
            let scalars = Self.sliced(Array(text.unicodeScalars), numbers[0], numbers[1], step)
            return .string(String(String.UnicodeScalarView(scalars)))
        default: throw error(line, "a slice of \(value.typeName); expected a list or a string")
        }
    }

    private static func sliced<Item>(_ items: [Item], _ start: Int?, _ stop: Int?, _ step: Int) -> [Item] {
        let lowest = step > 0 ? 0 : -1
        let highest = step > 0 ? items.count : items.count - 1
        func bound(_ index: Int?, _ fallback: Int) -> Int {
            guard let index else { return fallback }
            let (shifted, overflows) = index.addingReportingOverflow(items.count)
            return min(max(index < 0 ? (overflows ? lowest : shifted) : index, lowest), highest)
        }
        let first = bound(start, step > 0 ? lowest : highest)
        let last = bound(stop, step > 0 ? highest : lowest)
        return stride(from: first, to: last, by: step).map { items[$0] }
    }

    private func sign(_ value: JinjaValue, _ isNegative: Bool, _ line: Int) throws -> JinjaValue {
        if let number = value.whole {
            guard isNegative else { return .integer(number) }
            return try arithmetic("-", .integer(0), .integer(number), line)
        }
        guard let number = value.number else { throw error(line, "a sign before \(value.typeName); expected a number") }
        return .double(isNegative ? -number : number)
    }

    func compare(_ symbol: String, _ left: JinjaValue, _ right: JinjaValue, _ line: Int) throws -> Bool {
        try countValue(line, left)
        try countValue(line, right)
        switch symbol {
        case "==": return left.isEqual(to: right)
        case "!=": return !left.isEqual(to: right)
        case "in": return try contains(right, left, line)
        case "not in": return !(try contains(right, left, line))
        case "<": return try precedes(left, right, line)
        case ">": return try precedes(right, left, line)
        case "<=": return try precedes(left, right, line) || left.isEqual(to: right)
        default: return try precedes(right, left, line) || left.isEqual(to: right)
        }
    }

    private func contains(_ container: JinjaValue, _ value: JinjaValue, _ line: Int) throws -> Bool {
        switch container {
        case .undefined: return false
        case .list(let items, _): return items.contains { $0.isEqual(to: value) }
        case .object: return value.text.map { container.member($0) != nil } ?? false
        case .string(let text):
            guard let part = value.text else { throw error(line, "\(value.typeName) in a string; expected a string") }
            return Array(text.utf8).firstPosition(of: Array(part.utf8)) != nil
        default: throw error(line, "\"in\" with \(container.typeName); expected a list, mapping or string")
        }
    }

    func precedes(_ left: JinjaValue, _ right: JinjaValue, _ line: Int) throws -> Bool {
        if let a = left.whole, let b = right.whole { return a < b }
        if let a = left.number, let b = right.number { return a < b }
        if let a = left.text, let b = right.text { return a.unicodeScalars.lexicographicallyPrecedes(b.unicodeScalars) }
        if case .list(let a, _) = left, case .list(let b, _) = right {
            for (x, y) in zip(a, b) where !x.isEqual(to: y) { return try precedes(x, y, line) }
            return a.count < b.count
        }
        throw error(line, "\(left.typeName) compared with \(right.typeName)")
    }

    func arithmetic(_ symbol: String, _ left: JinjaValue, _ right: JinjaValue, _ line: Int) throws -> JinjaValue {
        switch (symbol, left, right) {
        case ("+", .string(let a), .string(let b)):
            try countText(line, a.utf8.count + b.utf8.count)
            return .string(a + b)
        case ("+", .list(let a, let isTuple), .list(let b, let otherIsTuple)) where isTuple == otherIsTuple:
            try countStep(line, a.count + b.count)
            return .list(a + b, isTuple: isTuple)
        case ("*", .string(let text), .integer(let count)), ("*", .integer(let count), .string(let text)):
            guard count < 1 || text.utf8.count <= Self.longestText / count else {
                throw error(line, "a string too long")
            }
            try countStep(line, max(0, count))
            return .string(String(repeating: text, count: max(0, count)))
        case ("*", .list(let items, let isTuple), .integer(let count)):
            guard count < 1 || items.count <= 1 << 20 / count else { throw error(line, "a list too long") }
            try countStep(line, items.count * max(0, count))
            return .list(Array(repeating: items, count: max(0, count)).flatMap { $0 }, isTuple: isTuple)
        default: break
        }
        if symbol != "/", let a = left.whole, let b = right.whole { return try integers(symbol, a, b, line) }
        guard let a = left.number, let b = right.number else {
            throw error(line, "\(left.typeName) \(symbol) \(right.typeName) is not supported")
        }
        guard b != 0 || !["/", "//", "%"].contains(symbol) else { throw error(line, "a division by zero") }
        switch symbol {
        case "+": return .double(a + b)
        case "-": return .double(a - b)
        case "*": return .double(a * b)
        case "/": return .double(a / b)
        case "//": return .double((a / b).rounded(.down))
        case "%": return .double(a - (a / b).rounded(.down) * b)
        default: return .double(pow(a, b))
        }
    }

    private func integers(_ symbol: String, _ a: Int, _ b: Int, _ line: Int) throws -> JinjaValue {
        var result: (partialValue: Int, overflow: Bool)
        switch symbol {
        case "+": result = a.addingReportingOverflow(b)
        case "-": result = a.subtractingReportingOverflow(b)
        case "*": result = a.multipliedReportingOverflow(by: b)
        case "**":
            guard b >= 0 else { return .double(pow(Double(a), Double(b))) }
            result = (1, b > 4_096)
            for _ in 0..<min(b, 4_096) where !result.overflow {
                result = result.partialValue.multipliedReportingOverflow(by: a)
            }
        default:
            guard b != 0 else { throw error(line, "a division by zero") }
            let (quotient, overflow) = a.dividedReportingOverflow(by: b)
            guard !overflow else { throw error(line, "an integer beyond 64 bits") }
            let remainder = a - quotient * b
            // Python rounds down: the remainder has the sign of the divisor.
            let isShifted = remainder != 0 && (remainder < 0) != (b < 0)
            result = (symbol == "//" ? quotient - (isShifted ? 1 : 0) : remainder + (isShifted ? b : 0), false)
        }
        guard !result.overflow else { throw error(line, "an integer beyond 64 bits") }
        return .integer(result.partialValue)
    }
}

extension [UInt8] {
    /// Where `part` first stands.
    func firstPosition(of part: [UInt8], from start: Int = 0) -> Int? {
        guard count - start >= part.count else { return nil }
        guard !part.isEmpty else { return start }
        // Knuth, Morris and Pratt: linear, whatever repeats itself in text and part.
        var fallback = [0]
        var matched = 0
        for byte in part.dropFirst() {
            while matched > 0, byte != part[matched] { matched = fallback[matched - 1] }
            if byte == part[matched] { matched += 1 }
            fallback.append(matched)
        }
        matched = 0
        for index in start..<count {
            while matched > 0, self[index] != part[matched] { matched = fallback[matched - 1] }
            if self[index] == part[matched] { matched += 1 }
            if matched == part.count { return index + 1 - matched }
        }
        return nil
    }
}
