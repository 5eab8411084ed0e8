package session

// Target notes that this run is about to make files at paths that a user named:
// see lab.Lab.Target.
func (s *Session) Target(paths ...string) (done func()) { return s.Lab.Target(s.RunID(), paths...) }
