package config

import "os"

// System returns the environment of this process: a look-up, and all of it as
// NAME=VALUE (to find secrets in).
func System() (Environment, []string) { return os.LookupEnv, os.Environ() }

// WithinJob is the value of Job for this process, JOB:RUN; "": it works for none.
func WithinJob() string { return os.Getenv(Job) }
