package registry

import "quant"

// LetGo drops the liveness lock and leaves its file, as the kernel does for a
// process that is killed.
func LetGo(g *Registry) { g.lock.Close() }

// Clip shortens an error text.
var Clip = clip

// TakeLock makes and locks the lock file of that name.
func TakeLock(g *Registry, name string) error { _, err := g.live(name); return err }

// SweepLocks removes the lock files of dead processes.
func SweepLocks(g *Registry) { g.sweepLocks() }

// Storable is what FinishRun is given of what a run noted.
func (g *Registry) Storable(noted []quant.RunIO) []quant.RunIO { return g.storable(noted) }
