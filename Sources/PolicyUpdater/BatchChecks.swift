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
    /// Checks every array against its actions before anything is computed.
    ///
    /// - Parameters:
    ///   - required: the arrays that must be there. The others may be empty, for all completions alike.
    ///   - scorer: the method's, which knows its payloads; without one a payload is refused.
    /// - Throws: ``UpdateError`` naming the first group and completion that cannot be used.
    func check(
        requiring required: BatchFields, vocabularySize: Int,
        scorer: any TokenScoring = TokenScorer(temperature: 1, checkpointsBlocks: false)
    ) throws(UpdateError) {
        for part in parts { try part.checkStreams() }
        let vocabulary = 0..<vocabularySize
        let hasOld = groups.lazy.flatMap(\.completions).first(where: \.isTrained)?.oldLogProbabilities.isEmpty == false
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
                    ?? completion.payloadProblem(requiring: required, hasOld: hasOld, vocabulary: vocabulary, scorer)
                {
                    throw .batch(group: groupIndex, completion: index, message: message)
                }
            }
        }
    }
}

extension UpdatePart {
    /// - Throws: ``UpdateError/group(_:message:)`` for a group that is no pair: two completions, learned from both or
    ///   masked both.
    func checkPairs() throws(UpdateError) {
        for (index, group) in groups.enumerated() {
            let trained = group.completions.count(where: \.isTrained)
            guard group.completions.count == 2, trained != 1 else {
                throw .group(
                    index,
                    message: "\(group.completions.count) completions, \(trained) of them to learn from; a pair has two")
            }
        }
    }

    /// - Throws: ``UpdateError/group(_:message:)`` for a group of a head that is not there.
    func checkHeads(_ count: Int) throws(UpdateError) {
        for (index, group) in groups.enumerated() where !(0..<count).contains(group.head) {
            throw .group(index, message: "head \(group.head); the reward model has \(count)")
        }
    }

    fileprivate func checkStreams() throws(UpdateError) {
        for (index, group) in groups.enumerated() {
            for (completion, streams) in group.completions.map(\.advantages.count).enumerated()
            where streams > 0 && streams != streamWeights.count {
                throw .batch(
                    group: index, completion: completion,
                    message: "\(streams) streams of advantages, and weights for \(streamWeights.count)")
            }
        }
    }
}

extension UpdateCompletion {
    /// Whether a step learns from it: from neither a masked one nor one without actions.
    var isTrained: Bool { !isMasked && actionCount > 0 }

    fileprivate func payloadProblem(
        requiring required: BatchFields, hasOld: Bool, vocabulary: Range<Int>, _ scorer: any TokenScoring
    ) -> String? {
        guard let payload else { return nil }
        if payload.actionCount != actionCount {
            return "a record of \(payload.actionCount) actions for \(actionCount)"
        }
        return scorer.problem(of: payload, requiring: required, hasOld: hasOld, vocabulary: vocabulary)
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
        if let isAction, isAction.count != tokenIDs.count {
            return "\(isAction.count) isAction for \(tokenIDs.count) tokens"
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
            if values.count != actionCount {
                return "\(values.count) \(name) for \(actionCount) \(isAction == nil ? "tokens" : "actions")"
            }
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
