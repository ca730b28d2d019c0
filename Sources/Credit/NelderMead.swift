internal import Foundation

/// Finds a low point of a function of a few named numbers without gradients (Nelder and Mead 1965), one evaluation at a
/// time.
///
///     c = mean of all vertices but the worst;  x_r = c + (c − x_w)
///     f_r < f_1                x_e = c + 2(x_r − c), taken if f_e < f_r, else x_r
///     f_1 ≤ f_r < f_n          x_r
///     f_n ≤ f_r < f_w          x_c = c + ½(x_r − c), taken if f_c ≤ f_r      else shrink
///     f_w ≤ f_r                x_c = c + ½(x_w − c), taken if f_c < f_w      else shrink
///     shrink                   x_i ← x_1 + ½(x_i − x_1)
///
/// Asks and is told: ``point`` is where the function is wanted next, ``tell(_:)`` says what it is there. Every point is
/// clamped to the bounds. A point near one that was evaluated takes its value from there and is not asked for.
///
/// It is a value that goes through a file, so that a search goes on where it stood.
package struct NelderMead: Sendable, Equatable, Codable {
    /// Numbers by name: nothing ever depends on their order.
    package typealias Point = [String: Double]

    package struct Vertex: Sendable, Equatable, Codable {
        package var point: Point
        package var value: Double
    }

    /// What the wanted point is for.
    private enum Stage: Sendable, Equatable, Codable {
        case begin
        case reflect
        case expand(reflected: Vertex)
        case contract(reflected: Vertex, isOutside: Bool)
        case shrink(at: Int)
    }

    package struct Settings: Sendable, Equatable, Codable {
        package var bounds: [String: ClosedRange<Double>]
        /// The search ends when the values of the simplex have no larger deviation.
        package var tolerance: Double
        /// How near, in every number, a point takes the value of another.
        package var cacheDistance: Double

        package init(bounds: [String: ClosedRange<Double>], tolerance: Double = 0.01, cacheDistance: Double = 5e-3) {
            self.bounds = bounds
            self.tolerance = tolerance
            self.cacheDistance = cacheDistance
        }
    }

    package let settings: Settings
    /// Where the function is wanted next; `nil` when the search has ended.
    package private(set) var point: Point?
    /// Everything that was evaluated, in that order.
    package private(set) var evaluated: [Vertex] = []
    /// How often a value came from there.
    package private(set) var cacheHits = 0
    /// Evaluated vertices of the simplex, the best first once it is whole.
    package private(set) var simplex: [Vertex] = []
    /// Points of the simplex that are still to be evaluated.
    private var waiting: [Point]
    private var stage = Stage.begin

    /// - Parameter simplex: One point more than there are numbers, all with the names of the bounds, not all in one
    ///   plane.
    package init(simplex: [Point], _ settings: Settings) {
        precondition(
            simplex.count == settings.bounds.count + 1
                && simplex.allSatisfy { Set($0.keys) == Set(settings.bounds.keys) },
            "a simplex of named points, one more than numbers")
        self.settings = settings
        waiting = simplex.map { Self.clamped($0, settings.bounds) }
        point = waiting[0]
    }

    /// The best point so far; `nil` before the first.
    package var best: Vertex? { evaluated.min { $0.value < $1.value } }

    /// Takes the function's value at ``point``.
    ///
    /// - Parameter value: Finite.
    package mutating func tell(_ value: Double) {
        guard let asked = point else { return }
        evaluated.append(Vertex(point: asked, value: value))
        take(Vertex(point: asked, value: value))
        var hits = 0
        while let next = point, let known = nearby(next) {
            cacheHits += 1
            hits += 1
            take(Vertex(point: next, value: known))
            // A simplex that only ever meets known points has become smaller than what the cache tells apart.
            if hits > 8 * simplex.count { point = nil }
        }
    }

    private func nearby(_ point: Point) -> Double? {
        evaluated.first { vertex in
            vertex.point.allSatisfy { abs($1 - (point[$0] ?? .infinity)) <= settings.cacheDistance }
        }?.value
    }

    // MARK: Moves

    private mutating func take(_ vertex: Vertex) {
        switch stage {
        case .begin:
            simplex.append(vertex)
            waiting.removeFirst()
            point = waiting.first
            if point == nil { turn() }
        case .reflect: judge(reflected: vertex)
        case .expand(let reflected): replaceWorst(by: vertex.value < reflected.value ? vertex : reflected)
        case .contract(let reflected, let isOutside):
            let isTaken = isOutside ? vertex.value <= reflected.value : vertex.value < simplex[simplex.count - 1].value
            if isTaken { replaceWorst(by: vertex) } else { shrink() }
        case .shrink(let index):
            simplex[index] = vertex
            if index + 1 < simplex.count {
                stage = .shrink(at: index + 1)
                point = Self.clamped(towardsBest(simplex[index + 1].point), settings.bounds)
            } else {
                turn()
            }
        }
    }

    /// Begins the next turn, or ends.
    private mutating func turn() {
        simplex.sort { $0.value < $1.value }
        let mean = simplex.reduce(0) { $0 + $1.value } / Double(simplex.count)
        let square = simplex.reduce(0) { $0 + ($1.value - mean) * ($1.value - mean) } / Double(simplex.count)
        guard square.squareRoot() >= settings.tolerance else {
            point = nil
            return
        }
        stage = .reflect
        point = along(-1)
    }

    /// c + t·(x_w − c)
    private func along(_ factor: Double) -> Point {
        let (rest, worst) = (simplex.dropLast(), simplex[simplex.count - 1].point)
        let moved = Dictionary(
            uniqueKeysWithValues: worst.map { name, value in
                let centre = rest.reduce(0) { $0 + ($1.point[name] ?? 0) } / Double(rest.count)
                return (name, centre + factor * (value - centre))
            })
        return Self.clamped(moved, settings.bounds)
    }

    private mutating func judge(reflected: Vertex) {
        let (best, second, worst) = (
            simplex[0].value, simplex[simplex.count - 2].value, simplex[simplex.count - 1].value
        )
        switch reflected.value {
        case ..<best:
            stage = .expand(reflected: reflected)
            point = along(-2)
        case ..<second where simplex.count > 2: replaceWorst(by: reflected)
        case ..<worst:
            stage = .contract(reflected: reflected, isOutside: true)
            point = along(-0.5)
        default:
            stage = .contract(reflected: reflected, isOutside: false)
            point = along(0.5)
        }
    }

    private mutating func replaceWorst(by vertex: Vertex) {
        simplex[simplex.count - 1] = vertex
        turn()
    }

    private mutating func shrink() {
        stage = .shrink(at: 1)
        point = Self.clamped(towardsBest(simplex[1].point), settings.bounds)
    }

    private func towardsBest(_ point: Point) -> Point {
        Dictionary(
            uniqueKeysWithValues: point.map { name, value in
                let best = simplex[0].point[name] ?? 0
                return (name, best + 0.5 * (value - best))
            })
    }

    private static func clamped(_ point: Point, _ bounds: [String: ClosedRange<Double>]) -> Point {
        Dictionary(
            uniqueKeysWithValues: point.map { name, value in
                (name, bounds[name].map { min(max(value, $0.lowerBound), $0.upperBound) } ?? value)
            })
    }
}
