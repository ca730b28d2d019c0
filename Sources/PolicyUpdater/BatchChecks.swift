internal import Records

/// Which of a completion's arrays a computation reads.
struct BatchFields: OptionSet {
    let rawValue: Int
    static let advantages = BatchFields(rawValue: 1)
    static let referenceLogProbabilities = BatchFields(rawValue: 2)
    static let rolloutLogProbabilities = BatchFields(rawValue: 4)
    /// What a critic learns from: returns and its own old values.
    static let returns = BatchFields(rawValue: 8)
}

extension UpdateBatch {
    /// The completions that are trained: those neither masked nor empty.
    var trainedCompletions: [UpdateCompletion] {
        groups.flatMap(\.completions).filter { !$0.isMasked && !$0.tokenIDs.isEmpty }
    }

    /// Checks every array against its tokens before anything is computed.
    ///
    /// - Parameters:
    ///   - required: the arrays that must be there. The others may be empty, for all completions alike.
    ///   - takesSoftTokens: whether the method knows what a soft token is.
    /// - Throws: ``UpdateError`` naming the first group and completion that cannot be used.
    func check(
        requiring required: BatchFields, vocabularySize: Int, takesSoftTokens: Bool = false
    ) throws(UpdateError) {
        for part in parts { try part.checkStreams() }
        let vocabulary = 0..<vocabularySize
        let hasOld = trainedCompletions.first?.oldLogProbabilities.isEmpty == false
        for (groupIndex, group) in groups.enumerated() {
            guard !group.promptTokenIDs.isEmpty else {
                throw .group(
                    groupIndex, message: "the prompt has no tokens; the first generated token needs one before it")
            }
            if let token = group.promptTokenIDs.first(where: { !vocabulary.contains($0) }) {
                throw .group(
                    groupIndex, message: "prompt token \(token) is outside the vocabulary of \(vocabularySize)")
            }
            for (index, completion) in group.completions.enumerated()
            where !completion.isMasked && !completion.tokenIDs.isEmpty {
                if let message = completion.problem(requiring: required, hasOld: hasOld, vocabulary: vocabulary)
                    ?? completion.softProblem(
                        requiring: required, hasOld: hasOld, vocabulary: vocabulary, isTaken: takesSoftTokens)
                {
                    throw .batch(group: groupIndex, completion: index, message: message)
                }
            }
        }
    }
}

extension UpdatePart {
    fileprivate func checkStreams() throws(UpdateError) {
        for (index, group) in groups.enumerated() {
            for (place, streams) in group.completions.map(\.advantages.count).enumerated()
            where streams > 0 && streams != streamWeights.count {
                throw .batch(
                    group: index, completion: place,
                    message: "\(streams) streams of advantages, and weights for \(streamWeights.count)")
            }
        }
    }
}

extension UpdateCompletion {
    fileprivate func softProblem(
        requiring required: BatchFields, hasOld: Bool, vocabulary: Range<Int>, isTaken: Bool
    ) -> String? {
        guard let softTokens, softTokens.count > 0 else { return nil }
        guard isTaken else { return "it has soft tokens, which this method does not learn from" }
        guard softTokens.supportSizes.count == tokenIDs.count else {
            return "a record of \(softTokens.supportSizes.count) tokens for \(tokenIDs.count)"
        }
        if let id = softTokens.ids.first(where: { !vocabulary.contains(Int($0)) }) {
            return "word \(id) of a soft token is outside the vocabulary of \(vocabulary.upperBound)"
        }
        let arrays: [(name: String, values: [Float], isRequired: Bool)] = [
            ("values", softTokens.values, true), ("parameters", softTokens.parameters, true),
            ("oldParameters", softTokens.oldParameters, hasOld),
            (
                "referenceParameters", softTokens.referenceParameters,
                required.contains(.referenceLogProbabilities)
            ),
        ]
        for (name, values, isRequired) in arrays where isRequired || !values.isEmpty {
            guard values.count == softTokens.values.count else {
                return "soft tokens with \(values.count) \(name) for \(softTokens.values.count) components"
            }
            if let value = values.first(where: { !$0.isFinite }) {
                return "soft tokens with \(value) among their \(name), not a finite number"
            }
        }
        return nil
    }

    /// Each stream as an array of its own; a single one by the bare name.
    private static func streams(
        _ name: String, _ streams: [[Double]], isRequired: Bool
    ) -> [(name: String, values: [Double], isRequired: Bool)] {
        if streams.count < 2 { return [(name, streams.first ?? [], isRequired)] }
        return streams.enumerated().map { ("\(name)[\($0)]", $1, isRequired) }
    }

    fileprivate func problem(requiring required: BatchFields, hasOld: Bool, vocabulary: Range<Int>) -> String? {
        if let token = tokenIDs.first(where: { !vocabulary.contains($0) }) {
            return "token \(token) is outside the vocabulary of \(vocabulary.upperBound)"
        }
        let arrays: [(name: String, values: [Double], isRequired: Bool)] = [
            (
                "rolloutLogProbabilities", rolloutLogProbabilities.map(Double.init),
                required.contains(.rolloutLogProbabilities)
            ),
            ("samplingLogProbabilities", samplingLogProbabilities?.map(Double.init) ?? [], false),
            ("oldLogProbabilities", oldLogProbabilities.map(Double.init), hasOld),
            (
                "referenceLogProbabilities", referenceLogProbabilities.map(Double.init),
                required.contains(.referenceLogProbabilities)
            ),
        ]
        let streams =
            Self.streams("advantages", advantages, isRequired: required.contains(.advantages))
            + Self.streams("returns", returns, isRequired: required.contains(.returns))
            + Self.streams("oldValues", oldValues.map { $0.map(Double.init) }, isRequired: required.contains(.returns))
        for (name, values, isRequired) in streams + arrays {
            if values.isEmpty && !isRequired { continue }
            if values.count != tokenIDs.count { return "\(values.count) \(name) for \(tokenIDs.count) tokens" }
            if let index = values.firstIndex(where: { !$0.isFinite }) {
                return "\(name)[\(index)] is \(values[index]), not a finite number"
            }
        }
        if !hasOld, !oldLogProbabilities.isEmpty {
            return "it has oldLogProbabilities and earlier completions have none; give them to all or to none"
        }
        return nil
    }
}
