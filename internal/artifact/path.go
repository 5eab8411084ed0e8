package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"quant"
)

// PutPath stores what stands at a path and returns it as artifacts that name no
// run and no time: a file under its own name, or name where that is not empty;
// of a folder all files, by their paths within it, below name. Nothing outside
// of a folder is read, wherever its links lead and whatever changes meanwhile.
// Errors: NotFound; Invalid for what is no regular file, for a folder that
// holds anything else or nothing, and for a name that breaks a rule; Failed for
// what cannot be read; else Put's.
func (s Store) PutPath(ctx context.Context, file, name string) ([]quant.Artifact, error) {
	// A pipe must not keep it waiting, as long as nobody writes to it.
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(file, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, unreadable(file, err)
	case info.IsDir():
		return s.putFolder(ctx, file, name)
	}
	if name == "" {
		name = filepath.Base(file)
	}
	if err := quant.ValidateArtifactName(name); err != nil {
		return nil, err
	}
	a, err := s.putFile(ctx, f, file, name)
	return []quant.Artifact{a}, err
}

// KeepFrom stores what r gives until its end and returns it as an artifact of
// that name, which names no run and no time. Errors: Invalid for a name that
// breaks a rule, else Put's.
func (s Store) KeepFrom(ctx context.Context, r io.Reader, name string) (a quant.Artifact, err error) {
	if err := quant.ValidateArtifactName(name); err != nil {
		return a, err
	}
	a.Name = name
	a.Digest, a.Bytes, err = s.Put(ctx, r)
	return a, err
}

func (s Store) putFile(ctx context.Context, f *os.File, file, name string) (a quant.Artifact, err error) {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return a, quant.Errorf(quant.Invalid, "artifact %s is no regular file", file).WithHint("save what it gives to a file first, or hand it to standard input")
	}
	a.Name = name
	a.Digest, a.Bytes, err = s.Put(ctx, f)
	if err != nil && quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
		err = unreadable(file, err)
	}
	return a, err
}

func (s Store) putFolder(ctx context.Context, dir, prefix string) ([]quant.Artifact, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer func() { _ = root.Close() }()
	var files []string
	err = fs.WalkDir(root.FS(), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return unreadable(path.Join(dir, file), err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case d.IsDir():
			return nil
		}
		if info, err := root.Stat(file); err != nil || !info.Mode().IsRegular() {
			return quant.Errorf(quant.Invalid, "artifact %s is no file of the folder %s", path.Join(dir, file), dir).
				WithHint("a folder is kept with all that is in it: take out pipes and links that lead elsewhere, or name the files one by one")
		}
		files = append(files, file)
		return quant.ValidateArtifactName(path.Join(prefix, file))
	})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, quant.Errorf(quant.Invalid, "the folder %s holds no file", dir).WithHint("log it once there is something in it")
	}
	var list []quant.Artifact
	for _, file := range files {
		f, err := root.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, unreadable(path.Join(dir, file), err)
		}
		a, err := s.putFile(ctx, f, path.Join(dir, file), path.Join(prefix, file))
		f.Close()
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func unreadable(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return quant.Errorf(quant.NotFound, "artifact %s does not exist", file).WithHint("check the path")
	}
	return quant.Errorf(quant.Failed, "artifact %s: %w", file, err).WithHint("make it readable")
}
