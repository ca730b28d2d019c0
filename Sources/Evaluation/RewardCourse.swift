internal import Foundation

/// How a run weighed its rewards: a table for its end, and the same as pictures.
package struct RewardCourse: Sendable {
    package typealias Points = [(x: Double, y: Double)]

    private let name: String
    /// By metric, in the order of steps.
    private let series: [String: Points]
    private let notes: [(step: Double, text: String)]
    /// By reward.
    private let fixedWeights: [String: Double]

    /// - Parameters:
    ///   - name: The run's.
    ///   - series: Its numbers by their names in metrics.jsonl.
    ///   - notes: What it said of itself, in notes.jsonl.
    ///   - fixedWeights: What its job says each reward weighs: a weight that nothing moves is no metric.
    package init(
        _ name: String, series: [String: Points], notes: [(step: Double, text: String)] = [],
        fixedWeights: [String: Double] = [:]
    ) {
        self.name = name
        self.notes = notes
        self.fixedWeights = fixedWeights
        self.series = series.filter { !$0.value.isEmpty }
    }

    /// What stands between two parts of a metric's name, of all that have such.
    private func names(_ family: String, _ end: String = "") -> [String] {
        series.keys.compactMap { key in
            guard key.hasPrefix(family), key.hasSuffix(end), key.count > family.count + end.count else { return nil }
            return String(key.dropFirst(family.count).dropLast(end.count))
        }.sorted()
    }

    private var rewards: [String] {
        names("rewards/", "/mean").filter { !$0.contains("/") && series["rewards/\($0)/std"] != nil }
    }
    private var constraints: [String] { names("constraints/", "/limit") }

    private var guards: [String] { names("eval_guard/", "/first") }

    /// Whether there is anything to weigh or to keep: several rewards, a limit, or a guard.
    package var hasSomething: Bool { rewards.count > 1 || !constraints.isEmpty || !guards.isEmpty }

    /// The mean of the last fifth of a metric.
    private func late(_ metric: String) -> Double? {
        guard let points = series[metric] else { return nil }
        let last = points.suffix(max(1, points.count / 5))
        return last.reduce(0) { $0 + $1.y } / Double(last.count)
    }

    /// What a reward weighed, from first to last; empty where nothing says it.
    private func weights(of reward: String) -> [Double] {
        series["reward_weights/\(reward)"]?.map(\.y) ?? [fixedWeights[reward]].compactMap(\.self)
    }

    private func shown(_ value: Double?) -> String { value.map(NumberText.compact) ?? "" }

    // MARK: Tables

    private var rewardTable: Table {
        Table(
            [
                "reward", "mean, first", "mean, late", "weight, first", "weight, last", "advantage share, late",
                "gradient share, late",
            ],
            rewards.map { name in
                [
                    name, shown(series["rewards/\(name)/mean"]?.first?.y), shown(late("rewards/\(name)/mean")),
                    shown(weights(of: name).first), shown(weights(of: name).last),
                    shown(late("rewards/\(name)/advantage_share")),
                    shown(late("rewards/\(name)/gradient_share")),
                ]
            })
    }

    private var constraintTable: Table {
        Table(
            ["constraint", "limit", "value, late", "off by, late", "multiplier, last", "averaged"],
            constraints.map { name in
                let family = "constraints/\(name)/"
                return [
                    name, shown(series[family + "limit"]?.last?.y), shown(late(family + "value")),
                    shown(late(family + "violation")), shown(series[family + "lambda"]?.last?.y),
                    shown(series[family + "lambda_mean"]?.last?.y),
                ]
            })
    }

    private var guardTable: Table {
        Table(
            ["guard", "watched", "first", "worst", "last"],
            guards.map { name in
                let family = "eval_guard/\(name)/"
                let watched = ["log_likelihood", "reward"].first { series[family + $0] != nil } ?? ""
                return [
                    name, watched, shown(series[family + "first"]?.last?.y), shown(series[family + "worst"]?.last?.y),
                    shown(series[family + watched]?.last?.y),
                ]
            })
    }

    /// Whether less of a reward is better: all its weights of the run are at most 0, and some below.
    private func isMinimized(_ reward: String) -> Bool {
        let weights = weights(of: reward)
        return weights.allSatisfy { $0 <= 0 } && weights.contains { $0 < 0 }
    }

    /// Of evaluations: means that no other evaluation of the run reaches in every reward, with the step.
    private var front: Table? {
        let rewards = names("eval_rewards/", "/mean").filter { !$0.contains("/") }
        guard rewards.count > 1 else { return nil }
        let columns = rewards.map { name in
            Dictionary((series["eval_rewards/\(name)/mean"] ?? []).map { ($0.x, $0.y) }) { $1 }
        }
        let steps = Set(columns.flatMap(\.keys)).sorted()
        let points = steps.map { step in (step: step, values: columns.compactMap { $0[step] }) }
            .filter { $0.values.count == rewards.count }
        let isMinimized = rewards.map(isMinimized)
        let kept = Self.undominated(points.map { zip($0.values, isMinimized).map { $1 ? -$0 : $0 } })
        return Table(
            ["Pareto front, step"] + zip(rewards, isMinimized).map { $1 ? "\($0), less is better" : $0 },
            kept.map { [NumberText.tick(points[$0].step)] + points[$0].values.map(NumberText.compact) })
    }

    /// The indices of points that no other is at least as high as everywhere and higher somewhere.
    package static func undominated(_ points: [[Double]]) -> [Int] {
        points.indices.filter { index in
            !points.contains { other in
                zip(other, points[index]).allSatisfy { $0 >= $1 } && zip(other, points[index]).contains { $0 > $1 }
            }
        }
    }

    private var tables: [Table] {
        ([rewardTable, constraintTable] + [front].compactMap(\.self) + [guardTable]).filter { !$0.rows.isEmpty }
    }

    /// What looked wrong, moved and why.
    private var noteTable: Table {
        Table(["step", "note"], notes.map { [NumberText.tick($0.step), $0.text] }, textColumns: 2)
    }

    /// What binds, what each reward weighs, the evaluations that none beats, and what is guarded.
    package var text: String { tables.map { "\(name)\n\($0.text)" }.joined(separator: "\n\n") }

    // MARK: Pictures

    private func picture(_ title: String, _ metrics: [(name: String, metric: String)]) -> String? {
        let curves = metrics.compactMap { entry in
            series[entry.metric].map { LearningCurves.Curve(name: entry.name, points: $0) }
        }
        return curves.isEmpty ? nil : LearningCurves(title: title, curves: curves).svg
    }

    private var pictures: [String] {
        let rewards = rewards
        var all = [
            picture("Mean of each reward", rewards.map { ($0, "rewards/\($0)/mean") }),
            picture("Weight of each reward", rewards.map { ($0, "reward_weights/\($0)") }),
            picture("Share of the advantage", rewards.map { ($0, "rewards/\($0)/advantage_share") }),
            picture("Share of the gradient", rewards.map { ($0, "rewards/\($0)/gradient_share") }),
            picture("Multipliers", constraints.map { ($0, "constraints/\($0)/lambda") }),
        ]
        for name in guards {
            let family = "eval_guard/\(name)/"
            all.append(
                picture(
                    "The guard \(name)",
                    [("value", "\(family)log_likelihood"), ("value", "\(family)reward"), ("first", "\(family)first")]))
        }
        for name in constraints {
            all.append(
                picture(
                    "\(name) and its limit",
                    [("value", "constraints/\(name)/value"), ("limit", "constraints/\(name)/limit")]))
        }
        return all.compactMap(\.self)
    }

    /// One page for several runs with their notes, which needs nothing but itself.
    ///
    /// - Parameter before: What stands above the runs, as SVG.
    package static func page(of runs: [RewardCourse], before: [String] = []) -> String {
        let parts = runs.map { run -> String in
            var blocks = run.tables.map(\.html) + run.pictures.map { "<figure>\($0)</figure>" }
            if !run.notes.isEmpty { blocks.append(run.noteTable.html) }
            return "<h2>\(HTMLText.escaped(run.name))</h2>\n" + blocks.joined(separator: "\n")
        }
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
            <title>Runs</title>
            <style>\(HTMLPage.style) figure svg text { fill: #1c1e21; }</style>
            </head>
            <body>
            <h1>Runs</h1>
            \(before.map { "<figure>\($0)</figure>" }.joined(separator: "\n"))
            \(parts.joined(separator: "\n"))
            </body>
            </html>

            """
    }
}
