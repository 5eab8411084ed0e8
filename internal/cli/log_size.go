package cli

import (
	"quant"
	"quant/internal/exec/transcript"
)

// logSize is a number of bytes as flags have it: 512KiB, 64MiB, 1GB, 4096.
type logSize int64

// Set reads a size.
func (s *logSize) Set(text string) error {
	size, err := transcript.ParseSize(text)
	if err != nil {
		return err
	}
	*s = logSize(size)
	return nil
}

// String writes a size as Set reads it.
func (s *logSize) String() string { return quant.FormatBytes(int64(*s)) }

// Type names the flag's value in help texts.
func (s *logSize) Type() string { return "SIZE" }
