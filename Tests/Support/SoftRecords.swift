package import Records

extension Rollout {
    /// Its payload, where that is a record of soft tokens.
    package var softTokens: SoftTokens? { payload as? SoftTokens }
}

extension UpdateCompletion {
    /// Its payload, where that is a record of soft tokens.
    package var softTokens: SoftTokens? {
        get { payload as? SoftTokens }
        set { payload = newValue }
    }
}
