package stack

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// repository returns the root folder of this repository's sources, which hold what cannot be compiled in: the module
// that FerretDB is built from and compose.yaml.
func repository() (string, error) {
	// Where this file was when it was compiled; builds with -trimpath do not tell.
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		if root := filepath.Dir(filepath.Dir(filepath.Dir(file))); isRepository(root) {
			return root, nil
		}
	}
	if dir, err := os.Getwd(); err == nil {
		for {
			if isRepository(dir) {
				return dir, nil
			}
			if parent := filepath.Dir(dir); parent != dir {
				dir = parent
				continue
			}
			break
		}
	}
	return "", errors.New("the project's sources are not found: run this in the project's folder")
}

func isRepository(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && bytes.HasPrefix(text, []byte("module github.com/ecom-micro/etl\n"))
}
