internal import Foundation
internal import Job

/// What the suite measures beside Plumbline, each a script that a Python with the right packages runs.
package enum Peer: String, Sendable, CaseIterable {
    /// The trainer that people use.
    case trl = "TRL"
    /// The same with adapters.
    case peft = "TRL + peft"
    /// The same step written straight in PyTorch.
    case pyTorch = "PyTorch"
    /// Sampling alone, also of quantised weights.
    case llamaCpp = "llama.cpp"

    /// What its script imports.
    package var modules: [String] {
        switch self {
        case .trl: ["trl", "transformers", "datasets", "torch"]
        case .peft: Peer.trl.modules + ["peft"]
        case .pyTorch: ["torch", "safetensors"]
        case .llamaCpp: ["cyllama"]
        }
    }

    var script: String {
        switch self {
        case .trl, .peft: "trl_step.py"
        case .pyTorch: "pytorch_step.py"
        case .llamaCpp: "llama_cpp_rollout.py"
        }
    }
}

/// The peers that can be run here, and why others cannot.
package struct Peers: Sendable {
    package let installed: Set<Peer>
    /// A line for each that is left out.
    package let leftOut: [String]
    private let python: String
    private let scripts: URL

    /// Asks a Python what it has.
    ///
    /// - Parameters:
    ///   - python: `nil` leaves all out.
    ///   - scripts: The folder of the peers' scripts.
    /// - Throws: `JobError` for a program that is no Python.
    init(python: String?, scripts: String) throws {
        let modules = Set(Peer.allCases.flatMap(\.modules)).sorted()
        let program = """
            import importlib.util
            for name in "\(modules.joined(separator: " "))".split():
                if importlib.util.find_spec(name): print(name)
            """
        let found = try python.map { try ProcessOutput.of(URL(filePath: $0), ["-c", program]) }
        self.init(python: python, modules: found.map { Set($0.split(separator: "\n").map(String.init)) }, scripts)
    }

    /// - Parameter modules: Those that the Python has; `nil` without one.
    package init(python: String?, modules: Set<String>?, _ scripts: String) {
        self.python = python ?? ""
        self.scripts = URL(filePath: scripts, directoryHint: .isDirectory)
        let missing = Peer.allCases.map { peer in (peer, peer.modules.filter { !(modules?.contains($0) ?? false) }) }
        installed = Set(missing.filter { $0.1.isEmpty }.map(\.0))
        leftOut = missing.filter { !$0.1.isEmpty }.map { peer, names in
            "left out: \(peer.rawValue), "
                + (python.map { "as \($0) has no \(names.joined(separator: ", "))" } ?? "as no --peers-python is given")
        }
    }

    /// Runs a peer's script to its end, and reads the object that it prints last.
    func measure(_ peer: Peer, _ arguments: [String], in folder: URL) throws -> [String: Any] {
        let script = scripts.appending(path: peer.script)
        return try LastObject.of(URL(filePath: python), [script.path] + arguments, folder: folder)
    }
}

/// A measuring process, which prints one JSON object last.
enum LastObject {
    /// - Parameter program: `nil` for this one.
    static func of(_ program: URL?, _ arguments: [String], folder: URL) throws -> [String: Any] {
        // A Python of a virtual environment is a link that must be run as one.
        let program = program ?? URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        let text = try ProcessOutput.of(program, arguments, folder: folder)
        let last = text.split(separator: "\n").last.map { Data($0.utf8) } ?? Data()
        guard let object = try? JSONSerialization.jsonObject(with: last) as? [String: Any] else {
            throw JobError(place: program.path, message: "the last line it printed is no JSON object")
        }
        return object
    }
}
