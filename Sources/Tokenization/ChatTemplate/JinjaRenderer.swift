import Foundation

/// Renders statements. One renderer serves one call.
final class JinjaRenderer {
    enum Flow { case normal, breakLoop, continueLoop }

    /// Steps after which a template counts as endless.
    private static let mostSteps = 5_000_000
    /// Bytes of a text beyond which it is no prompt: some four million tokens.
    static let longestText = 1 << 24
    private static let deepestCall = 24

    let clock: @Sendable () -> Date
    private var output = ""
    private var steps = 0
    private var calls = 0
    /// What may hold itself, or a chain too long to let go link by link: emptied when the rendering ends.
    private var holders: [() -> Void] = []

    init(clock: @escaping @Sendable () -> Date) { self.clock = clock }

    func render(_ body: [JinjaStatement], in scope: JinjaScope) throws -> String {
        defer { for letGo in holders { letGo() } }
        _ = try run(body, scope)
        return output
    }

    /// - Parameter letGo: Empties a scope, loop or namespace.
    func atEnd(_ letGo: @escaping () -> Void) { holders.append(letGo) }

    /// - Parameter count: more than one for what takes as long as so many small steps.
    func countStep(_ line: Int, _ count: Int = 1) throws {
        steps += count
        guard steps < Self.mostSteps else {
            throw error(line, "more than \(Self.mostSteps) steps: an endless template")
        }
    }

    /// Counts the work of going through a text, before or while it is made.
    func countText(_ line: Int, _ bytes: Int) throws {
        guard bytes <= Self.longestText else { throw error(line, "a text of more than \(Self.longestText >> 20) MiB") }
        try countStep(line, bytes >> 8)
    }

    /// Looks at a value that was just made, or is gone through: what doubles stays small in memory and endless on
    /// paper.
    @discardableResult
    func countValue(_ line: Int, _ value: JinjaValue) throws -> JinjaSize? {
        switch value {
        case .string(let text): try countText(line, text.utf8.count)
        case .list, .object, .function(.method):
            guard let size = JinjaSize(value) else { throw error(line, "\(value.typeName) too large for a prompt") }
            try countStep(line, size.values >> 3 + size.bytes >> 8)
            return size
        default: break
        }
        return nil
    }

    func error(_ line: Int, _ message: String) -> ChatTemplateError { ChatTemplateError(line: line, message: message) }

    private func write(_ text: String, _ line: Int) throws {
        try countText(line, text.utf8.count)
        output += text
        guard output.utf8.count <= Self.longestText else {
            throw error(line, "an output of more than \(Self.longestText >> 20) MiB")
        }
    }

    /// What a body writes, instead of writing it.
    func captured(_ body: [JinjaStatement], _ scope: JinjaScope) throws -> String {
        let outside = output
        output = ""
        defer { output = outside }
        _ = try run(body, scope)
        return output
    }

    private func run(_ body: [JinjaStatement], _ scope: JinjaScope) throws -> Flow {
        for statement in body {
            let flow = try run(statement, scope)
            guard flow == .normal else { return flow }
        }
        return .normal
    }

    private func run(_ statement: JinjaStatement, _ scope: JinjaScope) throws -> Flow {
        try countStep(statement.line)
        let line = statement.line
        switch statement.kind {
        case .text(let text): try write(text, line)
        case .output(let expression): try write(try evaluate(expression, scope).printed, line)
        case .branches(let branches, let otherwise):
            for (condition, body) in branches where try evaluate(condition, scope).isTrue {
                return try run(body, scope)
            }
            return try run(otherwise, scope)
        case .loop(let target, let source, let condition, let body, let otherwise):
            return try loop(target, source, condition, body, otherwise, scope)
        case .set(let target, let value): try assign(target, try evaluate(value, scope), scope, line)
        case .setBlock(let target, let filters, let body):
            let text = JinjaValue.string(try captured(body, JinjaScope(parent: scope)))
            try assign(target, try filters.map { try evaluate($0, scope, blockText: text) } ?? text, scope, line)
        case .macro(let macro):
            scope.values[macro.name] = .function(.macro(macro, scope))
            atEnd(scope.letGo)
        case .scoped(let body): return try run(body, JinjaScope(parent: scope))
        case .filterBlock(let filters, let body):
            let text = JinjaValue.string(try captured(body, JinjaScope(parent: scope)))
            try write(try evaluate(filters, scope, blockText: text).printed, line)
        case .with(let values, let body):
            let inner = JinjaScope(parent: scope)
            for (name, value) in values { inner.values[name] = try evaluate(value, scope) }
            return try run(body, inner)
        case .breakLoop: return .breakLoop
        case .continueLoop: return .continueLoop
        }
        return .normal
    }

    private func loop(
        _ target: JinjaTarget, _ source: JinjaExpression, _ condition: JinjaExpression?, _ body: [JinjaStatement],
        _ otherwise: [JinjaStatement], _ scope: JinjaScope
    ) throws -> Flow {
        var items = try items(of: try evaluate(source, scope), source.line)
        if let condition {
            items = try items.filter { item in
                let inner = JinjaScope(parent: scope)
                try assign(target, item, inner, source.line)
                return try evaluate(condition, inner).isTrue
            }
        }
        guard !items.isEmpty else { return try run(otherwise, JinjaScope(parent: scope)) }
        let state = JinjaLoop(items: items)
        atEnd(state.letGo)
        for (index, item) in items.enumerated() {
            try countStep(source.line)
            state.index = index
            let inner = JinjaScope(parent: scope)
            inner.values["loop"] = .loop(state)
            try assign(target, item, inner, source.line)
            if try run(body, inner) == .breakLoop { break }
        }
        return .normal
    }

    private func assign(_ target: JinjaTarget, _ value: JinjaValue, _ scope: JinjaScope, _ line: Int) throws {
        switch target {
        case .name(let name): scope.values[name] = value
        case .names(let names):
            let items = try items(of: value, line)
            guard items.count == names.count else {
                throw error(line, "\(items.count) values for the \(names.count) names \(names.joined(separator: ", "))")
            }
            for (name, item) in zip(names, items) { scope.values[name] = item }
        case .member(let name, let member):
            guard case .namespace(let namespace)? = scope.find(name) else {
                throw error(line, "\(name).\(member) is set, but \(name) is no namespace")
            }
            namespace.set(member, value)
        }
    }

    /// What a loop goes through: characters of a string, keys of a mapping.
    func items(of value: JinjaValue, _ line: Int) throws -> [JinjaValue] {
        switch value {
        case .undefined: return []
        case .list(let items, _): return items
        case .string(let text):
            try countStep(line, text.utf8.count)
            return text.unicodeScalars.map { .string(String($0)) }
        case .object(let members): return members.map { .string($0.key) }
        default: throw error(line, "\(value.typeName) cannot be gone through")
        }
    }

    /// Calls a macro; arguments it does not name are an error.
    func call(
        _ macro: JinjaMacro, _ closure: JinjaScope, _ positional: [JinjaValue],
        _ named: [(name: String, value: JinjaValue)],
        _ line: Int
    ) throws -> JinjaValue {
        calls += 1
        defer { calls -= 1 }
        guard calls < Self.deepestCall else {
            throw error(line, "more than \(Self.deepestCall) macros inside each other")
        }
        guard positional.count <= macro.parameters.count else {
            throw error(line, "\(positional.count) arguments for \(macro.name), which takes \(macro.parameters.count)")
        }
        for (name, _) in named where !macro.parameters.contains(where: { $0.name == name }) {
            throw error(line, "\(macro.name) has no argument \"\(name)\"")
        }
        let scope = JinjaScope(parent: closure)
        for (index, (name, fallback)) in macro.parameters.enumerated() {
            if index < positional.count {
                scope.values[name] = positional[index]
            } else if let given = named.first(where: { $0.name == name }) {
                scope.values[name] = given.value
            } else {
                scope.values[name] = try fallback.map { try evaluate($0, scope) } ?? .undefined(name)
            }
        }
        return .string(try captured(macro.body, scope))
    }
}
