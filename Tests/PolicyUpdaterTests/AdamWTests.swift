import Foundation
import PolicyUpdater
import Tensors
import Testing

@TensorActor @Suite("Clipping and AdamW against torch.optim.AdamW behind clip_grad_norm_")
struct AdamWTests {
    /// Runs the reference's gradients through our clipping, optimizer and schedule.
    private func largestError(_ reference: OptimizerReference.Trajectory, _ type: ElementType) throws -> Double {
        func tensors(_ values: [String: [Double]]) throws -> [String: Tensor] {
            var tensors: [String: Tensor] = [:]
            for (name, shape) in reference.shapes { tensors[name] = try Tensor(values[name]!, shape: shape).to(type) }
            return tensors
        }
        let settings = OptimizerSettings(
            learningRate: 0.01, beta1: 0.9, beta2: 0.99, weightDecay: 0.1,
            schedule: LearningRateSchedule(.linear, warmup: .steps(2), totalSteps: 8))
        let parameters = try tensors(reference.start).mapValues { try $0.requiringGradient() }
        let optimizer = try Optimizer(of: parameters, settings: settings)
        var worst = 0.0
        for (number, step) in reference.steps.enumerated() {
            let given = try tensors(step.gradients)
            for (name, parameter) in parameters { try parameter.setGradient(given[name]!) }
            let gradients = try StepGradients(of: parameters)
            worst = max(worst, abs(gradients.norm - step.norm) / max(step.norm, 1e-12))
            try gradients.clip(to: settings.maxGradientNorm!)
            let rate = settings.learningRate * settings.schedule.factor(step: number)
            #expect(abs(rate - step.learning_rate) < 1e-18)
            try optimizer.step(parameters: parameters, gradients: gradients.gradients, learningRate: rate)
            for (name, parameter) in parameters {
                for (found, expected) in zip(try parameter.to(.float64).doubles(), step.parameters[name]!) {
                    worst = max(worst, abs(found - expected))
                }
            }
        }
        #expect(optimizer.counters.optimizerSteps == 8)
        return worst
    }

    @Test func eightStepsInFloat64() throws {
        #expect(try largestError(OptimizerReference.float64, .float64) < 1e-13)
    }

    @Test func eightStepsInFloat32() throws {
        // weights of size 1 carry 24 bits; eight steps round a few times each
        #expect(try largestError(OptimizerReference.float32, .float32) < 1e-6)
    }

    @Test func theReferenceTellsClippingAndDecayApart() throws {
        let reference = OptimizerReference.float64
        #expect(reference.steps.contains { $0.norm > 1 } && reference.steps.contains { $0.norm < 1 && $0.norm > 0 })
        #expect(!reference.decayed.isEmpty && reference.decayed.count < reference.shapes.count)
    }

    @Test func aParameterWithoutAGradientCountsAsZero() throws {
        let parameter = try Tensor([1, 2] as [Float]).requiringGradient()
        let gradients = try StepGradients(of: ["w": parameter])
        #expect(gradients.norm == 0)
        #expect(try gradients.gradients["w"]!.floats() == [0, 0])
    }
}
