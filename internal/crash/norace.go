//go:build !race

package crash

// raceDetector reports that the race detector is built in.
const raceDetector = false
