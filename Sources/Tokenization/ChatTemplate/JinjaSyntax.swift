/// An expression with the line it stands on.
struct JinjaExpression: Sendable {
    indirect enum Kind: Sendable {
        case none
        case bool(Bool)
        case integer(Int)
        case double(Double)
        case string(String)
        case name(String)
        case list([JinjaExpression], isTuple: Bool)
        case object([(key: JinjaExpression, value: JinjaExpression)])
        case attribute(JinjaExpression, String)
        case item(JinjaExpression, JinjaExpression)
        case slice(JinjaExpression, JinjaExpression?, JinjaExpression?, JinjaExpression?)
        case call(JinjaExpression, JinjaArguments)
        case filter(JinjaExpression?, String, JinjaArguments)
        case test(JinjaExpression, String, JinjaArguments, isNegated: Bool)
        case not(JinjaExpression)
        case sign(JinjaExpression, isNegative: Bool)
        case binary(String, JinjaExpression, JinjaExpression)
        case and(JinjaExpression, JinjaExpression)
        case or(JinjaExpression, JinjaExpression)
        case concatenation([JinjaExpression])
        case comparison(JinjaExpression, [(symbol: String, right: JinjaExpression)])
        case conditional(JinjaExpression, condition: JinjaExpression, otherwise: JinjaExpression?)
    }

    let kind: Kind
    let line: Int
}

struct JinjaArguments: Sendable {
    var positional: [JinjaExpression] = []
    var named: [(name: String, value: JinjaExpression)] = []
}

/// What `set` and `for` assign to.
enum JinjaTarget: Sendable {
    case name(String)
    case names([String])
    case member(of: String, String)
}

struct JinjaMacro: Sendable {
    let name: String
    let parameters: [(name: String, fallback: JinjaExpression?)]
    let body: [JinjaStatement]
}

struct JinjaStatement: Sendable {
    indirect enum Kind: Sendable {
        case text(String)
        case output(JinjaExpression)
        case branches([(condition: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
        case loop(
            JinjaTarget, JinjaExpression, condition: JinjaExpression?, body: [JinjaStatement],
            otherwise: [JinjaStatement])
        case set(JinjaTarget, JinjaExpression)
        case setBlock(JinjaTarget, filters: JinjaExpression?, body: [JinjaStatement])
        case macro(JinjaMacro)
        case scoped([JinjaStatement])
        case filterBlock(JinjaExpression, body: [JinjaStatement])
        case with([(name: String, value: JinjaExpression)], body: [JinjaStatement])
        case breakLoop
        case continueLoop
    }

    let kind: Kind
    let line: Int
}
