import Foundation
import Testing

@Suite("Kernels say the same with every instruction set", .serialized)
struct InstructionSetTests {
    @Test func aRunIsTheSameToRounding() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nbeta: 0.1")
        let widest = try place.train(job, "output_dir=widest")
        #expect(widest.status == 0, "\(widest.progress)")
        for instructions in ["baseline", "avx2"] {
            let environment = ["PLUMBLINE_INSTRUCTIONS": instructions]
            let shown = try Command.start(["env"], in: place.folder, environment: environment).wait().output
            let kernels = try #require(shown.split(separator: "\n").first { $0.contains("kernels") })
            // A processor without AVX2, or a build without the copies for x86-64, has no narrower one.
            guard kernels.hasSuffix(instructions) else { continue }
            let outcome = try Command.start(
                ["train", job, "output_dir=\(instructions)"], in: place.folder, environment: environment
            ).wait()
            #expect(outcome.status == 0, "\(outcome.progress)")
            for (row, other) in zip(try place.metrics("widest"), try place.metrics(instructions)) {
                for name in ["loss", "kl", "entropy", "grad_norm", "reward"] {
                    let (value, found) = (try #require(row[name]), try #require(other[name]))
                    #expect(abs(value - found) <= 1e-4 * max(1, abs(value)), "\(instructions) \(name)")
                }
            }
        }
    }
}
