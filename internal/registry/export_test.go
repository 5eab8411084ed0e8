package registry

// LetGo drops the liveness lock of an open run and leaves its file, as the
// kernel does for a process that is killed.
func LetGo(g *Registry, id string) {
	run := g.Get(id)
	run.lock.Close()
	g.mu.Lock()
	delete(g.open, id)
	g.mu.Unlock()
}
