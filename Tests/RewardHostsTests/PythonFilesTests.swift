import Foundation
import Testing

@Suite("Python in files")
struct PythonFilesTests {
    /// Every Python file that the binary brings along or that users are shown, by Python's own compiler.
    @Test func everyFileCompiles() throws {
        let root = URL(filePath: testFolder).appending(path: "../..").standardizedFileURL
        let files = ["Sources", "rewards"].flatMap { folder -> [String] in
            let names = FileManager.default.enumerator(atPath: root.appending(path: folder).path)
            return (names?.compactMap { $0 as? String } ?? []).filter { $0.hasSuffix(".py") }.map { "\(folder)/\($0)" }
        }
        #expect(files.contains("Sources/RewardHosts/Python/host.py") && files.count >= 10, "\(files)")
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3", "-W", "error", "-m", "py_compile"] + files
        process.currentDirectoryURL = root
        var environment = ProcessInfo.processInfo.environment
        environment["PYTHONPYCACHEPREFIX"] = NSTemporaryDirectory()
        process.environment = environment
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }
}
