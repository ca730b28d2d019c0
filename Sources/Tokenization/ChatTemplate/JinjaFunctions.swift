import Foundation

/// Calls: the functions of the environment, macros and methods.
extension JinjaRenderer {
    /// Python's own limit in a sandbox.
    private static let longestRange = 100_000

    func call(
        _ function: JinjaValue, _ positional: [JinjaValue], _ named: [(name: String, value: JinjaValue)], _ line: Int
    ) throws -> JinjaValue {
        guard case .function(let kind) = function else {
            if case .undefined(let name) = function {
                throw error(line, "\"\(name)\" is called, but there is no such function or method here")
            }
            throw error(line, "\(function.typeName) is called")
        }
        switch kind {
        case .macro(let macro, let scope): return try call(macro, scope, positional, named, line)
        case .method(let value, let name):
            return try JinjaMethods(renderer: self, line: line).call(value, name, positional, named)
        case .cycle(let loop):
            guard !positional.isEmpty else { throw error(line, "loop.cycle without a value") }
            return positional[loop.index % positional.count]
        case .builtin(let name): return try builtin(name, positional, named, line)
        }
    }

    private func builtin(
        _ name: String, _ positional: [JinjaValue], _ named: [(name: String, value: JinjaValue)], _ line: Int
    ) throws -> JinjaValue {
        switch name {
        case "raise_exception":
            throw error(line, "the template refuses this chat: \(positional.first?.printed ?? "")")
        case "strftime_now": return .string(try formattedNow(positional.first, line))
        case "range": return try range(positional, line)
        case "namespace", "dict":
            var members: [(key: String, value: JinjaValue)] = []
            if let first = positional.first {
                guard case .object(let given) = first else { throw error(line, "\(name)() of \(first.typeName)") }
                members = given
            }
            let space = JinjaNamespace(members)
            atEnd(space.letGo)
            for (key, value) in named { space.set(key, value) }
            return name == "namespace" ? .namespace(space) : .object(space.members)
        default: throw error(line, "no function \"\(name)\"")
        }
    }

    private func range(_ positional: [JinjaValue], _ line: Int) throws -> JinjaValue {
        let numbers = positional.compactMap(\.whole)
        guard numbers.count == positional.count, (1...3).contains(numbers.count) else {
            throw error(line, "range takes one to three integers")
        }
        let start = numbers.count > 1 ? numbers[0] : 0
        let stop = numbers.count > 1 ? numbers[1] : numbers[0]
        let step = numbers.count > 2 ? numbers[2] : 1
        guard step != 0 else { throw error(line, "range with step 0") }
        guard abs(Double(stop) - Double(start)) / abs(Double(step)) <= Double(Self.longestRange) else {
            throw error(line, "a range of more than \(Self.longestRange) numbers")
        }
        let numbersInRange = stride(from: start, to: stop, by: step).map { JinjaValue.integer($0) }
        try countStep(line, numbersInRange.count)
        return .list(numbersInRange)
    }

    private func formattedNow(_ format: JinjaValue?, _ line: Int) throws -> String {
        guard let text = format?.text else { throw error(line, "strftime_now takes a format, such as \"%d %b %Y\"") }
        guard !text.isEmpty else { return "" }
        var seconds = time_t(clock().timeIntervalSince1970.rounded(.down))
        var parts = tm()
        localtime_r(&seconds, &parts)
        var buffer = [CChar](repeating: 0, count: 1024)
        let count = strftime(&buffer, buffer.count, text, &parts)
        return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Methods of strings, mappings and lists, as Python has them.
struct JinjaMethods {
    let renderer: JinjaRenderer
    let line: Int

    /// How many arguments each takes.
    private static let ofStrings: [String: ClosedRange<Int>] = [
        "strip": 0...1, "lstrip": 0...1, "rstrip": 0...1, "split": 0...2, "rsplit": 0...2, "splitlines": 0...1,
        "startswith": 1...3, "endswith": 1...3, "replace": 2...3, "upper": 0...0, "lower": 0...0, "title": 0...0,
        "capitalize": 0...0, "join": 1...1, "find": 1...3, "count": 1...3, "removeprefix": 1...1, "removesuffix": 1...1,
        "isdigit": 0...0, "isspace": 0...0,
    ]
    private static let ofObjects: [String: ClosedRange<Int>] = [
        "items": 0...0, "keys": 0...0, "values": 0...0, "get": 1...2,
    ]
    private static let ofLists: [String: ClosedRange<Int>] = ["index": 1...3, "count": 1...1]
    /// Those that may be given by name.
    private static let named = [
        "split": ["sep", "maxsplit"], "rsplit": ["sep", "maxsplit"], "splitlines": ["keepends"],
    ]

    private static func methods(of value: JinjaValue) -> [String: ClosedRange<Int>] {
        switch value {
        case .string: ofStrings
        case .object: ofObjects
        case .list: ofLists
        default: [:]
        }
    }

    static func has(_ name: String, _ value: JinjaValue) -> Bool { methods(of: value)[name] != nil }

    private func error(_ message: String) -> ChatTemplateError { ChatTemplateError(line: line, message: message) }

    func call(
        _ value: JinjaValue, _ name: String, _ arguments: [JinjaValue], _ named: [(name: String, value: JinjaValue)]
    ) throws -> JinjaValue {
        guard let counts = Self.methods(of: value)[name] else {
            throw error("\(value.typeName) has no method \"\(name)\"")
        }
        if let strange = named.first(where: { Self.named[name]?.contains($0.name) != true }) {
            throw error("\(name)() has no argument \"\(strange.name)\"")
        }
        let given = arguments.count + named.count
        guard counts.contains(given) else {
            let count = counts.count == 1 ? "\(counts.upperBound)" : "\(counts.lowerBound) to \(counts.upperBound)"
            throw error("\(name)() with \(given) arguments; it takes \(count)")
        }
        switch value {
        case .string(let text): return try string(text, name, arguments, named)
        case .object(let members): return try object(value, members, name, arguments)
        case .list(let items, _):
            guard let wanted = arguments.first else { throw error("\(name)() without a value") }
            try renderer.countValue(line, value)
            if name == "count" { return .integer(items.filter { $0.isEqual(to: wanted) }.count) }
            let part = try range(arguments, of: items.count, name)
            guard let part, let index = items[part].firstIndex(where: { $0.isEqual(to: wanted) }) else {
                throw error("index() of a value that is not in the list")
            }
            return .integer(index)
        default: throw error("\(value.typeName) has no method \"\(name)\"")
        }
    }

    /// What the second and third argument leave of so many places, as Python's slices do; `nil` where the end stands
    /// before the start, and not even nothing is found.
    private func range(_ arguments: [JinjaValue], of count: Int, _ name: String) throws -> Range<Int>? {
        func bound(_ index: Int, absent: Int) throws -> Int {
            guard index < arguments.count else { return absent }
            if arguments[index].isNull, name != "index" { return absent }  // a list takes no none
            guard let given = arguments[index].whole else {
                throw error("\(name)() takes integers for where to begin and end")
            }
            return given < 0 ? max(0, given + count) : given
        }
        let (start, end) = (try bound(1, absent: 0), min(try bound(2, absent: count), count))
        return start <= end ? start..<end : nil
    }

    private func object(
        _ value: JinjaValue, _ members: [(key: String, value: JinjaValue)], _ name: String, _ arguments: [JinjaValue]
    ) throws -> JinjaValue {
        switch name {
        case "items": return .list(members.map { .list([.string($0.key), $0.value], isTuple: true) })
        case "keys": return .list(members.map { .string($0.key) })
        case "values": return .list(members.map(\.value))
        default:
            guard let key = arguments.first else { throw error("get() without a key") }
            return key.text.flatMap(value.member) ?? (arguments.count > 1 ? arguments[1] : .null)
        }
    }

    /// The part of a text that the second and third argument leave, and where it begins.
    private func part(
        of text: String, _ arguments: [JinjaValue], _ name: String
    ) throws -> (text: String, start: Int)? {
        guard arguments.count > 1 else { return (text, 0) }
        let scalars = Array(text.unicodeScalars)
        return try range(arguments, of: scalars.count, name).map { (String(scalars[$0]), $0.lowerBound) }
    }

    private func string(
        _ text: String, _ name: String, _ arguments: [JinjaValue], _ named: [(name: String, value: JinjaValue)]
    ) throws -> JinjaValue {
        func argument(_ index: Int) throws -> String {
            guard index < arguments.count, let text = arguments[index].text else {
                throw error("\(name)() takes a string as argument \(index + 1)")
            }
            return text
        }
        switch name {
        case "strip", "lstrip", "rstrip":
            let characters = try arguments.isEmpty || arguments[0].isNull ? nil : argument(0)
            return .string(text.stripped(characters, left: name != "rstrip", right: name != "lstrip"))
        case "split", "rsplit", "splitlines": return try split(text, name, arguments, named)
        case "startswith", "endswith":
            guard let first = arguments.first else { throw error("\(name)() without a string") }
            var choices = [first]
            if case .list(let items, _) = first { choices = items }
            let texts = choices.compactMap(\.text)
            guard texts.count == choices.count else { throw error("\(name)() takes a string or a tuple of strings") }
            guard let (part, _) = try self.part(of: text, arguments, name) else { return .bool(false) }
            let bytes = Array(part.utf8)
            return .bool(
                texts.contains { part in
                    let part = Array(part.utf8)
                    return name == "startswith"
                        ? bytes.starts(with: part) : bytes.suffix(part.count).elementsEqual(part)
                })
        case "replace":
            let limit = arguments.count > 2 ? arguments[2].whole : nil
            return .string(try renderer.replaced(line, text, try argument(0), by: try argument(1), atMost: limit ?? -1))
        case "upper": return .string(text.uppercased())
        case "lower": return .string(text.lowercased())
        case "title": return .string(text.titled())
        case "capitalize": return .string(text.capitalizedFirst())
        case "join":
            guard let list = arguments.first else { throw error("join() without a list") }
            let parts = try renderer.items(of: list, line)
            let texts = parts.compactMap(\.text)
            guard texts.count == parts.count else { throw error("join() takes a list of strings") }
            return .string(try renderer.joined(line, texts, separator: text))
        case "find":
            let wanted = Array(try argument(0).utf8)
            guard let (part, start) = try self.part(of: text, arguments, name) else { return .integer(-1) }
            let bytes = Array(part.utf8)
            guard let position = bytes.firstPosition(of: wanted) else { return .integer(-1) }
            return .integer(start + String(decoding: bytes.prefix(position), as: UTF8.self).unicodeScalars.count)
        case "count":
            let wanted = try argument(0)
            return .integer(try part(of: text, arguments, name)?.text.occurrences(of: wanted) ?? 0)
        case "removeprefix":
            let part = try argument(0)
            return .string(
                text.utf8.starts(with: part.utf8)
                    ? String(text.unicodeScalars.dropFirst(part.unicodeScalars.count)) : text)
        case "removesuffix":
            let part = try argument(0)
            let ends = text.utf8.reversed().starts(with: part.utf8.reversed())
            return .string(ends ? String(text.unicodeScalars.dropLast(part.unicodeScalars.count)) : text)
        case "isdigit":
            return .bool(
                !text.isEmpty
                    && text.unicodeScalars.allSatisfy {
                        $0.properties.numericType == .decimal || $0.properties.numericType == .digit
                    })
        default: return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy(JinjaLexer.isSpace))
        }
    }

    private func split(
        _ text: String, _ name: String, _ arguments: [JinjaValue], _ named: [(name: String, value: JinjaValue)]
    ) throws -> JinjaValue {
        try renderer.countText(line, text.utf8.count)
        if name == "splitlines" || arguments.first?.text == nil {
            // There are no more pieces than white space.
            try renderer.countStep(line, text.utf8.count { $0 <= 0x20 || $0 >= 0xc2 })
        }
        if name == "splitlines" {
            let keepsEnds = (arguments.first ?? named.first?.value)?.isTrue ?? false
            return .list(text.lines(keepingEnds: keepsEnds).map { .string($0) })
        }
        let limit = (arguments.count > 1 ? arguments[1] : named.first { $0.name == "maxsplit" }?.value)?.whole ?? -1
        guard let separator = arguments.first ?? named.first(where: { $0.name == "sep" })?.value, !separator.isNull
        else {
            guard name == "split" || limit < 0 else { throw error("rsplit() with a limit takes a separator") }
            return .list(text.words(atMost: limit).map { .string($0) })
        }
        guard let mark = separator.text, !mark.isEmpty else {
            throw error("\(name)() takes a string that is not empty")
        }
        try renderer.countStep(line, text.occurrences(of: mark))
        let pieces =
            name == "split"
            ? text.pieces(separatedBy: mark, atMost: limit)
            : String(String.UnicodeScalarView(text.unicodeScalars.reversed()))
                .pieces(separatedBy: String(String.UnicodeScalarView(mark.unicodeScalars.reversed())), atMost: limit)
                .map { String(String.UnicodeScalarView($0.unicodeScalars.reversed())) }.reversed()
        return .list(pieces.map { .string($0) })
    }
}

extension JinjaValue {
    var isNull: Bool { if case .null = self { true } else { false } }
}
