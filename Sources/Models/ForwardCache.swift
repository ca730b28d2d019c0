package import Tensors

/// What sampling has computed of completions and their prompts, kept for the update that learns from them.
///
/// An update at the weights that were sampled from would multiply the same tokens with the same weights once more: a third
/// of its operations, with adapters half. It takes the products from here instead, and what attention made, and works out
/// the rest (norms, rotations, activations, logits) as ever. The products of both are float32 sums, in another order.
///
/// Completions are found by their tokens and their prompt's; what a pass has taken is gone.
package final class ForwardCache {
    private let widths: KeptWidths
    private let layers: Int
    private let limit: Int
    private let type: ElementType
    private let device: Device
    /// Of the weights that what is held was computed with.
    private var version: Int?
    /// Everything that is held, of groups that are still being written, too.
    private var kept: [KeptGroup] = []
    /// Those that are whole, by their prompt's tokens.
    private var closed: [[Int]: [KeptGroup]] = [:]
    private var heldBytes = 0
    /// Tokens of a completion that get room at a time.
    private static let pieceLength = 32

    /// - Parameter limit: Most bytes that are held. A group that would need more is let go of as a whole.
    package init(_ configuration: ModelConfiguration, limit: Int, type: ElementType = .float32, device: Device = .cpu) {
        widths = KeptWidths(configuration, type)
        layers = configuration.layers
        (self.limit, self.type, self.device) = (limit, type, device)
    }

    /// Bytes that one token takes.
    package static func bytesPerToken(_ configuration: ModelConfiguration, _ type: ElementType = .float32) -> Int {
        configuration.layers * KeptWidths(configuration, type).total * type.byteCount
    }

    package var tensors: [Tensor] { kept.flatMap(\.tensors) }

    package func removeAll() {
        kept.forEach { $0.release() }
        (kept, closed, heldBytes) = ([], [:], 0)
    }

    // MARK: Writing

    /// What comes next is computed with the weights of this version: what is held of others goes.
    package func begin(_ version: Int) {
        if version != self.version { removeAll() }
        self.version = version
    }

    /// Room for a prompt and its completions; `nil` where there is none.
    package func open(promptLength: Int, completions: Int) throws(TensorError) -> KeptGroup? {
        guard completions > 0 else { return nil }
        let group = KeptGroup(
            prompt: KeptText(layers: layers, pieceLength: promptLength),
            completions: (0..<completions).map { _ in KeptText(layers: layers, pieceLength: Self.pieceLength) })
        kept.append(group)
        try grow([group.prompt], of: group)
        return group.isWhole ? group : nil
    }

    /// Where a pass over whole prompts keeps its products, of those groups that are kept.
    package func prompts(_ groups: [(group: KeptGroup?, length: Int)]) -> KeptRows {
        KeptRows(
            groups.map { KeptRows.Run(text: $0.group?.whole?.prompt, tokens: 0..<$0.length) }, widths, isRead: false)
    }

    /// Where a pass over one token of each completion keeps them; `token` counts from 0.
    package func tokens(
        _ rows: [(group: KeptGroup?, completion: Int, token: Int)]
    ) throws(TensorError) -> KeptRows {
        var full: [ObjectIdentifier: [KeptText]] = [:]
        for row in rows {
            guard let group = row.group, let text = group.text(ofCompletion: row.completion) else { continue }
            if text.capacity <= row.token { full[ObjectIdentifier(group), default: []].append(text) }
        }
        for group in kept { if let texts = full[ObjectIdentifier(group)] { try grow(texts, of: group) } }
        return KeptRows(
            rows.map { row in
                KeptRows.Run(
                    text: row.group?.text(ofCompletion: row.completion), tokens: row.token..<row.token + 1)
            }, widths, isRead: false)
    }

    /// Takes a group whose completions have ended.
    ///
    /// - Parameter completions: The tokens of each, of which the last was never read.
    package func close(_ group: KeptGroup, prompt: [Int], completions: [[Int]]) {
        guard group.isWhole else { return }
        for (tokens, text) in zip(completions, group.completions) { group.byTokens[tokens, default: []].append(text) }
        closed[prompt, default: []].append(group)
    }

    /// Makes room for one more piece of some texts, or lets go of their group. What is written and read together lies in
    /// one tensor a layer.
    private func grow(_ texts: [KeptText], of group: KeptGroup) throws(TensorError) {
        let rows = texts.reduce(0) { $0 + $1.pieceLength }
        let bytes = layers * rows * widths.total * type.byteCount
        guard heldBytes + bytes <= limit else {
            heldBytes -= group.bytes
            group.release()
            return
        }
        for layer in 0..<layers {
            let pieces = try Tensor.unwritten([rows, widths.total], type, device: device)
            var start = 0
            for text in texts {
                text.append(try pieces.narrow(axis: 0, start: start, count: text.pieceLength), toLayer: layer)
                start += text.pieceLength
            }
        }
        heldBytes += bytes
        group.bytes += bytes
    }

    // MARK: Reading

    /// Lets go of what the passes of a step do not read, such as completions that are masked.
    ///
    /// - Parameter groups: What they read between them.
    package func keep(only groups: [(prompt: [Int], completions: [[Int]])]) {
        var wanted: [[Int]: [[Int]: Int]] = [:]
        for (prompt, completions) in groups {
            for tokens in completions { wanted[prompt, default: [:]][tokens, default: 0] += 1 }
        }
        for (prompt, groups) in closed {
            for group in groups { group.keep(only: &wanted[prompt, default: [:]]) }
        }
        for group in kept where group.byTokens.isEmpty { group.release() }  // those that were never whole
    }

    /// The products of the tokens of a pass: every prompt and its completions behind it. `nil` unless all of them are here
    /// and were computed with these weights; then what is here of them goes, as no other pass reads it.
    package func taken(_ groups: [(prompt: [Int], completions: [[Int]])], at version: Int) -> KeptRows? {
        guard version == self.version else { return nil }
        var runs: [KeptRows.Run] = []
        for (prompt, completions) in groups {
            guard let group = closed[prompt]?.first(where: { $0.has(completions) }) else {
                for run in runs where run.isLast { run.text?.release() }
                for (prompt, completions) in groups { closed[prompt]?.forEach { $0.drop(completions) } }
                return nil
            }
            let texts = completions.compactMap { group.byTokens[$0]?.popLast() }
            // Another pass may read the prompt of those that are left.
            runs.append(KeptRows.Run(text: group.prompt, tokens: prompt.indices, isLast: group.isRead))
            for (tokens, text) in zip(completions, texts) {
                // Nothing reads the last token's state, and no other token sees it.
                let read = max(tokens.count - 1, 0)
                runs.append(KeptRows.Run(text: text, tokens: 0..<read, isLast: true))
                runs.append(KeptRows.Run(text: nil, tokens: read..<tokens.count))
            }
        }
        return KeptRows(runs, widths, isRead: true)
    }
}

/// A prompt and its completions in a ``ForwardCache``.
package final class KeptGroup {
    fileprivate let prompt: KeptText
    fileprivate let completions: [KeptText]
    /// Those that no pass has taken.
    fileprivate var byTokens: [[Int]: [KeptText]] = [:]
    fileprivate var bytes = 0
    /// Whether everything that was computed is here.
    fileprivate private(set) var isWhole = true

    fileprivate init(prompt: KeptText, completions: [KeptText]) {
        (self.prompt, self.completions) = (prompt, completions)
    }

    /// `nil` for one that is not kept: a greedy row beside the sampled ones, or any where the group is gone.
    fileprivate func text(ofCompletion index: Int) -> KeptText? {
        isWhole && index < completions.count ? completions[index] : nil
    }

    fileprivate var whole: KeptGroup? { isWhole ? self : nil }
    fileprivate var tensors: [Tensor] { ([prompt] + completions).flatMap(\.tensors) }

    /// Whether it has each of these.
    fileprivate func has(_ wanted: [[Int]]) -> Bool {
        guard isWhole else { return false }
        let counts = Dictionary(wanted.map { ($0, 1) }, uniquingKeysWith: +)
        return counts.allSatisfy { byTokens[$0.key, default: []].count >= $0.value }
    }

    /// Whether no completion is left that a pass may read.
    fileprivate var isRead: Bool { byTokens.values.allSatisfy(\.isEmpty) }

    /// Lets go of completions that are not wanted, or not so often; `wanted` counts those that then are.
    fileprivate func keep(only wanted: inout [[Int]: Int]) {
        for (tokens, texts) in byTokens {
            let count = min(texts.count, wanted[tokens, default: 0])
            wanted[tokens, default: 0] -= count
            texts.dropFirst(count).forEach { $0.release() }
            byTokens[tokens] = Array(texts.prefix(count))
        }
        if isRead { prompt.release() }
    }

    fileprivate func drop(_ completions: [[Int]]) {
        for tokens in completions { byTokens[tokens]?.popLast()?.release() }
        if isRead { prompt.release() }
    }

    fileprivate func release() {
        ([prompt] + completions).forEach { $0.release() }
        (isWhole, bytes, byTokens) = (false, 0, [:])
    }
}

/// What a model's projections made of the tokens of one text, layer by layer.
final class KeptText {
    /// Tokens of a piece.
    let pieceLength: Int
    /// By layer, then in the order of the tokens: `[pieceLength, what is kept of a token]` each.
    private var layers: [[Tensor]]

    init(layers: Int, pieceLength: Int) {
        self.pieceLength = pieceLength
        self.layers = Array(repeating: [], count: layers)
    }

    /// Tokens that there is room for.
    var capacity: Int { layers[0].count * pieceLength }

    func append(_ piece: Tensor, toLayer layer: Int) { layers[layer].append(piece) }

    /// A piece of a layer.
    func piece(_ index: Int, ofLayer layer: Int) -> Tensor { layers[layer][index] }

    /// Where some of its tokens lie, in every layer.
    func places(of tokens: Range<Int>) -> [(piece: Int, first: Int, count: Int)] {
        var places: [(piece: Int, first: Int, count: Int)] = []
        var next = tokens.lowerBound
        while next < tokens.upperBound {
            let (piece, first) = next.quotientAndRemainder(dividingBy: pieceLength)
            let count = min(pieceLength - first, tokens.upperBound - next)
            places.append((piece, first, count))
            next += count
        }
        return places
    }

    func release(layer: Int) { layers[layer] = [] }
    func release() { layers.indices.forEach(release(layer:)) }

    var tensors: [Tensor] { layers.flatMap(\.self) }
}

/// The products of the tokens of one pass in a ``ForwardCache``.
package struct KeptRows {
    /// Tokens of a text, in the order of the pass.
    struct Run {
        /// `nil` for tokens of which nothing is kept.
        let text: KeptText?
        let tokens: Range<Int>
        /// Whether nobody reads the text after this pass.
        var isLast = false
    }

    private let runs: [Run]
    /// Where the runs' tokens lie in every layer.
    private let places: [(text: KeptText?, piece: Int, first: Int, count: Int)]
    private let widths: KeptWidths
    /// Whether the pass takes what is there for what its projections make; else it keeps what they have made.
    private let isRead: Bool

    init(_ runs: [Run], _ widths: KeptWidths, isRead: Bool) {
        (self.runs, self.widths, self.isRead) = (runs, widths, isRead)
        places = runs.flatMap { run in
            run.text.map { text in text.places(of: run.tokens).map { (text, $0.piece, $0.first, $0.count) } }
                ?? [(nil, 0, 0, run.tokens.count)]
        }
    }

    /// Those of a pass over some of the tokens, ascending: of each text the first ones.
    func rows(at indices: [Int]) -> KeptRows {
        var rest = indices[...]
        var end = 0
        let some = runs.map { run in
            end += run.tokens.count
            let count = rest.prefix { $0 < end }.count
            rest = rest.dropFirst(count)
            return Run(text: run.text, tokens: run.tokens.prefix(count), isLast: run.isLast)
        }
        return KeptRows(some, widths, isRead: isRead)
    }

    /// What a layer's projections and its attention make of the pass's tokens, where that is taken from here: then the layer is gone.
    func products(ofLayer layer: Int, like x: Tensor) throws(TensorError) -> LayerProducts {
        guard isRead else { return LayerProducts() }
        let products = LayerProducts(
            given: try Tensor.collected(from: rows(inLayer: layer), widths: widths.parts, like: x))
        for run in runs where run.isLast { run.text?.release(layer: layer) }
        return products
    }

    /// Keeps what a layer's projections and its attention have made, where it does not come from here.
    func keep(_ products: LayerProducts, ofLayer layer: Int) throws(TensorError) {
        guard let rows = written(inLayer: layer) else { return }
        try Tensor.store(Array(products.made.prefix(widths.parts.count)), in: rows)
    }

    /// Where the products of a layer go, where they do not come from here.
    func written(inLayer layer: Int) -> [RowRun]? { isRead ? nil : rows(inLayer: layer) }

    private func rows(inLayer layer: Int) -> [RowRun] {
        places.map { RowRun($0.text?.piece($0.piece, ofLayer: layer), first: $0.first, count: $0.count) }
    }
}

/// What the projections of one layer make in a pass, `[tokens, outputs]` each, in the order of their numbers, and behind
/// them what attention makes.
final class LayerProducts {
    /// Taken for what they make; `nil` where they multiply.
    let given: [Tensor]?
    private var noted: [Tensor?] = Array(repeating: nil, count: attention + 2)
    /// The place of what attention makes, its log-sum-exps in the next one.
    private static let attention = Projection.countInBlock

    init(given: [Tensor]? = nil) { self.given = given }

    /// Those of some of the pass's tokens, for the projections behind attention; nothing is noted of them.
    func rows(at indices: [Int]) throws(TensorError) -> LayerProducts {
        LayerProducts(
            given: try given?.enumerated().map { number, products throws(TensorError) in
                let isBehind = Projection.countBeforeAttention..<Self.attention ~= number
                return isBehind ? try products.rows(at: indices) : products
            })
    }

    /// What attention makes, where it is not to be worked out.
    var givenAttention: AttentionResult? {
        guard let given, given.count > Self.attention else { return nil }
        return AttentionResult(found: given[Self.attention], logSums: given[Self.attention + 1])
    }

    func note(_ output: Tensor, ofProjection number: Int) { noted[number] = output }

    func note(_ attention: AttentionResult) throws(TensorError) {
        let (tokens, found) = (try attention.found.size(0), attention.found)
        noted[Self.attention] = try found.reshaped([tokens, found.count / max(tokens, 1)])
        noted[Self.attention + 1] = attention.logSums
    }

    /// Of a layer that has been passed.
    var made: [Tensor] { noted.compactMap(\.self) }
}

/// How many numbers are kept of a token in a layer.
struct KeptWidths {
    /// Of each projection, in the order of their numbers; then of what attention makes and of its log-sum-exps, one a head,
    /// where they are kept: log-sum-exps would be too coarse in a narrow type, and a window has none.
    let parts: [Int]
    var total: Int { parts.reduce(0, +) }

    init(_ configuration: ModelConfiguration, _ type: ElementType) {
        let (queries, keys) = (configuration.queryWidth, configuration.keyValueWidth)
        let (hidden, inner) = (configuration.hiddenSize, configuration.intermediateSize)
        let keepsAttention = type.byteCount >= 4 && configuration.slidingWindows.allSatisfy { $0 == nil }
        let attention = keepsAttention ? [queries, configuration.heads] : []
        parts = [queries, keys, keys, hidden, inner, inner, hidden] + attention
    }
}
