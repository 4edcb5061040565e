package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// state is what is known of a running stack: enough to find its servers and to end exactly its own processes. It is
// written before a server is let loose, so that no process exists that the file does not name.
type state struct {
	Profile   string             `json:"profile"`
	Backend   string             `json:"backend"`
	Transient bool               `json:"transient"` // brought up by a Run, to be taken down when the last Run ends
	Services  Services           `json:"services"`
	Ports     map[string]int     `json:"ports"`
	Servers   map[string]process `json:"servers"` // rootfs backend only; by the server's key
	Versions  map[string]string  `json:"versions"`
}

// readState returns the state in file, or an error that is fs.ErrNotExist when there is none.
func readState(file string) (*state, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var st state
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, fmt.Errorf("read the stack's state in %s: %w", file, err)
	}
	return &st, nil
}

// write replaces the state in file as a whole: a reader sees the old state or the new one.
func (st *state) write(file string) error {
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the stack's state: %w", err)
	}
	if err := replaceFile(file, append(text, '\n')); err != nil {
		return fmt.Errorf("write the stack's state: %w", err)
	}
	return nil
}

// replaceFile writes a file that only its owner can read, in one step as seen by readers.
func replaceFile(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	next := file + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
