/// How much is decoded at a time. It decides speed and memory, never a result beyond rounding.
package struct BatchLimits: Sendable, Equatable {
    /// Most completions decoded at a time.
    package let rows: Int
    /// Most prompt tokens read in one pass; a single longer prompt is read alone.
    package let prefillTokens: Int
    /// Most bytes of keys and values, prompts and completions together; at least one row is decoded whatever it takes.
    package let cacheBytes: Int

    package init(rows: Int = 128, prefillTokens: Int = 4096, cacheBytes: Int = 2 << 30) {
        self.rows = rows
        self.prefillTokens = prefillTokens
        self.cacheBytes = cacheBytes
    }

    /// Rows that fit when each takes its own completion and, at worst, a prompt of its own.
    package func rows(wanted: Int, bytesPerToken: Int, promptLength: Int, completionLength: Int) -> Int {
        let bytesPerRow = max(1, bytesPerToken * (promptLength + completionLength))
        return max(1, min(wanted, rows, cacheBytes / bytesPerRow))
    }
}
