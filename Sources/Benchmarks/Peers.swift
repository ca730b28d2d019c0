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
    /// Versions of the modules that peers import, by the modules' names; empty where one does not say.
    package let versions: [String: String]
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
            import importlib.metadata, importlib.util
            for name in "\(modules.joined(separator: " "))".split():
                if importlib.util.find_spec(name):
                    try: print(name, importlib.metadata.version(name))
                    except importlib.metadata.PackageNotFoundError: print(name)
            """
        let found = try python.map { try ProcessOutput.of(URL(filePath: $0), ["-c", program]) }
        let lines = found?.split(separator: "\n").map { $0.split(separator: " ", maxSplits: 1).map(String.init) }
        self.init(
            python: python,
            modules: lines.map { Dictionary($0.map { ($0[0], $0.count > 1 ? $0[1] : "") }) { $1 } }, scripts)
    }

    /// - Parameter modules: The versions of those that the Python has; `nil` without one.
    package init(python: String?, modules: [String: String]?, _ scripts: String) {
        self.python = python ?? ""
        self.scripts = URL(filePath: scripts, directoryHint: .isDirectory)
        versions = modules ?? [:]
        let missing = Peer.allCases.map { peer in (peer, peer.modules.filter { modules?[$0] == nil }) }
        installed = Set(missing.filter { $0.1.isEmpty }.map(\.0))
        leftOut = missing.filter { !$0.1.isEmpty }.map { peer, names in
            "left out: \(peer.rawValue), "
                + (python.map { "as \($0) has no \(names.joined(separator: ", "))" } ?? "as no --peers-python is given")
        }
    }

    /// A peer's script as a process. A Python of a virtual environment is a link that must be run as one.
    func process(_ peer: Peer, _ arguments: [String]) -> ChildProcess {
        ChildProcess(
            program: URL(filePath: python), arguments: [scripts.appending(path: peer.script).path] + arguments)
    }
}
