//go:build race

package crash

// raceDetector reports that the race detector is built in, whose runtime has its own
// ways with signals and memory: Arm does nothing then.
const raceDetector = true
