internal import Foundation
internal import Tensors

// AdamW in a subspace: the formulas stand at ``LowRankSettings``.
extension ParameterStep {
    func take(_ lowRank: LowRankSettings, _ gradient: Tensor) throws {
        let isTall = gradient.shape[0] >= gradient.shape[1]
        let tall = isTall ? gradient : try gradient.transposed(0, 1)
        if taken % lowRank.updateEvery == 0 { try chooseBasis(lowRank, tall) }
        let basis = try state[.basis] ?? cosines.matrix(tall.shape[1], like: tall).rows(at: state[.cosines]!)
        let projected = try tall.matmul(basis.transposed(0, 1))
        let number =
            lowRank.remainder == .signSGD ? min(number, taken % lowRank.updateEvery + 1) : number
        // −N: what a step of AdamW at the rate 1 makes of zeros.
        let backward = try Tensor.zeros(projected.shape, projected.elementType, device: projected.device)
        try Tensor.adamWStep(
            parameters: [backward], gradients: [projected], firstMoments: [state[.firstMoment]!],
            secondMoments: [state[.secondMoment]!], step: number, learningRate: 1, beta1: settings.beta1,
            beta2: settings.beta2, epsilon: settings.epsilon, weightDecay: 0)
        let update = try backward.matmul(basis) * lowRank.scale
        if lowRank.remainder != .dropped {
            var rest = try tall - projected.matmul(basis)
            rest = try lowRank.remainder == .fira ? scaled(rest, projected, backward, number) : rest.sign()
            try update.addInPlace(rest, scaledBy: -lowRank.remainderScale)
        }
        if weightDecay > 0 { try parameter.multiplyInPlace(1 - learningRate * weightDecay) }
        try parameter.addInPlace(isTall ? update : update.transposed(0, 1), scaledBy: learningRate)
    }

    /// Fira's remainder: each row at the scale that AdamW gave to its part inside, and the whole held to grow by no
    /// more than a hundredth a step.
    private func scaled(_ rest: Tensor, _ projected: Tensor, _ direction: Tensor, _ number: Int) throws -> Tensor {
        func norms(_ rows: Tensor) throws -> Tensor { try rows.square().sum(axis: 1, keepsAxis: true).sqrt() }
        let scaled = try rest * (norms(direction) / (norms(projected) + 1e-8))
        // Norms are compared as they are without the bias correction, which is no growth of the gradient's.
        let correction =
            (1 - pow(settings.beta2, Double(number))).squareRoot() / (1 - pow(settings.beta1, Double(number)))
        var norm = try Tensor.norm(of: [scaled]) / correction
        let last = try state[.remainderNorm]!.item()
        let growth = 1.01
        if last > 0 {
            let excess = max(norm / (last + 1e-8), growth) / growth
            try scaled.multiplyInPlace(1 / excess)
            norm /= excess
        }
        try state[.remainderNorm]!.fillInPlace(norm)
        return scaled
    }

    /// Chooses B anew, and moves the moments or forgets them.
    private func chooseBasis(_ lowRank: LowRankSettings, _ tall: Tensor) throws {
        switch lowRank.projector {
        case .svd:
            let (last, fresh) = (state[.basis]!, try tall.principalDirections(lowRank.rank))
            let isTurned = try (last * fresh).sum(axis: 1, keepsAxis: true).less(than: 0)
            try last.copy(from: Tensor.where(isTurned, fresh * -1, fresh))
        case .dct:
            let matrix = try cosines.matrix(tall.shape[1], like: tall)
            let energies = try tall.matmul(matrix.transposed(0, 1)).square().sum(axis: 0)
            let fresh = try energies.topK(lowRank.rank).indices.integers().sorted()
            let last = try state[.cosines]!.integers()
            try state[.cosines]!.copy(from: Tensor(fresh))
            guard lowRank.remainder != .signSGD else { break }
            let moved = last.flatMap { old in fresh.map { $0 == old ? 1.0 : 0 } }
            let move = try Tensor(moved, shape: [lowRank.rank, lowRank.rank], device: tall.device).to(tall.elementType)
            for kind in [StateSlot.Kind.firstMoment, .secondMoment] {
                try state[kind]!.copy(from: state[kind]!.matmul(move))
            }
        }
        if lowRank.remainder == .signSGD { try forgetMoments() }
    }
}

/// The orthonormal cosine transform (DCT-II) of each length that was asked for, made once.
@TensorActor
final class CosineTransform {
    private var made: [Int: Tensor] = [:]

    /// Row k of `[count, count]`:  √(2/n)·cos(π·k·(2j + 1)/2n), row 0 over √2.
    ///
    /// - Parameter like: Of this type and device.
    func matrix(_ count: Int, like tensor: Tensor) throws -> Tensor {
        if let matrix = made[count] { return matrix }
        let columns = try Tensor.arange(count, device: tensor.device).to(.float64)
        let angles = try columns.unsqueezed(1) * ((columns * 2 + 1) * (.pi / Double(2 * count))).unsqueezed(0)
        let matrix = try angles.cos() * (2 / Double(count)).squareRoot()
        try matrix.narrow(axis: 0, start: 0, count: 1).multiplyInPlace(0.5.squareRoot())
        let made = try matrix.to(tensor.elementType)
        self.made[count] = made
        return made
    }
}
