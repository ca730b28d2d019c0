import Foundation
import Testing

/// The root of the repository.
private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

@Suite("Rooms import only what the table in Package.swift allows")
struct ImportTableTests {
    /// Modules that come with the toolchain.
    private static let toolchain: Set<String> = [
        "Foundation", "FoundationNetworking", "Glibc", "Darwin", "Dispatch", "Synchronization", "Testing",
        "FoundationEssentials",
        "PackageDescription",
    ]

    /// Room → (its folder, the rooms and packages it may import), read from the table in Package.swift.
    private func table() throws -> [String: (folder: String, imports: Set<String>)] {
        let manifest = try String(contentsOf: root.appending(path: "Package.swift"), encoding: .utf8)
        let packages = ["argumentParser": "ArgumentParser", "yams": "Yams"]
        var rooms: [String: (folder: String, imports: Set<String>)] = [:]
        for match in manifest.matches(of: /Room\(\s*name: "(\w+)"(?<rest>(?:[^()]|\([^()]*\))*)\)/) {
            let name = String(match.1)
            let rest = String(match.rest)
            let path = rest.firstMatch(of: /path: "([^"]+)"/).map { String($0.1) } ?? "Sources/\(name)"
            let list = rest.firstMatch(of: /imports: \[([^\]]*)\]/).map { String($0.1) } ?? ""
            var imports = Set(list.matches(of: /"(\w+)"/).map { String($0.1) })
            let used = rest.firstMatch(of: /packages: \[([^\]]*)\]/).map { String($0.1) } ?? ""
            for (variable, module) in packages where used.contains(variable) { imports.insert(module) }
            rooms[name] = (path, imports)
        }
        return rooms
    }

    private func imports(in folder: String) throws -> [(file: String, module: String, line: String)] {
        let files = FileManager.default.enumerator(at: root.appending(path: folder), includingPropertiesForKeys: nil)
        var found: [(String, String, String)] = []
        for case let file as URL in files ?? .init() where file.pathExtension == "swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(
                of:
                    /(?m)^(?<line>(?:@\w+ )?(?:(?:public|package|internal|private|fileprivate) )?import (?:(?:struct|class|enum|func|protocol) )?(?<module>\w+).*)$/
            ) {
                found.append((file.lastPathComponent, String(match.module), String(match.line)))
            }
        }
        return found
    }

    @Test func theTableIsRead() throws {
        let rooms = try table()
        #expect(rooms.count >= 17)
        #expect(rooms["Credit"]?.imports == ["Records"])
        #expect(rooms["ShippedRewards"]?.folder == "rewards")
        #expect(rooms["Job"]?.imports.contains("Yams") == true)
    }

    @Test func everyImportStandsInTheTable() throws {
        for (room, (folder, allowed)) in try table() {
            for (file, module, _) in try imports(in: folder) {
                #expect(
                    allowed.contains(module) || Self.toolchain.contains(module),
                    "\(room)/\(file) imports \(module), which the table in Package.swift does not give it")
            }
        }
    }

    @Test func onlyTensorsSeesCTorchAndKeepsItToItself() throws {
        for (room, (folder, _)) in try table() {
            for (file, module, line) in try imports(in: folder) where module == "CTorch" {
                #expect(room == "Tensors", "\(room)/\(file) imports CTorch")
                #expect(line.hasPrefix("internal import") || line.hasPrefix("import"), "\(file): \(line)")
            }
        }
    }

    @Test func roomsUpToFloorFourUseNoPackage() throws {
        let upper: Set<String> = ["Job", "Benchmarks"]
        for (room, entry) in try table() where !upper.contains(room) {
            #expect(entry.imports.isDisjoint(with: ["ArgumentParser", "Yams"]), "\(room) uses a package")
        }
    }

    @Test func theTopLevelHoldsNothingElse() throws {
        let allowed: Set<String> = [
            "Package.swift", "Sources", "Tests", "rewards", "prompts", "README.md", "Makefile", "LICENSE",
        ]
        let entries = try FileManager.default.contentsOfDirectory(atPath: root.path)
        let extra = entries.filter {
            !$0.hasPrefix(".") && !allowed.contains($0) && $0 != "Package.resolved" && $0 != "runs"
        }
        #expect(extra.isEmpty, "at the top level: \(extra)")
    }
}
