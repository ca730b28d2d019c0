/// Reads tokens as statements. Expressions are in JinjaExpressionParser.swift.
struct JinjaParser {
    /// Nesting stays below the stack of any thread.
    static let deepest = 40
    /// Operators in a row, which make a tree as deep as they are many.
    static let longestChain = 200

    private let tokens: [JinjaToken]
    private var position = 0
    var depth = 0
    private var loops = 0

    init(_ tokens: [JinjaToken]) { self.tokens = tokens }

    var current: JinjaToken { tokens[position] }

    var next: JinjaToken { tokens[min(position + 1, tokens.count - 1)] }

    func error(_ message: String) -> ChatTemplateError { ChatTemplateError(line: current.line, message: message) }

    mutating func advance() { if position < tokens.count - 1 { position += 1 } }

    func sees(_ symbol: String) -> Bool { current.kind == .symbol(symbol) }

    func seesName(_ name: String) -> Bool { current.kind == .name(name) }

    mutating func accept(_ symbol: String) -> Bool {
        guard sees(symbol) else { return false }
        advance()
        return true
    }

    mutating func acceptName(_ name: String) -> Bool {
        guard seesName(name) else { return false }
        advance()
        return true
    }

    mutating func expect(_ symbol: String) throws {
        guard accept(symbol) else { throw error("found \(shown(current)), expected \"\(symbol)\"") }
    }

    mutating func name() throws -> String {
        guard case .name(let name) = current.kind else { throw error("found \(shown(current)), expected a name") }
        advance()
        return name
    }

    func shown(_ token: JinjaToken) -> String {
        switch token.kind {
        case .text: "text"
        case .blockStart: "{%"
        case .blockEnd: "%}"
        case .outputStart: "{{"
        case .outputEnd: "}}"
        case .name(let name): "\"\(name)\""
        case .string(let text): "the string \"\(text)\""
        case .integer(let number): "\(number)"
        case .double(let number): "\(number)"
        case .symbol(let symbol): "\"\(symbol)\""
        case .end: "the end of the template"
        }
    }

    mutating func template() throws -> [JinjaStatement] {
        let (body, ending) = try statements(until: [])
        guard ending.isEmpty else { throw error("\(ending) that ends nothing") }
        return body
    }

    /// Statements up to one of the tags, whose name is read but whose rest is not.
    private mutating func statements(until endings: Set<String>) throws -> ([JinjaStatement], ending: String) {
        depth += 1
        defer { depth -= 1 }
        guard depth < Self.deepest else { throw error("more than \(Self.deepest) levels of nesting") }
        var body: [JinjaStatement] = []
        while true {
            let line = current.line
            switch current.kind {
            case .text(let text):
                body.append(JinjaStatement(kind: .text(text), line: line))
                advance()
            case .outputStart:
                advance()
                body.append(JinjaStatement(kind: .output(try tupleOrExpression()), line: line))
                guard current.kind == .outputEnd else { throw error("found \(shown(current)), expected }}") }
                advance()
            case .blockStart:
                advance()
                let tag = try name()
                if endings.contains(tag) { return (body, tag) }
                body.append(JinjaStatement(kind: try statement(tag), line: line))
            default:
                guard endings.isEmpty else {
                    throw error(
                        "the end of the template, expected {% \(endings.sorted().joined(separator: " %} or {% ")) %}")
                }
                return (body, "")
            }
        }
    }

    private mutating func endTag() throws {
        guard current.kind == .blockEnd else { throw error("found \(shown(current)), expected %}") }
        advance()
    }

    private mutating func body(until ending: String) throws -> [JinjaStatement] {
        try endTag()
        let (body, _) = try statements(until: [ending])
        try endTag()
        return body
    }

    private mutating func statement(_ tag: String) throws -> JinjaStatement.Kind {
        switch tag {
        case "if": return try branches()
        case "for": return try loop()
        case "set": return try set()
        case "macro": return try macro()
        case "generation": return .scoped(try isolated { parser in try parser.body(until: "endgeneration") })
        case "filter":
            let filters = try filterChain(nil)
            return .filterBlock(filters, body: try body(until: "endfilter"))
        case "with": return try with()
        case "break", "continue":
            guard loops > 0 else { throw error("{% \(tag) %} outside of a loop") }
            try endTag()
            return tag == "break" ? .breakLoop : .continueLoop
        default:
            throw error(
                "{% \(tag) %} is not supported; supported are if, for, set, macro, generation, filter, with, raw, "
                    + "break, continue")
        }
    }

    /// Loops outside do not reach into a macro or a block that is captured.
    private mutating func isolated<Result>(_ read: (inout JinjaParser) throws -> Result) rethrows -> Result {
        let outside = loops
        loops = 0
        defer { loops = outside }
        return try read(&self)
    }

    private mutating func branches() throws -> JinjaStatement.Kind {
        var branches: [(condition: JinjaExpression, body: [JinjaStatement])] = []
        var condition = try tupleOrExpression()
        while true {
            try endTag()
            let (body, ending) = try statements(until: ["elif", "else", "endif"])
            branches.append((condition, body))
            if ending == "elif" {
                condition = try tupleOrExpression()
                continue
            }
            let otherwise = ending == "else" ? try self.body(until: "endif") : []
            if ending == "endif" { try endTag() }
            return .branches(branches, otherwise: otherwise)
        }
    }

    private mutating func loop() throws -> JinjaStatement.Kind {
        let target = try self.target()
        if case .member = target { throw error("a loop that assigns to a member; expected a name") }
        guard acceptName("in") else { throw error("found \(shown(current)), expected \"in\"") }
        let source = try tupleOrExpression(withConditional: false)
        let condition = acceptName("if") ? try expression() : nil
        guard !seesName("recursive") else { throw error("recursive loops are not supported") }
        try endTag()
        loops += 1
        let (body, ending) = try statements(until: ["else", "endfor"])
        loops -= 1
        let otherwise = ending == "else" ? try self.body(until: "endfor") : []
        if ending == "endfor" { try endTag() }
        return .loop(target, source, condition: condition, body: body, otherwise: otherwise)
    }

    private mutating func target() throws -> JinjaTarget {
        let isParenthesized = accept("(")
        let first = try name()
        if accept(".") { return .member(of: first, try name()) }
        var names = [first]
        var isTuple = false
        while accept(",") {
            isTuple = true
            guard case .name(let name) = current.kind, name != "in" else { break }
            names.append(name)
            advance()
        }
        if isParenthesized { try expect(")") }
        return isTuple ? .names(names) : .name(first)
    }

    private mutating func set() throws -> JinjaStatement.Kind {
        let target = try self.target()
        if accept("=") {
            let value = try tupleOrExpression()
            try endTag()
            return .set(target, value)
        }
        let filters = sees("|") ? try filterChain(nil) : nil
        return .setBlock(target, filters: filters, body: try isolated { parser in try parser.body(until: "endset") })
    }

    private mutating func with() throws -> JinjaStatement.Kind {
        var values: [(name: String, value: JinjaExpression)] = []
        while current.kind != .blockEnd {
            if !values.isEmpty { try expect(",") }
            let name = try name()
            try expect("=")
            values.append((name, try expression()))
        }
        return .with(values, body: try body(until: "endwith"))
    }

    private mutating func macro() throws -> JinjaStatement.Kind {
        let name = try name()
        try expect("(")
        var parameters: [(name: String, fallback: JinjaExpression?)] = []
        while !accept(")") {
            if !parameters.isEmpty { try expect(",") }
            let parameter = try self.name()
            parameters.append((parameter, accept("=") ? try expression() : nil))
        }
        let body = try isolated { parser in try parser.body(until: "endmacro") }
        return .macro(JinjaMacro(name: name, parameters: parameters, body: body))
    }
}
