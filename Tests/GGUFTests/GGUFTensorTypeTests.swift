import GGUF
import Testing

@Suite("GGUF tensor types")
struct GGUFTensorTypeTests {
    /// The sizes of ggml's block structures, counted by hand from the fields that `GGUFTensorType` describes.
    @Test func blocksHaveTheirSizes() {
        let bits = Dictionary(
            uniqueKeysWithValues: GGUFTensorType.allCases.map {
                ($0.name, Double($0.blockByteCount * 8) / Double($0.blockCount))
            })
        #expect(
            bits == [
                "F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6,
                "Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625,
            ])
    }

    @Test func namesAreReadInEitherCase() {
        for type in GGUFTensorType.allCases {
            #expect(GGUFTensorType(name: type.name.lowercased()) == type)
        }
        #expect(GGUFTensorType(name: "IQ2_XXS") == nil)
    }
}
