/// What may follow `is`.
struct JinjaTests {
    let renderer: JinjaRenderer
    let line: Int

    static let names: Set<String> = [
        "defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping",
        "sequence", "iterable", "callable", "odd", "even", "divisibleby", "eq", "equalto", "ne", "lt", "lessthan", "le",
        "gt", "greaterthan", "ge", "in", "sameas", "lower", "upper",
    ]
    static let list = names.sorted().joined(separator: ", ")

    func check(_ value: JinjaValue, _ name: String, _ arguments: [JinjaValue]) throws -> Bool {
        switch name {
        case "defined", "undefined":
            if case .undefined = value { return name == "undefined" }
            return name == "defined"
        case "none": return value.isNull
        case "boolean", "true", "false":
            guard case .bool(let flag) = value else { return false }
            return name == "boolean" || flag == (name == "true")
        case "integer": if case .integer = value { return true } else { return false }
        case "float": if case .double = value { return true } else { return false }
        case "number": return value.number != nil
        case "string": return value.text != nil
        case "mapping": if case .object = value { return true } else { return false }
        case "sequence", "iterable":
            switch value {
            case .string, .list, .object, .undefined: return true
            default: return false
            }
        case "callable": if case .function = value { return true } else { return false }
        case "lower": return value.printed == value.printed.lowercased() && value.printed != value.printed.uppercased()
        case "upper": return value.printed == value.printed.uppercased() && value.printed != value.printed.lowercased()
        case "odd", "even", "divisibleby": return try divides(value, name, arguments)
        default: return try comparison(value, name, arguments)
        }
    }

    private func divides(_ value: JinjaValue, _ name: String, _ arguments: [JinjaValue]) throws -> Bool {
        let divisor = name == "divisibleby" ? arguments.first?.whole : 2
        guard let number = value.whole, let divisor, divisor != 0 else {
            throw ChatTemplateError(line: line, message: "the test \"\(name)\" takes integers")
        }
        // -1 divides everything, and the one remainder that overflows is by it.
        let isMultiple = divisor == -1 || number % divisor == 0
        return name == "odd" ? !isMultiple : isMultiple
    }

    private func comparison(_ value: JinjaValue, _ name: String, _ arguments: [JinjaValue]) throws -> Bool {
        guard let other = arguments.first else {
            throw ChatTemplateError(line: line, message: "the test \"\(name)\" takes a value")
        }
        let symbols = [
            "eq": "==", "equalto": "==", "ne": "!=", "lt": "<", "lessthan": "<", "le": "<=", "gt": ">",
            "greaterthan": ">",
            "ge": ">=", "in": "in",
        ]
        if let symbol = symbols[name] { return try renderer.compare(symbol, value, other, line) }
        // `sameas`: Python's identity, which for the constants templates use is type and value.
        return value.typeName == other.typeName && value.isEqual(to: other)
    }
}
