import Foundation
import PolicyUpdater
import Records
import Testing

@Suite("Learning-rate schedules against transformers' get_scheduler")
struct LearningRateScheduleTests {
    @Test(arguments: OptimizerReference.schedules)
    func everyFactorIsEqual(_ reference: OptimizerReference.Schedule) throws {
        let schedule = LearningRateSchedule(
            reference.shape, warmup: .steps(reference.warmup), totalSteps: reference.total)
        #expect(reference.factors.count == reference.total + 3)
        for (step, expected) in reference.factors.enumerated() {
            #expect(abs(schedule.factor(step: step) - expected) < 1e-15, "\(reference.name) step \(step)")
        }
        #expect(schedule.shape.name == reference.name)
    }

    @Test func aShareOfAllStepsIsRoundedUp() throws {
        #expect(try LearningRateSchedule(.linear, warmup: .ratio(0.1), totalSteps: 101).warmupSteps == 11)
        #expect(try LearningRateSchedule(.linear, warmup: .ratio(0), totalSteps: 101).warmupSteps == 0)
    }

    @Test func allProblemsAreNamedAtOnce() throws {
        let error = #expect(throws: SettingsError.self) {
            try LearningRateSchedule(
                .warmupStableDecay(decaySteps: 9, minimumRatio: 2), warmup: .steps(5), totalSteps: 10)
        }
        #expect(error?.problems.map(\.setting) == ["decaySteps", "minimumRatio"])
        #expect(throws: SettingsError.self) { try LearningRateSchedule(.cosine, warmup: .ratio(1.5), totalSteps: 10) }
        #expect(throws: SettingsError.self) { try LearningRateSchedule(.cosine, totalSteps: 0) }
    }
}

@Suite("Optimizer settings")
struct OptimizerSettingsTests {
    @Test func defaultsAreThoseOfTRL() throws {
        let settings = OptimizerSettings(schedule: LearningRateSchedule(.linear, totalSteps: 1))
        #expect(settings.learningRate == 1e-6)
        #expect(settings.beta1 == 0.9)
        #expect(settings.beta2 == 0.999)
        #expect(settings.epsilon == 1e-8)
        #expect(settings.weightDecay == 0)
        #expect(settings.maxGradientNorm == 1)
    }

    @Test func weightDecayActsOnTheParametersThatTheHuggingFaceTrainerNames() {
        let reference = OptimizerReference.float64
        #expect(Set(reference.shapes.keys.filter(OptimizerSettings.decays)) == Set(reference.decayed))
        #expect(reference.decayed.count == 2)
    }

    @Test func allProblemsAreNamedAtOnce() throws {
        let schedule = LearningRateSchedule(.constant, totalSteps: 1)
        let error = #expect(throws: SettingsError.self) {
            try OptimizerSettings(
                learningRate: -1, beta1: 1, beta2: -0.1, epsilon: 0, weightDecay: .nan, maxGradientNorm: 0,
                schedule: schedule)
        }
        #expect(
            error?.problems.map(\.setting) == [
                "learningRate", "beta1", "beta2", "epsilon", "weightDecay", "maxGradientNorm",
            ])
    }
}
