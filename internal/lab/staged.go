package lab

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"quant/internal/lab/place"
	"quant/internal/objectstore"
)

// stagedObjects are the outputs of units of work that lie in a bucket, below the id of
// each unit's run. They are left behind as folders of staged outputs are. Ages go by the
// bucket's clock.
type stagedObjects struct {
	bucket *objectstore.Bucket
	now    func() time.Time // the lab's clock
}

// stagedObjects are those of the lab; nil: its units stage their outputs in a folder.
func (l *Lab) stagedObjects() *stagedObjects {
	at, in := l.OutputsBucket()
	if !in {
		return nil
	}
	return &stagedObjects{objectstore.New(objectstore.Options{At: at, Cloud: l.Cloud, Know: l.Mask.Know}), func() time.Time { return l.Now() }}
}

// behind is what the bucket's clock is behind the lab's.
func (s *stagedObjects) behind(ctx context.Context) (time.Duration, error) {
	there, err := s.bucket.Now(ctx)
	return s.now().Sub(there), err
}

// of lists the outputs of runs whose keys begin with prefix: how large they are, and when
// the last of them was written by the lab's clock.
func (s *stagedObjects) of(ctx context.Context, prefix string) (map[string]objectstore.Object, error) {
	behind, err := s.behind(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]objectstore.Object{}
	err = s.bucket.List(ctx, prefix, func(o objectstore.Object) error {
		run, _, within := strings.Cut(o.Key, "/")
		if !within || !matches([]string{stagedOutputs}, run) {
			return nil
		}
		all := found[run]
		all.Bytes += o.Bytes
		if written := o.Written.Add(behind); written.After(all.Written) {
			all.Written = written
		}
		found[run] = all
		return nil
	})
	return found, err
}

// find calls fn for the outputs that nobody takes in any more: all of a run that was
// written before a time.
func (s *stagedObjects) find(ctx context.Context, before time.Time, fn func(garbage) error) error {
	if s == nil {
		return nil
	}
	found, err := s.of(ctx, "")
	if err != nil {
		return err
	}
	for _, run := range slices.Sorted(maps.Keys(found)) {
		if all := found[run]; all.Written.Before(before) {
			if err := fn(garbage{Kind: Leftover, Path: s.bucket.URL(run), Bytes: all.Bytes, staged: run}); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes the outputs of a run, if they still are what find found, and tells
// whether it did.
func (s *stagedObjects) remove(ctx context.Context, run string, before time.Time) (gone bool, err error) {
	found, err := s.of(ctx, run+"/")
	if all, there := found[run]; err != nil || !there || !all.Written.Before(before) {
		return false, err
	}
	err = s.bucket.DeleteBelow(ctx, run+"/", place.OutputsManifest)
	return err == nil, err
}

// removeUnfinished ends what units that died before a time had sent in part.
func (s *stagedObjects) removeUnfinished(ctx context.Context, before time.Time) (int, error) {
	if s == nil {
		return 0, nil
	}
	behind, err := s.behind(ctx)
	if err != nil {
		return 0, err
	}
	return s.bucket.RemoveUnfinished(ctx, "", before.Add(-behind))
}
