package registry

// LetGo drops the liveness lock and leaves its file, as the kernel does for a
// process that is killed.
func LetGo(g *Registry) { g.lock.Close() }
