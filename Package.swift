// swift-tools-version: 6.2
// One package, one target a room. A room may import only what stands beside it here; Tests/PackageTests compares every
// `import` in Sources with this table. The floors and what each room is for: README.md, "Rooms".
import Foundation
import PackageDescription

/// Where libtorch is: unset means the folder `make` unpacks, `none` leaves out every room that needs it.
let libtorch = Context.environment["LIBTORCH"] ?? "\(Context.packageDirectory)/.torch/torch"
let hasTorch = libtorch != "none"

struct Room {
    let name: String
    var path: String?
    var imports: [String] = []
    var packages: [Target.Dependency] = []
    var needsTorch = false
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let rooms: [Room] = [
    // Floor 0
    Room(name: "Records"),
    Room(name: "Tokenization"),
    Room(name: "Runs"),
    // Floor 1
    Room(name: "Tensors", imports: ["CTorch"], needsTorch: true),
    Room(name: "RewardInterface", imports: ["Records"]),
    Room(name: "Credit", imports: ["Records"]),
    Room(name: "PromptSets", imports: ["Records", "Runs"]),
    // Floor 2
    Room(name: "Algorithms", imports: ["Tensors", "Records"], needsTorch: true),
    Room(name: "Models", imports: ["Records", "Tensors", "Runs"], needsTorch: true),
    Room(name: "Placement", imports: ["Tensors", "Records"], needsTorch: true),
    Room(name: "ShippedRewards", path: "rewards", imports: ["RewardInterface", "Records"]),
    // Floor 3
    Room(
        name: "RolloutEngine", imports: ["Records", "Tokenization", "Tensors", "Models", "Placement"], needsTorch: true),
    Room(
        name: "PolicyUpdater", imports: ["Records", "Runs", "Tensors", "Algorithms", "Models", "Placement"],
        needsTorch: true),
    // Floor 4
    Room(name: "Coordinator", imports: ["Records", "Credit", "Runs"]),
    Room(name: "Evaluation", imports: ["Records", "Credit", "Runs"]),
    // Floor 5
    Room(name: "RewardHosts", imports: ["RewardInterface", "Records"]),
    // Floor 6
    Room(
        name: "Job",
        imports: [
            "Records", "Tokenization", "Runs", "Tensors", "RewardInterface", "Credit", "PromptSets", "Algorithms",
            "Models",
            "Placement", "ShippedRewards", "RolloutEngine", "PolicyUpdater", "Coordinator", "Evaluation", "RewardHosts",
        ], packages: [yams], needsTorch: true),
    // Floor 7
    Room(
        name: "Benchmarks",
        imports: [
            "Records", "Runs", "Tokenization", "Tensors", "Models", "Placement", "RolloutEngine", "PolicyUpdater",
            "Job",
        ],
        needsTorch: true),
]

// A room that is not there yet is left out.
func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: "\(Context.packageDirectory)/\(path)") }
func isBuilt(_ room: Room) -> Bool { (hasTorch || !room.needsTorch) && exists(room.path ?? "Sources/\(room.name)") }
let built = rooms.filter(isBuilt)
let builtNames = Set(built.map(\.name)).union(hasTorch ? ["CTorch"] : [])

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
        .unsafeFlags([
            "-isystem", "\(libtorch)/include", "-isystem", "\(libtorch)/include/torch/csrc/api/include", "-O3", "-Wall",
            "-Wextra", "-Werror",
        ])
    ], linkerSettings: torchLinkage)

let roomTargets = built.map { room in
    Target.target(
        name: room.name,
        dependencies: room.imports.filter(builtNames.contains).map { .init(stringLiteral: $0) } + room.packages,
        path: room.path ?? "Sources/\(room.name)",
        exclude: room.path == nil ? [] : ["README.md", "python"].filter { exists("\(room.path!)/\($0)") },
        swiftSettings: swiftSettings)
}

let testSupport =
    exists("Tests/Support")
    ? [
        Target.target(
            name: "TestSupport",
            dependencies: builtNames.subtracting(["CTorch"]).sorted().map { .init(stringLiteral: $0) },
            path: "Tests/Support", swiftSettings: swiftSettings)
    ] : []
let testedNames = built.map(\.name) + ["Package", "EndToEnd"]
/// Reference numbers beside the tests, which read them by path.
func dataFiles(_ path: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "\(Context.packageDirectory)/\(path)")) ?? []
    return names.filter { $0.contains(".") && !$0.hasSuffix(".swift") }.sorted()
}
let tests = testedNames.filter { exists("Tests/\($0)Tests") && (hasTorch || $0 != "EndToEnd") }.map { name in
    Target.testTarget(
        name: "\(name)Tests",
        dependencies: (name == "EndToEnd"
            ? builtNames.subtracting(["CTorch"]).sorted()
            : builtNames.contains(name)
                ? (rooms.first { $0.name == name }!.imports.filter { builtNames.contains($0) && $0 != "CTorch" } + [
                    name
                ]) : [])
            .map { .init(stringLiteral: $0) } + testSupport.map { .init(stringLiteral: $0.name) },
        path: "Tests/\(name)Tests", exclude: dataFiles("Tests/\(name)Tests"), swiftSettings: swiftSettings)
}
let command =
    hasTorch && exists("Sources/plumbline")
    ? [
        Target.executableTarget(
            name: "plumbline",
            dependencies: builtNames.subtracting(["CTorch"]).sorted().map { .init(stringLiteral: $0) } + [
                argumentParser
            ],
            swiftSettings: swiftSettings)
    ] : []

let package = Package(
    name: "plumbline",
    products: [.library(name: "PlumblineRewards", targets: ["Records"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: (hasTorch ? [cTorch] : []) + roomTargets + testSupport + tests + command,
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx20
)
