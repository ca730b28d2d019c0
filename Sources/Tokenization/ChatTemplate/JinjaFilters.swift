import Foundation
import JSON

/// What may follow `|`.
struct JinjaFilters {
    let renderer: JinjaRenderer
    let line: Int
    let name: String
    let arguments: [JinjaValue]
    let named: [(name: String, value: JinjaValue)]

    static let names: Set<String> = [
        "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "indent", "int",
        "items",
        "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse",
        "round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper",
    ]
    static let list = names.sorted().joined(separator: ", ")

    private func error(_ message: String) -> ChatTemplateError { ChatTemplateError(line: line, message: message) }

    private func argument(_ index: Int, _ key: String) -> JinjaValue? {
        index < arguments.count ? arguments[index] : named.first { $0.name == key }?.value
    }

    private func flag(_ index: Int, _ key: String) -> Bool { argument(index, key)?.isTrue ?? false }

    private func items(_ value: JinjaValue) throws -> [JinjaValue] { try renderer.items(of: value, line) }

    func apply(to value: JinjaValue) throws -> JinjaValue {
        switch name {
        case "abs", "int", "float", "round": return try number(value)
        case "default", "d":
            if case .undefined = value { return argument(0, "default_value") ?? .string("") }
            return flag(1, "boolean") && !value.isTrue ? argument(0, "default_value") ?? .string("") : value
        case "safe": return value
        case "string": return .string(value.printed)
        case "trim": return .string(value.printed.stripped(argument(0, "chars")?.text, left: true, right: true))
        case "upper": return .string(value.printed.uppercased())
        case "lower": return .string(value.printed.lowercased())
        case "capitalize": return .string(value.printed.capitalizedFirst())
        case "title": return .string(value.printed.titledWords())
        case "escape", "e", "replace", "indent": return try text(value.printed)
        case "tojson": return try json(value)
        case "length", "count":
            if let text = value.text { return .integer(text.unicodeScalars.count) }
            return .integer(try items(value).count)
        case "first": return try items(value).first ?? .undefined("the first of nothing")
        case "last": return try items(value).last ?? .undefined("the last of nothing")
        case "list": return .list(try items(value))
        case "reverse":
            if let text = value.text { return .string(String(text.unicodeScalars.reversed())) }
            return .list(try items(value).reversed())
        case "join":
            let separator = argument(0, "d")?.printed ?? ""
            let parts = try items(value).map { try attribute("attribute", 1, of: $0) ?? $0 }
            return .string(try renderer.joined(line, parts.map(\.printed), separator: separator))
        case "items", "dictsort": return try members(value)
        case "map": return try map(value)
        case "select", "reject", "selectattr", "rejectattr": return try select(value)
        case "sort", "unique", "min", "max", "sum": return try ordered(value)
        default: throw error("the filter \"\(name)\" is not supported; supported are \(Self.list)")
        }
    }

    private func number(_ value: JinjaValue) throws -> JinjaValue {
        switch name {
        case "abs":
            if let whole = value.whole, whole != Int.min { return .integer(abs(whole)) }
            if let number = value.number { return .double(abs(number)) }
            throw error("abs of \(value.typeName)")
        case "int", "float":
            if case .undefined = value { throw error("\(name) of \(value.typeName)") }
            if name == "float" { return float(value) }
            guard argument(1, "base") == nil else { throw error("int with a base is not supported") }
            if let whole = value.whole { return .integer(whole) }
            let number = value.number ?? value.text.flatMap { Double($0.stripped(nil, left: true, right: true)) }
            if let text = value.text, let whole = Int(text.stripped(nil, left: true, right: true)) {
                return .integer(whole)
            }
            return number.flatMap { Int(exactly: $0.rounded(.towardZero)) }.map { .integer($0) } ?? argument(
                0, "default") ?? .integer(0)
        default:
            guard let number = value.number, argument(1, "method") == nil else {
                throw error("round takes a number and digits")
            }
            let digits = argument(0, "precision")?.whole ?? 0
            guard (0...15).contains(digits) else { throw error("round takes 0 to 15 digits") }
            if let whole = value.whole { return .integer(whole) }
            // By the digits of the number as it is, as Python does: 2.675 is below the middle of 2.67 and 2.68.
            return .double(Double(String(format: "%.\(digits)f", number)) ?? number)
        }
    }

    private func float(_ value: JinjaValue) -> JinjaValue {
        let number = value.number ?? value.text.flatMap { Double($0.stripped(nil, left: true, right: true)) }
        return number.map { .double($0) } ?? argument(0, "default") ?? .double(0)
    }

    private func text(_ text: String) throws -> JinjaValue {
        switch name {
        case "replace":
            guard let old = argument(0, "old"), let new = argument(1, "new") else {
                throw error("replace takes two texts")
            }
            return .string(
                try renderer.replaced(
                    line, text, old.printed, by: new.printed, atMost: argument(2, "count")?.whole ?? -1))
        case "indent":
            let margin =
                argument(0, "width").map { $0.text ?? String(repeating: " ", count: min(max($0.whole ?? 4, 0), 1_000)) }
                ?? "    "
            let lines = (text + "\n").lines()
            try renderer.countStep(line, lines.count)
            try renderer.countText(line, text.utf8.count + lines.count * margin.utf8.count)
            let indented = lines.enumerated().map { index, line in
                let isIndented = (index > 0 || flag(1, "first")) && (!line.isEmpty || flag(2, "blank"))
                return isIndented ? margin + line : line
            }
            return .string(indented.joined(separator: "\n"))
        default:
            let escapes: [Unicode.Scalar: String] = [
                "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", "\"": "&#34;",
            ]
            return .string(text.unicodeScalars.map { escapes[$0] ?? String($0) }.joined())
        }
    }

    private func json(_ value: JinjaValue) throws -> JinjaValue {
        for (key, _) in named where !["ensure_ascii", "indent", "separators", "sort_keys"].contains(key) {
            throw error("tojson has no argument \"\(key)\"")
        }
        guard !flag(0, "ensure_ascii") else { throw error("tojson with ensure_ascii is not supported") }
        let indent = argument(1, "indent")?.whole
        guard (0...64).contains(indent ?? 0) else { throw error("tojson with an indent outside 0 to 64") }
        var separators = [indent == nil ? ", " : ",", ": "]
        if let given = argument(2, "separators"), !given.isNull {
            separators = try items(given).compactMap(\.text)
            guard separators.count == 2 else { throw error("tojson takes two separators") }
        }
        guard let json = value.json else { throw error("\(value.typeName) as JSON") }
        if let size = try renderer.countValue(line, value) {
            let separator = separators[0].utf8.count + separators[1].utf8.count + (indent ?? 0) * size.depth
            try renderer.countText(line, size.bytes + size.values * (separator + 1))
        }
        return .string(
            json.serialized(
                .python(
                    indentation: indent, itemSeparator: separators[0], keySeparator: separators[1],
                    sortsKeys: flag(3, "sort_keys"))))
    }

    private func members(_ value: JinjaValue) throws -> JinjaValue {
        if case .undefined = value, name == "items" { return .list([]) }
        guard case .object(var members) = value else { throw error("\(name) of \(value.typeName); expected a mapping") }
        if name == "dictsort" {
            guard arguments.isEmpty, named.isEmpty else { throw error("dictsort with arguments is not supported") }
            // Keys without regard to case; Python's sort keeps the order of equal ones, and so does this.
            members = members.enumerated().sorted { a, b in
                let (x, y) = (a.element.key.lowercased(), b.element.key.lowercased())
                return x == y ? a.offset < b.offset : x.unicodeScalars.lexicographicallyPrecedes(y.unicodeScalars)
            }.map(\.element)
        }
        return .list(members.map { .list([.string($0.key), $0.value], isTuple: true) })
    }

    /// The dotted attribute that an argument names, when it is given. A part of digits is the place in a list.
    ///
    /// - Parameter absent: Stands in for a part that is not there; `nil` where that is undefined.
    private func attribute(
        _ key: String, _ index: Int, of item: JinjaValue, absent: JinjaValue? = nil
    ) throws -> JinjaValue? {
        guard let path = argument(index, key), !path.isNull else { return nil }
        var parts = [path]
        if let text = path.text {
            parts = text.pieces(separatedBy: ".", atMost: -1).map { part in
                let isPlace = !part.isEmpty && part.utf8.allSatisfy { (0x30...0x39).contains($0) }
                return isPlace ? Int(part).map(JinjaValue.integer) ?? .string(part) : .string(part)
            }
        } else if path.whole == nil {
            throw error("an attribute that is \(path.typeName)")
        }
        var value = item
        for part in parts {
            value = try renderer.item(value, part, line)
            if case .undefined = value, let absent { value = absent }
        }
        return value
    }

    private func map(_ value: JinjaValue) throws -> JinjaValue {
        let items = try items(value)
        if arguments.isEmpty, named.contains(where: { $0.name == "attribute" }) {
            let absent = named.first { $0.name == "default" }?.value
            return .list(try items.map { try attribute("attribute", 0, of: $0, absent: absent) ?? $0 })
        }
        guard let filter = arguments.first?.text, Self.names.contains(filter) else {
            throw error("map takes attribute= or the name of a filter")
        }
        let inner = JinjaFilters(
            renderer: renderer, line: line, name: filter, arguments: Array(arguments.dropFirst()), named: named)
        return .list(try items.map { try inner.apply(to: $0) })
    }

    private func select(_ value: JinjaValue) throws -> JinjaValue {
        let usesAttribute = name.hasSuffix("attr")
        let rest = Array(arguments.dropFirst(usesAttribute ? 1 : 0))
        guard !usesAttribute || !arguments.isEmpty else { throw error("\(name) takes an attribute") }
        let test = rest.first?.text
        guard rest.isEmpty || test.map(JinjaTests.names.contains) == true else {
            throw error("\(name) takes the name of a test; supported are \(JinjaTests.list)")
        }
        let tests = JinjaTests(renderer: renderer, line: line)
        let keeps = name.hasPrefix("select")
        return .list(
            try items(value).filter { item in
                let subject = usesAttribute ? try attribute("", 0, of: item) ?? item : item
                let holds = try test.map { try tests.check(subject, $0, Array(rest.dropFirst())) } ?? subject.isTrue
                return holds == keeps
            })
    }

    private func ordered(_ value: JinjaValue) throws -> JinjaValue {
        let items = try items(value)
        switch name {
        case "sum":
            return try items.reduce(argument(1, "start") ?? .integer(0)) { total, item in
                try renderer.arithmetic("+", total, try attribute("attribute", 0, of: item) ?? item, line)
            }
        case "unique":
            let keys = try items.map { try key(of: $0, attributeAt: 1, isCaseSensitiveAt: 0) }
            let size = try renderer.countValue(line, .list(keys))
            try renderer.countStep(line, items.count * ((size?.values ?? 0) >> 3 + (size?.bytes ?? 0) >> 8))
            return .list(
                items.indices.filter { i in !keys[..<i].contains { $0.isEqual(to: keys[i]) } }.map { items[$0] })
        case "min", "max":
            let keys = try items.map { try key(of: $0, attributeAt: 1, isCaseSensitiveAt: 0) }
            guard var best = items.indices.first else { return .undefined("the \(name) of nothing") }
            for index in items.indices.dropFirst() {
                let isBetter =
                    try name == "min"
                    ? renderer.precedes(keys[index], keys[best], line)
                    : renderer.precedes(keys[best], keys[index], line)
                if isBetter { best = index }
            }
            return items[best]
        default:
            let rounds = Int.bitWidth - items.count.leadingZeroBitCount
            for _ in 0..<rounds { try renderer.countValue(line, value) }
            let keyed = try items.enumerated().map {
                (offset: $0, key: try key(of: $1, attributeAt: 2, isCaseSensitiveAt: 1), item: $1)
            }
            let isReversed = flag(0, "reverse")
            let sorted = try keyed.sorted { a, b in
                if try isReversed ? renderer.precedes(b.key, a.key, line) : renderer.precedes(a.key, b.key, line) {
                    return true
                }
                return a.key.isEqual(to: b.key) && a.offset < b.offset
            }
            return .list(sorted.map(\.item))
        }
    }

    /// What Jinja orders by: strings without regard to case unless asked.
    private func key(of item: JinjaValue, attributeAt: Int, isCaseSensitiveAt: Int) throws -> JinjaValue {
        let value = try attribute("attribute", attributeAt, of: item) ?? item
        guard !flag(isCaseSensitiveAt, "case_sensitive"), let text = value.text else { return value }
        return .string(text.lowercased())
    }
}
