package pipeline

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/session"
)

// filePatience is how long the lock of a file of the lab is waited for, which others
// hold for moments only.
const filePatience = 10 * time.Second

// changeFile replaces a file of the lab by the text that do makes, under a lock, and
// records it with the rows that do says changed. Without a row nothing is done; without
// a text the file goes. Errors: those of do, as they are; Locked: another process
// changes it; Store: it cannot be written.
func changeFile(ctx context.Context, s *session.Session, path string, do func() (text []byte, rows int, err error)) error {
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "write %s: %w", path, err).WithHint("make room, or make its folder writable; nothing was changed")
	}
	lock, err := durable.OpenLock(path + ".lock")
	if err != nil {
		return failed(err)
	}
	defer lock.Close()
	if err := lock.Wait(ctx, durable.Exclusive, filePatience); errors.Is(err, durable.ErrHeld) {
		return quant.Errorf(quant.Locked, "%s is being changed by another process", path).WithHint("try again")
	} else if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		return failed(err)
	}
	text, changed, err := do()
	if err != nil || changed == 0 {
		return err
	}
	digest := ""
	if len(text) == 0 {
		err = errors.Join(os.Remove(path), durable.SyncFolder(filepath.Dir(path)))
	} else {
		digest, err = durable.Digest(text), durable.Replace(path, 0o600, durable.Bytes(text))
	}
	if err != nil {
		return failed(err)
	}
	rows := int64(changed)
	s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: path, Rows: &rows, Digest: quant.Text(digest)})
	return nil
}
