// swift-tools-version: 6.2
// One package, one target a room. A room may import only what stands beside it here; Tests/PackageTests compares every
// `import` in Sources with this table. The floors and what each room is for: README.md, "Rooms".
import Foundation
import PackageDescription

/// Where libtorch is: unset or empty means the folder `make` unpacks, `none` leaves out every room that needs it.
let named = Context.environment["LIBTORCH"] ?? ""
let libtorch = named.isEmpty ? "\(Context.packageDirectory)/.torch/torch" : named
let hasTorch = libtorch != "none"

struct Room {
    let name: String
    var path: String?
    var imports: [String] = []
    var packages: [Target.Dependency] = []
    var needsTorch = false
    /// Files whose bytes are part of the binary, as `PackageResources.name_py`.
    var embedded: [String] = []
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let rooms: [Room] = [
    // Floor 0
    Room(name: "JSON"),
    Room(name: "GGUF"),
    // Floor 1
    Room(name: "Records", imports: ["JSON"]),
    Room(name: "Runs", imports: ["JSON"]),
    Room(name: "Tensors", imports: ["CTorch", "JSON"], needsTorch: true),
    // Floor 2
    Room(name: "Tokenization", imports: ["JSON", "GGUF", "Runs"]),
    Room(name: "RewardInterface", imports: ["JSON", "Records"]),
    Room(name: "Credit", imports: ["Records"]),
    Room(name: "PromptSets", imports: ["JSON", "Records", "Runs"]),
    Room(name: "Planning", imports: ["JSON", "Records", "Runs"]),
    Room(name: "Algorithms", imports: ["Tensors", "Records"], needsTorch: true),
    Room(name: "Models", imports: ["JSON", "GGUF", "Tensors", "Runs"], needsTorch: true),
    Room(name: "Placement", imports: ["Tensors", "Records"], needsTorch: true),
    // Floor 3
    Room(
        name: "ShippedRewards", path: "rewards", imports: ["RewardInterface", "JSON", "Records"],
        embedded: ["judge.py", "subject.py", "link.py", "call.py"].map { "CodeExecution/\($0)" }),
    Room(
        name: "RolloutEngine", imports: ["Records", "Tokenization", "Tensors", "Algorithms", "Models", "Placement"],
        needsTorch: true),
    Room(
        name: "PolicyUpdater", imports: ["Records", "Runs", "Tensors", "Algorithms", "Models", "Placement"],
        needsTorch: true),
    Room(
        name: "RewardModels", imports: ["JSON", "Records", "Tokenization", "Tensors", "RewardInterface", "Models"],
        needsTorch: true),
    // Floor 4
    Room(name: "Coordinator", imports: ["Records", "Credit", "Runs"]),
    Room(name: "Evaluation", imports: ["JSON", "Records", "Credit", "Runs"]),
    // Floor 5
    Room(name: "RewardHosts", imports: ["RewardInterface", "JSON", "Records", "Runs"], embedded: ["Python/host.py"]),
    Room(
        name: "Methods",
        imports: ["JSON", "Records", "Credit", "Algorithms", "RolloutEngine", "PolicyUpdater", "Coordinator"],
        needsTorch: true),
    // Floor 6
    Room(
        name: "Job",
        imports: [
            "JSON", "GGUF", "Records", "Tokenization", "Runs", "Tensors", "RewardInterface", "Credit", "PromptSets",
            "Planning",
            "Algorithms", "Models", "Placement", "ShippedRewards", "RolloutEngine", "PolicyUpdater", "Coordinator",
            "Evaluation",
            "RewardModels", "RewardHosts", "Methods",
        ], packages: [yams], needsTorch: true),
    // Floor 7
    Room(
        name: "Benchmarks",
        imports: [
            "JSON", "Records", "Tensors", "Credit", "Planning", "Algorithms", "Models", "Placement", "RolloutEngine",
            "PolicyUpdater", "Evaluation", "Job",
        ], needsTorch: true),
]

let built = rooms.filter { hasTorch || !$0.needsTorch }
let builtNames = built.map(\.name)

let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]
let torchLinkage: [LinkerSetting] = [
    .unsafeFlags([
        "-L\(libtorch)/lib", "-Xlinker", "-rpath", "-Xlinker", "\(libtorch)/lib", "-Xlinker", "-rpath", "-Xlinker",
        "$ORIGIN",
    ]),
    .linkedLibrary("torch_cpu"), .linkedLibrary("c10"), .linkedLibrary("stdc++"),
]
let cTorch = Target.target(
    name: "CTorch", path: "Sources/CTorch",
    cxxSettings: [
        .headerSearchPath("gloo"),
        .unsafeFlags([
            "-isystem", "\(libtorch)/include", "-isystem", "\(libtorch)/include/torch/csrc/api/include", "-O3",
            "-fno-math-errno",  // a square root that may set errno is taken one number at a time
            "-Wall", "-Wextra", "-Werror",
        ]),
    ] + (Context.environment["PLUMBLINE_PORTABLE"] == nil ? [] : [.define("CTORCH_PORTABLE")]),
    linkerSettings: torchLinkage)

/// The rooms of `names` that are built, as dependencies.
func dependencies(on names: [String]) -> [Target.Dependency] {
    names.filter { builtNames.contains($0) || (hasTorch && $0 == "CTorch") }.map { .init(stringLiteral: $0) }
}

let roomTargets = built.map { room in
    Target.target(
        name: room.name, dependencies: dependencies(on: room.imports) + room.packages,
        path: room.path ?? "Sources/\(room.name)", exclude: room.path == nil ? [] : ["README.md", "python"],
        resources: room.embedded.map { .embedInCode($0) }, swiftSettings: swiftSettings)
}
let testSupport = Target.target(
    name: "TestSupport", dependencies: dependencies(on: builtNames), path: "Tests/Support", swiftSettings: swiftSettings
)

/// Reference numbers and helpers beside the tests that read them by path.
let testData = [
    "Algorithms": [
        "trl_losses.json", "trl_preferences.json", "trl_reward_model.json", "verl_losses.json", "luffy_losses.json",
        "trl_gkd.json",
    ],
    "Credit": ["verl_advantages.json", "lagrange_multipliers.json", "trl_gdpo.json", "nelder_mead.json"],
    "GGUF": ["gguf_blocks.json"], "Job": ["trl_fields.json"], "PromptSets": ["parquet"],
    "RewardHosts": ["server.py", "zoo.py"],
    "ShippedRewards": ["accuracy_cases.jsonl", "trl_rewards.json"],
    "Tensors": ["reference.safetensors", "sampling_filters.json"],
]

/// The tests of one room; `Package` and `EndToEnd` are about the whole.
func tests(of name: String) -> Target {
    let imports = rooms.first { $0.name == name }?.imports.filter { $0 != "CTorch" } ?? builtNames
    return .testTarget(
        name: "\(name)Tests", dependencies: dependencies(on: imports + [name]) + ["TestSupport"],
        path: "Tests/\(name)Tests", exclude: testData[name] ?? [], swiftSettings: swiftSettings)
}
let testTargets = (builtNames + ["Package"] + (hasTorch ? ["EndToEnd"] : [])).map(tests)
let command = Target.executableTarget(
    name: "plumbline", dependencies: dependencies(on: builtNames) + [argumentParser], swiftSettings: swiftSettings)

let package = Package(
    name: "plumbline",
    products: [.library(name: "PlumblineRewards", targets: ["JSON", "Records", "RewardInterface"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: (hasTorch ? [cTorch, command] : []) + roomTargets + [testSupport] + testTargets,
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx20
)
