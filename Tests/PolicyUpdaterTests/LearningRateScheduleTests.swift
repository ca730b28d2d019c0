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
    }

    @Test func aShareOfAllStepsIsRoundedUp() throws {
        #expect(LearningRateSchedule(.linear, warmup: .ratio(0.1), totalSteps: 101).warmupSteps == 11)
        #expect(LearningRateSchedule(.linear, warmup: .ratio(0), totalSteps: 101).warmupSteps == 0)
    }

    @Test func warmUpAndDecayMustFitIntoTheRun() throws {
        let schedule = LearningRateSchedule(.warmupStableDecay(decaySteps: 6), warmup: .steps(5), totalSteps: 0)
        let error = #expect(throws: SettingsError.self) { try schedule.over(10) }
        #expect(
            error.map { "\($0)" }?.contains("5 steps of warm-up and 6 of decay do not fit into the run's 10") == true)
        #expect(try schedule.over(11).totalSteps == 11)
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
}
