//go:build race

package labtest

// RaceDetector reports that the race detector is built in.
const RaceDetector = true
