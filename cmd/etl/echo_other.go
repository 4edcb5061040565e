//go:build !linux

package main

import "os"

// withoutEcho does nothing where terminals are asked in another way.
func withoutEcho(*os.File) (restore func()) { return func() {} }
