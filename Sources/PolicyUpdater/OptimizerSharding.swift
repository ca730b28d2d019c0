internal import Tensors

/// Which rank keeps an optimizer's state of which parameters (ZeRO stage 1, Rajbhandari et al. 2020, arXiv:1910.02054):
/// each parameter is written by one of them, which sends it to the others. What a step comes to has the bits that it has
/// in one process.
@TensorActor
struct OptimizerSharding {
    /// Names of the parameters that this rank writes.
    let own: Set<String>
    private let owners: [(name: String, rank: Int)]
    private let ranks: ProcessGroup

    /// Each parameter goes to the rank that has the fewest numbers, the largest first.
    ///
    /// - Parameter counts: Numbers of each parameter, by name.
    init(_ counts: [String: Int], over ranks: ProcessGroup) {
        var loads = [Int](repeating: 0, count: ranks.size)
        var owners: [(name: String, rank: Int)] = []
        for (name, count) in counts.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
            let owner = loads.indices.min { (loads[$0], $0) < (loads[$1], $1) }!
            loads[owner] += count
            owners.append((name, owner))
        }
        self.owners = owners
        self.ranks = ranks
        own = Set(owners.filter { $0.rank == ranks.rank }.map(\.name))
    }

    /// Whether this rank is the one that everything comes to.
    var isFirst: Bool { ranks.rank == 0 }

    /// Sends each tensor from its owner to all.
    ///
    /// - Parameter tensors: By parameter name; written in place.
    func share(_ tensors: [String: Tensor]) throws {
        try ranks.broadcast(owners.map { (tensor: try tensors[$0.name]!.detached(), root: $0.rank) })
    }

    /// All tensors on the first rank, `nil` on the others. Costs the others one tensor at a time.
    ///
    /// - Parameters:
    ///   - state: By parameter name, of the owner's memory where this rank is it.
    ///   - keep: Where the first rank puts what it gets.
    func gathered(
        _ state: [String: ParameterState], keeping keep: (Tensor) throws -> Tensor
    ) throws -> [String: ParameterState]? {
        var all: [String: ParameterState] = [:]
        for (name, rank) in owners {
            for (kind, tensor) in state[name]!.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                let own =
                    rank == ranks.rank
                    ? tensor : try Tensor.zeros(tensor.shape, tensor.elementType, device: tensor.device)
                try ranks.broadcast([(tensor: own, root: rank)])
                if isFirst { all[name, default: [:]][kind] = rank == ranks.rank ? own : try keep(own) }
            }
        }
        return isFirst ? all : nil
    }
}
