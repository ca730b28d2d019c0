/// Expressions, from the loosest binding to the tightest.
extension JinjaParser {
    /// An expression, or several with commas between, which make a tuple.
    mutating func tupleOrExpression(withConditional: Bool = true) throws -> JinjaExpression {
        let line = current.line
        let first = try withConditional ? expression() : or()
        guard sees(",") else { return first }
        var items = [first]
        while accept(",") {
            switch current.kind {
            case .blockEnd, .outputEnd, .symbol(")"), .name("in"), .symbol("="): continue
            default: items.append(try withConditional ? expression() : or())
            }
        }
        return JinjaExpression(kind: .list(items, isTuple: true), line: line)
    }

    mutating func expression() throws -> JinjaExpression {
        depth += 1
        defer { depth -= 1 }
        guard depth < Self.deepest else { throw error("more than \(Self.deepest) levels of nesting") }
        var value = try or()
        var count = 0
        while seesName("if") {
            let line = current.line
            advance()
            try countLink(&count)
            let condition = try or()
            let otherwise = acceptName("else") ? try expression() : nil
            value = JinjaExpression(kind: .conditional(value, condition: condition, otherwise: otherwise), line: line)
        }
        return value
    }

    private func countLink(_ count: inout Int) throws {
        count += 1
        guard count < Self.longestChain else { throw error("more than \(Self.longestChain) operators in a row") }
    }

    private mutating func or() throws -> JinjaExpression {
        var left = try and()
        var count = 0
        while seesName("or") {
            let line = current.line
            advance()
            try countLink(&count)
            left = JinjaExpression(kind: .or(left, try and()), line: line)
        }
        return left
    }

    private mutating func and() throws -> JinjaExpression {
        var left = try not()
        var count = 0
        while seesName("and") {
            let line = current.line
            advance()
            try countLink(&count)
            left = JinjaExpression(kind: .and(left, try not()), line: line)
        }
        return left
    }

    private mutating func not() throws -> JinjaExpression {
        var lines: [Int] = []
        while seesName("not") {
            lines.append(current.line)
            advance()
        }
        guard lines.count < Self.longestChain else { throw error("too many \"not\"") }
        var value = try comparison()
        for line in lines.reversed() { value = JinjaExpression(kind: .not(value), line: line) }
        return value
    }

    private mutating func comparison() throws -> JinjaExpression {
        let line = current.line
        let left = try sum()
        var links: [(symbol: String, right: JinjaExpression)] = []
        while true {
            if case .symbol(let symbol) = current.kind, ["==", "!=", "<", "<=", ">", ">="].contains(symbol) {
                advance()
                links.append((symbol, try sum()))
            } else if seesName("in") {
                advance()
                links.append(("in", try sum()))
            } else if seesName("not"), next.kind == .name("in") {
                advance()
                advance()
                links.append(("not in", try sum()))
            } else {
                break
            }
        }
        return links.isEmpty ? left : JinjaExpression(kind: .comparison(left, links), line: line)
    }

    private mutating func sum() throws -> JinjaExpression {
        try chain(["+", "-"]) { parser in try parser.concatenation() }
    }

    private mutating func concatenation() throws -> JinjaExpression {
        let line = current.line
        var parts = [try product()]
        while accept("~") { parts.append(try product()) }
        return parts.count == 1 ? parts[0] : JinjaExpression(kind: .concatenation(parts), line: line)
    }

    private mutating func product() throws -> JinjaExpression {
        try chain(["*", "/", "//", "%"]) { parser in
            try parser.chain(["**"]) { inner in try inner.unary(withFilters: true) }
        }
    }

    private mutating func chain(
        _ symbols: [String], _ operand: (inout JinjaParser) throws -> JinjaExpression
    ) throws -> JinjaExpression {
        var left = try operand(&self)
        var count = 0
        while case .symbol(let symbol) = current.kind, symbols.contains(symbol) {
            let line = current.line
            advance()
            try countLink(&count)
            left = JinjaExpression(kind: .binary(symbol, left, try operand(&self)), line: line)
        }
        return left
    }

    private mutating func unary(withFilters: Bool) throws -> JinjaExpression {
        let line = current.line
        var value: JinjaExpression
        if sees("-") || sees("+") {
            depth += 1
            defer { depth -= 1 }
            guard depth < Self.deepest else { throw error("more than \(Self.deepest) levels of nesting") }
            let isNegative = accept("-")
            if !isNegative { advance() }
            value = JinjaExpression(kind: .sign(try unary(withFilters: false), isNegative: isNegative), line: line)
        } else {
            value = try primary()
        }
        value = try postfix(value)
        return withFilters ? try filtersAndTests(value) : value
    }

    private mutating func primary() throws -> JinjaExpression {
        let line = current.line
        let kind: JinjaExpression.Kind
        switch current.kind {
        case .name(let name):
            switch name {
            case "true", "True": kind = .bool(true)
            case "false", "False": kind = .bool(false)
            case "none", "None": kind = .none
            default: kind = .name(name)
            }
        case .integer(let number): kind = .integer(number)
        case .double(let number): kind = .double(number)
        case .string(var text):
            while case .string(let more) = next.kind {
                text += more
                advance()
            }
            kind = .string(text)
        case .symbol("("): return try parenthesized(line)
        case .symbol("["): return JinjaExpression(kind: .list(try items(closing: "]"), isTuple: false), line: line)
        case .symbol("{"): return try object(line)
        default: throw error("found \(shown(current)), expected an expression")
        }
        advance()
        return JinjaExpression(kind: kind, line: line)
    }

    private mutating func parenthesized(_ line: Int) throws -> JinjaExpression {
        advance()
        if accept(")") { return JinjaExpression(kind: .list([], isTuple: true), line: line) }
        let value = try tupleOrExpression()
        try expect(")")
        return value
    }

    private mutating func items(closing: String) throws -> [JinjaExpression] {
        advance()
        var items: [JinjaExpression] = []
        while !accept(closing) {
            if !items.isEmpty {
                try expect(",")
                if accept(closing) { break }
            }
            items.append(try expression())
        }
        return items
    }

    private mutating func object(_ line: Int) throws -> JinjaExpression {
        advance()
        var members: [(key: JinjaExpression, value: JinjaExpression)] = []
        while !accept("}") {
            if !members.isEmpty {
                try expect(",")
                if accept("}") { break }
            }
            let key = try expression()
            try expect(":")
            members.append((key, try expression()))
        }
        return JinjaExpression(kind: .object(members), line: line)
    }

    private mutating func postfix(_ start: JinjaExpression) throws -> JinjaExpression {
        var value = start
        var count = 0
        while true {
            let line = current.line
            if sees(".") {
                advance()
                if case .integer(let index) = current.kind {
                    advance()
                    let item = JinjaExpression(kind: .integer(index), line: line)
                    value = JinjaExpression(kind: .item(value, item), line: line)
                } else {
                    value = JinjaExpression(kind: .attribute(value, try name()), line: line)
                }
            } else if sees("[") {
                value = try subscripted(value, line)
            } else if sees("(") {
                value = JinjaExpression(kind: .call(value, try arguments()), line: line)
            } else {
                return value
            }
            try countLink(&count)
        }
    }

    private mutating func subscripted(_ value: JinjaExpression, _ line: Int) throws -> JinjaExpression {
        advance()
        var parts: [JinjaExpression?] = [nil]
        while !accept("]") {
            if accept(":") {
                parts.append(nil)
            } else {
                guard parts[parts.count - 1] == nil else { throw error("found \(shown(current)), expected \"]\"") }
                parts[parts.count - 1] = try expression()
            }
        }
        switch parts.count {
        case 1:
            guard let index = parts[0] else { throw error("an empty subscript") }
            return JinjaExpression(kind: .item(value, index), line: line)
        case 2: return JinjaExpression(kind: .slice(value, parts[0], parts[1], nil), line: line)
        case 3: return JinjaExpression(kind: .slice(value, parts[0], parts[1], parts[2]), line: line)
        default: throw error("a slice with more than three parts")
        }
    }

    mutating func arguments() throws -> JinjaArguments {
        try expect("(")
        var arguments = JinjaArguments()
        var isFirst = true
        while !accept(")") {
            if !isFirst {
                try expect(",")
                if accept(")") { break }
            }
            isFirst = false
            guard !sees("*"), !sees("**") else { throw error("unpacked arguments are not supported") }
            if case .name(let name) = current.kind, next.kind == .symbol("=") {
                advance()
                advance()
                arguments.named.append((name, try expression()))
            } else {
                guard arguments.named.isEmpty else { throw error("an argument without a name after one with a name") }
                arguments.positional.append(try expression())
            }
        }
        return arguments
    }

    private mutating func filtersAndTests(_ start: JinjaExpression) throws -> JinjaExpression {
        var value = start
        var count = 0
        while true {
            let line = current.line
            try countLink(&count)
            if sees("|") {
                value = try filterChain(value)
            } else if seesName("is") {
                value = try test(value, line)
            } else if sees("(") {
                value = JinjaExpression(kind: .call(value, try arguments()), line: line)
            } else {
                return value
            }
        }
    }

    /// `name(...) | name ...`, with or without the first bar; nil stands for the text of a block.
    mutating func filterChain(_ start: JinjaExpression?) throws -> JinjaExpression {
        var value = start
        var count = 0
        repeat {
            let line = current.line
            if value != nil || sees("|") { try expect("|") }
            try countLink(&count)
            let filter = try name()
            guard JinjaFilters.names.contains(filter) else {
                throw error("the filter \"\(filter)\" is not supported; supported are \(JinjaFilters.list)")
            }
            let arguments = sees("(") ? try self.arguments() : JinjaArguments()
            value = JinjaExpression(kind: .filter(value, filter, arguments), line: line)
        } while sees("|")
        guard let value else { throw error("a block filter without a name") }
        return value
    }

    private mutating func test(_ value: JinjaExpression, _ line: Int) throws -> JinjaExpression {
        advance()
        let isNegated = acceptName("not")
        let test = try name()
        guard JinjaTests.names.contains(test) else {
            throw error("the test \"\(test)\" is not supported; supported are \(JinjaTests.list)")
        }
        var arguments = JinjaArguments()
        if sees("(") {
            arguments = try self.arguments()
        } else if startsTestArgument {
            arguments.positional = [try postfix(try primary())]
        }
        return JinjaExpression(kind: .test(value, test, arguments, isNegated: isNegated), line: line)
    }

    private var startsTestArgument: Bool {
        switch current.kind {
        case .string, .integer, .double, .symbol("["), .symbol("{"): true
        case .name(let name): !["else", "or", "and", "is", "if", "in", "not"].contains(name)
        default: false
        }
    }
}
