public import RewardInterface

/// The rewards of this folder, one line each. A test compares the list with the files.
public enum ShippedRewards {
    public static let catalogue = RewardCatalogue([
        AccuracyReward.self,
        CodeExecution.self,
        CompletionLength.self,
        CosineScaledReward.self,
        Countdown.self,
        ExactNumber.self,
        FollowsInstructions.self,
        FormatRules.self,
        LengthReward.self,
        ReasoningAccuracyReward.self,
        RegularExpression.self,
        RepetitionPenaltyReward.self,
        SoftOverlongPunishment.self,
        ThinkFormatReward.self,
    ])
}
