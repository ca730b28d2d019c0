internal import Records
internal import Tensors

/// AdamW in a subspace of each matrix, the rest of the gradient dropped or followed without moments:
///
///     G `[m, n]`, m ≥ n, a wide matrix turned;   B `[r, n]` orthonormal rows, chosen anew every few steps
///     R = G·Bᵀ,   N = AdamW's direction of R with moments `[m, r]`,   S = G − R·B
///     W ← W − η·λ·W − η·(scale·N·B + remainder_scale·rest(S))
///
/// | remainder | rest(S) | moments at a new B | |
/// | --- | --- | --- | --- |
/// | none | 0 | kept | GaLore (Zhao et al. 2024, arXiv:2403.03507) |
/// | sign_sgd | sign(S) | begin anew | FRUGAL (Zmushko et al. 2024, arXiv:2411.07837) |
/// | fira | S·‖Nᵢ‖/‖Rᵢ‖ in each row i | kept | Fira (Chen et al. 2024, arXiv:2410.01623) |
///
/// The norm of Fira's rest is held to 1.01 times that of the step before.
/// Moments that are kept follow B: the sign of a singular vector is taken so that it turns the last one's as little as
/// it can, and moments of cosines move with them (Modoranu et al. 2025, arXiv:2505.17967).
package struct LowRankSettings: Sendable, Equatable {
    /// Where B comes from: `low_rank.projector:`.
    package enum Projector: String, SettingsChoice {
        /// The first right singular vectors of G.
        case svd
        /// The rows of the cosine transform in which G is largest.
        case dct
    }

    /// What becomes of S: `low_rank.remainder:`.
    package enum Remainder: String, SettingsChoice {
        case dropped = "none"
        case signSGD = "sign_sgd"
        case fira
    }

    /// r
    package let rank: Int
    package let projector: Projector
    /// Optimizer steps between two choices of B.
    package let updateEvery: Int
    package let scale: Double
    package let remainder: Remainder
    package let remainderScale: Double

    package init(
        rank: Int, projector: Projector = .svd, updateEvery: Int = 200, scale: Double = 1,
        remainder: Remainder = .dropped, remainderScale: Double = 1
    ) {
        self.rank = rank
        self.projector = projector
        self.updateEvery = updateEvery
        self.scale = scale
        self.remainder = remainder
        self.remainderScale = remainderScale
    }

    init(reading job: inout SettingsReader, isWanted: Bool) {
        rank = job.read(
            "low_rank.rank", default: 128, .from(1, to: 65_536),
            "Directions of each matrix for which low_rank keeps moments. Matrices with both sides longer than this are projected; others, embedding, head and vectors use AdamW (arXiv:2403.03507)."
        )
        projector = job.read(
            "low_rank.projector", default: Projector.svd,
            "Where the directions come from: svd, the singular vectors of the gradient (GaLore, arXiv:2403.03507), or dct, the cosines in which it is largest, with no decomposition and no basis to keep (arXiv:2505.17967)."
        )
        updateEvery = job.read(
            "low_rank.update_every", default: 200, .atLeast(1),
            "Optimizer steps between two choices of the directions (arXiv:2403.03507).")
        remainder = job.read(
            "low_rank.remainder", default: Remainder.dropped,
            "What happens to the gradient outside the directions: none drops it (GaLore, arXiv:2403.03507); sign_sgd steps by its sign, and resets moments with the directions (FRUGAL, arXiv:2411.07837); fira steps by it at the scale of AdamW's own step (Fira, arXiv:2410.01623)."
        )
        let scale: Double? = job.read(
            "low_rank.scale", optional: nil, .above(0),
            "Factor on AdamW's step inside the directions; by default GaLore's 0.25, or 1 with a remainder (arXiv:2403.03507)."
        )
        self.scale = scale ?? (remainder == .dropped ? 0.25 : 1)
        let remainderScale: Double? = job.read(
            "low_rank.remainder_scale", optional: nil, .above(0),
            "Factor on the step outside the directions; by default 1 for fira, and FRUGAL's fine-tuning 0.1 for sign_sgd (arXiv:2411.07837)."
        )
        self.remainderScale = remainderScale ?? (remainder == .signSGD ? 0.1 : 1)
        job.ignore("low_rank.remainder_scale", when: isWanted && remainder == .dropped)
        guard isWanted else {
            job.ignore(
                "low_rank.rank", "low_rank.projector", "low_rank.update_every", "low_rank.scale", "low_rank.remainder",
                "low_rank.remainder_scale")
            return
        }
        job.resolve("low_rank.scale", to: self.scale)
        if remainder != .dropped { job.resolve("low_rank.remainder_scale", to: self.remainderScale) }
    }

    /// The tensors that are kept of one matrix.
    func slots(shape: [Int], _ type: ElementType) -> [StateSlot] {
        let (rows, columns) = (shape.max()!, shape.min()!)
        var slots = [StateSlot(.firstMoment, [rows, rank], type), StateSlot(.secondMoment, [rows, rank], type)]
        switch projector {
        case .svd: slots.append(StateSlot(.basis, [rank, columns], type))
        case .dct: slots.append(StateSlot(.cosines, [rank], .int64))
        }
        if remainder == .fira { slots.append(StateSlot(.remainderNorm, [1], .float64)) }
        return slots
    }
}
