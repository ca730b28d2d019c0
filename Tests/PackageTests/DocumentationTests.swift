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
}
