import Foundation
import TestSupport
import Testing

@Suite("A libtorch that cannot be used is refused in plain words")
struct LibtorchScriptTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private static let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: ".ci/libtorch")

    /// Writes a folder that looks like libtorch: a library that is an ELF header alone, and a header with its version.
    ///
    /// - Parameter machine: ELF's number of the processor: 0x3e is x86-64, 0xb7 64-bit Arm.
    private func libtorch(version: String? = "2.13", machine: UInt8? = nil, library: String = "libtorch_cpu.so") throws
    {
        for name in ["lib", "include/torch"] {
            try FileManager.default.createDirectory(
                at: folder.url.appending(path: name), withIntermediateDirectories: true)
        }
        #if arch(x86_64)
        let own: UInt8 = 0x3e
        #else
        let own: UInt8 = 0xb7
        #endif
        _ = try folder.file(
            "lib/\(library)", [0x7f, 0x45, 0x4c, 0x46] + [UInt8](repeating: 0, count: 14) + [machine ?? own, 0])
        guard let parts = version?.split(separator: ".") else { return }
        _ = try folder.file(
            "include/torch/version.h",
            "#pragma once\n#define TORCH_VERSION_MAJOR \(parts[0])\n#define TORCH_VERSION_MINOR \(parts[1])\n")
    }

    private func check(
        _ environment: [String: String], script: URL = Self.script
    ) throws -> (status: Int32, says: String) {
        try run(script, [], ["PATH": "/usr/bin:/bin"].merging(environment) { $1 })
    }

    private func run(
        _ program: URL, _ arguments: [String], _ environment: [String: String]
    ) throws -> (status: Int32, says: String) {
        let process = Process()
        let words = Pipe()
        process.executableURL = program
        process.arguments = arguments
        process.environment = environment
        process.standardError = words
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: words.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    private func refusal(_ pieces: String...) throws {
        let (status, says) = try check(["LIBTORCH": folder.url.path])
        #expect(status == 65)
        for piece in pieces + ["plumbline: "] { #expect(says.contains(piece), "'\(piece)' in \(says)") }
    }

    @Test func oneThatFitsIsTakenWithoutAWord() throws {
        try libtorch()
        #expect(try check(["LIBTORCH": folder.url.path]) == (0, ""))
        try libtorch(version: "2.11")
        #expect(try check(["LIBTORCH": folder.url.path]) == (0, ""))
        #expect(try check(["LIBTORCH": "none"]) == (0, ""))
    }

    @Test func missing() throws {
        try refusal("there is no libtorch in \(folder.url.path)", "lib/libtorch_cpu.so", "Unset LIBTORCH")
    }

    @Test func withoutHeaders() throws {
        try libtorch(version: nil)
        try refusal("has no headers", "include/torch/version.h", "Take the folder that holds both include/ and lib/")
    }

    @Test(arguments: ["2.10", "1.13", "2.9"])
    func tooOld(_ version: String) throws {
        try libtorch(version: version)
        try refusal("is \(version); 2.11 or newer is needed", "Unset LIBTORCH")
    }

    /// CTorch says both itself, for whoever builds without `make`: checked by the preprocessor alone.
    @Test(arguments: [
        (nil, "libtorch is missing. Run `make`"), ("2.10", "libtorch is too old, 2.11 or newer is needed"),
    ])
    func theHeadersSayItToo(_ version: String?, _ says: String) throws {
        if let version {
            try libtorch(version: version)
            try FileManager.default.createDirectory(
                at: folder.url.appending(path: "include/ATen/core"), withIntermediateDirectories: true)
            _ = try folder.file("include/ATen/core/Tensor.h", "")
        }
        let sources = Self.script.deletingLastPathComponent().deletingLastPathComponent()
        let header = sources.appending(path: "Sources/CTorch/support.hpp").path
        let found = try run(
            URL(filePath: "/usr/bin/env"),
            ["clang++", "-std=c++20", "-E", "-x", "c++", "-isystem", "\(folder.url.path)/include", header],
            ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"])
        #expect(found.status != 0 && found.says.contains(says), "\(found.says)")
    }

    @Test func ofAnotherProcessor() throws {
        #if arch(x86_64)
        try libtorch(machine: 0xb7)
        try refusal("is built for 64-bit Arm, this machine is x86_64", "Unset LIBTORCH")
        #else
        try libtorch(machine: 0x3e)
        try refusal("is built for x86-64, this machine is aarch64", "Unset LIBTORCH")
        #endif
    }

    @Test(arguments: [("libtorch_cpu.dylib", "macOS"), ("torch_cpu.dll", "Windows")])
    func ofAnotherSystem(_ library: String, _ system: String) throws {
        try libtorch(library: library)
        try refusal("is built for \(system)", "Unset LIBTORCH")
    }

    /// On a platform for which nothing is fetched, told by a `uname` of the test's own.
    @Test func noneIsFetchedForOtherSystems() throws {
        let uname = try folder.file("bin", "#!/bin/sh\n[ \"$1\" = -s ] && echo Darwin || echo arm64\n")
        let bin = folder.url.appending(path: "path")
        try FileManager.default.createDirectory(at: bin, withIntermediateDirectories: true)
        try FileManager.default.moveItem(at: uname, to: bin.appending(path: "uname"))
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o755], ofItemAtPath: bin.appending(path: "uname").path)
        let copy = folder.url.appending(path: "checkout/.ci/libtorch")
        try FileManager.default.createDirectory(at: copy.deletingLastPathComponent(), withIntermediateDirectories: true)
        try FileManager.default.copyItem(at: Self.script, to: copy)
        let (status, says) = try check(["PATH": "\(bin.path):/usr/bin:/bin"], script: copy)
        #expect(status == 65)
        #expect(
            says.contains("no libtorch is fetched for Darwin on arm64") && says.contains("LIBTORCH=/path"), "\(says)")
    }
}
