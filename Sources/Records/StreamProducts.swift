/// Inner products of the gradients that each stream of advantages has alone.
package struct StreamProducts: Sendable, Equatable {
    /// In the order of the streams: ⟨g_j, g_k⟩ over everything that is trained.
    package var gram: [[Double]]
    /// What each stream counts in the sum, in their order.
    package var weights: [Double]
    /// η of the optimizer step that comes.
    package var learningRate: Double
    /// What it is at the top of its schedule.
    package var peakLearningRate: Double

    /// - Parameter weights: 1 each unless given.
    package init(gram: [[Double]], weights: [Double]? = nil, learningRate: Double, peakLearningRate: Double) {
        self.gram = gram
        self.weights = weights ?? gram.map { _ in 1 }
        self.learningRate = learningRate
        self.peakLearningRate = peakLearningRate
    }
}
