// Package liveness tells whether the process that recorded a run still lives.
// Locks does so among the processes of one machine that share a folder; what is
// said of a process beyond that is Process.
package liveness

// Life is what can be told about the process of a RUNNING run.
type Life int

// A run whose life is Unjudged belongs to another host, or left no trace.
const (
	Alive Life = iota
	Dead
	Unjudged
)
