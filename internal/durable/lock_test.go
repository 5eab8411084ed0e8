package durable

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Lock {
	t.Helper()
	l, err := OpenLock(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLockKeepsOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b, c := open(t, path), open(t, path), open(t, path)
	for _, step := range []struct {
		lock *Lock
		how  Hold
		want error
	}{
		{a, Shared, nil}, {b, Shared, nil}, {c, Exclusive, ErrHeld},
		{a, Exclusive, ErrHeld}, // b shares it
	} {
		if err := step.lock.Try(step.how); !errors.Is(err, step.want) {
			t.Fatalf("Try(%v) = %v, want %v", step.how, err, step.want)
		}
	}
	b.Close()
	for _, step := range []struct {
		lock *Lock
		how  Hold
		want error
	}{
		{a, Exclusive, nil}, {c, Shared, ErrHeld},
		{a, Shared, nil}, {c, Shared, nil}, // held less strictly, others get in
	} {
		if err := step.lock.Try(step.how); !errors.Is(err, step.want) {
			t.Fatalf("Try(%v) = %v, want %v", step.how, err, step.want)
		}
	}
}

func TestLockWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder, waiter := open(t, path), open(t, path)
	ctx := t.Context()
	if err := holder.Wait(ctx, Exclusive, 0); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := waiter.Wait(ctx, Shared, 30*time.Millisecond); !errors.Is(err, ErrHeld) || time.Since(began) < 30*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	mine := errors.New("mine")
	ended, cancel := context.WithCancelCause(ctx)
	time.AfterFunc(10*time.Millisecond, func() { cancel(mine) })
	if err := waiter.Wait(ended, Shared, time.Minute); !errors.Is(err, mine) {
		t.Errorf("%v, want the cause of ctx", err)
	}
	third := open(t, path)
	time.AfterFunc(10*time.Millisecond, func() { holder.Close() })
	if err := third.Wait(ctx, Shared, time.Minute); err != nil {
		t.Error(err)
	}
	third.Close()
	if err := waiter.Wait(ctx, Exclusive, time.Minute); err != nil {
		t.Error(err)
	}
}

func TestLockFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLock(link); err == nil {
		t.Error("a link passes for a lock file")
	}
	if _, err := OpenLock(filepath.Join(dir, "missing", "lock")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	on := LockOn(folder)
	defer on.Close()
	if err := on.Try(Exclusive); err != nil {
		t.Errorf("a folder cannot be locked: %v", err)
	}
}
