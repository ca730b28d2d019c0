import TestSupport

/// Exact expectations over groups of samples.
enum Enumeration {
    /// E over groups of `samples` draws of (1/G) Σ_i A_i ∇ log π(y_i), for a policy of one token.
    static func expectedGradient(
        of arms: TabularPolicy, samples: Int, advantages: ([Int]) -> [Double]
    ) -> [Double] {
        groups(of: samples, from: arms.vocabulary).map { group in
            let probability = group.map { arms.probability([$0]) }.reduce(1, *)
            let gradients = zip(group, advantages(group)).map { arm, advantage in
                arms.scoreGradient([arm], coefficients: [advantage])
            }
            return gradients.summed().map { probability * $0 / Double(samples) }
        }.summed()
    }

    /// Every ordered group of `samples` choices among `choices`.
    static func groups(of samples: Int, from choices: Int) -> [[Int]] {
        (0..<samples).reduce([[]]) { groups, _ in groups.flatMap { group in (0..<choices).map { group + [$0] } } }
    }
}
