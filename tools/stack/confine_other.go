//go:build !linux

package stack

import (
	"context"
	"errors"
	"syscall"
)

var errNotLinux = errors.New("a root file system of its own needs Linux")

func isolated() (*syscall.SysProcAttr, error) { return nil, errNotLinux }

func canIsolate(context.Context) error { return errNotLinux }
