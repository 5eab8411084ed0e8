#!/usr/bin/env bash
# gofrs/flock: a handle that had the lock shared and then alone cannot share it again.
#
# Version    github.com/gofrs/flock v0.13.2, Linux, Go 1.26
# Guess      RLock after Lock on the same handle turns the lock into a shared one, as
#            flock(2) does for LOCK_SH on a descriptor that holds LOCK_EX: another
#            process that wants to share gets in.
# Behaviour  After RLock, Lock, RLock the handle says that it is RLocked, and also that
#            it is Locked; the kernel's lock stays exclusive, and every other process is
#            kept out until Unlock. A handle that says RLocked already returns from
#            RLock without asking the kernel.
# Output     after RLock, Lock, RLock: locked true, rlocked true, another may share: false
#            flock(2) itself:                                    another may share: true
#
# Exits with 1 if that changes. Needs Go and a module proxy; works in a temporary folder.
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat > go.mod <<'MOD'
module finding

go 1.26

require github.com/gofrs/flock v0.13.2
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// mayShare tries the lock as another process would: with a description of its own.
func mayShare(path string) bool {
	f, err := os.Open(path)
	check(err)
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(dir)

	path := filepath.Join(dir, "library.lock")
	l := flock.New(path)
	check(l.RLock())
	check(l.Lock())
	check(l.RLock())
	fmt.Printf("after RLock, Lock, RLock: locked %v, rlocked %v, another may share: %v\n", l.Locked(), l.RLocked(), mayShare(path))

	plain := filepath.Join(dir, "plain.lock")
	f, err := os.Create(plain)
	check(err)
	for _, how := range []int{syscall.LOCK_SH, syscall.LOCK_EX, syscall.LOCK_SH} {
		check(syscall.Flock(int(f.Fd()), how))
	}
	fmt.Printf("flock(2) itself:                                    another may share: %v\n", mayShare(plain))
}
GO
GOFLAGS=-mod=mod go mod tidy >/dev/null 2>&1
output=$(go run .)
printf '%s\n' "$output"
expected='after RLock, Lock, RLock: locked true, rlocked true, another may share: false
flock(2) itself:                                    another may share: true'
if [ "$output" != "$expected" ]; then
  echo "the behaviour has changed" >&2
  exit 1
fi
