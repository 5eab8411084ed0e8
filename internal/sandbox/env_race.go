//go:build race

package sandbox

// raceEnv keeps a child that the race detector watches from sleeping for a second
// at its end.
var raceEnv = []string{"GORACE=atexit_sleep_ms=0"}
