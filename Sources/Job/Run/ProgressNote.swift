/// Takes note of how far a piece of work has come: what it is, and how many of how many parts are done. It is told
/// often and decides itself what is worth showing; it may be told from several tasks at once.
package typealias ProgressNote = @Sendable (_ work: String, _ done: Int, _ total: Int) -> Void
