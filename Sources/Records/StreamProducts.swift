/// Inner products of the gradients that each stream of advantages has alone.
package struct StreamProducts: Sendable, Equatable {
    /// In the order of the streams: ⟨g_j, g_k⟩ over everything that is trained.
    package var gram: [[Double]]
    /// η of the optimizer step that comes.
    package var learningRate: Double
    /// What it is at the top of its schedule.
    package var peakLearningRate: Double

    package init(gram: [[Double]], learningRate: Double, peakLearningRate: Double) {
        self.gram = gram
        self.learningRate = learningRate
        self.peakLearningRate = peakLearningRate
    }
}
