/// Whether choices are those of the authors' published code where that departs from their paper.
package enum ReleaseCompatibility: String, SettingsChoice {
    case none, release
}
