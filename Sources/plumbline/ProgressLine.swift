import Foundation

/// How far a long piece of work is and how long the rest may take, on standard error; nothing for what is done in two seconds.
final class ProgressLine {
    private let what: String
    private let unit: String
    private let start = ContinuousClock.now
    private var shown: ContinuousClock.Instant?

    init(_ what: String, unit: String) {
        self.what = what
        self.unit = unit
    }

    /// Rewrites the line of a terminal; elsewhere a line every ten seconds.
    func show(_ done: Int, of total: Int) {
        let now = ContinuousClock.now
        let seconds = (now - start) / .seconds(1)
        guard seconds > 2, done < total, done > 0 else { return }
        if let shown, now - shown < (Terminal.isInteractive ? .milliseconds(200) : .seconds(10)) { return }
        shown = now
        let left = Int((seconds / Double(done) * Double(total - done)).rounded(.up))
        let time = left < 60 ? "\(left) s" : String(format: "%d:%02d min", left / 60, left % 60)
        let text = "\(what): \(done) of \(total) \(unit), about \(time) left"
        if Terminal.isInteractive { Terminal.rewrite(text) } else { Terminal.progress(text) }
    }

    /// Takes the line away again.
    func clear() { if shown != nil && Terminal.isInteractive { Terminal.rewrite("") } }
}
