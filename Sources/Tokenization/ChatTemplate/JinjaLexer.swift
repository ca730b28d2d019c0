import Foundation

/// A piece of a template.
struct JinjaToken {
    enum Kind: Equatable {
        case text(String)
        case blockStart, blockEnd, outputStart, outputEnd
        case name(String)
        case string(String)
        case integer(Int)
        case double(Double)
        case symbol(String)
        case end
    }

    let kind: Kind
    let line: Int
}

/// Cuts a template into tokens and settles its white space.
struct JinjaLexer {
    private let source: [Unicode.Scalar]
    private var position = 0
    private var line = 1
    private var tokens: [JinjaToken] = []
    /// Whether what was read last ended a line, so that `lstrip_blocks` applies.
    private var startsLine = true

    private static let symbols = [
        "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}",
        ".", ",", ":", "|",
    ].map { Array($0.unicodeScalars) }

    static func tokens(of source: String) throws -> [JinjaToken] {
        var text = Array(source.utf8).replacing(Array("\r\n".utf8), with: [10]).replacing([13], with: [10])
        if text.last == 10 { text.removeLast() }
        var lexer = JinjaLexer(source: Array(String(decoding: text, as: UTF8.self).unicodeScalars))
        try lexer.run()
        return lexer.tokens
    }

    private init(source: [Unicode.Scalar]) { self.source = source }

    private func error(_ message: String) -> ChatTemplateError { ChatTemplateError(line: line, message: message) }

    private func at(_ offset: Int) -> Unicode.Scalar? {
        position + offset < source.count ? source[position + offset] : nil
    }

    private func sees(_ text: String) -> Bool { source[position...].starts(with: text.unicodeScalars) }

    private mutating func advance(_ count: Int = 1) {
        for _ in 0..<count where position < source.count {
            if source[position] == "\n" { line += 1 }
            position += 1
        }
    }

    private mutating func add(_ kind: JinjaToken.Kind) { tokens.append(JinjaToken(kind: kind, line: line)) }

    private mutating func run() throws {
        while position < source.count {
            let start = position
            let startLine = line
            while position < source.count, !sees("{{"), !sees("{%"), !sees("{#") { advance() }
            addText(from: start, line: startLine)
            guard position < source.count else { break }
            if sees("{#") {
                try comment()
            } else if sees("{{") {
                try tag(.outputStart, .outputEnd, closing: "}}")
            } else if !(try rawBlock()) {
                try tag(.blockStart, .blockEnd, closing: "%}")
            }
        }
        add(.end)
    }

    /// Adds text up to the position, cut as the tag that follows asks.
    private mutating func addText(from start: Int, line startLine: Int) {
        var text = source[start..<position]
        let mark = at(2)
        if position < source.count, mark == "-" {
            while let last = text.last, Self.isSpace(last) { text.removeLast() }
        } else if position < source.count, mark != "+", at(1) != "{" {
            let lineStart = text.lastIndex(of: "\n").map { $0 + 1 } ?? text.startIndex
            let isAtLineStart = lineStart > text.startIndex || startsLine
            if isAtLineStart, text[lineStart...].allSatisfy(Self.isSpace) { text = text[..<lineStart] }
        }
        if position > start { startsLine = source[position - 1] == "\n" }
        guard !text.isEmpty else { return }
        tokens.append(JinjaToken(kind: .text(Self.string(text)), line: startLine))
    }

    private mutating func comment() throws {
        advance(2)
        while position < source.count, !sees("#}") { advance() }
        guard position < source.count else { throw error("a comment that is not closed by #}") }
        let mark = source[position - 1]
        advance(2)
        closeTag(mark: mark, trimsLineEnd: true)
    }

    /// What follows a closing tag: all white space after `-`, one line end after a block without `+`.
    private mutating func closeTag(mark: Unicode.Scalar?, trimsLineEnd: Bool) {
        startsLine = false
        if mark == "-" {
            while let next = at(0), Self.isSpace(next) {
                startsLine = next == "\n"
                advance()
            }
        } else if trimsLineEnd, mark != "+", at(0) == "\n" {
            startsLine = true
            advance()
        }
    }

    /// `{% raw %} … {% endraw %}` as text; false when the tag is another.
    private mutating func rawBlock() throws -> Bool {
        guard let opening = match(tag: "raw", at: position) else { return false }
        advance(opening.end - position)
        // Jinja keeps the line end after this one tag.
        closeTag(mark: opening.mark, trimsLineEnd: false)
        let start = position
        let startLine = line
        while position < source.count {
            if sees("{%"), let closing = match(tag: "endraw", at: position) {
                addText(from: start, line: startLine)
                advance(closing.end - position)
                closeTag(mark: closing.mark, trimsLineEnd: true)
                return true
            }
            advance()
        }
        throw error("a raw block that is not closed by {% endraw %}")
    }

    private func match(tag: String, at start: Int) -> (end: Int, mark: Unicode.Scalar?)? {
        var index = start + 2
        func skipSpace() { while index < source.count, Self.isSpace(source[index]) { index += 1 } }
        if index < source.count, source[index] == "-" || source[index] == "+" { index += 1 }
        skipSpace()
        guard source[index...].starts(with: tag.unicodeScalars) else { return nil }
        index += tag.unicodeScalars.count
        skipSpace()
        var mark: Unicode.Scalar?
        if index < source.count, source[index] == "-" || source[index] == "+" {
            mark = source[index]
            index += 1
        }
        guard source[index...].starts(with: "%}".unicodeScalars) else { return nil }
        return (index + 2, mark)
    }

    private mutating func tag(_ start: JinjaToken.Kind, _ end: JinjaToken.Kind, closing: String) throws {
        add(start)
        advance(2)
        if at(0) == "-" || at(0) == "+" { advance() }
        var depth = 0
        while position < source.count {
            if depth == 0 {
                let marked = at(0) == "-" || at(0) == "+"
                if sees(closing) || (marked && source[(position + 1)...].starts(with: closing.unicodeScalars)) {
                    let mark = marked ? at(0) : nil
                    add(end)
                    advance(marked ? 3 : 2)
                    closeTag(mark: mark, trimsLineEnd: closing == "%}")
                    return
                }
            }
            try token(&depth)
        }
        throw error("a tag that is not closed by \(closing)")
    }

    private mutating func token(_ depth: inout Int) throws {
        guard let next = at(0) else { return }
        if Self.isSpace(next) {
            advance()
        } else if next == "\"" || next == "'" {
            try string(quote: next)
        } else if next.isASCII, ("0"..."9").contains(next) {
            try number()
        } else if next == "_" || next.properties.isXIDStart {
            let start = position
            while let inner = at(0), inner == "_" || inner.properties.isXIDContinue { advance() }
            add(.name(Self.string(source[start..<position])))
        } else if let symbol = Self.symbols.first(where: { source[position...].starts(with: $0) }) {
            let text = Self.string(symbol[...])
            if "([{".contains(text) { depth += 1 }
            if ")]}".contains(text) { depth -= 1 }
            guard depth >= 0 else { throw error("\"\(text)\" that closes nothing") }
            add(.symbol(text))
            advance(symbol.count)
        } else {
            throw error("\"\(next)\", which is no part of an expression")
        }
    }

    private mutating func number() throws {
        let start = position
        while let next = at(0), next == "_" || ("0"..."9").contains(next) { advance() }
        var isDouble = false
        if at(0) == ".", let next = at(1), ("0"..."9").contains(next) {
            isDouble = true
            advance()
            while let next = at(0), ("0"..."9").contains(next) { advance() }
        }
        if at(0) == "e" || at(0) == "E" {
            let hasSign = at(1) == "-" || at(1) == "+"
            if let next = at(hasSign ? 2 : 1), ("0"..."9").contains(next) {
                isDouble = true
                advance(hasSign ? 2 : 1)
                while let next = at(0), ("0"..."9").contains(next) { advance() }
            }
        }
        let text = Self.string(source[start..<position].filter { $0 != "_" }[...])
        if isDouble, let number = Double(text) {
            add(.double(number))
        } else if !isDouble, let number = Int(text) {
            add(.integer(number))
        } else {
            throw error("the number \(text), which is too large")
        }
        if let next = at(0), next.properties.isXIDStart {
            throw error("\"\(next)\" in a number; decimal digits are supported")
        }
    }

    private mutating func string(quote: Unicode.Scalar) throws {
        advance()
        var text = String.UnicodeScalarView()
        while let next = at(0), next != quote {
            advance()
            if next == "\\" { try escape(into: &text) } else { text.append(next) }
        }
        guard at(0) == quote else { throw error("a string that is not closed by \(quote)") }
        add(.string(String(text)))
        advance()
    }

    /// Python's escapes; an unknown one keeps its backslash.
    private mutating func escape(into text: inout String.UnicodeScalarView) throws {
        guard let next = at(0) else { return }
        let simple: [Unicode.Scalar: Unicode.Scalar] = [
            "n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", "\"": "\"", "a": "\u{7}", "b": "\u{8}", "f": "\u{c}",
            "v": "\u{b}",
        ]
        let digits: [Unicode.Scalar: Int] = ["x": 2, "u": 4, "U": 8]
        advance()
        if let scalar = simple[next] {
            text.append(scalar)
        } else if let count = digits[next] {
            let end = min(position + count, source.count)
            let code = UInt32(Self.string(source[position..<end]), radix: 16)
            guard end == position + count, let scalar = code.flatMap(Unicode.Scalar.init) else {
                throw error("\\\(next) without the \(count) hexadecimal digits of a character")
            }
            text.append(scalar)
            advance(count)
        } else if Self.isOctal(next) {
            var digits = String(next)
            while digits.utf8.count < 3, let digit = at(0), Self.isOctal(digit) {
                digits.unicodeScalars.append(digit)
                advance()
            }
            // Three digits go to U+01FF.
            if let scalar = UInt32(digits, radix: 8).flatMap(Unicode.Scalar.init) { text.append(scalar) }
        } else if next == "N" {
            throw error("\\N, a character by its name; give it by its code, \\u and four hexadecimal digits")
        } else if next != "\n" {
            text.append("\\")
            text.append(next)
        }
    }

    private static func isOctal(_ scalar: Unicode.Scalar) -> Bool { ("0"..."7").contains(scalar) }

    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        (0x1C...0x1F).contains(scalar.value) || scalar.properties.isWhitespace
    }

    private static func string(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }
}
