//go:build !race

package sandbox

// raceEnv is what only a child that the race detector watches is told.
var raceEnv []string
