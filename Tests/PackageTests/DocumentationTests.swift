import Foundation
import Testing

/// The root of the repository.
private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

@Suite("Documentation")
struct DocumentationTests {
    private static let articles = "Sources/Job/Plumbline.docc"

    private static func files(_ folder: String, _ ending: String) -> [URL] {
        let found = FileManager.default.enumerator(at: root.appending(path: folder), includingPropertiesForKeys: nil)
        return (found?.allObjects ?? []).compactMap { $0 as? URL }.filter { $0.pathExtension == ending }
    }

    /// Lines without their indentation, empty ones left out.
    private static func lines(_ text: some StringProtocol) -> String {
        text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
            .joined(separator: "\n")
    }

    /// A sample stands in some test, letter for letter but for the indentation, and is compiled there.
    @Test func everySwiftSampleIsCompiledByATest() throws {
        let tests = try Self.files("Tests", "swift").map { Self.lines(try String(contentsOf: $0, encoding: .utf8)) }
        let pages = [root.appending(path: "README.md")] + Self.files(Self.articles, "md")
        var count = 0
        for page in pages {
            let text = try String(contentsOf: page, encoding: .utf8)
            for block in text.components(separatedBy: "```swift\n").dropFirst() {
                let code = block.components(separatedBy: "\n```")[0]
                let sample = Self.lines(
                    code.split(separator: "\n").filter { !$0.hasPrefix("public import") }.joined(separator: "\n"))
                #expect(tests.contains { $0.contains(sample) }, "\(page.lastPathComponent):\n\(sample)")
                count += 1
            }
        }
        #expect(count >= 7)
    }

    @Test func everyArticleIsListed() throws {
        let list = try String(contentsOf: root.appending(path: "\(Self.articles)/Plumbline.md"), encoding: .utf8)
        let names = Self.files(Self.articles, "md").map { $0.deletingPathExtension().lastPathComponent }
        #expect(names.count == 8)
        for name in names where name != "Plumbline" { #expect(list.contains("<doc:\(name)>"), "\(name)") }
    }

    /// `label:label:` of a parameter list, from behind its opening parenthesis on.
    private static func labels(_ parameters: Substring) -> String {
        var (depth, parts) = (0, [""])
        for character in parameters {
            if "([{".contains(character) { depth += 1 }
            if ")]}".contains(character) { depth -= 1 }
            if depth < 0 { break }
            if character == ",", depth == 0 { parts.append("") } else { parts[parts.count - 1].append(character) }
        }
        let trimmed = parts.map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }.filter { !$0.isEmpty }
        return trimmed.map { part -> String in
            guard let colon = part.firstIndex(of: ":"), part.first != "[", part.first != "(" else { return "_:" }
            return "\(part[..<colon].split(separator: " ").first ?? ""):"
        }.joined()
    }

    /// `name(label:label:)` of the functions, initializers, subscripts and enum cases that a text declares.
    private static func signatures(_ text: String) -> [String] {
        let start = #/([\w`]*)[?!]?(?:<[^(]*>)?\(/#
        return ["func ", "case ", " init", " subscript"].flatMap { keyword -> [String] in
            text.components(separatedBy: keyword).dropFirst().compactMap { piece -> String? in
                guard let head = piece.prefixMatch(of: start) else { return nil }
                let name = keyword.hasPrefix(" ") ? String(keyword.dropFirst()) : String(head.1)
                return "\(name.replacing("`", with: ""))(\(labels(piece[head.range.upperBound...])))"
            }
        }
    }

    /// DocC turns any other link into plain text, without a word.
    @Test func linksOfCommentsNameWhatIsDeclared() throws {
        let files = Self.files("Sources", "swift") + Self.files("rewards", "swift")
        let texts = try files.map { try String(contentsOf: $0, encoding: .utf8) }
        let declared = Set(texts.flatMap { Self.signatures($0) })
        let pattern = #/``(\w[^`\s]*?\))[^`\s]*``/#
        var count = 0
        for line in texts.flatMap({ $0.split(separator: "\n") }) where line.contains("``") {
            for link in line.matches(of: pattern) {
                let name = link.1.split(separator: "/").last ?? link.1
                #expect(declared.contains(String(name)), "\(link.1)")
                count += 1
            }
        }
        #expect(count > 200)
    }
}
