internal import Tensors

extension ModelConfiguration {
    /// The half of a model's parameters that a stage of half fine-tuning trains (Hui et al. 2024, arXiv:2404.18466).
    ///
    /// Drawn by kind, anew for each stage: in every block two of the four attention projections, one of the two norms,
    /// and of the three projections of the feed-forward part two in one half of the blocks and one in the others.
    /// Embedding and head are trained in every stage, as there. Chosen here, for what the models of the paper lack and for
    /// the last norm: a bias goes with its projection, of a block's two norms of heads one is drawn, and the last norm is
    /// trained with the head.
    ///
    /// The paper's text and its authors' code were not at hand. Two accounts of its last version (ACL 2025, long paper 626),
    /// which do not follow each other, confirm what is said of it here. The description of the method in
    /// github.com/gucci-j/ssu, which builds it anew to compare with: two of W_Q, W_K, W_V and W_O, and of W_up, W_down and
    /// W_gate one in a random half of the layers and two in the others. The article on it at papernotes.org: the same two
    /// kinds, half of the norms, embedding and head trained by default, another random half in each round of training, and
    /// this choice by kind ahead of whole layers or of any parameters. Neither speaks of biases, of norms of heads or of the
    /// last norm.
    ///
    /// - Parameters:
    ///   - stage: Its draws do not depend on those of other stages.
    ///   - seed: The job's.
    /// - Returns: Published names, in the order of ``parameterShapes``.
    package func randomHalf(stage: Int, seed: UInt64) -> [String] {
        func drawn<Item>(_ items: [Item], _ count: Int, block: Int = 0, kind: Int) -> [Item] {
            let numbers = items.indices.map {
                RandomAddress(step: stage, row: block, sample: kind, token: $0).uniform(seed: seed, stream: .shuffle)
            }
            return items.indices.sorted { numbers[$0] < numbers[$1] }.prefix(count).map { items[$0] }
        }
        let shapes = parameterShapes
        /// The blocks that have one more of a kind of odd number.
        let withMore = Set(drawn(Array(0..<layers), (layers + 1) / 2, kind: 0))
        var trained = Set<String>()
        for block in 0..<layers {
            let parts = shapes.filter { $0.name.hasPrefix(ParameterName.layer(block, "")) && $0.role != .bias }
            func kind(_ role: ParameterShape.Role, attention: Bool) -> [String] {
                parts.filter { $0.role == role && $0.name.contains(".self_attn.") == attention }.map(\.name)
            }
            let kinds = [
                kind(.weight, attention: true), kind(.weight, attention: false), kind(.norm, attention: true),
                kind(.norm, attention: false),
            ]
            for (index, kind) in kinds.enumerated() {
                let count = (kind.count + (withMore.contains(block) ? 1 : 0)) / 2
                trained.formUnion(drawn(kind, count, block: block, kind: index + 1))
            }
        }
        return shapes.map(\.name).filter { name in
            let weight = name.hasSuffix(".bias") ? name.dropLast("bias".count) + "weight" : name[...]
            return !name.hasPrefix(ParameterName.layers) || trained.contains(String(weight))
        }
    }
}
