//go:build !linux

package main

import "errors"

func mountTiny(string, int) error { return errors.ErrUnsupported }

func unmount(string) error { return nil }
