//go:build race

package std

// raceEnabled: pools drop things at random, so that allocations cannot be counted.
const raceEnabled = true
