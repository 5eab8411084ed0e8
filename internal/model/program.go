package model

import (
	"strings"

	"quant"
	"quant/internal/durable"
	"quant/internal/parquet"
)

// Program is what a model of ByProgram is made by.
type Program struct {
	Argv   []string          `json:"argv"`
	Code   []CodeFile        `json:"code"` // the files that argv names
	Params map[string]string `json:"params"`
	Format parquet.Format    `json:"format"` // of what it is handed and hands back
}

// CodeFile is a file that a command line names.
type CodeFile struct {
	Argument string `json:"argument"`
	Digest   string `json:"digest"`
}

// KeptFile is a file that a program keeps of what it learned.
type KeptFile struct {
	Path   string `json:"path"` // within the folder of the fold, with slashes
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

// MaxProgramParams bounds how many parameters are handed to a program.
const MaxProgramParams = 200

func (p *Program) validate() error {
	if p == nil || len(p.Argv) == 0 || p.Argv[0] == "" {
		return quant.Errorf(quant.Usage, "no program is named").WithHint("name it behind --: quant train --algo program --experiment ID -- python train.py")
	}
	for _, arg := range p.Argv {
		if strings.ContainsRune(arg, 0) {
			return quant.Errorf(quant.Usage, "an argument of the program holds a zero byte")
		}
	}
	if len(p.Params) > MaxProgramParams {
		return quant.Errorf(quant.Usage, "more than %d parameters", MaxProgramParams).WithHint("put them into a file that the command line names")
	}
	_, err := parquet.ParseFormat(string(p.Format))
	return err
}

// validateFiles reports the first kept file that cannot be put back, as Invalid.
func (d Document) validateFiles() error {
	for _, f := range append(d.Folds[:len(d.Folds):len(d.Folds)], d.Final) {
		for _, k := range f.Files {
			if _, ok := durable.DigestHex(k.Digest); !ok || !isKeptPath(k.Path) || k.Bytes < 0 {
				return quant.Errorf(quant.Invalid, "%s: %q is no file that can be kept", f.TaskID, quant.Clip(k.Path, 100))
			}
		}
	}
	return nil
}

// isKeptPath reports whether a path leads to a place within its folder, and nowhere
// else on any system.
func isKeptPath(path string) bool {
	if path == "" || len(path) > 1024 || strings.ContainsAny(path, "\\\x00") {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// Columns are the names under which a program is handed features: their own, with
// the version where it needs that to be told from another column.
func Columns(list []Feature) []string {
	taken := map[string]int{}
	for _, name := range []string{parquet.ColumnSymbol, parquet.ColumnDay, columnLabel, columnLabelEnd, columnWeight, parquet.ColumnScore, parquet.ColumnFold} {
		taken[name] = 2
	}
	for _, f := range list {
		taken[strings.ToLower(f.Name)]++
	}
	names := make([]string, len(list))
	for i, f := range list {
		if names[i] = f.Name; taken[strings.ToLower(f.Name)] > 1 {
			names[i] = f.String()
		}
	}
	return names
}
