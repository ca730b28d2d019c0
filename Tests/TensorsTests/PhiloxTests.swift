import Tensors
import Testing

@Suite("Philox and addressed randomness")
struct PhiloxTests {
    /// The known answers of the Random123 distribution, `philox4x32 10` of its file kat_vectors.
    @Test(arguments: [
        (
            SIMD4<UInt32>(0, 0, 0, 0), SIMD2<UInt32>(0, 0),
            SIMD4<UInt32>(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8)
        ),
        (
            SIMD4(repeating: UInt32.max), SIMD2(repeating: UInt32.max),
            SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd)
        ),
        (
            SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), SIMD2(0xa409_3822, 0x299f_31d0),
            SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1)
        ),
    ])
    func knownAnswers(_ counter: SIMD4<UInt32>, _ key: SIMD2<UInt32>, _ expected: SIMD4<UInt32>) {
        #expect(Philox.words(counter: counter, key: key) == expected)
    }

    @Test func everyFieldOfTheAddressChangesTheDraw() {
        let addresses = [
            RandomAddress(), RandomAddress(step: 1), RandomAddress(row: 1), RandomAddress(sample: 1),
            RandomAddress(token: 1), RandomAddress(slot: 1),
            RandomAddress(
                step: 0xFFFF_FFFF, row: 0xFFFF_FFFF, sample: 0xFFFF, token: 0xFF_FFFF, slot: 0xFF_FFFF),
        ]
        var draws = Set(addresses.map { $0.uniform(seed: 7, stream: .sample) })
        #expect(draws.count == addresses.count)
        for stream in RandomStream.allCases { draws.insert(RandomAddress().uniform(seed: 7, stream: stream)) }
        draws.insert(RandomAddress().uniform(seed: 8, stream: .sample))
        #expect(draws.count == addresses.count + RandomStream.allCases.count)
    }

    @Test func momentsOfUniformGumbelAndNormal() {
        let count = 40_000
        let addresses = (0..<count).map { RandomAddress(token: $0) }
        let uniforms = addresses.map { $0.uniform(seed: 1, stream: .sample) }
        #expect(uniforms.allSatisfy { $0 > 0 && $0 < 1 })
        // Five standard errors: mean 1/2 with variance 1/12; Gumbel's mean is Euler's constant, variance π²/6.
        let n = Double(count)
        #expect(abs(uniforms.reduce(0, +) / n - 0.5) < 5 * (1 / 12 / n).squareRoot())
        let gumbels = addresses.map { $0.gumbel(seed: 1) }
        #expect(abs(gumbels.reduce(0, +) / n - 0.577_215_664_9) < 5 * (Double.pi * Double.pi / 6 / n).squareRoot())
        let normals = addresses.flatMap { address in
            let pair = address.normals(seed: 1, stream: .initialization)
            return [pair.0, pair.1]
        }
        #expect(abs(normals.reduce(0, +) / (2 * n)) < 5 * (1 / (2 * n)).squareRoot())
        #expect(abs(normals.reduce(0) { $0 + $1 * $1 } / (2 * n) - 1) < 5 * (2 / (2 * n)).squareRoot())
    }
}
