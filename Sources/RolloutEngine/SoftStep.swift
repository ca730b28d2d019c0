internal import Algorithms
internal import Foundation
internal import Models
internal import Records
internal import Tensors

/// What a row that is thinking does next.
enum SoftOutcome {
    /// A mixture, which is the row's next input.
    case soft(SoftToken)
    /// A mixture led by the think-end token or a stop token: drawn and scored like any other. That word alone is the
    /// row's next input.
    case ending(SoftToken)
    /// The same where ends are words like those of the answer. The log-prob is the policy's at the answer's
    /// temperature.
    case word(Int, logProbability: Float)
    /// The think-end token, set by the cold stop: no action of the policy's.
    case forced(Int)
}

/// One soft token of one row.
struct SoftToken {
    let ids: [Int32]
    let values: [Float]
    let parameters: [Float]
    /// Of the words; empty where the values are the input.
    let weights: [Float]
    /// The log-density of the values; the leading word's log-prob without noise.
    var logDensity: Float
    let entropy: Float
    let largestWeight: Float
    /// The word with the largest weight.
    let leading: Int
}

/// A row that is thinking, as one step sees it.
struct ThinkingRow {
    let draws: SoftDraws
    /// Whether nothing is drawn: the mixture is that of the probabilities.
    let isGreedy: Bool
    /// Sure steps in a row so far.
    let sureSteps: Int
}

/// Takes one thinking step for rows of hidden states.
struct SoftStep {
    let model: Transformer
    let head: OutputHead
    let settings: SoftThinkingSettings
    let stopTokenIDs: Set<Int>
    /// Temperature at which the answer's tokens are scored.
    let answerTemperature: Double

    /// Whether a leading think-end or stop token, and one that the cold stop sets, is a word that is scored among all
    /// words: the published code's way, and where nothing is drawn. The log-prob is then another event's than the one
    /// that happened.
    private var endsAreWords: Bool { settings.noise.density.map { $0.release != nil } ?? true }

    /// - Parameter hidden: `[rows, hidden]`: what predicts each row's next token.
    /// - Returns: each row's outcome and how many sure steps in a row it has now.
    func outcomes(_ hidden: Tensor, _ rows: [ThinkingRow]) throws -> [(outcome: SoftOutcome, sureSteps: Int)] {
        let found = try likeliest(hidden)
        let endsAreWords = endsAreWords
        var tokens: [SoftToken?] = []
        var words: [Int?] = []
        var isForced: [Bool] = []
        var sureSteps: [Int] = []
        for (index, row) in rows.enumerated() {
            let isSure = settings.coldStop.map { Double(found.entropies[index]) < $0.entropyNats } ?? false
            sureSteps.append(isSure ? row.sureSteps + 1 : 0)
            let isCold = settings.coldStop.map { sureSteps[index] >= $0.steps } ?? false
            isForced.append(isCold && !endsAreWords)
            if isCold {
                sureSteps[index] = 0
                words.append(settings.thinkEndTokenID)
                tokens.append(nil)
                continue
            }
            let token = try drawn(row, found.ids[index], found.logProbabilities[index], found.entropies[index])
            let isWord = endsAreWords && ends(token)
            words.append(isWord ? token.leading : nil)
            tokens.append(isWord ? nil : token)
        }
        tokens = try scored(tokens)
        let wordScores = try logProbabilities(of: words.indices.map { isForced[$0] ? nil : words[$0] }, hidden)
        return rows.indices.map { index in
            if let token = tokens[index] { return (ends(token) ? .ending(token) : .soft(token), sureSteps[index]) }
            guard let word = words[index] else { preconditionFailure("a step without a mixture has a word") }
            guard let logProbability = wordScores[index] else { return (.forced(word), sureSteps[index]) }
            return (.word(word, logProbability: logProbability), sureSteps[index])
        }
    }

    /// Whether nothing soft follows.
    private func ends(_ token: SoftToken) -> Bool {
        token.leading == settings.thinkEndTokenID || stopTokenIDs.contains(token.leading)
    }

    /// The likeliest words of every row with their log-probs, and the entropy over all words.
    private func likeliest(_ hidden: Tensor) throws -> (ids: [[Int]], logProbabilities: [[Float]], entropies: [Float]) {
        let count = min(settings.support.topK, model.configuration.vocabularySize)
        let logits = try head.logits(hidden) / settings.temperature
        let all = try logits.to(.float32).logSoftmax(axis: 1)
        let entropies = try -(all.exp() * all).sum(axis: 1)
        let (values, indices) = try all.topK(count)
        let (flatValues, flatIDs) = (try values.floats(), try indices.integers())
        guard flatValues.allSatisfy(\.isFinite) else {
            throw NotFinite("the policy's logits")
        }
        func rows<Element>(_ flat: [Element]) -> [[Element]] {
            stride(from: 0, to: flat.count, by: count).map { Array(flat[$0..<$0 + count]) }
        }
        return (rows(flatIDs), rows(flatValues), try entropies.floats())
    }

    private func drawn(
        _ row: ThinkingRow, _ candidates: [Int], _ logProbabilities: [Float], _ entropy: Float
    ) throws -> SoftToken {
        let shares = settings.support.logProbabilities(logProbabilities)
        let ids = Array(candidates.prefix(shares.count))
        let probabilities = SoftNoise.none.weights(shares)
        let (parameters, slots) = settings.noise.perturbsEmbedding ? try mean(ids, probabilities) : (shares, ids)
        let isDrawn = !row.isGreedy && settings.noise != .none
        let values = isDrawn ? settings.noise.density?.sample(parameters, slots: slots, row.draws) : nil
        let weights =
            settings.noise.perturbsEmbedding ? [] : values.map(settings.noise.weights) ?? probabilities
        let mixed = weights.isEmpty ? probabilities : weights
        let leading = mixed.indices.max { mixed[$0] < mixed[$1] } ?? 0
        return SoftToken(
            ids: ids.map(Int32.init), values: values ?? parameters, parameters: parameters, weights: weights,
            logDensity: logProbabilities[0], entropy: entropy, largestWeight: mixed[leading], leading: ids[leading])
    }

    /// The mixture of the words' embeddings, and its dimensions.
    private func mean(_ ids: [Int], _ weights: [Float]) throws -> (parameters: [Float], slots: [Int]) {
        let mixture = try model.mixtures(
            ids: Tensor(ids, shape: [1, ids.count], device: model.device), weights: inputs(weights, words: ids.count))
        let parameters = try mixture.reshaped([-1]).floats()
        return (parameters, Array(parameters.indices))
    }

    /// The tokens with their log-densities, worked out together.
    private func scored(_ tokens: [SoftToken?]) throws -> [SoftToken?] {
        let found = tokens.compactMap(\.self)
        guard let density = settings.noise.density, let width = found.map(\.values.count).max() else { return tokens }
        func padded(_ rows: [[Float]]) throws -> Tensor {
            try Tensor(rows.flatMap { $0.padded(to: width, with: 0) }, shape: [rows.count, width])
        }
        let logDensities = try density.logDensity(
            padded(found.map(\.values)), padded(found.map(\.parameters)),
            filled: padded(found.map { $0.values.map { _ in 1 } })
        ).floats()
        var next = 0
        return tokens.map { token in
            guard var token else { return nil }
            token.logDensity = logDensities[next]
            next += 1
            return token
        }
    }

    private func inputs(_ flat: [Float], words: Int) throws -> Tensor {
        try Tensor(flat, shape: [flat.count / words, words]).to(model.elementType).to(model.device)
    }

    private func logProbabilities(of words: [Int?], _ hidden: Tensor) throws -> [Int: Float] {
        let slots = words.indices.filter { words[$0] != nil }
        guard !slots.isEmpty else { return [:] }
        let logits = try head.logits(hidden.rows(at: slots)) / answerTemperature
        let targets = try Tensor(slots.compactMap { words[$0] }, shape: [slots.count, 1], device: model.device)
        let found = try logits.to(.float32).logSoftmax(axis: 1).gathered(axis: 1, index: targets)
        return Dictionary(uniqueKeysWithValues: zip(slots, try found.floats()))
    }

    // MARK: The next inputs

    /// The inputs of rows that follow their last tokens: the tokens' embeddings, and mixtures where a row's last token
    /// is soft.
    func inputs(after tokens: [Int], _ soft: [SoftToken?]) throws -> Tensor {
        let slots = soft.indices.filter { soft[$0] != nil }
        let softTokens = soft.compactMap(\.self)
        guard !softTokens.isEmpty else { return try model.embedding.rows(at: tokens) }
        let mixed: Tensor
        if settings.noise.perturbsEmbedding {
            mixed = try inputs(softTokens.flatMap(\.values), words: model.configuration.hiddenSize)
        } else {
            let width = softTokens.map(\.ids.count).max() ?? 1
            mixed = try model.mixtures(
                ids: Tensor(
                    softTokens.flatMap { $0.ids.map(Int.init).padded(to: width, with: 0) },
                    shape: [softTokens.count, width], device: model.device),
                weights: inputs(softTokens.flatMap { $0.weights.padded(to: width, with: 0) }, words: width))
        }
        return try model.embeddings(tokens: tokens, replacing: slots, with: mixed)
    }
}

extension Array {
    fileprivate func padded(to count: Int, with filler: Element) -> [Element] {
        self + [Element](repeating: filler, count: count - self.count)
    }
}
