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

    private static let ofStrings: Set<String> = [
        "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "replace", "upper",
        "lower",
        "title", "capitalize", "join", "find", "count", "removeprefix", "removesuffix", "isdigit", "isspace",
    ]
    private static let ofObjects: Set<String> = ["items", "keys", "values", "get"]
    private static let ofLists: Set<String> = ["index", "count"]

    static func names(for value: JinjaValue) -> Set<String> {
        switch value {
        case .string: ofStrings
        case .object: ofObjects
        case .list: ofLists
        default: []
        }
    }

    private func error(_ message: String) -> ChatTemplateError { ChatTemplateError(line: line, message: message) }

    func call(
        _ value: JinjaValue, _ name: String, _ arguments: [JinjaValue], _ named: [(name: String, value: JinjaValue)]
    ) throws -> JinjaValue {
        switch value {
        case .string(let text): return try string(text, name, arguments, named)
        case .object(let members): return try object(value, members, name, arguments)
        case .list(let items, _):
            guard let wanted = arguments.first else { throw error("\(name)() without a value") }
            try renderer.countValue(line, value)
            if name == "count" { return .integer(items.filter { $0.isEqual(to: wanted) }.count) }
            guard let index = items.firstIndex(where: { $0.isEqual(to: wanted) }) else {
                throw error("index() of a value that is not in the list")
            }
            return .integer(index)
        default: throw error("\(value.typeName) has no method \"\(name)\"")
        }
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
            let bytes = Array(text.utf8)
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
            let part = Array(try argument(0).utf8)
            guard let position = Array(text.utf8).firstPosition(of: part) else { return .integer(-1) }
            return .integer(String(decoding: Array(text.utf8).prefix(position), as: UTF8.self).unicodeScalars.count)
        case "count": return .integer(text.occurrences(of: try argument(0)))
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
        if name == "splitlines" { return .list(text.lines().map { .string($0) }) }
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
