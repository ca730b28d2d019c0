import Records
import Testing

import Placement

@Suite("Which phase may follow which")
struct ActorPhaseTests {
    static let phases: [ActorPhase] =
        [0, 1, 2].flatMap { number in
            let version = PolicyVersion(number)
            return [.idle(version), .generating(version), .inferring(version), .training(version)] as [ActorPhase]
        } + [.poisoned(reason: "test")]

    /// The permitted pairs over versions 0, 1 and 2, written out by hand from the table at `permits(_:)`.
    static let permitted: Set<String> = [
        "idle 0 > generating 0", "idle 0 > inferring 0", "idle 0 > training 0",
        "idle 1 > generating 1", "idle 1 > inferring 1", "idle 1 > training 1",
        "idle 2 > generating 2", "idle 2 > inferring 2", "idle 2 > training 2",
        "generating 0 > idle 0", "generating 1 > idle 1", "generating 2 > idle 2",
        "inferring 0 > idle 0", "inferring 1 > idle 1", "inferring 2 > idle 2",
        "training 0 > idle 0", "training 1 > idle 1", "training 2 > idle 2",
        "training 0 > idle 1", "training 1 > idle 2",
        "idle 0 > poisoned", "idle 1 > poisoned", "idle 2 > poisoned",
        "generating 0 > poisoned", "generating 1 > poisoned", "generating 2 > poisoned",
        "inferring 0 > poisoned", "inferring 1 > poisoned", "inferring 2 > poisoned",
        "training 0 > poisoned", "training 1 > poisoned", "training 2 > poisoned",
    ]

    static func name(_ phase: ActorPhase) -> String {
        switch phase {
        case .idle(let version): "idle \(version.number)"
        case .generating(let version): "generating \(version.number)"
        case .inferring(let version): "inferring \(version.number)"
        case .training(let version): "training \(version.number)"
        case .poisoned: "poisoned"
        }
    }

    @Test func everyPairAgreesWithTheTable() {
        var seen: Set<String> = []
        for from in Self.phases {
            for to in Self.phases where from.permits(to) { seen.insert("\(Self.name(from)) > \(Self.name(to))") }
        }
        #expect(seen == Self.permitted)
    }
}
