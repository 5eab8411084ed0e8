package config

import "os"

// System returns the environment of this process: a look-up, and all of it as
// NAME=VALUE (to find secrets in).
func System() (Environment, []string) { return os.LookupEnv, os.Environ() }
